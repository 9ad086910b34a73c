# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting VMs, beside a shell script that does the same steps by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.bench import byhand
from tests.bench.site import PING, Bench, names
from tests.bench.table import Row, median

ONE_LIMIT = 50.0  # ms more
BATCH_LIMIT = 1.3
BATCH = 8
_SETTLE = {"name": "Settle", "ansible.builtin.raw": "sleep 0.3", "changed_when": False}

Times = dict[str, list[float]]


def measure(bench: Bench, rounds: int, say: Callable[[str], None]) -> list[Row]:
    """One VM, then eight in one task; the by-products are for information."""
    batch = names(BATCH)
    bench.vms(batch, "started")
    byhand.prepare(bench, batch)
    one = _one(bench, rounds)
    say("  one VM: " + _shown(one))
    eight = _rounds(bench, _start_plan(bench, batch), max(3, rounds // 2))
    say(f"  {BATCH} VMs: " + _shown(eight))
    made = _rounds(bench, _create_plan(bench), max(3, rounds // 2))
    say("  one made and started: " + _shown(made))
    bench.vms(batch, "absent", force=True)
    return [
        _row("start one VM", one, extra_limit=ONE_LIMIT),
        _row("the same, payload run on the host", one, "Payload", "Ping payload"),
        _row(f"start {BATCH} VMs in one task", eight, ratio_limit=BATCH_LIMIT),
        _row("the same, whole task", eight, less=None),
        _row("create and start one VM", made),
    ]


def _row(what: str, times: Times, name: str = "Task", less: str | None = "Ping", **limit: float) -> Row:
    """The quickest rounds count, because other work on the machine only adds."""
    ours, script = ({choose: 1000 * choose(times[key]) for choose in (min, median)} for key in (name, "Script"))
    if less:
        ours = {choose: value - 1000 * choose(times[less]) for choose, value in ours.items()}
    note = f"less {less.lower()}; " if less else "with Ansible's own time; "
    return Row(what, ours[min], script[min], note=f"{note}reference: script; medians {ours[median]:.0f} / {script[median]:.0f} ms", **limit)


def _shown(times: Times) -> str:
    return ", ".join(f"{name.lower()} {1000 * median(values):.0f} ms" for name, values in times.items() if name not in ("Stop", "Settle", "Absent", "Clean"))


def _one(bench: Bench, rounds: int) -> Times:
    """Beside the task its payload, run on the host without Ansible."""
    vms = names(1)
    bench.vms(vms, "stopped", force=True)
    ours = byhand.keep_payload(bench, bench.task(vms, "started"))
    ping = byhand.keep_payload(bench, PING)
    plan = _start_plan(bench, vms)
    plan += [*_stop(bench, vms), byhand.payload("Ping payload", ping), byhand.payload("Payload", ours)]
    return _rounds(bench, plan, rounds)


def _stop(bench: Bench, vms: list[str]) -> list[dict[str, Any]]:
    """With time for what comes after: a program that ends is slow to give its memory back."""
    return [{"name": "Stop", **bench.task(vms, "stopped", force=True)}, _SETTLE]


def _start_plan(bench: Bench, vms: list[str]) -> list[dict[str, Any]]:
    """Each start is from the same state, which the module's own stop leaves."""
    return [*_stop(bench, vms), {"name": "Ping", **PING}, {"name": "Task", **bench.task(vms, "started")},
            *_stop(bench, vms), byhand.script("Script", "start", vms)]


def _create_plan(bench: Bench) -> list[dict[str, Any]]:
    """The script's VM is one that the collection does not know."""
    vms, hand = names(1), [byhand.CREATED]
    absent = {"name": "Absent", **bench.task(vms, "absent", force=True)}
    return [absent, _SETTLE, {"name": "Ping", **PING}, {"name": "Task", **bench.task(vms, "started")},
            _SETTLE, byhand.script("Script", "make", hand), byhand.script("Clean", "remove", hand)]


def _rounds(bench: Bench, plan: list[dict[str, Any]], rounds: int) -> Times:
    """Seconds by name; those of raw tasks are what the stopwatch on the host says."""
    times: Times = {}
    for task in bench.ansible.tasks(bench.host.name, plan * rounds):
        times.setdefault(task["task"], []).append(float(task["stdout"]) if task["stdout"].strip() else task["seconds"])
        if task["task"] == "Task" and not task["changed"]:
            raise RuntimeError("a task that should start VMs changed nothing")
    return times
