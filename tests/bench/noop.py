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
    """Per task, as a play of 21 less a play of one; both in turns. The quickest plays count: other work on the machine only adds."""
    ours = bench.task(names(count), state)
    if bench.now("cocoon_vm", ours["cocoonstack.cocoon.cocoon_vm"])["changed"]:
        raise RuntimeError(f"{count} VMs on {bench.host.name} are not {state} yet")
    kinds: list[tuple[str, dict[str, Any]]] = [("ping", PING), ("vm", ours)]
    walls: dict[tuple[str, int], list[float]] = {}
    for number in range(rounds):
        for kind, task in kinds if number % 2 == 0 else reversed(kinds):
            for times in (1, MANY):
                walls.setdefault((kind, times), []).append(bench.ansible.wall(bench.host.name, task, times))
        last = {kind: _per_task(walls, kind, lambda values: values[-1]) for kind, _task in kinds}
        say(f"  {bench.host.name}, round {number + 1}: ping {last['ping']:.0f} ms, {count} VMs {last['vm']:.0f} ms")
    middle = {kind: _per_task(walls, kind, median) for kind, _task in kinds}
    what = {"started": "running", "present": "stopped"}[state]
    return Row(f"no-op task, {count} {what} VMs, {bench.kind}", _per_task(walls, "vm", min), _per_task(walls, "ping", min), ratio_limit=LIMIT,
               note=f"reference: ping; medians: {middle['vm']:.0f} ms, {middle['ping']:.0f} ms")


def _per_task(walls: dict[tuple[str, int], list[float]], kind: str, choose: Callable[[list[float]], float]) -> float:
    """Milliseconds."""
    return 1000 * (choose(walls[kind, MANY]) - choose(walls[kind, 1])) / (MANY - 1)
