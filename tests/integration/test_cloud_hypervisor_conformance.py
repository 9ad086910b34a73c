# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The golden facts of cloud-hypervisor (contract 9.4), for the lab's simulator and, with --cloud-hypervisor PATH, for the real one."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from tests.integration.cloud_hypervisor_place import MAJORS, Place, chain, children, gone, major_of
from tests.lab.cloud_hypervisor.client import Running, read_answer, until

ALREADY, NOT_CREATED, NOT_RUNNING = "VM is already created", "VM is not created", "VM is not running"
UNKNOWN = "Failed to find device corresponding to the given identifier: "
LOCK_CHAIN = ["Cannot lock images of all block devices", "Failed to get Write lock for disk image: {}", "The file is already locked"]


@pytest.fixture(name="major", params=MAJORS)
def fixture_major(request: pytest.FixtureRequest) -> int:
    """Each release of the simulator; of a real program only its own."""
    program = request.config.getoption("--cloud-hypervisor")
    if program and major_of(program) != request.param:
        pytest.skip("the given program is of another release")
    return request.param


@pytest.fixture(name="each")
def fixture_each(request: pytest.FixtureRequest, tmp_path: pathlib.Path, major: int) -> Iterator[Place]:
    """A place for each release."""
    place = Place(tmp_path, request.config.getoption("--cloud-hypervisor"), major)
    yield place
    place.end()


@pytest.fixture(name="place")
def fixture_place(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Place]:
    """A place for the newest release."""
    program = request.config.getoption("--cloud-hypervisor")
    place = Place(tmp_path, program, major_of(program) if program else MAJORS[-1])
    if place.major < 53:
        pytest.skip("the texts are those of v53")
    yield place
    place.end()


def test_version_output(each: Place) -> None:
    """Fact 1: two lines since v53, one more with -v."""
    lines = each.run("--version").stdout.splitlines()
    assert lines[0].startswith(f"cloud-hypervisor v{each.major}.")
    assert lines[1:] == (["Migration Protocol Versions: 0"] if each.major >= 53 else [])
    assert each.run("--version", "-v").stdout.splitlines()[-1].startswith('Enabled features: ["')


@pytest.mark.parametrize(("args", "text"), [
    (["--net", "tap=t0"], "the following required arguments were not provided:\n  <--firmware <firmware>|--kernel <kernel>>"),
    (["--bogus"], "unexpected argument '--bogus' found"),
    (["extra"], "unexpected argument 'extra' found"),
    (["--kernel"], "a value is required for '--kernel <kernel>' but none was supplied"),
    (["--kernel", "a", "--kernel", "b"], "the argument '--kernel <kernel>' cannot be used multiple times"),
    (["--seccomp", "maybe"], "invalid value 'maybe' for '--seccomp <seccomp>'"),
    (["--watchdog=3"], "unexpected value '3' for '--watchdog' found; no more were expected"),
    (["--disk", "--kernel", "x"], "a value is required for '--disk <disk>...' but none was supplied"),
])
def test_usage_errors_exit_with_2(place: Place, args: list[str], text: str) -> None:
    """Fact 2: clap's texts on stderr; nothing else happens."""
    result = place.run("--api-socket", "api.sock", *args)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {text}")
    assert result.stderr.endswith("For more information, try '--help'.\n")
    assert not (place.folder / "api.sock").exists()


def test_no_arguments_is_help_with_exit_2(place: Place) -> None:
    """The help goes to stderr then, and to stdout when it is asked for."""
    nothing, asked = place.run(), place.run("--help")
    assert (nothing.returncode, asked.returncode) == (2, 0)
    assert "--api-socket <api-socket>" in nothing.stderr and "--api-socket <api-socket>" in asked.stdout


def test_repeated_flags_append_since_52(each: Place) -> None:
    """Two --disk are a usage error before."""
    result = each.run("--kernel", each.kernel, "--disk", "path=nowhere", "--disk", "path=nowhere2")
    assert result.returncode == (1 if each.major >= 52 else 2)
    assert ("cannot be used multiple times" in result.stderr) == (each.major < 52)


def test_missing_disk_is_a_chain_and_exit_1(each: Place) -> None:
    """Fact 3: the socket stays behind, v52 removes it."""
    result = each.run("--api-socket", "api.sock", "--kernel", each.kernel, "--disk", "path=nowhere.raw")
    assert result.returncode == 1
    found = chain(result.stderr)
    assert found[:4] == ["Error booting VM", "The VM could not boot", "Error from device manager", "Cannot open disk path"]
    assert found[-1].endswith("(os error 2)")
    assert (each.folder / "api.sock").exists() == (each.major != 52)


def test_second_start_on_one_socket(each: Place) -> None:
    """Fact 4: refused by each release; v52 deletes the socket of the one that lives."""
    first = each.start()
    second = each.run("--api-socket", str(first.socket))
    assert second.returncode == 1
    found = chain(second.stderr)
    assert found[0] == "Failed to start the VMM thread"
    if each.major >= 53:
        assert found[1] == f'API socket "{first.socket}" is already in use by another running instance'
        assert first.call("GET", "vmm.ping").status == 200
    else:
        assert found[1] == "Error creation API server's socket" and found[2].endswith("(os error 98)")
    assert first.socket.exists() == (each.major != 52)


def test_stale_socket(each: Place) -> None:
    """v53 takes over a socket that nobody listens on; before, it has to be unlinked by the caller."""
    first = each.start()
    first.process.kill()
    first.wait()
    assert first.socket.exists()
    second = each.start(ready=each.major >= 53)
    if each.major < 53:
        assert second.wait() == 1 and "(os error 98)" in second.text
    lock = each.folder / "api.sock.lock"
    assert lock.exists() == (each.major >= 53)


def test_socket_is_private(place: Place) -> None:
    """umask 0077."""
    assert place.start().socket.stat().st_mode & 0o777 == 0o700


def test_create_info_boot_info(place: Place) -> None:
    """Fact 5: the configuration is completed at boot."""
    vm = place.start()
    disks = [{"path": place.image(), "image_type": "Raw"}, {"path": place.image("b.raw"), "id": "root", "readonly": True}]
    config = place.config(disks=disks, console={"mode": "Pty"}, serial={"mode": "File", "file": str(place.folder / "serial.log")})
    assert vm.put("vm.create", config).status == 204
    before = vm.info()
    assert before["state"] == "Created" and "device_tree" not in before
    assert vm.put("vm.boot").status == 204
    after = vm.info()
    assert after["state"] == "Running" and after["memory_actual_size"] == 128 << 20
    assert [disk["id"] for disk in after["config"]["disks"]] == ["_disk0", "root"]
    assert [disk["image_type"] for disk in after["config"]["disks"]] == ["Raw", "Raw"]
    assert after["config"]["console"]["file"].startswith("/dev/pts/")
    tree = after["device_tree"]
    assert {"__console", "__rng", "__serial", "_disk0", "root"} <= set(tree)
    addresses = {name: node["pci_bdf"] for name, node in tree.items() if "pci_bdf" in node}
    assert addresses == {f"_virtio-pci-{name}": f"0000:00:0{slot}.0"
                         for slot, name in enumerate(("__console", "_disk0", "root", "__rng"), start=1)}
    assert tree["root"]["parent"] == "_virtio-pci-root" and tree["_virtio-pci-root"]["children"] == ["root"]


def test_nulls_are_left_out_since_53(each: Place) -> None:
    """Absent options were null before."""
    vm = each.start()
    assert vm.put("vm.create", each.config()).status == 204
    assert ("disks" in vm.info()["config"]) == (each.major < 53)


def _into(vm: Running, place: Place, state: str) -> None:
    """Bring a fresh VMM into a state of table 2.5."""
    if state == "E":
        return
    config = place.config(disks=[{"path": place.image(), "id": "root", "image_type": "Raw"}])
    if state == "F":
        config["payload"] = {"kernel": str(place.folder / "nowhere")}
    assert vm.put("vm.create", config).status == 204
    if state != "C":
        assert vm.put("vm.boot").status == (500 if state == "F" else 204)
    if state == "P":
        assert vm.put("vm.pause").status == 204


TRANSITION = "Invalid transition: InvalidStateTransition({0}, {0})"
SNAPSHOT_RUNNING = "Trying to snapshot while VM is running"
STATE_TABLE = {
    "vm.boot": ("VM config is missing", 204, ALREADY, ALREADY, ALREADY),
    "vm.shutdown": (NOT_RUNNING, NOT_RUNNING, 204, 204, 204),
    "vm.delete": (204, 204, 204, 204, 204),
    "vm.reboot": (NOT_CREATED, NOT_CREATED, 204, 204, None),
    "vm.pause": (NOT_RUNNING, NOT_RUNNING, 204, TRANSITION.format("Paused"), 204),
    "vm.resume": (NOT_RUNNING, NOT_RUNNING, TRANSITION.format("Running"), 204, 204),
    "vm.power-button": (NOT_RUNNING, NOT_RUNNING, 204, 204, 204),
    "vm.create": (204, ALREADY, ALREADY, ALREADY, ALREADY),
    "vm.snapshot": (NOT_RUNNING, NOT_RUNNING, SNAPSHOT_RUNNING, None, SNAPSHOT_RUNNING),
    "vm.restore": (None, ALREADY, ALREADY, ALREADY, ALREADY),
    "vm.resize": (NOT_CREATED, 204, 204, 204, 204),
    "vm.resize-disk": (NOT_CREATED, "Failed resizing a disk image", 204, 204, 204),
    "vm.remove-device": (NOT_CREATED, 204, 204, 204, 204),
    "vm.add-disk": (NOT_CREATED, 204, 200, 200, 200),
    "vm.counters": (NOT_RUNNING, NOT_RUNNING, 200, 200, 200),
    "vm.info": (NOT_CREATED, 200, 200, 200, 200),
    "vmm.ping": (200, 200, 200, 200, 200),
    "vmm.shutdown": (200, 200, 200, 200, 200),
}
CELLS = [(call, state, expected) for call, row in STATE_TABLE.items() for state, expected in zip("ECRPF", row) if expected is not None]


def _body_for(call: str, place: Place):
    return {
        "vm.create": place.config(), "vm.snapshot": {"destination_url": f"file://{place.folder}"},
        "vm.restore": {"source_url": f"file://{place.folder}"}, "vm.resize": {"desired_vcpus": 1},
        "vm.resize-disk": {"id": "root", "desired_size": 2 << 20}, "vm.remove-device": {"id": "root"},
        "vm.add-disk": {"path": place.image("more.raw"), "image_type": "Raw"},
    }.get(call)


@pytest.mark.parametrize(("call", "state", "expected"), CELLS, ids=[f"{call}-{state}" for call, state, _expected in CELLS])
def test_state_table(place: Place, call: str, state: str, expected: int | str) -> None:
    """Fact 6: table 2.5 cell by cell; F is the VM object that a missing kernel leaves."""
    vm = place.start()
    _into(vm, place, state)
    method = "GET" if call in ("vm.info", "vm.counters", "vmm.ping") else "PUT"
    answer = vm.call(method, call, _body_for(call, place))
    if isinstance(expected, int):
        assert answer.status == expected, answer.body
        return
    assert answer.json[0] == "Error from API" and answer.error == expected
    assert answer.status == (404 if expected in (NOT_CREATED, "VM config is missing") else 500)


def test_missing_vm_is_404_since_53(each: Place) -> None:
    """And 500 before."""
    vm = each.start()
    answer = vm.call("GET", "vm.info")
    assert answer.json == ["Error from API", "The VM info is not available", NOT_CREATED]
    assert answer.status == (404 if each.major >= 53 else 500)


def test_boot_twice(each: Place) -> None:
    """The text changed in v53."""
    vm = each.boot()
    until(lambda: vm.info()["state"] == "Running")
    expected = ALREADY if each.major >= 53 else "invalid VM state transition: Running to Running"
    assert vm.put("vm.boot").error == expected


def test_failed_boot_leaves_c_or_f(place: Place) -> None:
    """A missing disk leaves no VM object and loses the list of disks; a missing kernel leaves one that only shutdown or delete end."""
    vm = place.start()
    assert vm.put("vm.create", place.config(disks=[{"path": "nowhere"}])).status == 204
    assert vm.put("vm.boot").error.endswith("(os error 2)")
    assert "device_tree" not in vm.info() and not vm.info()["config"].get("disks")
    assert vm.put("vm.boot").status == 204
    assert vm.put("vm.delete").status == 204
    _into(vm, place, "F")
    assert vm.info()["state"] == "Created" and "device_tree" in vm.info()
    assert vm.put("vm.shutdown").status == 204 and "device_tree" not in vm.info()


RAW = [
    (b"GET /api/v1/nothing HTTP/1.1\r\n\r\n", 404, b'["Not Found"]'),
    (b"GET /api/v1/vmm.ping/ HTTP/1.1\r\n\r\n", 404, b'["Not Found"]'),
    (b"GET /api/v1/vm.boot HTTP/1.1\r\n\r\n", 400, b'["Bad Request"]'),
    (b"PUT /api/v1/vmm.ping HTTP/1.1\r\n\r\n", 400, b'["Bad Request"]'),
    (b"PUT /api/v1/vm.boot HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 400, b'["Bad Request"]'),
    (b"PUT /api/v1/vm.resize HTTP/1.1\r\n\r\n", 400, b'["Bad Request"]'),
    (b"PUT /api/v1/vm.create HTTP/1.1\r\n\r\n", 400, b""),
    (b"PATCH /api/v1/vm.boot HTTP/1.1\r\n\r\n", 400, b""),
    (b"PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: 5\r\n\r\n{\"a\":", 400,
     b'["Failed to deserialize JSON","EOF while parsing a value at line 1 column 5"]'),
    (b"POST /api/v1/vm.boot HTTP/1.1\r\n\r\n", 400,
     b'{ "error": "Invalid HTTP Method: Unsupported HTTP method.\nAll previous unanswered requests will be dropped." }'),
    (b"hello\r\n\r\n", 400, b'{ "error": "Invalid request.\nAll previous unanswered requests will be dropped." }'),
    (b"PUT /api/v1/vm.create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400,
     b'{ "error": "Invalid request.\nAll previous unanswered requests will be dropped." }'),
]


@pytest.mark.parametrize(("request_bytes", "status", "body"), RAW)
def test_http_answers(place: Place, request_bytes: bytes, status: int, body: bytes) -> None:
    """Fact 7: statuses and bodies."""
    answer = place.start().raw(request_bytes)
    assert (answer.status, answer.body) == (status, body)
    assert answer.status_line == f"HTTP/1.1 {status} "


def test_http_framing(place: Place) -> None:
    """An empty reason, keep-alive even against the client's wish, no length with 204, absolute targets."""
    vm = place.start()
    with vm.connect() as channel:
        for _round in range(2):
            channel.sendall(b"GET http://localhost/api/v1/vmm.ping HTTP/1.1\r\nConnection: close\r\n\r\n")
            answer = read_answer(channel)
            assert list(answer.headers) == ["Server", "Connection", "Content-Type", "Content-Length"]
            assert answer.headers["Connection"] == "keep-alive" and answer.headers["Server"] == "Cloud Hypervisor API"
    answer = vm.put("vm.create", place.config())
    assert (answer.status_line, list(answer.headers)) == ("HTTP/1.1 204 ", ["Server", "Connection"])


def test_eleventh_connection_gets_503(place: Place) -> None:
    """Fact 7: ten clients at a time."""
    vm = place.start()
    channels = [vm.connect() for _number in range(11)]
    try:
        answer = channels[-1].recv(4096)
        assert answer.startswith(b"HTTP/1.1 503\r\n") and answer.endswith(b'{ "error": "Too many open connections" }')
        channels[0].close()
        until(lambda: vm.call("GET", "vmm.ping").status == 200, 5)
    finally:
        for channel in channels:
            channel.close()


def test_ping(place: Place) -> None:
    """The version in both forms and the process."""
    vm = place.start()
    found = vm.call("GET", "vmm.ping").json
    assert list(found) == ["build_version", "version", "pid", "features"]
    assert found["pid"] == vm.process.pid and found["version"].startswith(f"{place.major}.")


def _snapshot(vm: Running, folder: pathlib.Path):
    answer = vm.put("vm.snapshot", {"destination_url": f"file://{folder}"})
    if answer.status == 500 and "Could not get vCPU state" in answer.error:
        pytest.skip("the KVM of this machine cannot save a CPU")
    return answer


def test_snapshot_and_restore(place: Place) -> None:
    """Fact 8: three files, never over others; restored paused."""
    vm = place.boot("--disk", f"path={place.image()},image_type=raw,id=root")
    assert vm.put("vm.pause").status == 204
    folder = place.folder / "snapshot"
    folder.mkdir()
    assert _snapshot(vm, folder).status == 204
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "memory-ranges", "state.json"]
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["disks"][0]["id"] == "root"
    again = _snapshot(vm, folder)
    assert again.status == 500 and again.json[2] == "Cannot send VM snapshot" and "(os error 17)" in again.error
    assert vm.put("vm.resume").status == 204
    assert vm.put("vmm.shutdown").status == 200 and vm.wait() == 0
    second = place.start()
    assert second.put("vm.restore", {"source_url": f"file://{folder}"}).status == 204
    assert second.info()["state"] == "Paused"
    assert second.put("vm.resume").status == 204 and second.info()["state"] == "Running"


def test_restore_errors_leave_nothing(place: Place) -> None:
    """A restore that fails leaves the VMM empty."""
    vm = place.start()
    for url, text in (("x", "Could not extract path from URL: x"), ("file:///nowhere", 'Destination is not a directory: "/nowhere"')):
        answer = vm.put("vm.restore", {"source_url": url})
        assert answer.json[1:3] == ["The VM could not be restored", "Cannot restore VM"] and answer.error == text
    assert vm.call("GET", "vm.info").status == 404


def test_disk_locks(place: Place) -> None:
    """Fact 9: one writer or many readers."""
    image = place.image()
    first = place.boot("--disk", f"path={image},image_type=raw")
    second = place.run("--kernel", place.kernel, "--disk", f"path={image},image_type=raw")
    assert second.returncode == 1
    expected = ["Error locking disk images: Another instance likely holds a lock"] + [text.format(image) for text in LOCK_CHAIN]
    assert chain(second.stderr)[2:] == expected
    reader = place.run("--kernel", place.kernel, "--disk", f"path={image},image_type=raw,readonly=on")
    assert chain(reader.stderr)[4] == f"Failed to get Read lock for disk image: {image}"
    first.process.kill()
    first.wait()
    for number in range(2):
        place.boot("--disk", f"path={image},image_type=raw,readonly=on", socket_name=f"reader{number}.sock")


def test_sigterm_ends_with_0_and_removes_sockets(place: Place) -> None:
    """Fact 10: a hard stop, in order."""
    vm = place.boot("--serial", "socket=serial.sock", "--vsock", "cid=3,socket=vsock.sock")
    helpers = children(vm.process.pid)
    vm.process.send_signal(signal.SIGTERM)
    assert vm.wait() == 0
    assert gone(helpers)
    assert [path.name for path in place.folder.glob("*.sock")] == []


def test_sigkill_leaves_sockets_and_takes_children_along(place: Place) -> None:
    """Fact 10: nothing of it lives on."""
    vm = place.boot("--serial", "socket=serial.sock", "--vsock", "cid=3,socket=vsock.sock")
    helpers = children(vm.process.pid)
    vm.process.kill()
    assert vm.wait() == -signal.SIGKILL
    assert gone(helpers)
    assert sorted(path.name for path in place.folder.glob("*.sock")) == ["api.sock", "serial.sock", "vsock.sock"]
    stale = place.run("--kernel", place.kernel, "--serial", "socket=serial.sock")
    assert chain(stale.stderr)[:4] == [
        "Error creating VM", "The VM could not be created", "Error creating console devices", "Error creating console device"]
    stale = place.run("--kernel", place.kernel, "--console", "off", "--vsock", "cid=3,socket=vsock.sock")
    assert chain(stale.stderr)[3] == "Cannot create virtio-vsock backend" and chain(stale.stderr)[-1].endswith("(os error 98)")


def test_vmm_shutdown_is_200_and_empty(place: Place) -> None:
    """Fact 11."""
    vm = place.boot()
    answer = vm.put("vmm.shutdown")
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "0", b"")
    assert vm.wait() == 0 and not vm.socket.exists()


def test_remove_device_waits_for_the_guest(place: Place) -> None:
    """Fact 12: 204 at once, the config entry is gone, the rest stays until a guest ejects; ours never does."""
    vm = place.boot()
    disk = {"path": place.image(), "id": "data", "image_type": "Raw"}
    added = vm.put("vm.add-disk", disk)
    assert (added.status, added.json) == (200, {"id": "data", "bdf": "0000:00:02.0"})
    assert vm.put("vm.remove-device", {"id": "data"}).status == 204
    found = vm.info()
    assert not found["config"].get("disks") and "data" in found["device_tree"] and "_virtio-pci-data" in found["device_tree"]
    assert vm.put("vm.add-disk", disk).error == "Invalid identifier as it is not unique: data"
    assert vm.put("vm.remove-device", {"id": "data"}).error == UNKNOWN + "data"
    assert vm.put("vm.remove-device", {"id": "nothing"}).error == UNKNOWN + "nothing"
    assert vm.put("vm.remove-device", {"id": "__rng"}).error == "Not allowed to remove this type of device from the VM: rng"


def test_hot_plug_errors(place: Place) -> None:
    """Validation first, then the device; nothing of a failed device stays."""
    image = place.image()
    vm = place.boot("--disk", f"path={image},image_type=raw,id=root")
    assert vm.put("vm.add-disk", {"path": image, "id": "root"}).json[2:] == ["Failed to validate config", "Identifier root is not unique"]
    locked = vm.put("vm.add-disk", {"path": image, "id": "other", "image_type": "Raw"})
    assert locked.json[2:] == ["Error from device manager"] + [text.format(image) for text in LOCK_CHAIN]
    assert vm.put("vm.add-disk", {"path": "nowhere", "id": "other"}).error.endswith("(os error 2)")
    found = vm.info()
    assert [disk["id"] for disk in found["config"]["disks"]] == ["root"] and "other" not in found["device_tree"]


def test_cold_changes_edit_the_configuration(place: Place) -> None:
    """Without a VM object, add and remove answer 204 and change what will be booted."""
    vm = place.start()
    assert vm.put("vm.create", place.config()).status == 204
    assert vm.put("vm.add-disk", {"path": place.image(), "id": "data", "image_type": "Raw"}).status == 204
    assert [disk["id"] for disk in vm.info()["config"]["disks"]] == ["data"]
    assert vm.put("vm.remove-device", {"id": "data"}).status == 204
    assert vm.put("vm.remove-device", {"id": "data"}).error == 'No device with id "data" to remove'


def test_resize(place: Place) -> None:
    """vCPUs, RAM and disks: limits, texts, and what vm.info says at once."""
    vm = place.boot("--cpus", "boot=1,max=2", "--disk", f"path={place.image()},image_type=raw,id=root")
    for body, text in (({"desired_vcpus": 0}, "Requested zero vCPUs"), ({"desired_vcpus": 3}, "Requested vCPUs exceed maximum"),
                       ({"desired_ram": 256 << 20}, "Not enough space in the hotplug RAM region"),
                       ({"desired_balloon": 1 << 20}, "Missing virtio-balloon, can't proceed as expected")):
        assert vm.put("vm.resize", body).error == text
    assert vm.put("vm.resize", {"desired_vcpus": 2}).status == 204
    assert vm.info()["config"]["cpus"]["boot_vcpus"] == 2
    assert vm.put("vm.resize-disk", {"id": "root", "desired_size": 4 << 20}).status == 204
    assert os.path.getsize(place.folder / "disk.raw") == 4 << 20
    assert vm.put("vm.resize-disk", {"id": "root", "desired_size": 1000}).error == "Disk image size is not a multiple of 512"


def test_memory_grows_in_steps(place: Place) -> None:
    """128 MiB at a time, within hotplug_size."""
    vm = place.start("--kernel", place.kernel, "--console", "off", "--memory", "size=128M,hotplug_size=256M")
    assert vm.put("vm.resize", {"desired_ram": (128 << 20) + 4096}).error == "The requested hotplug memory addition is not a valid size"
    assert vm.put("vm.resize", {"desired_ram": 256 << 20}).status == 204
    assert vm.info()["config"]["memory"]["size"] == 256 << 20


def test_a_large_body_is_refused(place: Place) -> None:
    """Fact 13: 51200 bytes is the limit up to v53."""
    vm = place.start()
    disks = [{"path": "/" + "x" * 400, "id": f"d{number}"} for number in range(120)]
    payload = json.dumps(place.config(disks=disks))
    payload = payload.ljust(51200) if len(payload) < 51200 else payload[:51200]
    answer = vm.raw(f"PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: {len(payload) + 1}\r\n\r\n".encode() + payload.encode() + b" ")
    assert answer.status == 400 and b"is larger than the limit of 51200 allowed by server" in answer.body
    assert vm.call("GET", "vm.info").status == 404


def test_pty_console(place: Place) -> None:
    """A terminal that can be opened, and the second process with the same command line."""
    vm = place.start("--kernel", place.payload("halt"), "--memory", "size=128M", "--console", "pty", "--serial", "pty")
    config = vm.info()["config"]
    for name in ("console", "serial"):
        fd = os.open(config[name]["file"], os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        assert os.isatty(fd)
        os.close(fd)
    command = pathlib.Path(f"/proc/{vm.process.pid}/cmdline").read_bytes()
    assert b"cloud-hypervisor" in command and str(vm.socket).encode() in command
    twins = [pid for pid in children(vm.process.pid) if pathlib.Path(f"/proc/{pid}/cmdline").read_bytes() == command]
    assert len(twins) == 1
    assert pathlib.Path(f"/proc/{vm.process.pid}/comm").read_text(encoding="utf-8").strip() == "cloud-hyperviso"
    vm.process.kill()
    assert gone(twins)


def test_serial_pty_carries_both_ways(place: Place) -> None:
    """What the guest wrote before anybody looked is kept; what is typed reaches it."""
    vm = place.start("--kernel", place.payload("serial", "hello"), "--memory", "size=128M", "--console", "off", "--serial", "pty")
    fd = os.open(vm.info()["config"]["serial"]["file"], os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    seen = bytearray()

    def read(wanted: bytes) -> bool:
        try:
            seen.extend(os.read(fd, 4096))
        except BlockingIOError:
            pass
        return wanted in seen
    until(lambda: read(b"hello"), 10, "the greeting")
    os.write(fd, b"x")
    until(lambda: read(b"hellox"), 10, "the echo")
    os.write(fd, b"p")
    assert vm.wait(10) == 0
    os.close(fd)


def test_serial_file_is_written_and_truncated(place: Place) -> None:
    """A file from an earlier run is not appended to."""
    log = place.folder / "serial.log"
    log.write_text("old" * 100, encoding="utf-8")
    vm = place.start("--kernel", place.payload("halt", "new"), "--memory", "size=128M", "--console", "off", "--serial", f"file={log}")
    until(lambda: log.read_text(encoding="utf-8") == "new", 10, "the greeting")
    vm.process.terminate()
    assert vm.wait() == 0


def test_serial_socket_gives_early_output_since_53(place: Place) -> None:
    """A client that comes late sees what was written before, and takes over from the one before it."""
    vm = place.start("--kernel", place.payload("serial", "early"), "--memory", "size=128M", "--console", "off", "--serial", "socket=s.sock")
    until(lambda: vm.info()["state"] == "Running")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(place.folder / "s.sock"))
        data = b""
        while b"early" not in data:
            data += client.recv(100)
        client.sendall(b"p")
        assert vm.wait(10) == 0
    assert not (place.folder / "s.sock").exists()


def test_guest_power_off_ends_the_program(each: Place) -> None:
    """With --no-shutdown, since v52, only the VM goes."""
    vm = each.start("--kernel", each.payload("poweroff"), "--memory", "size=128M", "--console", "off", ready=False)
    assert vm.wait() == 0 and not vm.socket.exists()
    if each.major >= 52:
        stays = each.start("--no-shutdown", "--kernel", each.payload("poweroff"), "--memory", "size=128M", "--console", "off")
        until(lambda: stays.info()["state"] == "Created")
        assert stays.put("vm.boot").status == 204


def test_guest_reboot_keeps_process_and_socket(place: Place) -> None:
    """The VM is made anew in the same process, with a new terminal."""
    kernel = place.payload("serial")
    vm = place.start("--kernel", kernel, "--memory", "size=128M", "--console", "off", "--serial", "socket=s.sock",
                     "--event-monitor", "path=events.json")
    until(lambda: vm.info()["state"] == "Running")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(place.folder / "s.sock"))
        client.sendall(b"r")
        until(lambda: '"rebooted"' in (place.folder / "events.json").read_text(encoding="utf-8"), 20, "the reboot")
    assert vm.info()["state"] == "Running" and vm.call("GET", "vmm.ping").json["pid"] == vm.process.pid


def test_event_monitor(place: Place) -> None:
    """Documents separated by an empty line, in the order of what happened."""
    vm = place.boot("--event-monitor", "path=events.json")
    until(lambda: vm.info()["state"] == "Running")
    vm.put("vm.pause")
    vm.put("vm.resume")
    vm.put("vmm.shutdown")
    vm.wait()
    documents = [json.loads(text) for text in (place.folder / "events.json").read_text(encoding="utf-8").split("\n\n") if text.strip()]
    assert [(event["source"], event["event"]) for event in documents] == [
        ("vmm", "starting"), ("vm", "booting"), ("vm", "booted"), ("vm", "pausing"), ("vm", "paused"), ("vm", "resuming"),
        ("vm", "resumed"), ("vm", "shutdown"), ("vm", "deleted"), ("vmm", "shutdown")]
    assert list(documents[0]["timestamp"]) == ["secs", "nanos"] and documents[0]["properties"] is None


def test_shutdown_and_boot_again(place: Place) -> None:
    """vm.shutdown keeps the configuration; a reboot keeps what was plugged."""
    vm = place.boot()
    assert vm.put("vm.add-disk", {"path": place.image(), "id": "data", "image_type": "Raw"}).status == 200
    assert vm.put("vm.reboot").status == 204
    assert "data" in vm.info()["device_tree"]
    assert vm.put("vm.shutdown").status == 204
    assert vm.info()["state"] == "Created"
    assert vm.put("vm.boot").status == 204 and vm.info()["state"] == "Running"


def test_socket_answers_soon(place: Place) -> None:
    """From exec to an answer of the API; generous, a slow machine is no failure."""
    times = []
    for number in range(3):
        started = time.monotonic()
        place.boot(socket_name=f"api{number}.sock")
        times.append(time.monotonic() - started)
    assert min(times) < 2.0
