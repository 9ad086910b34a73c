# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cloud-hypervisor backend with all around it made of paper: what it keeps, what it leaves, how it knows its processes.

The program is a real process with a real API socket; ``ip``, ``tc``, the CNI plugin and mkfs only say what they were told.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import sys
import time
import typing as t

import pytest

from ansible_collections.cocoonstack.cocoon.plugins.module_utils import _process
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._command import Output
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._engine import Engine, Failure
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._hypervisor import cloud_hypervisor as module
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._hypervisor.cloud_hypervisor import CloudHypervisor
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._network import cni
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._spec import Nic, VmSpec
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._store import Store

IMAGE, OTHER = "registry.test/a:1", "registry.test/b:1"
# Serves the API socket; $MODE says what goes wrong.
PROGRAM = """
import os, signal, socket, sys, time
mode = os.environ.get("MODE", "")
if mode == "dies":
    print("Error: Another instance likely holds a lock", file=sys.stderr)
    sys.exit(1)
if mode == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[sys.argv.index("--api-socket") + 1])
server.listen()
while True:
    connection, _peer = server.accept()
    request = connection.recv(4096).decode().split()[1].rpartition("/")[2]
    if mode == "hangs":
        time.sleep(60)
    if mode != "deaf" and (request == "vmm.shutdown" or request == "vm.power-button" and mode != "awake"):
        os._exit(0)
    body = '{"state": "Running", "config": {"console": {"file": "/dev/pts/7"}}}' if request == "vm.info" else ""
    connection.sendall(f"HTTP/1.1 200 \\r\\nContent-Length: {len(body)}\\r\\n\\r\\n{body}".encode())
"""


class Paper:
    """Commands that do what was said only on paper; ``broken`` names programs that fail."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.calls: list[list[str]] = []
        self.broken: set[str] = set()
        self.cards = 0

    def need(self, name: str, _remedy: str) -> str:
        """Every program is there."""
        return str(self.folder / os.path.basename(name))

    def run(self, argv: list[str], data: str = "", env: t.Any = None, **_options: t.Any) -> Output:
        """A plugin gives a card; the others say nothing."""
        self.calls.append(argv)
        name = os.path.basename(argv[0])
        if name in self.broken:
            return Output(1, "", f"{name} is broken")
        if name != "bridge" or env["CNI_COMMAND"] != "ADD":
            return Output(0, "", "")
        wished = dict(word.split("=") for word in env["CNI_ARGS"].split(";"))
        self.cards += "IP" not in wished
        mac, address = wished.get("MAC", f"52:54:00:00:00:{self.cards:02x}"), wished.get("IP", f"10.90.0.{self.cards + 1}")
        card = {
            "interfaces": [{"name": "eth0", "mac": mac, "sandbox": "/x"}],
            "ips": [{"address": f"{address}/24", "gateway": "10.90.0.1"}],
        }
        return Output(0, json.dumps(card), "")

    def check(self, argv: list[str], what: str, **options: t.Any) -> str:
        """As a real one."""
        output = self.run(argv, **options)
        if output.rc:
            raise CocoonError(f"{what} failed: {output.err}")
        return output.out


@pytest.fixture(name="paper")
def fixture_paper(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Paper:
    """A host: programs, a network, two images."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (
        ("cloud-hypervisor", f'exec {sys.executable} "{tmp_path}/program.py" "$@"'),
        ("ip", 'shift 3\nexec "$@"'),
        ("bridge", ""),
        ("host-local", ""),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    networks = tmp_path / "net.d"
    networks.mkdir()
    for name in ("default", "lan"):
        conflist = {
            "name": name,
            "plugins": [{"type": "bridge", "ipam": {"ranges": [[{"subnet": "10.90.0.0/24", "gateway": "10.90.0.1"}]]}}],
        }
        (networks / f"{name}.conflist").write_text(json.dumps(conflist), encoding="utf-8")
    monkeypatch.setattr(cni, "CONFIG_DIRECTORY", str(networks))
    monkeypatch.setattr(cni, "PLUGIN_DIRECTORIES", [str(programs)])
    for name in (IMAGE, OTHER):
        put_image(tmp_path / "root", name)
    return Paper(programs)


def put_image(root: pathlib.Path, name: str) -> None:
    """An image as a pull leaves it."""
    layer = hashlib.sha256(name.encode("ascii")).hexdigest()
    for path in (root / "blobs" / f"{layer}.erofs", root / "boot" / layer / "vmlinuz", root / "boot" / layer / "initrd.img"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    digest = f"sha256:{layer}"
    record = {"name": layer, "reference": name, "digest": digest, "layers": [digest], "kernel": digest, "initramfs": digest, "size": 3}
    Store(str(root), "images").write(layer, record)


@pytest.fixture(name="backend")
def fixture_backend(paper: Paper, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[CloudHypervisor]:
    """The backend on that host, where KVM is not asked for; its processes end with the test."""
    monkeypatch.setattr(CloudHypervisor, "_check_program", lambda self: None)
    monkeypatch.setattr(module, "_PATIENCE", 0.5)
    monkeypatch.delenv("MODE", raising=False)
    backend = CloudHypervisor(paper, _process.LinuxProcesses(), str(tmp_path / "root"), "cloud-hypervisor")
    yield backend
    for process in list(backend.processes.all()):
        if str(tmp_path) in process.command and "--api-socket" in process.command:
            backend.processes.terminate(process, grace=0.05)


def run(backend: CloudHypervisor, state: str, **wishes: t.Any) -> dict[str, t.Any]:
    """The result of a task for the VM web."""
    return Engine(backend, 8, False).run([VmSpec("web", state, **wishes)])[0]


def alive(backend: CloudHypervisor) -> list[int]:
    """The processes that have the VM's socket."""
    return [
        process.pid for process in backend.processes.all() if f"--api-socket {backend.store.path('web', 'api.sock')} " in process.command
    ]


def left(backend: CloudHypervisor, *names: str) -> list[str]:
    """Which of the VM's files are there."""
    return [name for name in names if os.path.exists(backend.store.path("web", name))]


def test_a_life(backend: CloudHypervisor, tmp_path: pathlib.Path) -> None:
    """Made, started, stopped, removed; each once, and nothing of it is left."""
    made = run(backend, "started", image=IMAGE, disk_size=2**24, memory=2**26, user_data="#!/bin/sh\n")
    assert (made["state"], made["ip_address"], made["mac_address"], made["console"]["pty"]) == (
        "running",
        "10.90.0.2",
        "52:54:00:00:00:01",
        "/dev/pts/7",
    )
    assert [made["pid"]] == alive(backend)
    assert not run(backend, "started", image=IMAGE, disk_size=2**24, user_data="#!/bin/sh\n", networks=(Nic("default"),))["changed"]
    assert os.stat(backend.store.path("web", "cow.raw")).st_size == 2**24 and left(backend, "seed.img", "user-data", "pid") == [
        "seed.img",
        "user-data",
        "pid",
    ]
    assert run(backend, "stopped")["actions"] == ["stop"] and alive(backend) == [] and left(backend, "pid", "api.sock") == []
    assert (backend.store.read("web") or {})["stopped_by"] == "power button"
    assert run(backend, "started")["state"] == "running" and left(backend, "vm.log.1", "console.log") == ["vm.log.1"]
    assert run(backend, "absent")["actions"] == ["stop", "delete"] and alive(backend) == []
    assert backend.store.names() == [] and sorted(os.listdir(tmp_path / "root")) == ["blobs", "boot", "images", "locks", "vms"]


@pytest.mark.parametrize(("mode", "how"), [("", "power button"), ("awake", "vmm.shutdown"), ("deaf", "SIGKILL")])
def test_how_vms_are_stopped(backend: CloudHypervisor, monkeypatch: pytest.MonkeyPatch, mode: str, how: str) -> None:
    """Gently, then less so; what did it is kept."""
    monkeypatch.setenv("MODE", mode)
    ladder = CloudHypervisor.run_ladder
    monkeypatch.setattr(
        CloudHypervisor, "run_ladder", lambda self, process, rungs: ladder(self, process, [(*rung[:2], 0.3) for rung in rungs])
    )
    monkeypatch.setattr(_process.Processes.terminate, "__defaults__", (0.3,))
    run(backend, "started", image=IMAGE)
    result = run(backend, "stopped", stop_timeout=0.3)
    assert (result["state"], alive(backend)) == ("stopped", []) and (backend.store.read("web") or {})["stopped_by"] == how


@pytest.mark.parametrize(
    ("mode", "message"),
    [("dies", "cloud-hypervisor did not start web. It ended with 1. Likely cause: another process uses"), ("hangs", "within 0.5 seconds")],
)
def test_a_start_that_fails(backend: CloudHypervisor, monkeypatch: pytest.MonkeyPatch, mode: str, message: str) -> None:
    """What it said, why, and nothing of the try is left; the VM is there and can be started again."""
    monkeypatch.setenv("MODE", mode)
    result = run(backend, "started", image=IMAGE)
    assert (
        result["failed"]
        and message in result["msg"]
        and result["state"] == "stopped"
        and result["actions"] == [f"create from image {IMAGE}"]
    )
    assert alive(backend) == [] and left(backend, "pid", "api.sock") == []
    assert mode != "dies" or "Another instance" in result["log_tail"]
    monkeypatch.delenv("MODE")
    assert run(backend, "started")["state"] == "running"


def test_a_program_that_cannot_be_executed(backend: CloudHypervisor, paper: Paper) -> None:
    """The cards that were set up for it are quiet again."""
    run(backend, "present", image=IMAGE)
    os.unlink(paper.folder / "ip")
    result = run(backend, "started")
    assert result["failed"] and "ip cannot be executed: No such file" in result["msg"] and result["state"] == "stopped"


def test_a_lost_pid_file(backend: CloudHypervisor) -> None:
    """The command line is the other witness: the VM is not started twice, and is stopped for real."""
    started = run(backend, "started", image=IMAGE)
    os.unlink(backend.pid_path("web"))
    again = run(backend, "started")
    assert (again["pid"], again["changed"]) == (started["pid"], False)
    pathlib.Path(backend.pid_path("web")).write_text("1\n1\nx\n", encoding="ascii")
    assert run(backend, "absent")["actions"] == ["stop", "delete"] and alive(backend) == []


def test_a_lost_record(backend: CloudHypervisor) -> None:
    """Disks are not removed under a process that nobody knows any more."""
    run(backend, "started", image=IMAGE)
    os.unlink(backend.store.path("web", "record.json"))
    for state in ("started", "absent", "stopped"):
        with pytest.raises(Failure):
            run(backend, state, image=IMAGE)
    assert len(alive(backend)) == 1 and left(backend, "cow.raw") == ["cow.raw"]


@pytest.mark.parametrize("broken", ["mkfs.ext4", "bridge", "tc"])
def test_a_create_that_fails(backend: CloudHypervisor, paper: Paper, broken: str) -> None:
    """Nothing of it is left."""
    paper.broken.add(broken)
    result = run(backend, "started", image=IMAGE)
    assert result["failed"] and f"{broken} is broken" in result["msg"] and result["state"] == "absent"
    assert backend.store.names() == []


@pytest.mark.parametrize("broken", ["mkfs.ext4", "bridge", "tc"])
def test_a_recreation_that_fails(backend: CloudHypervisor, paper: Paper, broken: str) -> None:
    """The disks are gone, as was allowed; what the VM was, and that it ran, is not forgotten: the next run completes it."""
    run(backend, "started", image=IMAGE, cpus=1, labels={"role": "web"}, user_data="#!/bin/sh\n")
    paper.broken.add(broken)
    assert run(backend, "present", image=OTHER, recreate="if_needed")["failed"]
    paper.broken.clear()
    result = run(backend, "present", image=OTHER, recreate="if_needed")
    assert (result["state"], result["image"], result["cpus"], result["labels"]) == ("running", OTHER, 1, {"role": "web"})
    assert backend.user_data("web") == "#!/bin/sh\n"


@pytest.mark.parametrize("broken", ["bridge", "tc"])
def test_a_change_of_networks_that_fails(backend: CloudHypervisor, paper: Paper, broken: str) -> None:
    """The VM is not left without network cards while its record says that it has them."""
    run(backend, "started", image=IMAGE)
    paper.broken.add(broken)
    assert run(backend, "present", networks=(Nic("lan"),), restart="if_needed")["failed"]
    paper.broken.clear()
    result = run(backend, "started")
    assert result["state"] == "running" and [nic["name"] for nic in result["networks"]] == ["default"]
    assert [nic["name"] for nic in (backend.store.read("web") or {})["nics"]] == ["default"]


def test_a_change_of_networks(backend: CloudHypervisor) -> None:
    """Stopped, changed, started; addresses are new."""
    run(backend, "started", image=IMAGE)
    changed = run(backend, "present", networks=(Nic("lan"), Nic("default")), restart="if_needed")
    assert changed["actions"] == ["stop", "set networks [default] -> [lan, default]", "start"]
    assert [(nic["name"], nic["ip_address"]) for nic in changed["networks"]] == [("lan", "10.90.0.3"), ("default", "10.90.0.4")]


def test_a_mac_that_another_vm_has(backend: CloudHypervisor) -> None:
    """Refused before anything is touched."""
    run(backend, "present", image=IMAGE)
    with pytest.raises(Failure, match="52:54:00:00:00:01 belongs to the VM web"):
        Engine(backend, 8, False).run([VmSpec("db", "present", IMAGE, networks=(Nic("default", "52:54:00:00:00:01"),))])
    assert backend.store.names() == ["web"]


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (
            {"image": "registry.test/none:1"},
            r"The image registry.test/none:1 is not on this host .there is: registry.test/a:1, registry.test/b:1",
        ),
        ({"image": IMAGE, "networks": (Nic("none"),)}, "There is no network none on this host .there is: default, lan"),
        ({"image": IMAGE, "networks": (Nic("lan", None, "10.91.0.5"),)}, "10.91.0.5 is no free member of 10.90.0.0/24"),
        ({"image": IMAGE, "cpus": 100000}, "cpus: 100000 is more than the"),
        ({"image": IMAGE, "memory": 2**50}, "of this host"),
    ],
)
def test_wishes_that_cannot_be(backend: CloudHypervisor, wish: dict[str, t.Any], message: str) -> None:
    """Refused before anything is touched."""
    with pytest.raises(Failure, match=message):
        run(backend, "started", **wish)
    assert backend.store.names() == []


def test_an_image_that_lost_a_file(backend: CloudHypervisor, tmp_path: pathlib.Path) -> None:
    """It does not count, and is named."""
    next((tmp_path / "root" / "blobs").glob(f"{hashlib.sha256(IMAGE.encode('ascii')).hexdigest()}*")).unlink()
    with pytest.raises(Failure, match="erofs of the image registry.test/a:1 is missing or empty"):
        run(backend, "started", image=IMAGE)


def test_looking_at_many_runs_no_program(backend: CloudHypervisor, paper: Paper) -> None:
    """The number of external processes does not grow with the number of VMs: it is none."""
    for number in range(30):
        run_as = VmSpec(f"vm{number}", "present", IMAGE, networks=())
        Engine(backend, 8, False).run([run_as])
    paper.calls.clear()
    began = time.monotonic()
    assert len(backend.observe(None)) == 30 and paper.calls == []
    assert time.monotonic() - began < 5


def test_an_adoption_cannot_be(backend: CloudHypervisor) -> None:
    """There is nothing that other programs could have made for us."""
    assert run(backend, "absent", adopt=True)["changed"] is False
