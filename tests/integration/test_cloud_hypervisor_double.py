# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's simulator of cloud-hypervisor itself: its launcher, faults on demand, its QEMU, and real guests (test_guest_*)."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.integration.cloud_hypervisor_place import MAJORS, Place, chain, children, gone
from tests.lab.cloud_hypervisor import install
from tests.lab.cloud_hypervisor.client import Running, until

GUEST = pathlib.Path(os.environ.get("COCOON_LAB_CACHE", "/var/cache/cocoon-lab")) / "guest"
GUEST_START = 120


@pytest.fixture(name="place")
def fixture_place(tmp_path: pathlib.Path) -> Iterator[Place]:
    """A place for the newest release of the simulator."""
    place = Place(tmp_path, None, MAJORS[-1])
    yield place
    place.end()


def _qemu(vm: Running) -> int:
    """The QEMU child."""
    for pid in children(vm.process.pid):
        if b"qemu-system" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise AssertionError("no QEMU")


def test_it_says_what_it_is(place: Place) -> None:
    """In the version, the help and the log."""
    assert "lab-simulator" in place.run("--version").stdout
    assert "simulator of the lab" in place.run("--help").stdout
    assert "simulator of the lab" in place.start().text


def test_install_writes_a_launcher(tmp_path: pathlib.Path) -> None:
    """Executable, with the program's name, for code at /opt/lab/cloud_hypervisor."""
    install.install(tmp_path)
    launcher = tmp_path / "usr/local/bin/cloud-hypervisor"
    assert os.access(launcher, os.X_OK)
    text = launcher.read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/python3 -IS\n") and "'/opt/lab'" in text


def test_command_line_has_no_interpreter(place: Place) -> None:
    """/proc shows the launcher's path, then the options as given."""
    vm = place.boot()
    program, *options = pathlib.Path(f"/proc/{vm.process.pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
    assert os.path.normpath(program) == place.program
    assert options == vm.process.args[1:]


@pytest.mark.parametrize(("wishes", "inner"), [
    ({"kvm": "/nowhere/kvm"}, ["Failed to create the hypervisor", "no supported hypervisor"]),
    ({"kvm": "/proc"}, ["Failed to create Vm", "Is a directory (os error 21)"]),
])
def test_without_kvm_there_is_no_socket(place: Place, wishes: dict, inner: list[str]) -> None:
    """No device, or no right to write it."""
    result = place.run("--api-socket", "api.sock", "--kernel", place.kernel, **wishes)
    found = chain(result.stderr)
    assert result.returncode == 1
    assert found[0] == "Failed to open hypervisor interface (is hypervisor interface available?)" and found[1:len(inner) + 1] == inner
    assert not (place.folder / "api.sock").exists()


def test_fault_hanging_api(place: Place) -> None:
    """The socket takes connections, nothing answers; SIGTERM still works."""
    vm = place.start(ready=False, hang_api=True)
    until(vm.socket.exists)
    with vm.connect() as channel:
        channel.settimeout(0.5)
        channel.sendall(b"GET /api/v1/vmm.ping HTTP/1.1\r\n\r\n")
        with pytest.raises(TimeoutError):
            channel.recv(1)
    vm.process.terminate()
    assert vm.wait(5) == 0


def test_fault_death_at_start(place: Place) -> None:
    """With a text of one's own, before the socket."""
    result = place.run("--api-socket", "api.sock", die_at_start="out of luck")
    assert (result.returncode, result.stderr.splitlines()[-1]) == (1, "  out of luck")
    assert not (place.folder / "api.sock").exists()


def test_fault_death_later(place: Place) -> None:
    """By a signal; QEMU goes too, the socket stays."""
    vm = place.boot(die_after_ms=700)
    qemu = _qemu(vm)
    assert vm.wait(5) == -signal.SIGALRM
    assert gone([qemu]) and vm.socket.exists()


def test_fault_slow_boot(place: Place) -> None:
    """The socket is bound, requests wait behind the boot."""
    vm = place.boot(ready=False, boot_delay_ms=600)
    until(vm.socket.exists)
    started = time.monotonic()
    assert vm.call("GET", "vmm.ping").status == 200
    assert time.monotonic() - started > 0.3


def test_end_of_qemu_ends_the_program(place: Place) -> None:
    """As a crashed CPU does: exit 0, the log tells."""
    vm = place.boot()
    until(lambda: vm.info()["state"] == "Running")
    os.kill(_qemu(vm), signal.SIGKILL)
    assert vm.wait(5) == 0
    assert "QEMU died" in vm.text and not vm.socket.exists()


def test_idle_costs_little(place: Place) -> None:
    """Below 20 MB, and no processor time while nothing happens."""
    vm = place.boot()
    status = pathlib.Path(f"/proc/{vm.process.pid}/status").read_text(encoding="utf-8")
    assert int(status.partition("VmRSS:")[2].split()[0]) < 20000

    def spent() -> int:
        fields = pathlib.Path(f"/proc/{vm.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
    before = spent()
    time.sleep(1.5)
    assert spent() - before <= 1


def test_in_a_network_namespace(place: Place) -> None:
    """Taps are looked for in the namespace that the program runs in."""
    name = f"chtest{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode:
        pytest.skip("no right to make a network namespace")
    try:
        subprocess.run(["ip", "-n", name, "tuntap", "add", "dev", "tap0", "mode", "tap", "vnet_hdr", "multi_queue"], check=True)
        place.program, inside = "ip", ["netns", "exec", name, place.program]
        args = ["--kernel", place.kernel, "--cpus", "boot=2", "--net", "tap=tap0,num_queues=4,mac=02:00:00:00:00:01", "--console", "off"]
        command = ["ip", *inside, "--api-socket", str(place.folder / "api.sock"), *args]
        vm = Running(command, place.folder, place.environment())
        place.started.append(vm)
        vm.wait_ready()
        assert vm.info()["config"]["net"][0]["tap"] == "tap0"
        assert vm.put("vmm.shutdown").status == 200 and vm.wait() == 0
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture(name="guest")
def fixture_guest(place: Place) -> list[str]:
    """Options that boot the lab's guest from a copy of its disk."""
    if not (GUEST / "vmlinuz").exists() or not (GUEST / "guest.raw").exists():
        pytest.skip(f"no guest in {GUEST}: build the lab's guest first")
    shutil.copy(GUEST / "guest.raw", place.folder / "root.raw")
    return ["--kernel", str(GUEST / "vmlinuz"), "--initramfs", str(GUEST / "initrd.img"), "--memory", "size=256M",
            "--cmdline", "root=LABEL=lab-root console=ttyS0 loglevel=3 rw", "--disk", "path=root.raw,image_type=raw,id=root"]


def _wait_for(path: pathlib.Path, text: str) -> None:
    until(lambda: path.exists() and text in path.read_text(errors="replace"), GUEST_START, text)


def test_guest_obeys_the_power_button(place: Place, guest: list[str]) -> None:
    """ACPI reaches it, and its end is ours."""
    log = place.folder / "serial.log"
    vm = place.start(*guest, "--console", "off", "--serial", f"file={log}")
    _wait_for(log, "login:")

    def pressed_and_gone() -> bool:
        """A guest that is still starting ignores the button, so press it again."""
        try:
            assert vm.put("vm.power-button").status == 204
            return vm.wait(3) == 0
        except (OSError, subprocess.TimeoutExpired):
            return vm.process.poll() == 0
    until(pressed_and_gone, 60, "the power-off")
    assert not vm.socket.exists()


def test_guest_ejects_what_is_removed(place: Place, guest: list[str]) -> None:
    """A disk comes and goes: the event, the device tree, and the lock."""
    log, image = place.folder / "serial.log", place.image()
    vm = place.start(*guest, "--console", "off", "--serial", f"file={log}", "--event-monitor", "path=events.json")
    _wait_for(log, "login:")
    disk = {"path": image, "id": "volume/data", "image_type": "Raw"}
    assert vm.put("vm.add-disk", disk).json == {"id": "volume/data", "bdf": "0000:00:03.0"}
    time.sleep(1)
    assert vm.put("vm.remove-device", {"id": "volume/data"}).status == 204
    until(lambda: "volume/data" not in vm.info()["device_tree"], 20, "the ejection")
    assert '"device-removed"' in (place.folder / "events.json").read_text(encoding="utf-8")
    assert vm.put("vm.add-disk", disk).status == 200


def test_guest_by_firmware_reboots_in_place(place: Place, guest: list[str]) -> None:
    """A firmware boots the first disk; a reboot keeps the process."""
    firmware = place.payload("halt")
    args = ["--firmware", firmware, *guest[4:6], *guest[8:]]
    vm = place.start(*args, "--console", "off", "--serial", "socket=s.sock")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(GUEST_START)
        client.connect(str(place.folder / "s.sock"))
        data = b""
        while b"login:" not in data:
            data += client.recv(4096)
    assert vm.put("vm.reboot").status == 204
    assert vm.call("GET", "vmm.ping").json["pid"] == vm.process.pid and vm.info()["state"] == "Running"
