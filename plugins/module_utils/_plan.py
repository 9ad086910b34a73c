# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""From what is wished and what is there to the ordered list of changes.  Pure: no input or output.

Check mode, diff mode, the result's ``actions`` and the real run all come from the Plan that is made here.
"""

from __future__ import annotations

import hashlib
import typing as t

from ._errors import CocoonError
from ._spec import Nic, VmSpec, show_size


class Observed(t.NamedTuple):
    """One VM as it is.

    ``state`` is absent, creating (an unfinished create), stopped, running, paused or suspended.  ``managed`` tells whether we made it.
    ``pending`` is "start" where a restart was cut off after its stop.  ``problem`` is why nothing can be known.
    """

    name: str
    state: str = "absent"
    managed: bool = False
    process: t.Any = None
    attributes: dict[str, t.Any] = {}
    pending: str = ""
    guest_os: str = "linux"
    record: dict[str, t.Any] = {}
    problem: CocoonError | None = None


class Step(t.NamedTuple):
    """One change: the name of the backend's method, its arguments, how people call it, and what takes it back."""

    action: str
    description: str
    arguments: dict[str, t.Any] = {}
    undo: tuple[str, dict[str, t.Any]] | None = None


class Plan(t.NamedTuple):
    """The changes of one VM in order, and what a diff shows of them."""

    steps: tuple[Step, ...] = ()
    before: dict[str, t.Any] = {}
    after: dict[str, t.Any] = {}

    @property
    def actions(self) -> list[str]:
        """The steps as people read them."""
        return [step.description for step in self.steps]


class Rules(t.NamedTuple):
    """What a backend says of attributes: their change class (live, restart, recreate) and what a new VM has when nothing is said."""

    classes: dict[str, str]
    defaults: dict[str, t.Any]


def attributes_of(spec: VmSpec) -> dict[str, t.Any]:
    """Return the attributes that a spec names, as records keep them: plain JSON, secrets as digests."""
    named = {
        "image": spec.image,
        "cpus": spec.cpus,
        "memory": spec.memory,
        "disk_size": spec.disk_size,
        "networks": None if spec.networks is None else [nic_attributes(nic) for nic in spec.networks],
        "hostname": spec.hostname,
        "ssh_authorized_keys": None if spec.ssh_authorized_keys is None else list(spec.ssh_authorized_keys),
        "user_data": digest(spec.user_data) if spec.user_data else spec.user_data,
        "labels": spec.labels,
    }
    return {key: value for key, value in named.items() if value is not None}


def nic_attributes(nic: Nic) -> dict[str, str]:
    """Return the parts of a network card that the user named."""
    return {key: value for key, value in nic._asdict().items() if value is not None}


def digest(text: str) -> str:
    """Return what stands for a secret text in records and diffs."""
    return "sha256:" + hashlib.sha256(text.encode("utf-8")).hexdigest()


def plan(spec: VmSpec, observed: Observed, wanted: dict[str, t.Any], rules: Rules) -> Plan:
    """Return the changes that make *observed* what *spec* wishes; *wanted* are its attributes as the backend keeps them.

    Raises CocoonError where a change is not possible or not allowed.
    """
    if observed.problem is not None:
        raise observed.problem
    if observed.state not in ("absent", "creating") and not observed.managed and not spec.adopt:
        raise CocoonError(
            f"A VM named {spec.name} is on this host, but this collection did not make it.",
            "choose another name, or set adopt: true to take it over",
        )
    if spec.state == "absent":
        return _absent(spec, observed)
    if observed.state in ("absent", "creating"):
        return _created(spec, observed, wanted, rules)
    return _changed(spec, observed, wanted, rules)


def _absent(spec: VmSpec, observed: Observed) -> Plan:
    if observed.state == "absent" and not observed.managed:
        return Plan()
    steps = [] if observed.managed else [_adopt()]
    steps += [_stop()] if observed.state in ("running", "paused") else []
    steps.append(Step("delete", "delete"))
    return Plan(tuple(steps), _shown(observed), {"state": "absent"})


def _created(spec: VmSpec, observed: Observed, wanted: dict[str, t.Any], rules: Rules) -> Plan:
    attributes = _whole(observed, wanted, rules)
    if not attributes.get("image"):
        raise CocoonError(f"{spec.name} does not exist, and no image is given to make it from.", "set image")
    runs = _will_run(spec, observed, False)
    steps = [_forget()] if observed.pending and not runs else []
    steps.append(Step("create", f"create from image {attributes['image']}", {"attributes": attributes}))
    if runs:
        steps.append(Step("start", "start"))
    after = {**attributes, "state": "running" if runs else "stopped"}
    return Plan(tuple(steps), {"state": "absent"}, after)


def _changed(spec: VmSpec, observed: Observed, wanted: dict[str, t.Any], rules: Rules) -> Plan:
    changes = {key: value for key, value in wanted.items() if not same(key, value, observed.attributes.get(key))}
    kinds = {key: _class_of(key, value, observed, rules) for key, value in changes.items()}
    runs = observed.state in ("running", "paused")
    will_run = _will_run(spec, observed, runs)
    recreated = sorted(key for key, kind in kinds.items() if kind == "recreate")
    restarted = sorted(key for key, kind in kinds.items() if kind == "restart")
    # What was saved from a running guest does not fit a machine that was changed since.
    discards = observed.state == "suspended" and (spec.state == "stopped" or bool(recreated or restarted))
    _allowed(spec, observed, recreated, restarted if runs and will_run and spec.state != "restarted" else [], discards)

    steps = [] if observed.managed else [_adopt()]
    stops = runs and (not will_run or bool(recreated or restarted) or spec.state == "restarted")
    if stops or discards:
        steps.append(_stop(will_run, taken_back=not recreated))
    elif observed.pending and not will_run:
        steps.append(_forget())
    if recreated:
        attributes = _whole(observed, wanted, rules)
        steps.append(Step("delete", f"delete, to change {', '.join(recreated)}", {"keep_record": True, "pending": "start" if will_run else ""}))
        steps.append(Step("create", f"create from image {attributes['image']}", {"attributes": attributes}))
    elif changes:
        steps.append(_configure(changes, observed))
    if will_run and (not runs or stops):
        steps.append(Step("start", "start"))
    asleep = observed.state == "suspended" and not discards
    before, after = _difference(observed, changes, "running" if will_run else "suspended" if asleep else "stopped")
    return Plan(tuple(steps), before if steps else {}, after if steps else {})


def _whole(observed: Observed, wanted: dict[str, t.Any], rules: Rules) -> dict[str, t.Any]:
    """Return all attributes of a VM that is made: as wished, else as it was (addresses too), else as new ones are."""
    there = {**rules.defaults, **observed.attributes}
    return {**there, **{key: value for key, value in wanted.items() if not same(key, value, there.get(key))}}


def _will_run(spec: VmSpec, observed: Observed, runs: bool) -> bool:
    """Tell whether the VM runs when all is done."""
    if spec.state == "present":
        return runs or observed.pending == "start"
    return spec.state in ("started", "restarted")


def _allowed(spec: VmSpec, observed: Observed, recreated: list[str], restarted: list[str], discards: bool) -> None:
    """Raise CocoonError for changes that the user has not allowed."""
    if recreated and not observed.attributes.get("image") and not spec.image:
        raise CocoonError(f"Changing {', '.join(recreated)} of {spec.name} needs a new VM, and its image is not known.", "set image")
    if recreated and spec.recreate == "never":
        raise CocoonError(
            f"Changing {', '.join(recreated)} of {spec.name} means to delete the VM with its disks and to make it anew.",
            "set recreate: if_needed to allow that, or leave these options as they are",
        )
    if restarted and not recreated and spec.restart == "never":
        raise CocoonError(
            f"Changing {', '.join(restarted)} of the running VM {spec.name} needs a restart.",
            "set restart: if_needed to allow that, or stop the VM first",
        )
    if discards and not spec.force:
        raise CocoonError(f"{spec.name} is suspended; this discards its saved memory.", "start it first, or set force: true")


def _class_of(key: str, value: t.Any, observed: Observed, rules: Rules) -> str:
    if key == "disk_size" and value < (observed.attributes.get("disk_size") or 0):
        return "recreate"  # disks never shrink
    return rules.classes[key]


def same(key: str, wanted: t.Any, actual: t.Any) -> bool:
    """Tell whether an attribute already is as wished; a network card need only have what the user named."""
    if actual is None:
        return wanted in ([], {}, "")  # nothing is what it has
    if key != "networks":
        return bool(wanted == actual)
    return len(wanted) == len(actual) and all(nic.items() <= there.items() for nic, there in zip(wanted, actual))


def _adopt() -> Step:
    return Step("adopt", "adopt")


def _stop(resume: bool = False, taken_back: bool = True) -> Step:
    return Step("stop", "stop", {"pending": "start" if resume else ""}, ("start", {}) if resume and taken_back else None)


def _forget() -> Step:
    """A start that a killed run still owed is not wished any more; later runs must not make up for it."""
    return Step("stop", "forget the start that was pending", {"pending": ""})


def _configure(changes: dict[str, t.Any], observed: Observed) -> Step:
    said = ", ".join(f"{key} {_say(key, observed.attributes.get(key))} -> {_say(key, value)}" for key, value in sorted(changes.items()))
    # A disk that has grown stays grown: only the rest can be taken back.
    back = {key: observed.attributes[key] for key in changes if key != "disk_size" and key in observed.attributes}
    return Step("configure", f"set {said}", {"changes": changes}, ("configure", {"changes": back}) if back else None)


def _say(key: str, value: t.Any) -> str:
    if value is None:
        return "unset"
    if key in ("memory", "disk_size"):
        return show_size(value)
    if key == "networks":
        return "[" + ", ".join(nic["name"] for nic in value) + "]"
    if key == "user_data":
        return str(value)[:19]
    return str(value)


def _shown(observed: Observed) -> dict[str, t.Any]:
    return {**observed.attributes, "state": "stopped" if observed.state == "creating" else observed.state}


def _difference(observed: Observed, changes: dict[str, t.Any], state: str) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    before = {key: observed.attributes.get(key) for key in changes}
    before["state"] = observed.state
    after = {**changes, "state": state}
    if not observed.managed:
        before["managed"], after["managed"] = False, True
    return before, after
