# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that is nothing but a dictionary: what the backends' steps do to a VM, in the same order, with nothing real behind it.

Each step is a list of effects.  A run that is killed has done the first of them; what is left is what the next run observes.
"""

from __future__ import annotations

import copy
import typing as t

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._plan import Observed, Plan, Rules, attributes_of, plan
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._spec import VmSpec

RULES = Rules(
    classes={
        "image": "recreate",
        "cpus": "restart",
        "memory": "restart",
        "disk_size": "restart",
        "networks": "restart",
        "hostname": "restart",
        "ssh_authorized_keys": "recreate",
        "user_data": "recreate",
        "labels": "live",
    },
    defaults={"cpus": 2, "memory": 2**30, "disk_size": 10 * 2**30, "networks": [{"name": "default"}]},
)


class Vm(t.NamedTuple):
    """What there is of one VM: its record (None: not ours), whether its disks are there, and what it does."""

    record: dict[str, t.Any] | None = None
    made: bool = False
    state: str = "stopped"
    attributes: dict[str, t.Any] = {}

    def observe(self, name: str) -> Observed:
        """Return what a backend would see."""
        record = self.record or {}
        pending = record.get("pending", "")
        if self.record is not None and record["phase"] != "ready":
            return Observed(name, "creating", True, None, record["attributes"], pending, "linux", record)
        if not self.made:
            return Observed(name, "absent", self.record is not None, None, record.get("attributes", {}), pending, "linux", record)
        return Observed(
            name, self.state, self.record is not None, None, {**record.get("attributes", {}), **self.attributes}, pending, "linux", record
        )


class Model:
    """A VM that steps work on."""

    def __init__(self, vm: Vm) -> None:
        self.vm = vm

    def planned(self, spec: VmSpec, rules: Rules = RULES) -> Plan:
        """Return the plan for what is there now; nothing that it gets may be changed by it."""
        observed = self.vm.observe(spec.name)
        before = copy.deepcopy((spec, observed))
        try:
            return plan(spec, observed, attributes_of(spec), rules)
        finally:
            assert (spec, observed) == before

    def effects(self, steps: Plan) -> list[t.Callable[[], None]]:
        """Return all effects of a plan in order."""
        return [effect for step in steps.steps for effect in getattr(self, step.action)(**step.arguments)]

    def apply(self, steps: Plan) -> None:
        """Do all of it."""
        for effect in self.effects(steps):
            effect()

    def _record(self, **changes: t.Any) -> None:
        record = {**(self.vm.record or {}), **changes}
        self.vm = self.vm._replace(record=record)

    def _vm(self, **changes: t.Any) -> None:
        self.vm = self.vm._replace(**changes)

    # The steps, named as the backends name theirs.

    def adopt(self) -> list[t.Callable[[], None]]:
        """A record for what is there."""
        return [lambda: self._record(phase="ready", pending="", attributes=dict(self.vm.attributes))]

    def stop(self, pending: str = "") -> list[t.Callable[[], None]]:
        """The record says first what is to come."""
        return [lambda: self._record(pending=pending), lambda: self._vm(state="stopped"), lambda: self._record(pending=pending)]

    def start(self) -> list[t.Callable[[], None]]:
        """The process, then the record."""
        return [lambda: self._vm(state="running"), lambda: self._record(pending="")]

    def configure(self, changes: dict[str, t.Any]) -> list[t.Callable[[], None]]:
        """The record is all that a stopped VM's settings are."""
        return [lambda: self._record(attributes={**(self.vm.record or {})["attributes"], **changes}), lambda: self._vm(attributes={})]

    def create(self, attributes: dict[str, t.Any], pending: str | None = None) -> list[t.Callable[[], None]]:
        """The record says "creating" until all is there; what a network gives is kept with the rest."""
        def begin() -> None:
            kept = (self.vm.record or {}).get("pending", "") if pending is None else pending
            self._vm(record={"phase": "creating", "pending": kept, "attributes": attributes})

        realised = [{"mac_address": "52:54:00:00:00:01", **nic} for nic in attributes.get("networks") or []]
        return [
            begin,
            lambda: self._vm(made=True, state="stopped", attributes={}),
            lambda: self._record(phase="ready", attributes={**attributes, "networks": realised}),
        ]

    def delete(self, keep_record: bool = False, pending: str = "") -> list[t.Callable[[], None]]:
        """The record goes last, or stays as that of a VM that is being made."""
        if keep_record:
            return [lambda: self._record(phase="creating", pending=pending), lambda: self._vm(made=False, state="stopped", attributes={})]
        return [lambda: self._vm(made=False, state="stopped", attributes={}), lambda: self._vm(record=None)]
