# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Mac's ps and sysctl for tests: this machine's real processes, told in the Mac's words."""

from __future__ import annotations

import subprocess
import time
import typing as t

BOOT = "0F5B2A4C-1111-2222-3333-444455556666"
ROW = "{pid:>6} {state:<5}{lstart}     {command}\n"


class Mac:
    """Commands on a Mac of which only ps and sysctl are known; every call is kept."""

    def __init__(self, ps: t.Callable[[], str]) -> None:
        self.ps = ps
        self.calls: list[tuple[list[str], t.Any]] = []

    def check(self, argv: list[str], _what: str, env: t.Any = None) -> str:
        """Answer as the program does."""
        self.calls.append((argv, env))
        if argv == ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]:
            return BOOT + "\n"
        assert argv == ["/bin/ps", "-axww", "-o", "pid=,state=,lstart=,command="]
        return self.ps()


def row(pid: int, start: float, command: str, state: str = "S") -> str:
    """One line as the Mac's ps writes it."""
    return ROW.format(pid=pid, state=state, lstart=time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(start)), command=command)


def real_ps() -> str:
    """This machine's processes in that form: those that may be ours."""
    out = subprocess.run(["ps", "-eww", "-o", "pid=,state=,etimes=,args="], capture_output=True, text=True, check=True).stdout
    now = time.time()
    rows = [line.split(None, 3) for line in out.splitlines()]
    return "".join(row(int(parts[0]), now - int(parts[2]), parts[3] if len(parts) > 3 else "", parts[1]) for parts in rows)
