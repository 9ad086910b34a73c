# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many programs a task executes on its host: seen from the controller, which traces the host's SSH server."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator

from tests.bench.site import STATES, Bench, names
from tests.bench.table import Row

_EXECVE = re.compile(r'execve\("([^"]+)".* = 0$')


def measure(bench: Bench, count: int, state: str) -> Row:
    """One VM beside many."""
    found = {number: executed(bench, names(number), state) for number in (1, count)}
    shown = ", ".join(f"{program} {times}" if times > 1 else program for program, times in sorted(found[count].items()))
    return Row(f"programs executed, {count} {STATES[state]} VMs, {bench.kind}", sum(found[count].values()), sum(found[1].values()), "", extra_limit=0,
               note=f"reference: 1 VM; {shown}")


def executed(bench: Bench, vms: list[str], state: str) -> Counter[str]:
    """The programs of one task that changes nothing."""
    bench.vms(vms, state)  # so that the connection is there
    with _traced(bench) as log:
        if bench.vms(vms, state)["changed"]:
            raise RuntimeError("a task that should change nothing changed something")
        time.sleep(0.2)  # the session's last words
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return Counter(match[1].rpartition("/")[2] for match in map(_EXECVE.search, lines) if match)


@contextlib.contextmanager
def _traced(bench: Bench) -> Iterator[pathlib.Path]:
    log = bench.ansible.scratch / "execve.log"
    log.write_text("", encoding="utf-8")
    servers = [word for pid in _servers(bench.host.pid) for word in ("-p", str(pid))]
    tracer = subprocess.Popen(["strace", "-f", "-qq", "-s", "200", "-e", "trace=execve", "-e", "signal=none", "-o", str(log), *servers])
    try:
        _wait_traced(servers[1::2])
        yield log
    finally:
        tracer.terminate()
        tracer.wait()


def _servers(init: int) -> list[int]:
    """The SSH server of the host and its sessions: its children and theirs that are named sshd."""
    found, parents = [], [init]
    while parents:
        parent = parents.pop()
        for task in pathlib.Path(f"/proc/{parent}/task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                if pathlib.Path(f"/proc/{child}/comm").read_text(encoding="utf-8").strip() == "sshd":
                    found.append(int(child))
                    parents.append(int(child))
    return found


def sessions_time(init: int) -> float:
    """The processor's seconds in what the host's SSH sessions have run so far, and has ended."""
    fields = [pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split() for pid in _servers(init)[1:]]
    return sum(int(times) for line in fields for times in line[11:15]) / os.sysconf("SC_CLK_TCK")


def _wait_traced(pids: list[str]) -> None:
    deadline = time.monotonic() + 10
    while any("TracerPid:\t0" in pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8") for pid in pids):
        if time.monotonic() > deadline:
            raise RuntimeError("strace did not attach to the host's SSH server")
        time.sleep(0.02)
