# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab itself: hosts are real, trouble is real, and nothing is left. Uses a lab of its own beside the user's."""
from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.lab import Lab, LabError, cgroup, faults, link, network, paths
from tests.lab import process as process_identity
from tests.lab.files import read_json

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab makes namespaces and mounts: root only")
NUMBER = "91"


@pytest.fixture(scope="module", name="lab")
def fixture_lab():
    """An own lab, with its own bridge, addresses and folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COCOON_LAB_NUMBER", NUMBER)
        patch.delenv("COCOON_LAB_DIR", raising=False)
        lab = Lab()
        lab.down_all()
        yield lab
        lab.down_all()


@pytest.fixture(scope="module", name="linux")
def fixture_linux(lab):
    """A Linux host."""
    return lab.up("linux1", small_disk="64M")


@pytest.fixture(scope="module", name="mac")
def fixture_mac(lab):
    """A Mac host."""
    return lab.up("mac1")


def output(host, command: str) -> str:
    """What a command prints on a host, over SSH."""
    return host.run(command, check=True).stdout.strip()


def until(condition, timeout: float = 5.0) -> bool:
    """Did it become true in time?"""
    deadline = time.monotonic() + timeout
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def command_lines(host) -> list[str]:
    """Of the host's processes, as the controller sees them."""
    found = []
    for pid in cgroup.members(host.name):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.append(pathlib.Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").replace("\0", " "))
    return found


def own_processes() -> list[str]:
    """Command lines of processes in this lab's control groups, or of its machines."""
    found = [f"member of {name}: {pid}" for name in cgroup.left_over() for pid in cgroup.members(name)]
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if b"tests.lab.machine" in words and f"COCOON_LAB_NUMBER={NUMBER}".encode() in environment:
            found.append(b" ".join(words).decode())
    return found


def traces() -> dict[str, list[str]]:
    """Everything that this lab could leave on the controller."""
    mounts = pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    loops = subprocess.run(["losetup", "--list", "--noheadings", "--output", "BACK-FILE"], capture_output=True, text=True, check=True)
    return {
        "mounts": [line for line in mounts if paths.instance() + "/" in line],
        "interfaces": network.left_over(),
        "groups": cgroup.left_over(),
        "processes": own_processes(),
        "loops": [line for line in loops.stdout.splitlines() if f"/{paths.instance()}/" in line],
        "files": [str(place) for place in (paths.lab(), paths.lock()) if place.exists()],
    }


NOTHING: dict[str, list[str]] = {"mounts": [], "interfaces": [], "groups": [], "processes": [], "loops": [], "files": []}


def settled_traces() -> dict[str, list[str]]:
    """The kernel takes a moment to let go of a dead namespace."""
    until(lambda: traces() == NOTHING)
    return traces()


def command_line(*words: str) -> subprocess.CompletedProcess[str]:
    """`python3 -m tests.lab ...`"""
    return subprocess.run([sys.executable, "-m", "tests.lab", *words], cwd=paths.REPOSITORY, capture_output=True, text=True, check=False)


# What a host is


def test_linux_host_is_root_on_debian(linux):
    """Reached by SSH under its own name, with its own kernel view."""
    assert output(linux, "id -un; hostname; . /etc/os-release; echo $VERSION_CODENAME; python3 -V").split("\n") == [
        "root", "linux1", "bookworm", "Python 3.11.2"]
    assert linux.kind == "linux"


def test_mac_host_is_admin_with_python_39(mac):
    """User, group, PATH and Python as on a Mac; no /proc."""
    assert output(mac, "id -u; id -gn; cd; pwd; echo $PATH; test -e /proc || echo no proc").split("\n") == [
        "501", "staff", "/Users/admin", "/usr/bin:/bin:/usr/sbin:/sbin", "no proc"]
    assert "Python 3.9" in output(mac, "/usr/bin/python3 --version")
    assert output(mac, "sudo -n id -u") == "0"


def test_namespaces_are_the_hosts_own(linux, mac):
    """No namespace is shared with the controller or with another host."""
    for kind in ("net", "mnt", "pid", "uts", "ipc"):
        seen = {os.readlink(f"/proc/{pid}/ns/{kind}") for pid in ("self", linux.pid, mac.pid)}
        assert len(seen) == 3, kind
    assert int(output(linux, "ls -d /proc/[0-9]* | wc -l")) < 15
    assert output(linux, "ls /sys/class/net").split() == ["eth0", "lo"]


def test_orphans_are_reaped(linux):
    """The init collects children that nobody waits for."""
    output(linux, "for i in 1 2 3; do (setsid true &) ; done; sleep 0.2")
    assert output(linux, "ps -eo stat= | grep -c Z || true") == "0"


def test_hosts_reach_each_other_and_the_controller(linux, mac):
    """One network for all."""
    assert "1 received" in output(linux, f"ping -c1 -W2 {mac.address}")
    assert "1 received" in output(linux, f"ping -c1 -W2 {network.address(1)}")


def test_ssh_is_quick(linux):
    """A cold login, best of five."""
    times = []
    for _attempt in range(5):
        before = time.monotonic()
        linux.run("true", check=True)
        times.append(time.monotonic() - before)
    assert min(times) < 0.25, times


def test_environment_does_not_cross(linux):
    """AcceptEnv is empty."""
    done = subprocess.run(linux.ssh("-o", "SendEnv=LANG LC_LAB", "linux1", "--", "env"), capture_output=True, text=True, check=True,
                          env={**os.environ, "LC_LAB": "crossed"})
    assert "crossed" not in done.stdout


def test_host_key_is_pinned(lab, linux):
    """Another key under the same address is refused."""
    known = paths.lab() / "ssh/known_hosts"
    before = known.read_text(encoding="utf-8")
    other = subprocess.run(["ssh-keygen", "-y", "-f", str(paths.lab() / "ssh/id_ed25519")], capture_output=True, text=True, check=True)
    known.write_text(f"linux1,{linux.address} {' '.join(other.stdout.split()[:2])}\n", encoding="utf-8")
    try:
        done = linux.run("true")
    finally:
        known.write_text(before, encoding="utf-8")
    assert done.returncode == 255 and lab.ssh_config.exists()
    assert linux.run("true").returncode == 0


def test_inventory(lab, linux, mac):
    """Groups and variables that Ansible needs."""
    text = lab.inventory.read_text(encoding="utf-8")
    assert re.search(rf"\[linux_hosts\]\nlinux1 ansible_host={linux.address} ansible_user=root\n", text)
    assert re.search(rf"\[mac_hosts\]\nmac1 ansible_host={mac.address} ansible_user=admin\n", text)
    assert "[hypervisors:children]\nlinux_hosts\nmac_hosts\n" in text


CNI = {
    "cniVersion": "1.0.0", "name": "labtest", "type": "bridge", "bridge": "cni-test", "isGateway": True, "ipMasq": True,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]},
}


def test_cni_bridge_with_masquerading(linux):
    """The real plugins work inside: netns, bridge, address, NAT out of the host."""
    environment = "CNI_CONTAINERID=labtest CNI_NETNS=/run/netns/labtest CNI_IFNAME=eth0 CNI_PATH=/usr/lib/cni"
    output(linux, "ip netns add labtest")
    try:
        added = linux.run(f"CNI_COMMAND=ADD {environment} /usr/lib/cni/bridge", stdin=json.dumps(CNI), check=True)
        assert json.loads(added.stdout)["ips"][0]["address"] == "10.88.0.2/24"
        assert "1 received" in output(linux, f"ip netns exec labtest ping -c1 -W2 {network.address(1)}")
        assert "MASQUERADE" in output(linux, "iptables -t nat -S")
        linux.run(f"CNI_COMMAND=DEL {environment} /usr/lib/cni/bridge", stdin=json.dumps(CNI), check=True)
        assert "MASQUERADE" not in output(linux, "iptables -t nat -S")
    finally:
        linux.run("ip netns del labtest; ip link del cni-test")
    assert "MASQUERADE" not in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout


def test_linux_devices_and_tools(linux):
    """Taps, traffic control, device nodes, mounts, overlays, and every program of the contract."""
    output(linux, "ip tuntap add dev tap9 mode tap multi_queue && tc qdisc add dev tap9 ingress && ip link del tap9")
    output(linux, "mknod /tmp/node c 1 3 && mkdir -p /run/o/l /run/o/u /run/o/w /run/o/m && "
                  "mount -t overlay o -o lowerdir=/run/o/l,upperdir=/run/o/u,workdir=/run/o/w /run/o/m && umount /run/o/m")
    output(linux, "test -r /dev/kvm -a -w /dev/kvm && cat /proc/sys/net/ipv4/ip_forward | grep -q 1")
    output(linux, "command -v qemu-img mkfs.erofs mkfs.ext4 mkfs.vfat skopeo iptables qemu-system-x86_64 /usr/lib/cni/bridge")


def test_real_cloud_hypervisor(lab, tmp_path):
    """A given binary is there instead of the double."""
    binary = tmp_path / "cloud-hypervisor"
    binary.write_text("#!/bin/sh\necho the real one\n", encoding="utf-8")
    host = lab.up("linux5", cloud_hypervisor=str(binary))
    assert output(host, "cloud-hypervisor --version") == "the real one"
    lab.down("linux5")


# What can happen to it


def test_path_stays_inside_the_host(linux):
    """An absolute link inside the host is followed inside the host."""
    output(linux, "echo inside > /run/seen && ln -sfn /run /root/link && mkdir -p /root/a && ln -sfn ../link /root/a/up")
    assert linux.path("/root/a/up/seen").read_text(encoding="utf-8") == "inside\n"
    assert linux.path("/var/run/seen").read_text(encoding="utf-8") == "inside\n"
    linux.path("/etc/from-outside").write_text("x", encoding="utf-8")
    assert output(linux, "cat /etc/from-outside") == "x"
    assert not pathlib.Path("/etc/from-outside").exists()


@pytest.mark.parametrize("hard", [False, True], ids=["asked", "reset"])
@pytest.mark.parametrize("kind", ["linux", "mac"])
def test_reboot(kind, hard, request):
    """Processes die, the boot id changes, run files go, disks stay, sshd is back."""
    host = request.getfixturevalue(kind)
    proc = "/opt/lab-proc" if kind == "mac" else "/proc"
    output(host, "echo kept > ~/kept; sync; echo gone > /tmp/gone; sudo touch /run/gone; (setsid sleep 4711 >/dev/null 2>&1 </dev/null &)")
    assert until(lambda: any("sleep 4711" in line for line in command_lines(host)))
    before = output(host, f"cat {proc}/sys/kernel/random/boot_id")
    host.reboot(hard=hard)
    assert output(host, f"cat {proc}/sys/kernel/random/boot_id") == host.boot_id() != before
    assert output(host, "cat ~/kept; ls /run/gone /tmp/gone 2>/dev/null || true") == "kept"
    assert not any("4711" in line for line in command_lines(host))


def test_reboot_from_inside(linux):
    """shutdown -r as the reboot module does it."""
    before = linux.boot_id()
    linux.run("shutdown -r now")
    assert until(lambda: linux.boot_id() != before)
    linux.wait()
    assert output(linux, "cat /proc/sys/kernel/random/boot_id") != before


def test_power_off_and_on(lab, linux):
    """A host that went off is started again with its disk."""
    output(linux, "echo kept > /root/kept-off")
    linux.run("poweroff")
    assert until(lambda: linux.state() == "off")
    lab.up("linux1")
    assert output(linux, "cat /root/kept-off") == "kept"


def test_freeze_and_thaw(linux):
    """Nothing moves while it is frozen, and all goes on after."""
    linux.freeze()
    try:
        assert linux.state() == "frozen"
        with pytest.raises(subprocess.TimeoutExpired):
            linux.run("true", timeout=1)
    finally:
        linux.thaw()
    assert linux.run("true").returncode == 0


def test_cut_and_join(linux):
    """No packet passes, also after a reboot, until the cable is back."""
    linux.cut()
    try:
        assert linux.state() == "cut"
        with pytest.raises(subprocess.TimeoutExpired):
            linux.run("true", timeout=1)
        linux.reboot()
        assert network.left_over() and linux.state() == "cut"
    finally:
        linux.join()
    linux.wait()
    assert linux.run("true").returncode == 0


def round_trip(host) -> float:
    """Milliseconds, the best of three pings."""
    done = subprocess.run(["ssh", "-F", str(host.ssh()[2]), host.name, "--", f"ping -c3 -i0.2 -q {network.address(1)}"],
                          capture_output=True, text=True, check=True)
    return float(re.search(r"= ([0-9.]+)/", done.stdout)[1])


def test_slow_cable(linux):
    """Delay counts in each direction; a slow rate is slow; off is off."""
    assert round_trip(linux) < 10
    linux.slow(delay=40)
    try:
        assert linux.state() == "slow"
        assert 80 <= round_trip(linux) < 120
        linux.reboot()
        assert 80 <= round_trip(linux) < 120
        linux.slow(rate=4e6)
        before = time.monotonic()
        assert len(linux.run("head -c 1000000 /dev/zero | tr '\\0' x", check=True).stdout) == 1000000
        assert time.monotonic() - before > 1.9
    finally:
        linux.slow()
    assert round_trip(linux) < 10 and linux.state() == "up"


def test_lost_packets(linux):
    """Every second packet in each direction: few pings come back."""
    linux.slow(loss=50)
    try:
        received = 0
        for _attempt in range(20):
            done = subprocess.run(["nsenter", f"--net=/proc/{linux.pid}/ns/net", "--root=" + str(linux.path("/")), "ping", "-c1", "-W0.2",
                                   "-q", network.address(1)], capture_output=True, text=True, check=False)
            received += done.returncode == 0
        assert 0 <= received < 15
    finally:
        linux.slow()
    assert linux.run("true").returncode == 0


def test_full_disk(linux):
    """The small disk fills up, keeps its data over a reboot, and has room again."""
    output(linux, "echo kept > /var/lib/cocoon/kept")
    faults.full_disk(linux)
    assert "No space left on device" in linux.run("head -c 1000000 /dev/zero > /var/lib/cocoon/more").stderr
    linux.reboot()
    assert output(linux, "cat /var/lib/cocoon/kept") == "kept"
    faults.free_disk(linux)
    assert output(linux, "head -c 1000000 /dev/zero > /var/lib/cocoon/more && echo fits") == "fits"


def test_full_disk_refuses_the_controllers_disk(mac):
    """It never fills a disk that is not the host's own."""
    with pytest.raises(LabError, match="small disk"):
        faults.full_disk(mac)
    with pytest.raises(LabError, match="controller's own disk"):
        faults.full_disk(mac, "/Users")


# What is left


def test_up_of_a_running_host_does_nothing(lab, linux):
    """Same processes, same boot."""
    pid, boot = linux.pid, linux.boot_id()
    assert lab.up("linux1").pid == pid
    assert linux.boot_id() == boot


@pytest.mark.parametrize("name", ["", "../x", "-rf", "Linux", "a b", "x" * 50])
def test_bad_names(lab, name):
    """A name becomes a folder and a host name."""
    with pytest.raises(LabError, match="no host name"):
        lab.up(name)


def test_unknown_host_is_an_error_on_the_command_line():
    """One message, exit 1."""
    done = command_line("reboot", "nobody")
    assert done.returncode == 1 and done.stderr.startswith("lab: there is no host nobody")


@pytest.mark.parametrize("victim", ["init", "machine"])
def test_kill_and_up_again(lab, victim):
    """kill -9 of the init or of the machine: everything of the host dies, `up` starts it again."""
    host = lab.up("linux2")
    output(host, "ip netns add x; (setsid sleep 4712 >/dev/null 2>&1 </dev/null &)")
    assert until(lambda: any("sleep 4712" in line for line in command_lines(host)))
    identity = read_json(host.directory / f"{victim}.json")
    os.kill(identity["pid"], signal.SIGKILL)
    assert until(lambda: not cgroup.members("linux2") and host.state() == "off")
    assert output(lab.up("linux2"), "ls /run/netns 2>/dev/null; echo up") == "up"
    lab.down("linux2")
    assert "linux2" not in lab.hosts and "linux2" not in cgroup.left_over() and not host.directory.exists()


@pytest.mark.parametrize("after", [0.05, 0.1, 0.15, 0.2, 0.25, 0.3])
def test_kill_of_the_lab_in_the_middle(lab, after):
    """kill -9 of `lab up` at any moment, then of its machine: the next `up` works, `down` leaves nothing of it."""
    process = subprocess.Popen([sys.executable, "-m", "tests.lab", "up", "linux3"], cwd=paths.REPOSITORY,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(after)
    process.kill()
    process.wait()
    process_identity.kill(read_json(paths.host("linux3") / "machine.json"))
    assert output(lab.up("linux3"), "hostname") == "linux3"
    lab.down("linux3")
    assert "linux3" not in lab.hosts and "linux3" not in cgroup.left_over()


def test_down_leaves_nothing(lab, linux, mac):
    """The last test: all hosts go, some of them in trouble, and no trace stays."""
    busy = lab.up("linux4", small_disk="32M")
    output(busy, "ip netns add a; ip link add b type bridge; (setsid sleep 4713 >/dev/null 2>&1 </dev/null &)")
    linux.freeze()
    mac.slow(delay=5)
    busy.cut()
    assert link.applied(busy.directory)["cut"] and own_processes()
    lab.down_all()
    assert settled_traces() == NOTHING
    lab.down_all()
    assert settled_traces() == NOTHING
