# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task that changes nothing, for many VMs, beside a ping on the same connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.bench import processes
from tests.bench.site import MODULE, PING, STATES, Bench, names
from tests.bench.table import Row, median

LIMIT = 1.5
MANY = 21


Values = dict[tuple[str, int], list[float]]


def measure(bench: Bench, count: int, state: str, rounds: int, say: Callable[[str], None]) -> Row:
    """Per task, as a play of 21 less a play of one; both in turns. The quickest plays count: other work on the machine only adds."""
    ours = bench.task(names(count), state)
    if bench.now("cocoon_vm", ours[MODULE])["changed"]:
        raise RuntimeError(f"{count} VMs on {bench.host.name} are not {state} yet")
    kinds: list[tuple[str, dict[str, Any]]] = [("ping", PING), ("vm", ours)]
    walls, used = Values(), Values()
    for number in range(rounds):
        for kind, task in kinds if number % 2 == 0 else reversed(kinds):
            for times in (1, MANY):
                played = _play(bench, task, times)
                walls.setdefault((kind, times), []).append(played[0])
                used.setdefault((kind, times), []).append(played[1])
        last = {kind: _per_task(walls, kind, lambda values: values[-1]) for kind, _task in kinds}
        say(f"  {bench.host.name}, round {number + 1}: ping {last['ping']:.0f} ms, {count} VMs {last['vm']:.0f} ms")
    return _row(f"no-op task, {count} {STATES[state]} VMs, {bench.kind}", walls, used)


def _play(bench: Bench, task: dict[str, Any], times: int) -> tuple[float, float]:
    """Its seconds, and the processor's seconds on both ends; what VMs use meanwhile is in neither."""
    before = processes.sessions_time(bench.host.pid)
    seconds, processor = bench.ansible.play(bench.host.name, task, times)
    return seconds, processor + processes.sessions_time(bench.host.pid) - before


def _row(what: str, walls: Values, used: Values) -> Row:
    middle = {kind: _per_task(walls, kind, median) for kind in ("vm", "ping")}
    processor = {kind: _per_task(used, kind, min) for kind in ("vm", "ping")}
    return Row(what, _per_task(walls, "vm", min), _per_task(walls, "ping", min), ratio_limit=LIMIT,
               note=f"reference: ping; medians {middle['vm']:.0f} / {middle['ping']:.0f}, processor {processor['vm']:.0f} / {processor['ping']:.0f} ms")


def _per_task(values: Values, kind: str, choose: Callable[[list[float]], float]) -> float:
    """Milliseconds."""
    return 1000 * (choose(values[kind, MANY]) - choose(values[kind, 1])) / (MANY - 1)
