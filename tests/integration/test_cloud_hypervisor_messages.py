# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cloud-hypervisor refuses on its command line, message by message (contract 1.3, 1.6 and 1.7), simulator and real program."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from tests.integration.cloud_hypervisor_place import MAJORS, Place, chain, major_of

CONFIG, VALID = "Error parsing config", "Error validating configuration"
BOOT = ["Error booting VM", "The VM could not boot"]
DEVICES = BOOT + ["Error from device manager"]
CONSOLES = ["Error creating VM", "The VM could not be created", "Error creating console devices"]
NOT_THERE = "No such file or directory (os error 2)"
NO_KERNEL = ["Cannot load the kernel into memory", "Kernel Loader: failed to load bzImage kernel image: Kernel Loader: Invalid bzImage",
             "Kernel Loader: Invalid bzImage"]


@pytest.fixture(name="place")
def fixture_place(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Place]:
    """A place for the newest release."""
    program = request.config.getoption("--cloud-hypervisor")
    if program and major_of(program) < 53:
        pytest.skip("the texts are those of v53")
    place = Place(tmp_path, program, MAJORS[-1])
    yield place
    place.end()


PARSING = [
    (["--disk", "foo=1"], [CONFIG, "Error parsing --disk", "unknown option: foo"]),
    (["--disk", "path=a, readonly=on"], [CONFIG, "Error parsing --disk", "unknown option:  readonly"]),
    (["--disk", "path"], [CONFIG, "Error parsing --disk", "invalid syntax: path"]),
    (["--disk", "path=a,image_type=foo"], [CONFIG, "Error parsing --disk", "unable to convert foo for image_type"]),
    (["--disk", "path=a,readonly=yes"], [CONFIG, "Error parsing --disk", "unable to convert yes for readonly"]),
    (["--disk", "path=a,pci_segment=x"], [CONFIG, "Error parsing common PCI device config", "unable to convert x for pci_segment"]),
    (["--disk", 'path="a'], [CONFIG, "Error parsing --disk", 'invalid syntax: path="a']),
    (["--net", "mac=zz"], [CONFIG, "Error parsing --net", "unable to convert zz for mac"]),
    (["--net", "ip=1.2.3"], [CONFIG, "Error parsing --net", "unable to convert 1.2.3 for ip"]),
    (["--cpus", "boot=x"], [CONFIG, "Error parsing --cpus", "unable to convert x for boot"]),
    (["--cpus", "features=x"], [CONFIG, "Invalid feature in --cpus features list: x"]),
    (["--cpus", "topology=1:2:1"], [CONFIG, "Error parsing --cpus", "unable to convert 1:2:1 for topology"]),
    (["--memory", "size=1T"], [CONFIG, "Error parsing --memory", "unable to convert 1T for size"]),
    (["--memory", "size=512M,"], [CONFIG, "Error parsing --memory", "unknown option: "]),
    (["--memory", "size=[512M"], [CONFIG, "Error parsing --memory", "invalid syntax: size=[512M"]),
    (["--vsock", "cid=3"], [CONFIG, "Error parsing --vsock: socket missing"]),
    (["--vsock", "socket=v"], [CONFIG, "Error parsing --vsock: cid missing"]),
    (["--fs", "socket=v"], [CONFIG, "Error parsing --fs: tag missing"]),
    (["--pmem", "size=2M"], [CONFIG, "Error parsing --pmem: file missing"]),
    (["--console", "foo"], [CONFIG, "Error parsing --console", "unknown option: foo"]),
    (["--console", "id=c"], [CONFIG, "Error parsing --console: invalid console mode given"]),
    (["--serial", "foo"], [CONFIG, "Error parsing --serial", "unknown option: foo"]),
    (["--platform", "foo=1"], [CONFIG, "Error parsing --platform", "unknown option: foo"]),
    (["--balloon", "size=x"], [CONFIG, "Error parsing --balloon", "unable to convert x for size"]),
]
PORT = "The IO port was not properly provided in hex or a `0x` prefix is missing: 33"
VALIDATION = [
    (["--firmware", "x"], "Payload configuration is not bootable", "Specifying a kernel is not supported when a firmware is provided"),
    (["--cpus", "boot=4,max=2"], "Max CPUs (2) lower than boot CPUs (4)"),
    (["--cpus", "boot=1,max=9999"], "Too many CPUs: specified 9999 but 8192 is the limit"),
    (["--cpus", "boot=2,topology=1:1:1:1"], "Product of CPU topology parts does not match maximum vCPU"),
    (["--cpus", "boot=2,topology=0:2:1:1"], "No part of the CPU topology can be zero"),
    (["--cpus", "boot=4,topology=4:1:1:1"], "CPU topology supports at most 2 threads per core"),
    (["--disk", "path=a,num_queues=2"], "Queue count (2) must not exceed boot vCPUs (1)"),
    (["--disk", "path=a,queue_size=100"], "Queue size must be a power of 2 no greater than 32768: 100"),
    (["--disk", "path=a,queue_size=2"], "Block queue size must be greater than 2: 2"),
    (["--disk", "path=a,serial=012345678901234567890"], "Block device serial length (21) exceeds maximum allowed length (20)"),
    (["--disk", "path=a,id=x", "path=b,id=x"], "Identifier x is not unique"),
    (["--disk", "path=a,id=__x"], "Identifier __x is not invalid"),
    (["--disk", "path=a,pci_segment=3"], "Invalid PCI segment id: 3"),
    (["--disk", "path=a,pci_device_id=0"], "Given PCI device ID (0) is reserved"),
    (["--disk", "path=a,pci_device_id=32"], "Given PCI device ID (32) is out of the supported range of 0..32"),
    (["--disk", "path=a,vhost_user=on,socket=s"], "Disk path and vhost socket both provided"),
    (["--disk", "vhost_user=on,socket=s"], "Using vhost-user requires using shared memory or huge pages"),
    (["--disk", "path=a,rate_limit_group=g"], "Invalid rate-limiter group"),
    (["--net", "num_queues=1"], "Number of queues (1) to virtio_net should be higher than 2"),
    (["--net", "num_queues=4"], "Queue count (4) must not exceed boot vCPUs (1)"),
    (["--net", "fd=1"], "Reserved fd number (<= 2): 1"),
    (["--net", "fd=[8,9]"], "Number of queues (2) to virtio_net does not match the number of FDs (4)"),
    (["--net", "mtu=100"], "Provided MTU 100 is lower than 1280 (expected by VIRTIO specification)"),
    (["--net", "offload_csum=off"], '"offload_tso" and "offload_ufo" depend on "offload_csum"'),
    (["--net", "mask=255.0.0.0"], "Mask provided without an IP"),
    (["--net", "ip=10.0.0.1"], "IP provided without a mask"),
    (["--memory", "size=512M,hugepage_size=2M"], "Huge page size specified but huge pages not enabled"),
    (["--memory", "size=512M,shared=on,mergeable=on"], "Invalid to set both 'mergeable' and 'shared' for memory"),
    (["--balloon", "size=1G"], "Balloon size (1073741824) greater than RAM (536870912)"),
    (["--vsock", "cid=2,socket=v"], "2 is a special VSOCK CID"),
    (["--serial", "file="], "Path missing when using file console mode"),
    (["--debug-console", "tty,iobase=33"], PORT),
    (["--fs", "tag=a,socket=b"], "Using vhost-user requires using shared memory or huge pages"),
    (["--user-device", "socket=b"], "Using user devices requires using shared memory or huge pages"),
    (["--device", "x_nv_gpudirect_clique=1"], "VFIO device config must specify `path=` or `fd=`"),
    (["--landlock-rules", "path=/nowhere,access=rw"], 'Path "/nowhere" provided in landlock-rules does not exist'),
]
STARTING = [
    (["--disk", "path=/nowhere"], DEVICES + ["Cannot open disk path", "I/O error (path=/nowhere op=open)", NOT_THERE]),
    (["--disk", "path=/tmp"], DEVICES + ["Cannot open disk path", "I/O error (path=/tmp op=open)", "Is a directory (os error 21)"]),
    (["--disk", "readonly=on"], DEVICES + ["No disk path was specified when one was expected"]),
    (["--disk", "path=disk.raw,image_type=qcow2"],
     DEVICES + ["Disk image type does not match expected type: specified = qcow2, detected = raw"]),
    (["--rng", "src=/nowhere"], DEVICES + ["Cannot create virtio-rng device", NOT_THERE]),
    (["--initramfs", "/nowhere"], BOOT + ["Cannot open initramfs file", NOT_THERE]),
    (["--memory", "size=1000"], BOOT + ["Memory manager error", "Memory size is misaligned with default page size or its hugepage size"]),
    (["--memory", "size=0"], BOOT + ["Memory manager error", "No memory zones found"]),
    (["--serial", "file=/nowhere/x"], CONSOLES + ["Error creating console device", NOT_THERE]),
    (["--serial", "socket=disk.raw"], CONSOLES + ["Error creating console device", "Address already in use (os error 98)"]),
    (["--console", "socket=x"], CONSOLES + ["No socket option support for console device"]),
    (["--net", "tap=muchlongerthan15chars"], DEVICES + [
        "Cannot create virtio-net device", "Failed to open taps", "Open tap device failed",
        "Interface name too long (max length is 15): muchlongerthan15chars"]),
]
PROGRAM = [
    (["--api-socket", "fd=abc"], ["Error parsing --api-socket", "invalid digit found in string"]),
    (["--api-socket", "/nowhere/a.sock"], ["Failed to start the VMM thread", "Error creation API server's socket", NOT_THERE]),
    (["--api-socket", "a.sock", "--event-monitor", "foo"], ["Error parsing --event-monitor", "unknown option: foo"]),
    (["--api-socket", "a.sock", "--event-monitor", "path=/nowhere/x"], ["Error doing event monitor I/O", NOT_THERE]),
    (["--api-socket", "a.sock", "--log-file", "/nowhere/x"], ["Error creating log file", NOT_THERE]),
    (["--api-socket", "a.sock", "--restore", "prefault=on"], ["Error parsing restore", "Error parsing --restore: source_url missing"]),
    (["--api-socket", "a.sock", "--restore", "source_url=x"], [
        "Error restoring VM", "The VM could not be restored", "Cannot restore VM", "Failed to send migratable component snapshot",
        "Could not extract path from URL: x"]),
    (["--kernel", "/nowhere"], BOOT + ["Cannot open kernel file", NOT_THERE]),
    (["--kernel", "disk.raw"], BOOT + NO_KERNEL),
    (["--firmware", "disk.raw"], BOOT + NO_KERNEL),
]


def _refused(place: Place, args: list[str]) -> list[str]:
    place.image()
    result = place.run(*args)
    assert result.returncode == 1, result.stderr
    assert result.stderr.splitlines()[-1] == f"  {len(chain(result.stderr)) - 1}: {chain(result.stderr)[-1]}"
    return chain(result.stderr)


@pytest.mark.parametrize(("args", "expected"), PARSING + [(case[0], [CONFIG, VALID, *case[1:]]) for case in VALIDATION] + STARTING,
                         ids=lambda value: value[-1] if value[0].startswith("-") else "")
def test_option_is_refused(place: Place, args: list[str], expected: list[str]) -> None:
    """The chain to the letter, exit 1."""
    assert _refused(place, ["--kernel", place.kernel, *args]) == expected


@pytest.mark.parametrize(("args", "expected"), PROGRAM, ids=lambda value: value[-1] if value[0].startswith("-") else "")
def test_start_is_refused(place: Place, args: list[str], expected: list[str]) -> None:
    """The same for what is not about the shape of the VM."""
    assert _refused(place, args) == expected


def test_nothing_is_left_of_a_refused_start(place: Place) -> None:
    """The socket and its lock, no more."""
    before = {path.name for path in place.folder.iterdir()}
    place.run("--api-socket", "a.sock", "--kernel", place.kernel, "--disk", "path=/nowhere")
    assert {path.name for path in place.folder.iterdir()} - before == {"a.sock", "a.sock.lock", "settings.json"}


def _tap(name: str, *flags: str) -> None:
    subprocess.run(["ip", "tuntap", "add", "dev", name, "mode", "tap", "vnet_hdr", *flags], check=True)


@pytest.fixture(name="taps")
def fixture_taps() -> Iterator[tuple[str, str]]:
    """A tap with one queue and one with several."""
    names = ("chtest-one", "chtest-many")
    try:
        _tap(names[0])
        _tap(names[1], "multi_queue")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no right to make a tap")
    yield names
    for name in names:
        subprocess.run(["ip", "link", "del", name], check=False)


def test_taps(place: Place, taps: tuple[str, str]) -> None:
    """Queues must agree, and a tap has one user."""
    one, many = taps
    net = DEVICES + ["Cannot create virtio-net device", "Failed to open taps"]
    found = _refused(place, ["--kernel", place.kernel, "--cpus", "boot=2", "--net", f"tap={one},num_queues=4"])
    assert found == net + ["Error related to the multiqueue support (no support TAP side)"]
    found = _refused(place, ["--kernel", place.kernel, "--net", f"tap={many}"])
    assert found == net + ["Error related to the multiqueue support (no support device side)"]
    vm = place.boot("--cpus", "boot=2", "--net", f"tap={one},id=a,mac=02:00:00:00:00:01", f"tap={many},num_queues=4")
    found = _refused(place, ["--kernel", place.kernel, "--net", f"tap={one}"])
    assert found[:-1] == net + ["Open tap device failed", "Unable to configure tap interface"] and found[-1].endswith("(os error 16)")
    config = vm.info()["config"]["net"]
    assert config[0]["mac"] == "02:00:00:00:00:01" and config[1]["id"] == "_net0" and len(config[1]["mac"]) == 17
    assert config[0]["host_mac"] == pathlib.Path(f"/sys/class/net/{one}/address").read_text(encoding="utf-8").strip()
