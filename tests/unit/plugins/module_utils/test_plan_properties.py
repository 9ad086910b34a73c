# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every plan, whatever is wished and whatever is there: searched by hypothesis on a host that is a dictionary."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import assume, given, strategies as st

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._plan import Plan, attributes_of, same
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._spec import Nic, VmSpec
from ansible_collections.cocoonstack.cocoon.tests.unit.plugins.module_utils.plan_model import Model, Vm

GIB = 2**30
MAC = "52:54:00:00:00:01"
IMAGES = st.sampled_from(["registry.test/a:1", "registry.test/b:1"])
NETWORKS = st.lists(st.builds(Nic, st.sampled_from(["default", "lan"]), st.sampled_from([None, MAC])), max_size=2).map(tuple)
# One or two of each change class; more of them would only make the search slower.
WISHES: dict[str, t.Any] = {
    "image": IMAGES,
    "cpus": st.integers(1, 3),
    "disk_size": st.sampled_from([5 * GIB, 10 * GIB, 20 * GIB]),
    "networks": NETWORKS,
    "user_data": st.sampled_from(["", "#!/bin/sh\n"]),
    "labels": st.sampled_from([{}, {"role": "web"}]),
}
# What is found under a name: nothing, ours, somebody else's, ours but gone, and what a killed create left.
KINDS = ("nothing", "ours", "foreign", "lost", "begun")
STATES = ("present", "started", "stopped", "restarted", "absent")


def wishes() -> st.SearchStrategy[dict[str, t.Any]]:
    """Some of the attributes that a VM can be wished with."""
    return st.fixed_dictionaries({}, optional=WISHES)


def specs(states: tuple[str, ...] = STATES) -> st.SearchStrategy[VmSpec]:
    """All that a user can say of one VM."""
    return st.builds(
        lambda named, others: VmSpec("web", **named, **others),
        wishes(),
        st.fixed_dictionaries(
            {
                "state": st.sampled_from(states),
                "restart": st.sampled_from(["never", "if_needed"]),
                "recreate": st.sampled_from(["never", "if_needed"]),
                "adopt": st.booleans(),
                "force": st.booleans(),
            }
        ),
    )


@st.composite
def attributes(draw: t.Any) -> dict[str, t.Any]:
    """The attributes of a VM that was made once; its network cards have got their addresses."""
    kept = attributes_of(VmSpec("web", **{"image": draw(IMAGES), **draw(wishes())}))
    kept["networks"] = [{"mac_address": MAC, **nic} for nic in kept.get("networks", [{"name": "default"}])]
    return {"cpus": 2, "memory": GIB, "disk_size": 10 * GIB, **kept}


@st.composite
def vms(draw: t.Any, kinds: tuple[str, ...] = KINDS, states: tuple[str, ...] = ("running", "stopped", "suspended")) -> Vm:
    """Everything that can be found under one name."""
    kind = draw(st.sampled_from(kinds))
    pending = draw(st.sampled_from(["", "start"]))
    found = draw(attributes())
    if kind == "nothing":
        return Vm()
    if kind == "foreign":
        return Vm(None, True, draw(st.sampled_from(states)), {key: found[key] for key in ("cpus", "memory", "disk_size")})
    if kind == "begun":
        return Vm({"phase": "creating", "pending": pending, "attributes": found}, draw(st.booleans()))
    record = {"phase": "ready", "pending": pending, "attributes": found}
    if kind == "lost":
        return Vm(record)
    state = draw(st.sampled_from(states))
    return Vm({**record, "pending": "" if state == "suspended" else pending}, True, state)


def planned(model: Model, spec: VmSpec) -> Plan:
    """The plan, where there is one: an example without a plan is no example."""
    try:
        return model.planned(spec)
    except CocoonError:
        assume(False)
        raise


def settled(spec: VmSpec) -> VmSpec:
    """The same wish when it is looked at again: a restart is done once."""
    return spec._replace(state="started") if spec.state == "restarted" else spec


def ended(vm: Vm) -> Vm:
    """The VM at the end of a run; that a start is owed means nothing while it runs."""
    if vm.record is None or vm.state != "running":
        return vm
    return vm._replace(record={**vm.record, "pending": ""})


def actions(steps: Plan) -> list[str]:
    """The names of a plan's steps."""
    return [step.action for step in steps.steps]


@given(specs(), vms())
def test_a_second_run_changes_nothing(spec: VmSpec, vm: Vm) -> None:
    """Plan, apply, plan again: nothing is left to do, and the VM is as wished."""
    model = Model(vm)
    model.apply(planned(model, spec))
    assert model.planned(settled(spec)).steps == ()
    observed = model.vm.observe(spec.name)
    if spec.state == "absent":
        assert model.vm == Vm()
        return
    assert spec.state == "present" or observed.state == {"stopped": "stopped"}.get(spec.state, "running")
    for key, value in attributes_of(spec).items():
        assert same(key, value, observed.attributes.get(key)), key


@given(specs(), vms(), st.integers(0, 99))
def test_a_run_that_was_killed_is_completed_by_the_next_one(spec: VmSpec, vm: Vm, instant: int) -> None:
    """Whatever the kill cut off, the same task again ends where it would have ended."""
    whole = Model(vm)
    steps = planned(whole, spec)
    cut = Model(vm)
    effects = cut.effects(steps)
    assume(effects)
    for effect in effects[: instant % len(effects)]:
        effect()
    whole.apply(steps)
    again = spec if spec.state != "restarted" else settled(spec)._replace(restart="if_needed")
    cut.apply(cut.planned(again))
    assert ended(cut.vm).observe(spec.name) == ended(whole.vm).observe(spec.name)


@given(specs(("present", "started", "stopped")), vms())
def test_what_is_stopped_stays_stopped(spec: VmSpec, vm: Vm) -> None:
    """A VM that was told to stop is not started by a later task that only wants it there."""
    model = Model(vm)
    model.apply(planned(model, spec._replace(state="stopped")))
    later = model.planned(VmSpec("web"))
    assert "start" not in actions(later)


@given(specs(), vms())
def test_what_is_announced_is_what_happens(spec: VmSpec, vm: Vm) -> None:
    """The diff's after is what a look afterwards shows; a plan without steps shows no difference."""
    model = Model(vm)
    steps = planned(model, spec)
    if not steps.steps:
        assert (steps.before, steps.after) == ({}, {})
        return
    model.apply(steps)
    observed = model.vm.observe(spec.name)
    assert steps.after["state"] == observed.state
    for key, value in steps.after.items():
        if key == "managed":
            assert value is observed.managed
        elif key != "state" and spec.state != "absent":
            assert same(key, value, observed.attributes.get(key)), key


@given(specs(), vms())
def test_the_diff_begins_with_what_is_there(spec: VmSpec, vm: Vm) -> None:
    """The diff's before is what was observed."""
    model = Model(vm)
    observed = vm.observe(spec.name)
    before = planned(model, spec).before
    for key, value in before.items():
        if key == "state":
            assert value == observed.state or observed.state == "creating"
        elif key == "managed":
            assert value is observed.managed
        else:
            assert value == observed.attributes.get(key), key


@given(specs(), vms())
def test_nothing_is_stopped_without_leave(spec: VmSpec, vm: Vm) -> None:
    """A VM that goes on running is stopped only where a restart or a new VM was allowed, or asked for."""
    steps = planned(Model(vm), spec)
    stays = spec.state in ("present", "started") and vm.state == "running"
    if stays and spec.restart == "never" and "delete" not in actions(steps):
        assert "stop" not in actions(steps)


@given(specs(), vms())
def test_nothing_is_deleted_without_leave(spec: VmSpec, vm: Vm) -> None:
    """A VM is deleted where it shall be absent, or where a new one was allowed."""
    steps = planned(Model(vm), spec)
    if spec.state != "absent" and spec.recreate == "never":
        assert "delete" not in actions(steps)


@given(specs(STATES[:4]), vms(("ours", "foreign"), ("suspended",)))
def test_saved_memory_is_not_lost_without_force(spec: VmSpec, vm: Vm) -> None:
    """A suspended VM is only stopped, changed or made anew by force; to remove it is to remove that too."""
    steps = planned(Model(vm), spec._replace(force=False))
    assert not {"stop", "delete", "create"} & set(actions(steps))
    assert not (steps.after.keys() & {"cpus", "memory", "disk_size", "networks"})


@given(specs(), vms(("foreign",)))
def test_what_others_made_is_left_alone(spec: VmSpec, vm: Vm) -> None:
    """Without adopt, every wish about a VM that we did not make is refused."""
    with pytest.raises(CocoonError, match="did not make it"):
        Model(vm).planned(spec._replace(adopt=False))


@given(specs(), vms(("foreign",)), st.integers(0, 99))
def test_what_others_made_gets_a_record_first(spec: VmSpec, vm: Vm, instant: int) -> None:
    """With adopt, a kill at any instant leaves either no record or a whole one."""
    model = Model(vm)
    effects = model.effects(planned(model, spec._replace(adopt=True)))
    assume(effects)
    for effect in effects[: instant % len(effects)]:
        effect()
    assert model.vm.record is None or {"phase", "attributes"} <= model.vm.record.keys()


@given(specs(), vms())
def test_every_step_can_be_told_to_people(spec: VmSpec, vm: Vm) -> None:
    """Descriptions are one line, and no secret is in them."""
    for description in planned(Model(vm), spec._replace(user_data="#!/bin/sh\nhunter2\n")).actions:
        assert description and "\n" not in description and "hunter2" not in description


@given(specs(), vms())
def test_a_vm_that_is_started_or_stopped_twice_is_a_mistake(spec: VmSpec, vm: Vm) -> None:
    """No step stands twice in a plan, and a VM is made before it is started."""
    names = actions(planned(Model(vm), spec))
    assert len(names) == len(set(names))
    order = ("adopt", "stop", "delete", "create", "configure", "start")
    assert names == sorted(names, key=order.index)
