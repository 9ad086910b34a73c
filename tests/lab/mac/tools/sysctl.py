# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""sysctl: the names that the collection and Ansible ask a Mac for."""
from __future__ import annotations

import os
import struct
import sys
import time

from . import common


def _boot_time() -> str:
    moment = common.boot_time()
    whole = int(moment)
    shown = time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(whole))
    return f"{{ sec = {whole}, usec = {int((moment - whole) * 10**6)} }} {shown}"


def _memory() -> str:
    for line in common.read(common.PROC + "/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return str(int(line.split()[1]) * 1024)
    return "17179869184"


def _release(number: int) -> str:
    from .. import disguise  # pylint: disable=import-outside-toplevel
    return (disguise.RELEASE, disguise.VERSION)[number]


VALUES = {
    "hw.activecpu": lambda: str(os.cpu_count()),
    "hw.logicalcpu": lambda: str(os.cpu_count()),
    "hw.logicalcpu_max": lambda: str(os.cpu_count()),
    "hw.machine": lambda: "arm64",
    "hw.memsize": _memory,
    "hw.model": lambda: "Mac16,10",
    "hw.ncpu": lambda: str(os.cpu_count()),
    "hw.optional.arm64": lambda: "1",
    "hw.pagesize": lambda: "16384",
    "hw.physicalcpu": lambda: str(os.cpu_count()),
    "hw.physicalcpu_max": lambda: str(os.cpu_count()),
    "kern.boottime": _boot_time,
    "kern.bootsessionuuid": common.boot_uuid,
    "kern.hostname": lambda: os.uname().nodename,
    "kern.hv_support": lambda: "1",
    "kern.osproductversion": lambda: "26.1",
    "kern.osrevision": lambda: "199506",
    "kern.osrelease": lambda: _release(0),
    "kern.ostype": lambda: "Darwin",
    "kern.osversion": lambda: "25B78",
    "kern.version": lambda: _release(1),
    "machdep.cpu.brand_string": lambda: "Apple M4",
    "machdep.cpu.core_count": lambda: str(os.cpu_count()),
}


def _names(asked: str) -> list[str]:
    return [name for name in VALUES if name == asked or name.startswith(asked + ".")]


def main() -> None:
    """-n leaves the name out; a part of the tree gives all below it."""
    words = sys.argv[1:]
    options = "".join(word[1:] for word in words if word.startswith("-"))
    asked = [word for word in words if not word.startswith("-")]
    if "a" in options:
        asked = ["hw", "kern", "machdep"]
    code = 0
    for word in asked:
        if "=" in word:
            common.record("sysctl", words)
            continue
        if not _names(word):
            if "i" not in options:
                sys.stderr.write(f"sysctl: unknown oid '{word}'\n")
                code = 1
            continue
        if options == "b" and word == "kern.boottime":
            # The raw struct timeval.
            sys.stdout.buffer.write(struct.pack("=qq", int(common.boot_time()), 0))
            continue
        for name in _names(word):
            value = VALUES[name]()
            sys.stdout.write(value + "\n" if "n" in options else f"{name}: {value}\n")
    sys.exit(code)
