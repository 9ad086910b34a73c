# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process is meant: PID and start time together."""
from __future__ import annotations

import os
import pathlib
import signal
import time


def start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat, None for a dead or a zombie process."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2:].split()
    return None if fields[0] in "ZX" else int(fields[19])


def alive(identity: dict[str, int] | None) -> bool:
    """Is the process of this {pid, start} still the one that was written down?"""
    return bool(identity) and start_time(identity["pid"]) == identity["start"]


def kill(identity: dict[str, int] | None, number: int = signal.SIGKILL, timeout: float = 10.0) -> None:
    """Signal it and wait until it is gone."""
    if not alive(identity):
        return
    os.kill(identity["pid"], number)
    deadline = time.monotonic() + timeout
    while alive(identity) and time.monotonic() < deadline:
        time.sleep(0.005)
