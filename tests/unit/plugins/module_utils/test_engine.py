# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine on a host of dictionaries: batches, check mode, failures and what is taken back, locks, results."""

from __future__ import annotations

import copy
import pathlib
import threading
import time
import typing as t

import pytest
from hypothesis import given, strategies as st

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._engine import Engine, Failure, batch_result, look
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._hypervisor.base import Hypervisor, Target, side_by_side
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._plan import Observed
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._process import Process, Processes
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._spec import VmSpec
from ansible_collections.cocoonstack.cocoon.tests.unit.plugins.module_utils.plan_model import RULES, Model, Vm

IMAGE = "registry.test/a:1"
THERE = {
    "image": IMAGE,
    "cpus": 2,
    "memory": 2**30,
    "disk_size": 2**30,
    "networks": [{"name": "default", "mac_address": "52:54:00:00:00:01"}],
}
STOPPED = Vm({"phase": "ready", "pending": "", "attributes": THERE}, True, "stopped")
RUNNING = STOPPED._replace(state="running")


class Host(Hypervisor):
    """A backend whose VMs are models; ``broken`` names the steps that fail."""

    backend = "model"
    rules = RULES

    def __init__(self, root: str, **vms: Vm) -> None:
        super().__init__(None, Processes(), root, "model")
        self.vms = {name: Model(vm) for name, vm in vms.items()}
        self.broken: dict[tuple[str, str], BaseException] = {}
        self.refused: dict[str, CocoonError] = {}
        self.did: list[tuple[str, str]] = []
        self.looks = 0
        self.at_work = self.most_at_work = 0
        self.pause = 0.0

    def observe(self, names: list[str] | None) -> dict[str, Observed]:
        """What the models say; those that run have a process."""
        self.looks += 1
        found = {}
        for name in sorted(self.vms) if names is None else names:
            vm = self.vms.get(name, Model(Vm())).vm.observe(name)
            found[name] = vm._replace(process=Process(4242, 1, "") if vm.state == "running" else None)
        return found

    def addresses(self, vms: list[Observed], patient: bool = False) -> dict[str, str]:
        """Those that run have one."""
        return {vm.name: "127.0.0.1" for vm in vms if vm.state == "running"}

    def load(self) -> None:
        """Nothing is imported late here."""

    def check(self, targets: list[tuple[Target, t.Any]]) -> dict[str, CocoonError]:
        """What a test refuses."""
        return {target.name: self.refused[target.name] for target, _plan in targets if target.name in self.refused}

    def _step(self, action: str, target: Target, **arguments: t.Any) -> None:
        self.at_work += 1
        self.most_at_work = max(self.at_work, self.most_at_work)
        time.sleep(self.pause)
        self.at_work -= 1
        self.did.append((target.name, action))
        if (target.name, action) in self.broken:
            raise copy.copy(self.broken[target.name, action])
        for effect in getattr(self.vms.setdefault(target.name, Model(Vm())), action)(**arguments):
            effect()

    def __getattribute__(self, name: str) -> t.Any:
        if name in ("adopt", "create", "start", "stop", "delete", "configure"):
            return lambda target, **arguments: self._step(name, target, **arguments)
        return super().__getattribute__(name)

    def disks(self, observed: Observed) -> list[dict[str, t.Any]]:
        """One."""
        return [{"path": f"/{observed.name}", "size": observed.attributes.get("disk_size"), "readonly": False}]

    def console(self, observed: Observed) -> dict[str, t.Any]:
        """None."""
        return {"pty": None, "log": None}

    def mac_address(self, observed: Observed) -> str | None:
        """Always the same."""
        return "52:54:00:00:00:01"


MakeHost = t.Callable[..., Host]


@pytest.fixture(name="host")
def fixture_host(tmp_path: pathlib.Path) -> MakeHost:
    """host(web=RUNNING): a host with these VMs."""
    return lambda **vms: Host(str(tmp_path), **vms)


def run(host: Host, *specs: VmSpec, parallel: int = 8, check_mode: bool = False) -> list[dict[str, t.Any]]:
    """The results of a task."""
    return Engine(host, parallel, check_mode).run(list(specs))


def test_what_a_result_tells(host: MakeHost) -> None:
    """All keys, always; those that do not apply are null."""
    (result,) = run(host(), VmSpec("web", "started", IMAGE))
    assert result == {
        "name": "web",
        "state": "running",
        "backend": "model",
        "managed": True,
        "image": IMAGE,
        "cpus": 2,
        "memory": 2**30,
        "disk_size": 10 * 2**30,
        "disks": [{"path": "/web", "size": 10 * 2**30, "readonly": False}],
        "networks": [{"name": "default", "mac_address": "52:54:00:00:00:01"}],
        "hostname": None,
        "labels": {},
        "pid": 4242,
        "ip_address": "127.0.0.1",
        "mac_address": "52:54:00:00:00:01",
        "console": {"pty": None, "log": None},
        "log_path": result["log_path"],
        "actions": [f"create from image {IMAGE}", "start"],
        "changed": True,
        "failed": False,
        "diff": result["diff"],
    }
    assert result["log_path"].endswith("/vms/web/vm.log")
    (nothing,) = run(host(), VmSpec("web", "absent"))
    assert nothing.keys() == result.keys() and (nothing["state"], nothing["pid"], nothing["disks"], nothing["changed"]) == (
        "absent",
        None,
        [],
        False,
    )


WISHES = st.fixed_dictionaries(
    {"state": st.sampled_from(["present", "started", "stopped", "restarted", "absent"])}, optional={"cpus": st.integers(1, 3)}
)
VMS = st.sampled_from([Vm(), STOPPED, RUNNING, Vm({"phase": "creating", "pending": "start", "attributes": THERE})])


@given(st.lists(st.tuples(WISHES, VMS), min_size=1, max_size=4))
def test_check_mode_announces_what_is_then_done(tmp_path_factory: pytest.TempPathFactory, batch: list[tuple[dict[str, t.Any], Vm]]) -> None:
    """The same actions, the same diff, the same state; and nothing is touched by looking."""
    names = [f"vm{number}" for number in range(len(batch))]
    host = Host(str(tmp_path_factory.getbasetemp() / "engine"), **{name: vm for name, (_wish, vm) in zip(names, batch)})
    specs = [VmSpec(name, image=IMAGE, restart="if_needed", **wish) for name, (wish, _vm) in zip(names, batch)]
    before = copy.deepcopy({name: model.vm for name, model in host.vms.items()})
    announced = run(host, *specs, check_mode=True)
    assert {name: model.vm for name, model in host.vms.items()} == before and host.did == []
    done = run(host, *specs)
    for one, other in zip(announced, done):
        kept = ("name", "state", "actions", "changed", "diff", "cpus", "image", "failed", "disk_size", "memory")
        assert {key: one[key] for key in kept} == {key: other[key] for key in kept}
    assert [result["name"] for result in done] == names
    steps = {name: [action for who, action in host.did if who == name] for name in names}
    assert all(bool(steps[result["name"]]) is result["changed"] for result in done)


def test_a_run_that_changes_nothing_looks_once(host: MakeHost, tmp_path: pathlib.Path) -> None:
    """No lock, no second look, no file."""
    quiet = host(a=RUNNING, b=STOPPED)
    assert [result["changed"] for result in run(quiet, VmSpec("a", "started"), VmSpec("b"))] == [False, False]
    assert quiet.looks == 1 and list(tmp_path.iterdir()) == []


def test_the_whole_batch_is_refused_before_anything_is_touched(host: MakeHost) -> None:
    """By a plan that is not allowed, and by what the host cannot do; each VM with its reason."""
    mixed = host(a=RUNNING, b=RUNNING)
    mixed.refused["c"] = CocoonError("There is no room.", "make room")
    with pytest.raises(Failure) as caught:
        run(mixed, VmSpec("a", "stopped"), VmSpec("b", cpus=4), VmSpec("c", image=IMAGE), VmSpec("d"))
    assert list(caught.value.by_vm) == ["b", "c", "d"]
    lines = caught.value.msg.splitlines()
    assert lines[0].startswith("- b: Changing cpus of the running VM b needs a restart. Set restart: if_needed")
    assert lines[1] == "- c: There is no room. Make room."
    assert caught.value.remedy == "correct the task; nothing was changed"
    assert mixed.did == [] and mixed.vms["a"].vm == RUNNING
    with pytest.raises(Failure) as caught:
        run(mixed, VmSpec("d"), check_mode=True)
    assert caught.value.msg == "d: d does not exist, and no image is given to make it from." and caught.value.remedy == "set image"


def test_one_failure_hides_no_success(host: MakeHost) -> None:
    """The others are done, and the result says which failed and why."""
    three = host(a=STOPPED, b=STOPPED, c=STOPPED)
    three.broken["b", "start"] = CocoonError("It did not start.", "look", log_tail="last words", rc=1)
    results = run(three, *(VmSpec(name, "started") for name in "abc"))
    assert [(result["name"], result["failed"], result["changed"], result["state"]) for result in results] == [
        ("a", False, True, "running"), ("b", True, False, "stopped"), ("c", False, True, "running"),
    ]
    assert {key: results[1][key] for key in ("msg", "remedy", "log_tail", "rc", "actions")} == {
        "msg": "It did not start.", "remedy": "look", "log_tail": "last words", "rc": 1, "actions": [],
    }
    assert "diff" not in results[1]


def test_what_was_done_is_told_although_nobody_can_look(host: MakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that fails after the work must not hide what was changed, and on which VMs."""
    there = host(a=STOPPED, b=STOPPED)
    looking = there.observe

    def observe(names: list[str] | None) -> dict[str, Observed]:
        if there.looks == 2:
            raise CocoonError("The list is cut off.", "look yourself")
        return looking(names)

    monkeypatch.setattr(there, "observe", observe)
    results = run(there, VmSpec("a", "started"), VmSpec("b", "started"))
    assert [(result["actions"], result["changed"], result["failed"]) for result in results] == [(["start"], True, True)] * 2
    assert "after the work on it: The list is cut off." in results[0]["msg"] and results[0]["remedy"] == "look yourself"


def test_check_mode_keeps_the_process_of_what_goes_on(host: MakeHost) -> None:
    """Labels change nothing that runs; what is removed shows nothing of what it was."""
    labelled = run(host(web=RUNNING), VmSpec("web", labels={"role": "web"}), check_mode=True)[0]
    assert (labelled["pid"], labelled["labels"]) == (4242, {"role": "web"})
    gone = run(host(web=RUNNING), VmSpec("web", "absent"), check_mode=True)[0]
    real = run(host(web=RUNNING), VmSpec("web", "absent"))[0]
    assert {**gone, "diff": None} == {**real, "diff": None}


def test_a_failed_change_is_taken_back(host: MakeHost) -> None:
    """The VM runs again with what it had; the error says so."""
    one = host(web=RUNNING)
    one.broken["web", "start"] = CocoonError("Too much for this host.")
    (result,) = run(one, VmSpec("web", cpus=4, restart="if_needed"))
    assert one.did == [("web", "stop"), ("web", "configure"), ("web", "start"), ("web", "configure"), ("web", "start")]
    assert one.vms["web"].vm.observe("web").attributes["cpus"] == 2
    assert result["msg"] == (
        "Too much for this host. Undone: set cpus 2 -> 4 (by configure). Then start, to undo stop, failed too: Too much for this host."
    )


@given(st.sampled_from(["stop", "configure", "delete", "create", "start"]), st.booleans())
def test_after_a_failure_the_next_run_completes(tmp_path_factory: pytest.TempPathFactory, action: str, recreated: bool) -> None:
    """Whichever step fails, and whatever was taken back: the same task again ends as it should have ended."""
    host = Host(str(tmp_path_factory.getbasetemp() / "engine"), web=RUNNING)
    spec = VmSpec("web", image="registry.test/b:1" if recreated else None, cpus=4, restart="if_needed", recreate="if_needed")
    host.broken["web", action] = CocoonError("It broke.")
    (result,) = run(host, spec)
    assert result["failed"] is (("web", action) in host.did)
    host.broken.clear()
    (result,) = run(host, spec)
    assert (result["failed"], result["state"], result["cpus"]) == (False, "running", 4)
    (again,) = run(host, spec)
    assert not again["changed"]


def test_a_vm_that_is_deleted_is_not_started_to_take_a_stop_back(host: MakeHost) -> None:
    """Its create failed: there is nothing to start."""
    one = host(web=RUNNING)
    one.broken["web", "create"] = CocoonError("The disk is full.")
    (result,) = run(one, VmSpec("web", image="registry.test/b:1", recreate="if_needed"))
    assert one.did == [("web", "stop"), ("web", "delete"), ("web", "create")] and result["msg"] == "The disk is full."


def test_a_full_disk_during_a_step(host: MakeHost) -> None:
    """An error of the system is told as one of storage, with its path."""
    one = host(web=STOPPED)
    one.broken["web", "start"] = OSError(28, "No space left on device", "/srv/x")
    (result,) = run(one, VmSpec("web", "started"))
    assert result["msg"] == "/srv/x cannot be written: No space left on device." and "free space" in result["remedy"]


def test_an_unexpected_error_frees_the_locks(host: MakeHost) -> None:
    """A defect of ours is raised when all others are done, and leaves nothing locked."""
    two = host(a=STOPPED, b=STOPPED)
    two.broken["a", "start"] = KeyError("x")
    with pytest.raises(KeyError):
        run(two, VmSpec("a", "started"), VmSpec("b", "started"))
    assert two.vms["b"].vm.state == "running"
    two.broken.clear()
    run(two, VmSpec("a", "started", wait_timeout=0))


def test_what_changed_between_look_and_lock_counts(host: MakeHost) -> None:
    """Another task was quicker: nothing is left to do, and that is what the result says."""
    one = host(web=STOPPED)
    lock = one.store.lock("web")
    lock.acquire(0)

    def other_task() -> None:
        time.sleep(0.2)
        one.vms["web"].vm = RUNNING
        lock.release()

    other = threading.Thread(target=other_task)
    other.start()
    (result,) = run(one, VmSpec("web", "started"))
    other.join()
    assert (result["state"], result["changed"], result["actions"]) == ("running", False, []) and one.did == []


def test_what_the_host_can_do_is_asked_again_under_the_lock(host: MakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another task took the last room: nothing is touched, and nothing stays locked."""
    two = host(a=STOPPED, b=STOPPED)
    asked: list[int] = []

    def check(targets: list[tuple[Target, t.Any]]) -> dict[str, CocoonError]:
        asked.append(len(targets))
        return {"b": CocoonError("There is no room any more.")} if len(asked) == 2 else {}

    monkeypatch.setattr(two, "check", check)
    with pytest.raises(Failure, match="b: There is no room any more"):
        run(two, VmSpec("a", "started"), VmSpec("b", "started"))
    assert two.did == [] and asked == [2, 2]
    assert [result["changed"] for result in run(two, VmSpec("a", "started", wait_timeout=0), VmSpec("b", "started", wait_timeout=0))] == [
        True,
        True,
    ]


def test_a_vm_that_another_task_works_on(host: MakeHost) -> None:
    """The batch is not begun, and the locks of the others are free again."""
    two = host(a=STOPPED, b=STOPPED)
    lock = two.store.lock("b")
    lock.acquire(0)
    with pytest.raises(CocoonError, match="Another task works on vm b"):
        run(two, VmSpec("a", "started", wait_timeout=0.1), VmSpec("b", "started", wait_timeout=0.1))
    assert two.did == []
    lock.release()
    assert [result["changed"] for result in run(two, VmSpec("a", "started", wait_timeout=0), VmSpec("b", "started", wait_timeout=0))] == [
        True,
        True,
    ]


@pytest.mark.parametrize(("parallel", "most"), [(1, 1), (3, 3), (50, 8)])
def test_how_many_at_once(host: MakeHost, parallel: int, most: int) -> None:
    """As many as the option says."""
    many = host(**{f"vm{number}": STOPPED for number in range(8)})
    many.pause = 0.02
    results = run(many, *(VmSpec(name, "started") for name in many.vms), parallel=parallel)
    assert all(result["state"] == "running" for result in results) and len(many.did) == 8
    assert many.most_at_work <= most and (many.most_at_work > 1) is (parallel > 1)


def test_side_by_side_does_all_of_it() -> None:
    """Each once, also where one fails."""
    done: list[int] = []

    def work(item: int) -> None:
        done.append(item)
        if item == 3:
            raise ValueError("three")

    with pytest.raises(ValueError, match="three"):
        side_by_side(work, list(range(20)), 4)
    assert sorted(done) == list(range(20))


def test_no_vms(host: MakeHost) -> None:
    """An empty list is done at once."""
    assert run(host()) == [] and batch_result([], None) == {"changed": False, "failed": False, "vms": []}


def test_the_result_of_a_task() -> None:
    """One diff for one VM, one for each of several; failures in one message, and the successes beside them."""
    def result(name: str, **others: t.Any) -> dict[str, t.Any]:
        return {"name": name, "changed": False, "failed": False, "diff": {"before": {}, "after": {}}, **others}

    changed = result("a", changed=True, diff={"before": {"state": "stopped"}, "after": {"state": "running"}})
    assert batch_result([dict(changed)], "a")["diff"] == {"before": {"state": "stopped"}, "after": {"state": "running"}}
    several = batch_result([dict(changed), result("b")], None)
    assert several["diff"] == {"before": {"a": {"state": "stopped"}}, "after": {"a": {"state": "running"}}}
    assert several["changed"] and not several["failed"] and "msg" not in several and all("diff" not in vm for vm in several["vms"])
    assert "diff" not in batch_result([result("b")], "b")
    failed = {"name": "c", "changed": False, "failed": True, "msg": "It broke.", "remedy": "mend it"}
    assert batch_result([dict(failed)], "c")["msg"] == "c: It broke. Mend it."
    assert batch_result([dict(changed), dict(failed)], None)["msg"] == "1 of 2 VMs failed.\nc: It broke. Mend it."
    both = batch_result([dict(failed), {**failed, "name": "d", "remedy": ""}], None)
    assert both["msg"] == "2 of 2 VMs failed.\n- c: It broke. Mend it.\n- d: It broke." and both["failed"]


def test_looking(host: MakeHost) -> None:
    """Those that exist, sorted; names that are none are errors; a damaged one is shown with its error."""
    some = host(b=RUNNING, a=STOPPED, begun=Vm({"phase": "creating", "attributes": THERE}))
    assert [(vm["name"], vm["state"], vm["ip_address"]) for vm in look(some, None)] == [
        ("a", "stopped", None),
        ("b", "running", "127.0.0.1"),
    ]
    assert [vm["name"] for vm in look(some, ["b", "none"])] == ["b"]
    with pytest.raises(CocoonError, match="is not a name"):
        look(some, ["../b"])
    problem = CocoonError("The record is damaged.", "restore it")
    some.observe = lambda names: {"x": Observed("x", "unknown", True, problem=problem)}  # type: ignore[method-assign]
    (shown,) = look(some, None)
    assert (shown["state"], shown["msg"], shown["remedy"]) == ("unknown", "The record is damaged.", "restore it")
