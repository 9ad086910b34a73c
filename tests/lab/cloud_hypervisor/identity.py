# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the process looks from outside (contract 3.4)."""
from __future__ import annotations

import os
import sys

COMM = "cloud-hyperviso"


def set_name(name: str) -> None:
    """The short name in /proc/PID/comm."""
    try:
        with open("/proc/self/comm", "w", encoding="ascii") as file:
            file.write(name)
    except OSError:
        pass


def _arguments() -> tuple[int, int]:
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return int(fields[45]), int(fields[46])


def take_command_line(program: str, args: list[str]) -> None:
    """Write argv over in place: the interpreter's name disappears, slashes in the program's path fill the gap.

    /proc/PID/cmdline is then what the real program would show: the path of cloud-hypervisor and its options.
    """
    try:
        start, end = _arguments()
        rest = b"".join(os.fsencode(arg) + b"\0" for arg in args)
        folder, _slash, name = program.rpartition("/")
        room = end - start - len(rest) - 1
        path = os.fsencode(folder) + b"/" + os.fsencode(name)
        if room < len(path) or not folder:
            return
        path = os.fsencode(folder) + b"/" * (room - len(path) + 1) + os.fsencode(name)
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            if not memory.read(end - start).endswith(rest):
                return
            memory.seek(start)
            memory.write(path + b"\0" + rest)
    except (OSError, ValueError, IndexError):
        return


def assume(program: str) -> None:
    """Take the name and the command line of the program."""
    set_name(COMM)
    take_command_line(program, sys.argv[1:])
