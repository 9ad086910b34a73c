# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans by example: what each wish means for each VM, in the words that users read."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._plan import (
    Observed,
    Plan,
    attributes_of,
    digest,
    nic_attributes,
    plan,
    same,
)
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._spec import Nic, VmSpec
from ansible_collections.cocoonstack.cocoon.tests.unit.plugins.module_utils.plan_model import RULES

GIB = 2**30
IMAGE = "registry.test/debian:13"
CARD = {"name": "default", "mac_address": "52:54:00:00:00:01"}
THERE: dict[str, t.Any] = {"image": IMAGE, "cpus": 2, "memory": GIB, "disk_size": 10 * GIB, "networks": [CARD]}
NEW = f"create from image {IMAGE}"


def spec(state: str = "present", **named: t.Any) -> VmSpec:
    """A wish for the VM web."""
    return VmSpec("web", state, **named)


def there(state: str, managed: bool = True, **others: t.Any) -> Observed:
    """The VM web as it was found."""
    attributes = others.pop("attributes", THERE)
    return Observed("web", state, managed, None, attributes, **others)


def planned(wish: VmSpec, observed: Observed) -> Plan:
    """The plan for a wish."""
    return plan(wish, observed, attributes_of(wish), RULES)


@pytest.mark.parametrize(
    ("wish", "observed", "actions"),
    [
        (spec("present", image=IMAGE), Observed("web"), [NEW]),
        (spec("started", image=IMAGE), Observed("web"), [NEW, "start"]),
        (spec("restarted", image=IMAGE), Observed("web"), [NEW, "start"]),
        (spec("stopped", image=IMAGE), Observed("web"), [NEW]),
        (spec("absent"), Observed("web"), []),
        (spec("present"), there("running"), []),
        (spec("started"), there("running"), []),
        (spec("stopped"), there("running"), ["stop"]),
        (spec("restarted"), there("running"), ["stop", "start"]),
        (spec("absent"), there("running"), ["stop", "delete"]),
        (spec("absent"), there("paused"), ["stop", "delete"]),
        (spec("present"), there("stopped"), []),
        (spec("started"), there("stopped"), ["start"]),
        (spec("restarted"), there("stopped"), ["start"]),
        (spec("stopped"), there("stopped"), []),
        (spec("absent"), there("stopped"), ["delete"]),
        (spec("started"), there("suspended"), ["start"]),
        (spec("stopped", force=True), there("suspended"), ["stop"]),
        (spec("absent"), there("suspended"), ["delete"]),
        (spec("present", cpus=4, force=True), there("suspended"), ["stop", "set cpus 2 -> 4"]),
        (spec("present", labels={"a": "b"}), there("suspended"), ["set labels unset -> {'a': 'b'}"]),
        (spec("absent"), there("creating"), ["delete"]),
        (spec("present"), there("creating"), [NEW]),
        (spec("present"), there("creating", pending="start"), [NEW, "start"]),
        (spec("stopped"), there("creating", pending="start"), ["forget the start that was pending", NEW]),
        (spec("present"), there("stopped", pending="start"), ["start"]),
        (spec("stopped"), there("stopped", pending="start"), ["forget the start that was pending"]),
        (spec("present"), there("absent"), [NEW]),
        (spec("absent"), there("absent"), ["delete"]),
        (spec("present", cpus=4), there("stopped"), ["set cpus 2 -> 4"]),
        (spec("started", memory=2 * GIB), there("stopped"), ["set memory 1G -> 2G", "start"]),
        (spec("started", cpus=4, restart="if_needed"), there("running"), ["stop", "set cpus 2 -> 4", "start"]),
        (spec("restarted", cpus=4), there("running"), ["stop", "set cpus 2 -> 4", "start"]),
        (spec("stopped", cpus=4), there("running"), ["stop", "set cpus 2 -> 4"]),
        (spec("present", labels={"role": "web"}), there("running"), ["set labels unset -> {'role': 'web'}"]),
        (spec("present", disk_size=20 * GIB), there("stopped"), ["set disk_size 10G -> 20G"]),
        (spec("present", networks=(Nic("lan"),)), there("stopped"), ["set networks [default] -> [lan]"]),
        (spec("present", networks=()), there("stopped"), ["set networks [default] -> []"]),
        (
            spec("present", image="registry.test/debian:14", recreate="if_needed"),
            there("running"),
            ["stop", "delete, to change image", "create from image registry.test/debian:14", "start"],
        ),
        (spec("present", disk_size=5 * GIB, recreate="if_needed"), there("stopped"), ["delete, to change disk_size", NEW]),
        (
            spec("present", user_data="#!/bin/sh\n", ssh_authorized_keys=("ssh-rsa A a",), recreate="if_needed"),
            there("stopped"),
            ["delete, to change ssh_authorized_keys, user_data", NEW],
        ),
        (spec("present", adopt=True), there("running", False), ["adopt"]),
        (spec("stopped", adopt=True), there("running", False), ["adopt", "stop"]),
        (spec("absent", adopt=True), there("running", False), ["adopt", "stop", "delete"]),
    ],
)
def test_what_is_done(wish: VmSpec, observed: Observed, actions: list[str]) -> None:
    """The steps in their order."""
    assert planned(wish, observed).actions == actions


@pytest.mark.parametrize(
    ("wish", "observed", "message", "remedy"),
    [
        (spec("present"), Observed("web"), "does not exist, and no image is given", "set image"),
        (spec("started"), there("running", False), "did not make it", "adopt: true"),
        (spec("absent"), there("stopped", False), "did not make it", "adopt: true"),
        (spec("present", cpus=4), there("running"), "Changing cpus of the running VM web needs a restart", "restart: if_needed"),
        (
            spec("started", image="registry.test/x:1"),
            there("stopped"),
            "Changing image of web means to delete the VM",
            "recreate: if_needed",
        ),
        (spec("present", disk_size=GIB), there("stopped"), "Changing disk_size of web means to delete", "recreate: if_needed"),
        (spec("stopped"), there("suspended"), "discards its saved memory", "force: true"),
        (spec("present", cpus=4), there("suspended"), "discards its saved memory", "force: true"),
        (spec("present", image="registry.test/x:1", recreate="if_needed"), there("suspended"), "discards its saved memory", "force: true"),
        (
            spec("present", user_data="#!x", recreate="if_needed", adopt=True),
            there("stopped", False, attributes={"cpus": 2}),
            "its image is not known",
            "set image",
        ),
    ],
)
def test_what_is_refused(wish: VmSpec, observed: Observed, message: str, remedy: str) -> None:
    """The error names the attributes and what would allow them."""
    with pytest.raises(CocoonError, match=message) as caught:
        planned(wish, observed)
    assert remedy in caught.value.remedy


def test_what_cannot_be_seen_is_not_touched() -> None:
    """A VM whose record is damaged gets the record's error for every wish."""
    problem = CocoonError("The record is damaged.")
    for state in ("present", "started", "stopped", "restarted", "absent"):
        with pytest.raises(CocoonError) as caught:
            planned(spec(state, image=IMAGE), Observed("web", "unknown", True, problem=problem))
        assert caught.value is problem


def test_a_new_vm_gets_the_defaults_and_then_what_is_wished() -> None:
    """What is not said is the backend's default; no network card is a wish too."""
    steps = planned(spec("present", image=IMAGE, cpus=8, networks=()), Observed("web")).steps
    assert steps[0].arguments["attributes"] == {"image": IMAGE, "cpus": 8, "memory": GIB, "disk_size": 10 * GIB, "networks": []}


def test_a_vm_that_is_made_anew_keeps_what_is_not_changed() -> None:
    """Its sizes, labels and addresses stay; the record waits for the start that is owed."""
    observed = there("running", attributes={**THERE, "cpus": 7, "labels": {"a": "b"}})
    steps = planned(spec("present", image="registry.test/x:1", networks=(Nic("default"),), recreate="if_needed"), observed).steps
    delete, create = steps[1:3]
    assert delete.arguments == {"keep_record": True, "pending": "start"}
    assert create.arguments["attributes"] == {**THERE, "image": "registry.test/x:1", "cpus": 7, "labels": {"a": "b"}}


def test_what_takes_steps_back() -> None:
    """A stop by the start, a change by the old values; a disk that has grown stays grown, and a deleted VM is not started."""
    steps = planned(spec("started", cpus=4, disk_size=20 * GIB, restart="if_needed"), there("running")).steps
    assert [step.undo for step in steps] == [("start", {}), ("configure", {"changes": {"cpus": 2}}), None]
    assert planned(spec("stopped"), there("running")).steps[0].undo is None
    assert planned(spec("present", disk_size=20 * GIB), there("stopped")).steps[0].undo is None
    recreated = planned(spec("present", image="registry.test/x:1", recreate="if_needed"), there("running")).steps
    assert [step.undo for step in recreated] == [None, None, None, None]


def test_a_stop_for_a_restart_says_that_a_start_is_owed() -> None:
    """A run that is killed after it is completed by the next one."""
    assert planned(spec("restarted"), there("running")).steps[0].arguments == {"pending": "start"}
    assert planned(spec("stopped"), there("running")).steps[0].arguments == {"pending": ""}


def test_diffs() -> None:
    """Before and after have what changes and the state; adoption shows as managed."""
    changed = planned(spec("present", cpus=4, adopt=True), there("stopped", False))
    assert changed.before == {"cpus": 2, "state": "stopped", "managed": False}
    assert changed.after == {"cpus": 4, "state": "stopped", "managed": True}
    gone = planned(spec("absent"), there("running"))
    assert (gone.before, gone.after) == ({**THERE, "state": "running"}, {"state": "absent"})
    new = planned(spec("started", image=IMAGE), Observed("web"))
    assert new.before == {"state": "absent"}
    assert new.after == {**RULES.defaults, "image": IMAGE, "state": "running"}


def test_secrets_are_digests() -> None:
    """User data is in no plan, only what tells whether it changed."""
    assert attributes_of(spec(user_data="hunter2"))["user_data"] == digest("hunter2")
    steps = planned(spec("present", image=IMAGE, user_data="hunter2"), Observed("web"))
    assert "hunter2" not in repr(steps)
    assert digest("a") != digest("b") and digest("hunter2").startswith("sha256:")


def test_attributes_are_what_is_named() -> None:
    """What the user did not say is not wished."""
    assert attributes_of(spec()) == {}
    assert attributes_of(spec(networks=(Nic("lan", None, "10.0.0.2"),), ssh_authorized_keys=("k",))) == {
        "networks": [{"name": "lan", "ip_address": "10.0.0.2"}],
        "ssh_authorized_keys": ["k"],
    }
    assert nic_attributes(Nic("lan")) == {"name": "lan"}


@pytest.mark.parametrize(
    ("key", "wanted", "actual", "equal"),
    [
        ("cpus", 2, 2, True),
        ("cpus", 2, 3, False),
        ("cpus", 2, None, False),
        ("labels", {}, None, True),
        ("networks", [], None, True),
        ("networks", [{"name": "a"}], None, False),
        ("networks", [{"name": "a"}], [{"name": "a", "mac_address": "52:54:00:00:00:01"}], True),
        ("networks", [{"name": "a", "mac_address": "52:54:00:00:00:02"}], [{"name": "a", "mac_address": "52:54:00:00:00:01"}], False),
        ("networks", [{"name": "a"}], [{"name": "a"}, {"name": "b"}], False),
        ("networks", [], [{"name": "a"}], False),
    ],
)
def test_what_counts_as_the_same(key: str, wanted: t.Any, actual: t.Any, equal: bool) -> None:
    """A network card need only have what was named; nothing is the same as nothing."""
    assert same(key, wanted, actual) is equal
