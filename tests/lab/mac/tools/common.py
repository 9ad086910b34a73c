# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-ins share: the hidden proc, the boot, the lab's switches, a journal."""
from __future__ import annotations

import os
import sys
import time

from ..tart import plainjson

PROC = os.environ.get("LAB_PROC", "/opt/lab-proc")
BOOT = os.environ.get("LAB_BOOT", "/opt/lab/boot")
JOURNAL = os.environ.get("LAB_MAC_JOURNAL", "/var/log/lab/mac-calls.jsonl")
SWITCHES = os.environ.get("LAB_MAC_SETTINGS", "/etc/lab/mac.json")


def read(path: str) -> str:
    """A small text file, empty when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def switches() -> dict:
    """/etc/lab/mac.json: aqua, console_user, leases and what else a stand-in looks up."""
    try:
        return plainjson.read(SWITCHES)
    except (OSError, ValueError):
        return {}


def boot_time() -> float:
    """When this host was booted by the lab, not when its kernel was."""
    try:
        return float(read(os.path.join(BOOT, "time")))
    except ValueError:
        return kernel_boot_time()


def kernel_boot_time() -> float:
    """What process start times count from."""
    for line in read(PROC + "/stat").splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0


def boot_uuid() -> str:
    """Upper case, as a Mac prints it."""
    return (read(os.path.join(BOOT, "id")) or read(PROC + "/sys/kernel/random/boot_id")).strip().upper()


def record(program: str, words: list[str]) -> None:
    """One line for each call of a program that would change a real Mac."""
    entry = {"program": program, "argv": words, "uid": os.getuid(), "pid": os.getpid(), "time": time.time()}
    try:
        with open(JOURNAL, "a", encoding="utf-8") as file:
            file.write(plainjson.compact(entry) + "\n")
    except OSError:
        pass


def fail(text: str, code: int = 1) -> None:
    """Say why and leave."""
    sys.stderr.write(text + "\n")
    sys.exit(code)
