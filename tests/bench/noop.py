# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task that changes nothing, for many VMs, beside a ping on the same connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.bench.site import PING, Bench, names
from tests.bench.table import Row, median

LIMIT = 1.5
MANY = 21


def measure(bench: Bench, count: int, state: str, rounds: int, say: Callable[[str], None]) -> Row:
    """Per task, as a play of 21 less a play of one; both in turns, so that other work on the machine meets both."""
    ours = bench.task(names(count), state)
    if bench.now("cocoon_vm", ours["cocoonstack.cocoon.cocoon_vm"])["changed"]:
        raise RuntimeError(f"{count} VMs on {bench.host.name} are not {state} yet")
    found: dict[str, list[float]] = {"ping": [], "vm": []}
    for number in range(rounds):
        kinds: list[tuple[str, dict[str, Any]]] = [("ping", PING), ("vm", ours)]
        for kind, task in kinds if number % 2 == 0 else reversed(kinds):
            found[kind].append(_per_task(bench, task))
        say(f"  {bench.host.name}, round {number + 1}: ping {found['ping'][-1] * 1000:.0f} ms, {count} VMs {found['vm'][-1] * 1000:.0f} ms")
    what = {"started": "running", "present": "stopped"}[state]
    return Row(f"no-op task, {count} {what} VMs, {bench.kind}", 1000 * median(found["vm"]), 1000 * median(found["ping"]),
               ratio_limit=LIMIT, note="per task; reference: ping")


def _per_task(bench: Bench, task: dict[str, Any]) -> float:
    one = bench.ansible.wall(bench.host.name, task, 1)
    return (bench.ansible.wall(bench.host.name, task, MANY) - one) / (MANY - 1)
