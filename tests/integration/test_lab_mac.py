# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's Mac: its disguise, the stand-ins of its tools, and a real guest under its simulated tart."""

from __future__ import annotations

import calendar
import json
import re
import shlex
import time
from collections.abc import Iterator

import pytest

from tests.integration.controller import Ansible
from tests.lab import Host, registry as lab_registry

TART = "/opt/homebrew/bin/tart"
START = """
import os, sys
if os.fork() == 0:
    os.setsid()
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number, source in ((0, os.open("/dev/null", os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(source, number)
    os.environ["PATH"] += ":/opt/homebrew/bin"
    os.execv("/opt/homebrew/bin/tart", ["tart", "run", "--no-graphics"] + sys.argv[2:])
print(os.getpid())
"""
LOCKS = """
import fcntl, os, struct, sys
def ask(path):
    with open(path, "rb+") as file:
        answer = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack("=qqihh", 0, 0, 0, fcntl.F_WRLCK, 0))
    return struct.unpack("=qqihh", answer)
open("/tmp/lock-me", "w").close()
free = ask("/tmp/lock-me")
ready, done = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    held = open("/tmp/lock-me", "rb+")
    fcntl.lockf(held, fcntl.LOCK_EX)
    os.write(ready[1], b"1")
    os.read(done[0], 1)
    os._exit(0)
os.read(ready[0], 1)
taken = ask("/tmp/lock-me")
os.write(done[1], b"1")
os.waitpid(pid, 0)
print(free == (0, 0, 0, 2, 0), taken == (0, 0, pid, 3, 0), fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW)
"""


def _python(mac: Host, code: str, *words: str) -> str:
    return mac.run("python3 - " + " ".join(map(shlex.quote, words)), stdin=code, check=True).stdout.strip()


def _tart(mac: Host, *words: str, timeout: float = 120) -> str:
    return mac.run("CI=1 " + " ".join(map(shlex.quote, (TART, *words))), check=True, timeout=timeout).stdout.strip()


# The disguise


def test_python_believes_in_a_mac(mac: Host) -> None:
    """And keeps no name that only Linux has."""
    code = ("import os, platform, select, signal, sys\n"
            "print(sys.platform, platform.system(), platform.machine(), platform.mac_ver()[0], platform.python_version()[:3])\n"
            "names = 'pidfd_open sched_getaffinity memfd_create pipe2 getxattr'.split()\n"
            "print([name for name in names if hasattr(os, name)], hasattr(signal, 'pidfd_send_signal'), hasattr(select, 'epoll'))\n"
            "print(os.path.exists('/proc'), 'mac' in sys.modules, sys.pycache_prefix)\n")
    assert _python(mac, code).splitlines() == ["darwin Darwin arm64 26.1 3.9", "[] False False", "False False None"]


def test_record_locks_have_darwins_layout(mac: Host) -> None:
    """24 bytes, other numbers, the PID of the holder."""
    assert _python(mac, LOCKS) == "True True 7 8 9"


def test_locks_in_linuxs_layout_do_not_work(mac: Host) -> None:
    """Code that was only tried on Linux has to fail here."""
    code = ("import fcntl, struct\nopen('/tmp/lock-me', 'w').close()\n"
            "with open('/tmp/lock-me', 'rb+') as file:\n"
            "    try:\n        fcntl.fcntl(file, 5, struct.pack('hhqqi4x', 1, 0, 0, 0, 0))\n"
            "        print(struct.unpack('hhqqi4x', fcntl.fcntl(file, fcntl.F_GETLK, struct.pack('hhqqi4x', 1, 0, 0, 0, 0))))\n"
            "    except OSError as error:\n        print(error.errno)\n")
    assert _python(mac, code) == "22"


def test_the_standard_library_still_imports(mac: Host) -> None:
    """Its modules look at the platform when they are imported."""
    code = ("import asyncio, ctypes.util, multiprocessing, plistlib, shutil, ssl, subprocess, sysconfig, tempfile, urllib.request, uuid\n"
            "print(sysconfig.get_platform(), multiprocessing.get_start_method(), urllib.request.getproxies())\n"
            "print(subprocess.run(['echo', 'x'], capture_output=True, text=True).stdout, end='')\n")
    assert _python(mac, code) == "macosx-26.1-arm64 spawn {}\nx"


def test_ansible_gathers_the_facts_of_a_mac(ansible: Ansible, mac: Host) -> None:
    """All subsets, by Ansible's own modules."""
    facts = ansible.adhoc(mac.name, "ansible.builtin.setup").on(mac.name)["ansible_facts"]
    wanted = {"ansible_system": "Darwin", "ansible_os_family": "Darwin", "ansible_distribution": "MacOSX", "ansible_architecture": "arm64",
              "ansible_service_mgr": "launchd", "ansible_processor": "Apple M4", "ansible_user_id": "admin"}
    assert {key: facts.get(key) for key in wanted} == wanted
    assert facts["ansible_memtotal_mb"] > 100 and facts["ansible_uptime_seconds"] >= 0
    assert facts["ansible_default_ipv4"]["address"] == mac.address
    assert facts["ansible_bridge100"]["ipv4"][0]["address"] == "192.168.64.1"


def test_ansible_copies_and_becomes(ansible: Ansible, mac: Host) -> None:
    """File modules and sudo work."""
    mac.run("rm -f /tmp/copied")
    for changed in (True, False):
        run = ansible.adhoc(mac.name, "ansible.builtin.copy", {"content": "x", "dest": "/tmp/copied", "mode": "0600"})
        assert run.on(mac.name)["changed"] is changed
    assert ansible.adhoc(mac.name, "ansible.builtin.command", {"argv": ["sudo", "-n", "id", "-u"]}).on(mac.name)["stdout"] == "0"


# The tools


@pytest.mark.parametrize("command,expected", [
    ("uname -sm", "Darwin arm64"),
    ("uname", "Darwin"),
    ("sw_vers -productVersion", "26.1"),
    ("sysctl -n hw.model machdep.cpu.brand_string", "Mac16,10\nApple M4"),
    ("sysctl hw.machine", "hw.machine: arm64"),
    ("stat -f %Su:%Mp%Lp /tmp", "root:1777"),
    ("stat -Lf '%Su %z' /etc/hostname", "root \\d+"),
    ("stat -c %a /tmp", "1777"),
    ("stat -f %Su /dev/console", "admin"),
    ("ulimit -n", "256"),
    ("launchctl print gui/501 | grep session", "\tsession = Aqua"),
    ("dscl . -read /Users/admin UniqueID", "UniqueID: 501"),
    ("fdesetup status", "FileVault is Off."),
    ("networksetup -listallhardwareports | grep -A1 Ethernet$", "Hardware Port: Ethernet\nDevice: en0"),
    ("ps -p 1 -o pid= -o ppid=", "    1     0"),
    ("ps -p 99999 -o pid=; echo $?", "1"),
    ("df -k / | tail -1 | grep -o '% /$'", "% /"),
    ("command -v tart || echo none", "none"),
    ("ps --version >/dev/null 2>&1; echo $?", "1"),
    ("sysctl -n no.such.name 2>&1", "sysctl: unknown oid 'no.such.name'"),
])
def test_stand_ins(mac: Host, command: str, expected: str) -> None:
    """They answer as a Mac's do, as far as they are used."""
    assert re.fullmatch(expected, mac.run(command).stdout.rstrip("\n")), mac.run(command)


def test_ps_shows_start_times_and_what_was_executed(mac: Host) -> None:
    """The product tells processes apart by them."""
    found = mac.run("sleep 77 & ps -axww -o pid=,lstart=,command= | grep 'sleep 7[7]'; kill $!").stdout.splitlines()
    match = re.fullmatch(r" *(\d+) (\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4})     sleep 77", found[-1])
    assert match, found
    # Hosts have no time zone of their own.
    assert abs(time.time() - calendar.timegm(time.strptime(match[2]))) < 10


def test_the_boot_is_the_labs(mac: Host) -> None:
    """Not the kernel's: it changes with a reboot of the host."""
    shown = mac.run("sysctl -n kern.bootsessionuuid kern.boottime").stdout.splitlines()
    assert shown[0] == mac.boot_id().upper()
    assert re.fullmatch(r"\{ sec = \d+, usec = \d+ \} \w{3} \w{3} .*", shown[1])


def test_property_lists(mac: Host) -> None:
    """defaults writes what it reads."""
    domain = "/tmp/com.example.lab"
    mac.run(f"defaults write {domain} bootpd -dict DHCPLeaseTimeSecs -int 600; defaults write {domain} name 'a b'", check=True)
    assert mac.run(f"defaults read {domain} bootpd").stdout == "{\n    DHCPLeaseTimeSecs = 600;\n}\n"
    assert mac.run(f"defaults read {domain} name").stdout == "a b\n"
    assert mac.run(f"defaults read {domain} none").returncode == 1
    mac.run(f"defaults delete {domain}", check=True)
    assert mac.run(f"defaults read {domain}").returncode == 1


def test_launchd(mac: Host) -> None:
    """bootstrap, print, kickstart, bootout; a plist that is there twice is refused; no graphical session is 125."""
    plist = {"Label": "lab.test", "ProgramArguments": ["/bin/sleep", "1000"], "RunAtLoad": True}
    code = f"import plistlib\nplistlib.dump({plist!r}, open('/tmp/lab.test.plist', 'wb'))\n"
    _python(mac, code)
    assert mac.run("launchctl bootstrap gui/501 /tmp/lab.test.plist").returncode == 0
    assert mac.run("launchctl bootstrap gui/501 /tmp/lab.test.plist").returncode == 5
    shown = mac.run("launchctl print gui/501/lab.test").stdout
    pid = re.search(r"pid = (\d+)", shown)
    assert "state = running" in shown and pid
    assert mac.run(f"ps -p {pid[1]} -o command=").stdout == "/bin/sleep 1000\n"
    assert mac.run("launchctl kickstart -k gui/501/lab.test").returncode == 0
    assert f"pid = {pid[1]}\n" not in mac.run("launchctl print gui/501/lab.test").stdout
    assert mac.run("launchctl bootout gui/501/lab.test").returncode == 0
    assert mac.run("launchctl print gui/501/lab.test").returncode == 113
    try:
        mac.run("echo '{\"aqua\": false}' | sudo tee /etc/lab/mac.json", check=True)
        done = mac.run("launchctl bootstrap gui/501 /tmp/lab.test.plist")
        assert (done.returncode, done.stderr) == (125, "Bootstrap failed: 125: Domain does not support specified action\n")
    finally:
        mac.run("sudo rm -f /etc/lab/mac.json")


# A guest


@pytest.fixture(scope="module")
def image(mac: Host, registry: Host) -> str:  # pylint: disable=unused-argument
    """The lab's tart image, pulled from the lab's registry."""
    name = f"{lab_registry.address()}/lab/tart-guest:1"
    _tart(mac, "pull", "--insecure", name)
    return name


@pytest.fixture
def guest(mac: Host, image: str) -> Iterator[str]:
    """A stopped VM; whatever runs of it afterwards is killed."""
    name = "simulated"
    _tart(mac, "clone", image, name)
    # The first clone keeps the image's address, and with it an earlier test's lease.
    _tart(mac, "set", name, "--random-mac")
    yield name
    mac.run(f"{TART} stop --timeout 0 {name}; sleep 0.2; {TART} delete {name}")


def _start(mac: Host, name: str, *options: str) -> None:
    _python(mac, START, "/tmp/simulated.log", name, *options)


def _run_pid(mac: Host, name: str) -> int:
    found = [line.split(None, 1) for line in mac.run("ps -axww -o pid=,command=").stdout.splitlines()]
    pids = [int(pid) for pid, command in found if re.search(rf"/MacOS/tart run --no-graphics {name}\b", command)]
    assert len(pids) == 1, found
    return pids[0]


def _virtual_machines(mac: Host) -> int:
    return mac.run("ps -axww -o command=").stdout.count("com.apple.Virtualization.VirtualMachine.xpc")


def _wait_until_stopped(mac: Host, name: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while json.loads(_tart(mac, "get", name, "--format", "json"))["State"] != "stopped":
        assert time.monotonic() < deadline, mac.run("cat /tmp/simulated.log").stdout
        time.sleep(0.2)


def test_a_guest_boots_gets_a_lease_and_obeys_its_power_button(mac: Host, guest: str) -> None:
    """SSH into it, its lease in Apple's format, its entry in arp, then a clean shutdown."""
    _start(mac, guest)
    address = _tart(mac, "ip", guest, "--wait", "60")
    assert address.startswith("192.168.64.")
    mac_address = ":".join(f"{int(part, 16):x}" for part in json.loads(
        mac.run(f"cat .tart/vms/{guest}/config.json").stdout)["macAddress"].split(":"))
    leases = mac.run("cat /var/db/dhcpd_leases").stdout
    block = rf"\{{\n\tname=\S+\n\tip_address={address}\n\thw_address=1,{mac_address}\n\tidentifier=1,{mac_address}\n\tlease=0x[0-9a-f]+\n\}}"
    assert re.search(block, leases), leases
    login = "sshpass -p admin ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=20 admin@"
    deadline = time.monotonic() + 30
    while mac.run(f"{login}{address} uname").stdout != "Linux\n":
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert f"? ({address}) at {mac_address} on bridge100 ifscope [bridge]\n" in mac.run("arp -an").stdout
    assert _tart(mac, "ip", guest, "--resolver", "arp") == address
    mac.run(f"kill -USR2 {_run_pid(mac, guest)}", check=True)
    _wait_until_stopped(mac, guest)
    assert mac.run("cat /tmp/simulated.log").stdout == "Requesting guest OS to stop...\nguest has stopped the virtual machine\n"


def test_guest_and_run_die_together(mac: Host, guest: str) -> None:
    """Whichever goes first."""
    before = _virtual_machines(mac)
    _start(mac, guest)
    pid = _run_pid(mac, guest)
    deadline = time.monotonic() + 10
    while _virtual_machines(mac) == before:
        assert time.monotonic() < deadline
    mac.run(f"kill -9 {pid}", check=True)
    _wait_until_stopped(mac, guest)
    assert _virtual_machines(mac) == before
    _start(mac, guest)
    pid = _run_pid(mac, guest)
    while _virtual_machines(mac) == before:
        assert time.monotonic() < deadline + 10
    child = mac.run(f"ps -axww -o pid=,ppid= | awk '$2 == {pid} {{print $1}}'").stdout.strip()
    mac.run(f"kill -9 {child}", check=True)
    _wait_until_stopped(mac, guest)
    assert mac.run("cat /tmp/simulated.log").stdout.startswith("guest has stopped the virtual machine due to error: ")


def test_a_bridged_guest_is_on_the_labs_network(mac: Host, guest: str) -> None:
    """No lease file knows it; arp does, under the name of the interface, once it has talked."""
    _start(mac, guest, "--net-bridged=en0")
    deadline = time.monotonic() + 60
    while mac.run(f"{TART} ip {guest} --resolver arp").returncode:
        assert time.monotonic() < deadline, mac.run("arp -an; cat /tmp/simulated.log").stdout
    address = _tart(mac, "ip", guest, "--resolver", "arp")
    assert address.rpartition(".")[0] == mac.address.rpartition(".")[0]
    assert re.search(rf"\({address}\) at \S+ on en0 ifscope \[ethernet\]", mac.run("arp -an").stdout)
    assert mac.run(f"{TART} ip {guest}").returncode == 1
    _tart(mac, "stop", guest)
    _wait_until_stopped(mac, guest)


def test_softnet_keeps_a_guest_company(mac: Host, guest: str) -> None:
    """Found in Homebrew's folder when that is in PATH; its arguments are to be seen."""
    _start(mac, guest, "--net-softnet")
    assert _tart(mac, "ip", guest, "--wait", "60").startswith("192.168.64.")
    assert "/opt/homebrew/bin/softnet --vm-fd 0 --vm-mac-address " in mac.run("ps -axww -o command=").stdout
    done = mac.run(f"{TART} run {guest} --net-softnet")
    assert done.stderr.startswith("Error: InitializationFailed"), "not in the PATH of non-login shells"
    _tart(mac, "stop", guest)
    _wait_until_stopped(mac, guest)
    assert "softnet --vm-fd" not in mac.run("ps -axww -o command=").stdout


def test_exec_runs_in_the_guest(mac: Host, guest: str) -> None:
    """When the switches say that it has an agent."""
    try:
        mac.run("echo '{\"agent\": true}' | sudo tee /etc/lab/tart.json", check=True)
        _start(mac, guest)
        _tart(mac, "ip", guest, "--wait", "60")
        assert _tart(mac, "exec", guest, "uname", "-s") == "Linux"
        done = mac.run(f"{TART} exec {guest} sh -c 'echo err >&2; exit 7'")
        assert (done.returncode, done.stdout, done.stderr) == (7, "", "err\n")
        assert _tart(mac, "ip", guest, "--resolver", "agent") == _tart(mac, "ip", guest)
    finally:
        mac.run("echo '{}' | sudo tee /etc/lab/tart.json")


def test_another_user_sees_nothing_running(mac: Host, guest: str) -> None:
    """Without the right to write, the lock cannot be asked for, and opening fails."""
    mac.run("chmod 755 .tart .tart/vms", check=True)
    _start(mac, guest)
    _tart(mac, "ip", guest, "--wait", "60")
    other = f"sudo -u nobody env TART_HOME=/Users/admin/.tart {TART}"
    assert '"State" : "stopped"' in mac.run(f"{other} list --source local --format json").stdout
    done = mac.run(f"{other} get {guest}")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "utimes(2) failed: Operation not permitted")


def test_after_a_reboot(mac: Host, guest: str) -> None:
    """The guest had a power cut; leases and VMs are there, networks and tools work again."""
    _start(mac, guest)
    address = _tart(mac, "ip", guest, "--wait", "60")
    session = mac.run("sysctl -n kern.bootsessionuuid").stdout
    mac.reboot()
    assert mac.run("sysctl -n kern.bootsessionuuid").stdout != session
    assert json.loads(_tart(mac, "get", guest, "--format", "json"))["State"] == "stopped"
    assert _tart(mac, "ip", guest) == address, "a lease of the boot before is still believed"
    mac.run(f"rm -f .tart/vms/{guest}/control.sock", check=True)
    _start(mac, guest)
    assert _tart(mac, "ip", guest, "--wait", "60").startswith("192.168.64.")
    login = "sshpass -p admin ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=20 admin@"
    deadline = time.monotonic() + 60
    while mac.run(f"{login}{_tart(mac, 'ip', guest)} uname").stdout != "Linux\n":
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_listing_is_quick_on_the_mac(mac: Host, image: str) -> None:  # pylint: disable=unused-argument
    """A hundred VMs, Debian's Python 3.9; processor time, as the machine may be busy."""
    made = f"mkdir -p /tmp/hundred; export TART_HOME=/tmp/hundred; {TART} create --linux --disk-size 1 v0 && cd /tmp/hundred/vms && " \
           "for i in $(seq 99); do cp -r v0 v$i; done"
    mac.run(made, check=True)
    code = ("import os, resource, subprocess\nos.environ['TART_HOME'] = '/tmp/hundred'\ntimes = [0.0]\nfor call in range(15):\n"
            f"    subprocess.run(['{TART}', 'list', '--format', 'json'], stdout=subprocess.DEVNULL, check=True)\n"
            "    used = resource.getrusage(resource.RUSAGE_CHILDREN)\n    times.append(used.ru_utime + used.ru_stime)\n"
            "print(min(after - before for before, after in zip(times, times[1:])))\n")
    assert float(_python(mac, code)) < 0.05
    mac.run("rm -rf /tmp/hundred", check=True)
