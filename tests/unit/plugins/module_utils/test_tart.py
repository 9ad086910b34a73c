# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tart backend with a tart made of paper, whose runs are real processes with the real lock."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
from ansible.module_utils import basic

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._command import Commands, Output
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._engine import Engine, Failure
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._guest import address
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._hypervisor import tart as module
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._hypervisor.tart import Tart
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._plan import Observed
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._process import DarwinProcesses, lock_holder
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._spec import Nic, VmSpec
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._store import Store
from ansible_collections.cocoonstack.cocoon.tests.unit.plugins.module_utils.mac import Mac, real_ps

IMAGE, OTHER, MACOS = "registry.test/a:1", "registry.test/b:1", "registry.test/macos:1"
GB = 10**9
# As much of tart as the backend uses (tart contract 1, 4.4, 5.1): the words in the file "broken" are commands that fail.
PROGRAM = """
import fcntl, json, os, shutil, signal, struct, sys, time
home = os.environ["TART_HOME"]
command, *words = sys.argv[1:]
with open(home + "/calls", "a") as file:
    file.write(command + "\\n")
with open(home + "/broken") as file:
    broken = file.read().split()
if command in broken:
    sys.exit(f"{command} is broken")
def folder(name):
    path = f"{home}/vms/{name}"
    if not os.path.exists(path + "/config.json"):
        print(f'the specified VM "{name}" does not exist', file=sys.stderr)
        sys.exit(2)
    return path
def holder(path):
    with open(path + "/config.json", "r+b") as file:
        return struct.unpack("=hhxxxxqqixxxx", fcntl.fcntl(file, fcntl.F_GETLK, struct.pack("=hhxxxxqqixxxx", 1, 0, 0, 0, 0)))
def state(path):
    if holder(path)[0] != fcntl.F_UNLCK:
        return "running"
    return "suspended" if os.path.exists(path + "/state.vzvmsave") else "stopped"
if command == "--version":
    print("2.30.0")
elif command == "list":
    rows = [(name, state(f"{home}/vms/{name}")) for name in os.listdir(home + "/vms")]
    print(json.dumps([{"Source": "local", "Name": name, "State": state, "Running": state == "running"} for name, state in rows]))
elif command == "clone":
    source = f"{home}/cache/OCIs/{words[0].replace(':', '/')}" if "/" in words[0] else folder(words[0])
    target = f"{home}/vms/{words[1]}"
    shutil.rmtree(target, ignore_errors=True)
    os.mkdir(target)
    shutil.copy(source + "/config.json", target)
    with open(target + "/disk.img", "wb") as disk:
        disk.truncate(os.path.getsize(source + "/disk.img"))
elif command == "set":
    path = folder(words[0]) + "/config.json"
    config = json.load(open(path))
    flags = ("--random-mac", "--random-serial")
    options = [word for word in words[1:] if word not in flags]
    if "--random-mac" in words:
        config["macAddress"] = "7e:00:00:00:00:02"
    for option, value in zip(options[::2], options[1::2]):
        if option == "--disk-size":
            os.truncate(folder(words[0]) + "/disk.img", int(value) * 10**9)
        else:
            config[{"--cpu": "cpuCount", "--memory": "memorySize"}[option]] = int(value) * (2**20 if option == "--memory" else 1)
    with open(path, "w") as file:
        json.dump(config, file)
elif command == "delete":
    shutil.rmtree(folder(words[0]))
elif command == "stop":
    path = folder(words[0])
    if state(path) == "suspended":
        os.unlink(path + "/state.vzvmsave")
    elif state(path) == "running":
        os.kill(holder(path)[4], signal.SIGINT)
        while state(path) == "running":
            time.sleep(0.01)
    else:
        sys.exit(2)
elif command == "run":
    for number in (signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, lambda *arguments: os._exit(0))
    if "deaf" in broken:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    file = open(folder(words[-1]) + "/config.json", "r+b")
    fcntl.lockf(file, fcntl.LOCK_EX)
    if "limit" in broken:
        sys.exit("The number of VMs exceeds the system limit (other running VMs: x)")
    time.sleep(60)
else:
    sys.exit(f"unknown command {command}")
"""


class MacCommands(Commands):
    """Commands on a Mac: ps and sysctl tell of this machine, arp knows nobody, the rest is run."""

    def check(self, argv: list[str], what: str, timeout: float = 60, env: t.Any = None, data: t.Any = None) -> str:
        """Run a program."""
        if argv[0] in ("/bin/ps", "/usr/sbin/sysctl"):
            return Mac(real_ps).check(argv, what, env)
        return super().check(argv, what, timeout, env, data)

    def run(self, argv: list[str], *arguments: t.Any, **options: t.Any) -> Output:
        """Run a program."""
        return Output(0, "", "") if argv[0] == "/usr/sbin/arp" else super().run(argv, *arguments, **options)


class MacHost(t.NamedTuple):
    """The backend, and the folder where tart keeps its files."""

    backend: Tart
    home: pathlib.Path

    def run(self, state: str, name: str = "web", **wishes: t.Any) -> dict[str, t.Any]:
        """The result of a task for one VM."""
        return Engine(self.backend, 8, False).run([VmSpec(name, state, **wishes)])[0]

    def break_(self, *words: str) -> None:
        """Let these commands of tart fail."""
        (self.home / "broken").write_text(" ".join(words), encoding="ascii")

    def calls(self) -> list[str]:
        """The commands of tart since the last question."""
        path = self.home / "calls"
        found = path.read_text(encoding="ascii").splitlines() if path.exists() else []
        path.write_text("", encoding="ascii")
        return [call for call in found if call != "--version"]

    def put(self, place: str, **config: t.Any) -> pathlib.Path:
        """A VM or an image that is there already."""
        folder = self.home / place
        folder.mkdir(parents=True)
        whole = {"os": "linux", "cpuCount": 2, "memorySize": 2**30, "macAddress": "52:54:00:00:00:01", **config}
        (folder / "config.json").write_text(json.dumps(whole), "ascii")
        (folder / "disk.img").write_bytes(b"")
        os.truncate(folder / "disk.img", GB)
        return folder


@pytest.fixture(name="mac")
def fixture_mac(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, program: t.Callable[[str, str], str]) -> t.Iterator[MacHost]:
    """A Mac with tart and three images; its processes end with the test."""
    home = tmp_path / "tart-home"
    (home / "vms").mkdir(parents=True)
    monkeypatch.setenv("TART_HOME", str(home))
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", b'{"ANSIBLE_MODULE_ARGS": {}}')
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    monkeypatch.setattr(module, "_SETTLE", 0.05)
    (tmp_path / "tart.py").write_text(PROGRAM, encoding="utf-8")
    commands = MacCommands(basic.AnsibleModule(argument_spec={}))
    tart = program("tart", f'exec {sys.executable} -S "{tmp_path}/tart.py" "$@"')
    backend = Tart(commands, DarwinProcesses(commands), str(tmp_path / "root"), tart)
    host = MacHost(backend, home)
    host.break_()
    for name, system in (("a/1", "linux"), ("b/1", "linux"), ("macos/1", "darwin")):
        host.put(f"cache/OCIs/registry.test/{name}", os=system, cpuCountMin=2, memorySizeMin=2**30)
    yield host
    host.break_()
    for vm in backend.observe(None).values():
        if vm.process:
            os.kill(vm.process.pid, 9)


def locked(mac: MacHost, name: str = "web") -> subprocess.Popen[bytes]:
    """A VM that somebody else runs, with tart's lock and no PID file of ours."""
    process = subprocess.Popen([mac.backend.binary, "run", "--no-graphics", name])
    while mac.backend.observe([name])[name].state != "running":
        assert process.poll() is None
    return process


def test_a_life(mac: MacHost) -> None:
    """Made, started, stopped, removed; each once, and nothing of it is left."""
    made = mac.run("started", image=IMAGE, cpus=1, memory=2**29, disk_size=GB + 1)
    assert (made["state"], made["cpus"], made["memory"], made["disk_size"], made["managed"]) == ("running", 1, 2**29, 2 * GB, True)
    assert made["pid"] and made["mac_address"] == "7e:00:00:00:00:02"
    assert mac.calls() == ["list", "list", "clone", "set", "run", "list"]
    assert not mac.run("started", image=IMAGE, cpus=1, disk_size=GB + 1)["changed"] and mac.calls() == ["list"]
    assert mac.run("stopped")["actions"] == ["stop"]
    assert (mac.backend.store.read("web") or {})["stopped_by"] == "SIGUSR2" and not os.path.exists(mac.backend.pid_path("web"))
    assert mac.run("started")["state"] == "running"
    assert mac.run("absent")["actions"] == ["stop", "delete"]
    assert mac.backend.store.names() == [] and os.listdir(mac.home / "vms") == []


def test_a_change_that_needs_a_restart(mac: MacHost) -> None:
    """One tart set for all of it."""
    mac.run("started", image=IMAGE)
    mac.calls()
    result = mac.run("present", cpus=1, memory=2**29, restart="if_needed")
    assert (result["state"], result["cpus"], result["memory"]) == ("running", 1, 2**29)
    assert mac.calls() == ["list", "list", "set", "run", "list"]


@pytest.mark.parametrize(
    ("force", "broken", "how"), [(False, "", "SIGUSR2"), (True, "", "tart stop"), (False, "deaf", "tart stop"), (True, "stop", "SIGTERM")]
)
def test_how_vms_are_stopped(mac: MacHost, monkeypatch: pytest.MonkeyPatch, force: bool, broken: str, how: str) -> None:
    """The guest is asked first, then tart, then signals."""
    ladder = Tart.run_ladder
    monkeypatch.setattr(Tart, "run_ladder", lambda self, process, rungs: ladder(self, process, [(*rung[:2], 0.5) for rung in rungs]))
    mac.break_("deaf" if broken == "deaf" else "")
    mac.run("started", image=IMAGE)
    mac.break_(broken)
    assert mac.run("stopped", force=force)["state"] == "stopped"
    assert (mac.backend.store.read("web") or {})["stopped_by"] == how


def test_a_start_that_macos_refuses(mac: MacHost) -> None:
    """What it said, why, and nothing of the try is left."""
    mac.break_("limit")
    result = mac.run("started", image=IMAGE)
    assert result["failed"] and "ended with 1. Likely cause: a Mac runs at most two macOS guests" in result["msg"]
    assert "exceeds the system limit" in result["log_tail"] and result["state"] == "stopped"
    assert not os.path.exists(mac.backend.pid_path("web"))
    mac.break_()
    assert mac.run("started")["state"] == "running"


@pytest.mark.parametrize("broken", ["clone", "set"])
def test_a_create_that_fails(mac: MacHost, broken: str) -> None:
    """Nothing of it is left."""
    mac.break_(broken)
    result = mac.run("started", image=IMAGE, cpus=1)
    assert result["failed"] and f"{broken} is broken" in result["msg"] and result["state"] == "absent"
    assert mac.backend.store.names() == [] and os.listdir(mac.home / "vms") == []


@pytest.mark.parametrize("broken", ["clone", "set"])
def test_a_recreation_that_fails(mac: MacHost, broken: str) -> None:
    """What the VM was, and that it ran, is not forgotten: the next run completes it."""
    mac.run("started", image=IMAGE, cpus=1, labels={"role": "web"}, user_data="#!/bin/sh\n")
    mac.break_(broken)
    assert mac.run("present", image=OTHER, recreate="if_needed")["failed"]
    mac.break_()
    result = mac.run("present", image=OTHER, recreate="if_needed")
    assert (result["state"], result["image"], result["cpus"], result["labels"]) == ("running", OTHER, 1, {"role": "web"})
    assert mac.backend.user_data("web") == "#!/bin/sh\n"


def test_a_vm_of_somebody_else(mac: MacHost) -> None:
    """Seen, not touched; with adopt it is ours, and its process is known without a PID file."""
    mac.put("vms/web")
    process = locked(mac)
    with pytest.raises(Failure, match="did not make it"):
        mac.run("stopped")
    assert process.poll() is None
    adopted = mac.run("present", adopt=True)
    assert (adopted["actions"], adopted["state"], adopted["pid"], adopted["managed"]) == (["adopt"], "running", process.pid, True)
    assert mac.run("stopped", stop_timeout=5)["state"] == "stopped"
    process.wait(20)


def test_a_lost_pid_file(mac: MacHost) -> None:
    """The lock is the other witness: the VM is not started twice, and is stopped for real."""
    started = mac.run("started", image=IMAGE)
    os.unlink(mac.backend.pid_path("web"))
    again = mac.run("started")
    assert (again["pid"], again["changed"]) == (started["pid"], False)
    assert mac.run("stopped")["state"] == "stopped"
    assert lock_holder(str(mac.home / "vms/web/config.json")) == 0
    mac.backend.processes.refresh()
    assert mac.backend.processes.find(started["pid"]) is None


def test_a_vm_that_came_up_meanwhile(mac: MacHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clone would replace it without a word: it is looked for once more."""
    listed = mac.backend.tart.list
    monkeypatch.setattr(mac.backend.tart, "list", lambda source: [row for row in listed(source) if row["Name"] != "web"])
    mac.put("vms/web", cpuCount=7)
    result = mac.run("started", image=IMAGE)
    assert result["failed"] and "has come up on this host meanwhile" in result["msg"]
    assert json.loads((mac.home / "vms/web/config.json").read_text(encoding="ascii"))["cpuCount"] == 7


def test_a_suspended_vm(mac: MacHost) -> None:
    """Started it goes on; stopped it loses its memory, which needs force."""
    mac.run("present", image=IMAGE)
    (mac.home / "vms/web/state.vzvmsave").write_bytes(b"")
    assert mac.run("present")["state"] == "suspended"
    with pytest.raises(Failure, match="discards its saved memory"):
        mac.run("stopped")
    with pytest.raises(Failure, match="discards its saved memory"):
        mac.run("present", cpus=1)
    assert mac.run("stopped", force=True)["state"] == "stopped"
    assert not (mac.home / "vms/web/state.vzvmsave").exists()


def test_the_third_macos_guest(mac: MacHost) -> None:
    """It is refused before anything is touched, with the names of those that run; Linux guests do not count."""
    for name in ("one", "two"):
        mac.run("started", name, image=MACOS)
    with pytest.raises(Failure, match="more than the 2 macOS guests that a Mac runs at once .running: one, two; to be started: web."):
        mac.run("started", image=MACOS)
    assert mac.run("restarted", "one")["state"] == "running"
    assert mac.run("started", "linux", image=IMAGE)["state"] == "running"
    mac.run("stopped", "two", force=True)
    assert mac.run("started", image=MACOS)["state"] == "running"


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"image": "registry.test/none:1"}, "The image registry.test/none:1 is not in tart's cache"),
        ({"image": "no-such-vm"}, "There is no local VM no-such-vm to clone"),
        ({"image": "debian:13"}, "debian:13"),
        ({"image": "../../x"}, "image"),
        ({"image": "-rf"}, "-rf"),
        ({"image": MACOS, "hostname": "web"}, "hostname: macOS guests have no cloud-init"),
        ({"image": MACOS, "cpus": 1}, "cpus: .* below what the image"),
        ({"image": MACOS, "memory": 2**29}, "memory: .* below what the image"),
        ({"image": IMAGE, "networks": (Nic("none"),)}, "There is no network none"),
        ({"image": IMAGE, "networks": ()}, "one network card"),
        ({"image": IMAGE, "cpus": 100000}, "cpus: 100000 is more than"),
    ],
)
def test_wishes_that_cannot_be(mac: MacHost, wish: dict[str, t.Any], message: str) -> None:
    """Refused before anything is touched."""
    with pytest.raises(Failure, match=message):
        mac.run("started", **wish)
    assert mac.backend.store.names() == [] and set(mac.calls()) <= {"list"}


def test_a_disk_smaller_than_the_image(mac: MacHost) -> None:
    """Disks only grow: nothing of the VM is left."""
    os.truncate(mac.home / "cache/OCIs/registry.test/a/1/disk.img", 5 * GB)
    try:
        result = mac.run("started", image=IMAGE, disk_size=2 * GB)
        assert result["failed"] and "2 GB is less than the image's 5 GB" in result["msg"]
    except Failure as error:
        assert "2 GB is less than the image's 5 GB" in error.msg
    assert os.listdir(mac.home / "vms") == [] and mac.backend.store.names() == []


def test_an_older_tart(mac: MacHost, program: t.Callable[[str, str], str]) -> None:
    """What it cannot do is told with the version that can; looking still works."""
    mac.backend.tart.binary = program("old-tart", '[ "$1" = --version ] && echo 2.4.2 || echo "[]"')
    assert mac.backend.observe(None) == {}
    with pytest.raises(Failure, match="is tart 2.4.2.*Install tart 2.10.0 or newer|is tart 2.4.2"):
        mac.run("started", image=IMAGE)


def test_looking_at_many_runs_one_program(mac: MacHost) -> None:
    """tart list once, whatever the number of VMs; the records and locks are files."""
    for number in range(20):
        mac.put(f"vms/vm{number}")
        mac.backend.store.write(
            f"vm{number}", {"name": f"vm{number}", "phase": "ready", "pending": "", "attributes": {"networks": [{"name": "default"}]}}
        )
    before = mac.backend.commands.count
    found = mac.backend.observe(None)
    assert len(found) == 20 and {vm.state for vm in found.values()} == {"stopped"} and mac.backend.commands.count == before + 1


def test_a_stale_lease_is_no_address(mac: MacHost, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there before the start does not count; a bridged guest has its lease from somebody else."""
    path = tmp_path / "dhcpd_leases"
    monkeypatch.setattr(address.leases, "__defaults__", (str(path),))

    def lease(expires: int) -> None:
        path.write_text(f"{{\n\tip_address=192.168.64.7\n\thw_address=1,7e:0:0:0:0:2\n\tlease={expires:#x}\n}}\n", encoding="ascii")

    lease(2**31)
    started = mac.run("started", image=IMAGE)
    assert started["ip_address"] is None
    lease(2**31 + 600)
    assert mac.run("started")["ip_address"] == "192.168.64.7"
    Store(mac.backend.store.root, "networks").write("lan", {"name": "lan", "mode": "bridged", "interface": "en0"})
    observed = mac.backend.observe(["web"])["web"]
    bridged = Observed(*observed._replace(attributes={"networks": [{"name": "lan"}]}))
    assert mac.backend.addresses([observed]) == {"web": "192.168.64.7"} and mac.backend.addresses([bridged]) == {}
