# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""Spec -> observe -> plan -> apply, for many VMs at once (design decisions 1, 2 and 6)."""

from __future__ import annotations

import time
import typing as t

from ._errors import CocoonError, join
from ._hypervisor.base import Target, side_by_side
from ._plan import Observed, Plan, Step, plan
from ._spec import VmSpec
from ._store import storage_error


class Failure(CocoonError):
    """The whole batch is refused before anything is touched; ``by_vm`` says why for each VM."""

    def __init__(self, by_vm: dict[str, CocoonError]) -> None:
        one = len(by_vm) == 1
        texts = [f"{name}: {error.msg if one else error.sentence}" for name, error in by_vm.items()]
        remedy = next(iter(by_vm.values())).remedy if one else "correct the task; nothing was changed"
        super().__init__(join(texts), remedy)
        self.by_vm = by_vm

    def for_exit(self) -> dict[str, t.Any]:
        """Return what a module fails with, the VMs that are the reason among it."""
        vms = [{"name": name, "changed": False, "failed": True, "actions": [], **error.as_dict()} for name, error in self.by_vm.items()]
        return {**super().for_exit(), "vms": vms}


class Engine:
    """Brings the VMs of one host to what their specs say."""

    def __init__(self, hypervisor: t.Any, parallel: int, check_mode: bool) -> None:
        self.hypervisor = hypervisor
        self.parallel = parallel
        self.check_mode = check_mode

    def run(self, specs: list[VmSpec]) -> list[dict[str, t.Any]]:
        """Return a result for each spec, in order; raise Failure when the batch is refused before any change."""
        observed = self.hypervisor.observe([spec.name for spec in specs])
        plans = self._plans(specs, observed)
        busy = [spec for spec in specs if plans[spec.name].steps]
        failures: dict[str, CocoonError] = {}
        done: dict[str, list[Step]] = {}
        if busy and not self.check_mode:
            failures, done, changed = self._change(busy)
            plans.update(changed)
            try:
                observed.update(self.hypervisor.observe([spec.name for spec in busy]))
            except CocoonError as error:  # what was done is told nevertheless
                for spec in busy:
                    failures.setdefault(spec.name, CocoonError(f"The VM cannot be looked at after the work on it: {error.msg}", error.remedy))
        addresses = {} if self.check_mode else self._wait(specs, observed, failures)
        if self.check_mode:
            addresses = self.hypervisor.addresses(list(observed.values()))
        return [self._result(spec, observed[spec.name], plans[spec.name], addresses, failures, done) for spec in specs]

    def _plans(self, specs: list[VmSpec], observed: dict[str, Observed]) -> dict[str, Plan]:
        """Plan for all and let the backend check all, before anything is touched."""
        plans: dict[str, Plan] = {}
        errors: dict[str, CocoonError] = {}
        for spec in specs:
            try:
                plans[spec.name] = plan(spec, observed[spec.name], self.hypervisor.wanted(spec), self.hypervisor.rules)
            except CocoonError as error:
                errors[spec.name] = error
        targets = [(Target(spec, observed[spec.name], {}), plans[spec.name]) for spec in specs if plans.get(spec.name, Plan()).steps]
        if targets:
            errors.update(self.hypervisor.check(targets))
        if errors:
            raise Failure({spec.name: errors[spec.name] for spec in specs if spec.name in errors})
        return plans

    def _change(self, specs: list[VmSpec]) -> tuple[dict[str, CocoonError], dict[str, list[Step]], dict[str, Plan]]:
        """Lock the VMs, look again, and apply their plans side by side."""
        locks = [self.hypervisor.store.lock(spec.name) for spec in sorted(specs, key=lambda spec: spec.name)]
        patience = max(spec.wait_timeout for spec in specs)
        deadline = time.monotonic() + patience
        try:
            for lock in locks:
                lock.acquire(max(0.0, deadline - time.monotonic()))
            observed = self.hypervisor.observe([spec.name for spec in specs])
            plans = self._plans(specs, observed)
            failures: dict[str, CocoonError] = {}
            done: dict[str, list[Step]] = {spec.name: [] for spec in specs}

            def work(spec: VmSpec) -> None:
                try:
                    self._apply(spec, observed[spec.name], plans[spec.name], done[spec.name])
                except CocoonError as error:
                    failures[spec.name] = error

            self.hypervisor.load()
            side_by_side(work, specs, self.parallel)
            return failures, done, plans
        finally:
            for lock in locks:
                lock.release()

    def _apply(self, spec: VmSpec, observed: Observed, steps: Plan, done: list[Step]) -> None:
        """Apply the steps of one VM; when one fails, take back what the earlier ones say can be taken back."""
        target = Target(spec, observed, dict(observed.record))
        try:
            for step in steps.steps:
                self._do(target, step.action, step.arguments)
                done.append(step)
        except CocoonError as error:
            for step in reversed(done):
                self._undo(target, step, error)
            raise

    def _do(self, target: t.Any, action: str, arguments: dict[str, t.Any]) -> None:
        try:
            getattr(self.hypervisor, action)(target, **arguments)
        except OSError as error:
            raise storage_error(error, str(error.filename or self.hypervisor.store.directory(target.name))) from error

    def _undo(self, target: t.Any, step: Step, error: CocoonError) -> None:
        if step.undo is None:
            return
        action, arguments = step.undo
        try:
            self._do(target, action, arguments)
            error.msg += f" Undone: {step.description} (by {action})."
        except CocoonError as second:
            error.msg += f" Then {action}, to undo {step.description}, failed too: {second.msg}"

    def _wait(self, specs: list[VmSpec], observed: dict[str, Observed], failures: dict[str, CocoonError]) -> dict[str, str]:
        """Wait until the running VMs are as ready as their specs say; return their addresses."""
        waiting = [spec for spec in specs if spec.wait_for in ("ip", "ssh") and spec.state != "absent"]
        waiting = [spec for spec in waiting if observed[spec.name].state == "running" and spec.name not in failures]
        if not waiting:
            return dict(self.hypervisor.addresses(list(observed.values())))
        from ._guest.ready import wait_ready

        addresses, late = wait_ready(self.hypervisor, waiting, observed)
        failures.update(late)
        if late:
            observed.update(self.hypervisor.observe(list(late)))
        rest = [vm for vm in observed.values() if vm.name not in addresses]
        return {**self.hypervisor.addresses(rest), **addresses}

    def _result(
        self,
        spec: VmSpec,
        observed: Observed,
        steps: Plan,
        addresses: dict[str, str],
        failures: dict[str, CocoonError],
        done: dict[str, list[Step]],
    ) -> dict[str, t.Any]:
        result = describe(self.hypervisor, observed, addresses.get(spec.name))
        if self.check_mode and steps.steps:
            if steps.after["state"] == "absent":
                result = describe(self.hypervisor, Observed(spec.name), None)
            result.update({key: value for key, value in steps.after.items() if key in result})
            if any(step.action in ("start", "stop", "delete") for step in steps.steps):
                result["pid"] = None  # that of another process, if any
        applied = done.get(spec.name, []) if not self.check_mode else list(steps.steps)
        result["actions"] = [step.description for step in applied]
        result["changed"] = bool(applied)
        result["failed"] = spec.name in failures
        if spec.name in failures:
            result.update(failures[spec.name].as_dict())
        else:
            result["diff"] = {"before": steps.before, "after": steps.after}
        return result


def describe(hypervisor: t.Any, observed: Observed, address: str | None) -> dict[str, t.Any]:
    """Return one VM as modules and info modules show it; keys that do not apply are None."""
    there = observed.state not in ("absent", "creating")
    attributes = observed.attributes
    return {
        "name": observed.name,
        "state": "absent" if observed.state == "creating" else observed.state,
        "backend": hypervisor.backend,
        "managed": observed.managed,
        "image": attributes.get("image"),
        "cpus": attributes.get("cpus"),
        "memory": attributes.get("memory"),
        "disk_size": attributes.get("disk_size"),
        "disks": hypervisor.disks(observed) if there else [],
        "networks": attributes.get("networks") or [],
        "hostname": attributes.get("hostname"),
        "labels": attributes.get("labels") or {},
        "pid": observed.process.pid if observed.process else None,
        "ip_address": address,
        "mac_address": hypervisor.mac_address(observed) if there else None,
        "console": hypervisor.console(observed) if there else {"pty": None, "log": None},
        "log_path": hypervisor.log_path(observed.name) if observed.managed else None,
    }


def batch_result(results: list[dict[str, t.Any]], single: str | None) -> dict[str, t.Any]:
    """Return what cocoon_vm returns for the results of its VMs."""
    diffs = {result["name"]: result.pop("diff") for result in results if "diff" in result}
    diffs = {name: diff for name, diff in diffs.items() if diff["after"]}
    before, after = ({name: diff[side] for name, diff in diffs.items()} for side in ("before", "after"))
    failed = [result for result in results if result["failed"]]
    outcome: dict[str, t.Any] = {"changed": any(result["changed"] for result in results), "failed": bool(failed), "vms": results}
    if diffs:
        outcome["diff"] = {"before": before.get(single, before), "after": after.get(single, after)}
    if failed:
        ways = [f"{result['name']}: {CocoonError(result['msg'], result.get('remedy', '')).sentence}" for result in failed]
        outcome["msg"] = ways[0] if len(results) == 1 else f"{len(failed)} of {len(results)} VMs failed.\n{join(ways)}"
    return outcome


def look(hypervisor: t.Any, names: list[str] | None) -> list[dict[str, t.Any]]:
    """Return the VMs of the host, or those named that exist, sorted by name."""
    from ._spec import check_name

    wanted = None if names is None else [check_name(name, "name") for name in names]
    observed = [vm for name, vm in sorted(hypervisor.observe(wanted).items()) if vm.state not in ("absent", "creating")]
    addresses = hypervisor.addresses(observed)
    found = [describe(hypervisor, vm, addresses.get(vm.name)) for vm in observed]
    for vm, shown in zip(observed, found):
        if vm.problem is not None:
            shown.update(vm.problem.as_dict())
    return found
