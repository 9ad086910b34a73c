# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated `tart run` as a process: locks, signals, deaths, its control socket (tart contract 4.4, 5, 10.7). No guests, no lab."""

from __future__ import annotations

import fcntl
import os
import pathlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.integration.tart_simulator import DARWIN, Simulator


@pytest.fixture
def tart(tmp_path: pathlib.Path) -> Iterator[Simulator]:
    """A tart with a Linux VM and a macOS VM."""
    its = Simulator(tmp_path)
    its.create("linux", "mac")
    its.edit("mac", **DARWIN)
    yield its
    # Nothing may outlive a test: every run is a child of ours, and every guest a child of a run.
    assert not _guests_of(os.getpid())


def _guests_of(pid: int) -> list[int]:
    text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(word) for word in text.split() if b"/bin/tart" in pathlib.Path(f"/proc/{word}/cmdline").read_bytes()]


def _gone(pid: int) -> bool:
    """Has that process ended within a moment?"""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def _lock_holder(place: pathlib.Path) -> int:
    import struct  # pylint: disable=import-outside-toplevel
    with open(place, "rb+") as file:
        answer = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
    kind, _whence, _start, _length, pid = struct.unpack("hhqqi4x", answer)
    return 0 if kind == fcntl.F_UNLCK else pid


def test_the_process_that_was_started_holds_the_lock(tart: Simulator) -> None:
    """No wrapper in between; a plain boot says nothing."""
    with tart.running("linux") as process:
        assert _lock_holder(tart.vm("linux") / "config.json") == process.pid
        assert tart.json("list")[0]["State"] == "running" and tart.json("list")[0]["Running"] is True
        assert tart("delete", "linux").stderr == 'VM "linux" is running\n'
        again = tart("run", "linux")
        assert (again.returncode, again.stderr) == (2, 'VM "linux" is already running!\n')
        process.kill()
        assert process.communicate() == ("", "")
    assert tart.state("linux") == "stopped"


def test_stop_is_a_clean_end_of_the_process(tart: Simulator) -> None:
    """run ends with 0, since 2.10; the socket stays behind."""
    with tart.running("linux") as process:
        assert tart.ok("stop", "linux") == ""
        assert process.wait(5) == 0 and process.communicate()[0] == "Stopping VM...\n"
    assert (tart.vm("linux") / "control.sock").exists()
    done = tart("stop", "linux")
    assert (done.returncode, done.stderr) == (2, 'VM "linux" is not running\n')


@pytest.mark.parametrize("version,code", [("1.8.0", 2), ("1.8.1", 0), ("2.8.1", 0), ("2.9.0", 2)])
def test_stopping_what_is_stopped_by_version(tart: Simulator, version: str, code: int) -> None:
    """For a while it was no error."""
    tart.configure(version=version)
    assert tart("stop", "linux").returncode == code


def test_stop_before_2_10_made_run_fail(tart: Simulator) -> None:
    """With an error about cancelling."""
    tart.configure(version="2.9.0", expect_socket=False)
    with tart.running("linux") as process:
        tart.ok("stop", "linux")
        assert process.wait(5) == 1 and process.communicate()[1] == "CancellationError()\n"


def test_stop_kills_what_does_not_listen(tart: Simulator) -> None:
    """After its timeout, with 0, without waiting."""
    tart.configure(faults=[{"command": "run", "ignore_sigint": True}])
    with tart.running("linux") as process:
        began = time.monotonic()
        tart.ok("stop", "--timeout", "1", "linux")
        assert 1 <= time.monotonic() - began < 5
        assert process.wait(5) == -signal.SIGKILL


def test_a_slow_stop(tart: Simulator) -> None:
    """stop waits for it."""
    tart.configure(faults=[{"command": "run", "slow_stop": 0.5}])
    with tart.running("linux") as process:
        tart.ok("stop", "linux")
        assert process.wait(1) == 0
    with tart.running("linux") as process:
        tart.ok("stop", "-t", "0", "linux")
        assert process.wait(5) == -signal.SIGKILL


def test_the_power_button(tart: Simulator) -> None:
    """Linux shuts down; macOS shows a dialog and stays."""
    with tart.running("linux") as process:
        process.send_signal(signal.SIGUSR2)
        assert process.wait(5) == 0
        assert process.communicate()[0].splitlines() == ["Requesting guest OS to stop...", "guest has stopped the virtual machine"]
    with tart.running("mac") as process:
        process.send_signal(signal.SIGUSR2)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_other_signals_are_a_power_cut(tart: Simulator, number: signal.Signals) -> None:
    """Default action; the guest goes too and the lock is free."""
    with tart.running("linux") as process:
        guest = int(pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()[0])
        process.send_signal(number)
        assert process.wait(5) == -number
        assert _gone(guest)
    assert tart.state("linux") == "stopped"


def test_the_death_of_the_guest_is_no_failure(tart: Simulator) -> None:
    """0, with a message."""
    with tart.running("linux") as process:
        guest = int(pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()[0])
        os.kill(guest, signal.SIGKILL)
        assert process.wait(5) == 0
        assert process.communicate()[0].startswith("guest has stopped the virtual machine due to error: ")


def test_suspending(tart: Simulator) -> None:
    """Returns at once; the state is kept, resumed and discarded."""
    with tart.running("mac", "--suspendable") as process:
        assert tart.ok("suspend", "mac") == ""
        assert process.wait(5) == 0
        assert process.communicate()[0].splitlines() == [
            "pausing VM to take a snapshot...", "creating a snapshot...", "snapshot created successfully! shutting down the VM..."]
    assert tart.state("mac") == "suspended"
    (tart.vm("mac") / "control.sock").unlink()
    done = tart("run", "mac", "--no-keyboard")
    assert done.returncode == 64 and done.stderr.startswith("Error: --no-keyboard cannot be used with --suspendable\nUsage: tart run ")
    with tart.running("mac") as process:
        assert not (tart.vm("mac") / "state.vzvmsave").exists()
        tart.ok("suspend", "mac")
        assert process.communicate()[0].startswith("restoring VM state from a snapshot...\nresuming VM...\n")
    assert tart.ok("stop", "mac") == ""
    assert tart.state("mac") == "stopped"


def test_suspending_what_is_not_suspendable_kills_it(tart: Simulator) -> None:
    """suspend says 0, run says 1."""
    with tart.running("mac") as process:
        tart.ok("suspend", "mac")
        assert process.wait(5) == 1
        assert process.communicate()[1].startswith("Failed to suspend the VM: Invalid virtual machine configuration.")
    assert tart.state("mac") == "stopped"


def test_a_state_that_cannot_be_restored_stays(tart: Simulator) -> None:
    """Until stop discards it."""
    (tart.vm("mac") / "state.vzvmsave").write_bytes(b"")
    done = tart("run", "mac")
    assert done.returncode == 1 and done.stderr.startswith("Error Domain=VZErrorDomain Code=12")
    assert tart.state("mac") == "suspended"
    tart.ok("stop", "mac")
    assert tart.state("mac") == "stopped"


def test_two_macos_guests_per_host(tart: Simulator) -> None:
    """The third fails, also when the others are in another home; Linux guests do not count."""
    tart.ok("clone", "mac", "mac2")
    tart.ok("clone", "mac", "mac3")
    with tart.running("mac"), tart.running("mac2"), tart.running("linux"):
        done = tart("run", "mac3")
        assert done.returncode == 1
        assert done.stderr == "The number of VMs exceeds the system limit (other running VMs: linux, mac, mac2)\n"
        other = tart.folder / "other-home"
        tart.ok("create", "--linux", "x", TART_HOME=str(other))
        (other / "vms/x/config.json").write_bytes((tart.vm("mac3") / "config.json").read_bytes())
        assert tart("run", "x", TART_HOME=str(other)).stderr == "The number of VMs exceeds the system limit\n"
    with tart.running("mac3"):
        pass


def test_macos_guests_need_a_keychain(tart: Simulator) -> None:
    """Linux guests do not."""
    tart.configure(keychain="locked")
    done = tart("run", "mac")
    assert done.returncode == 1 and done.stderr.startswith('Error Domain=VZErrorDomain Code=1 "The virtual machine failed to start."')
    with tart.running("linux"):
        pass


def test_a_clashing_mac_is_replaced_at_the_start(tart: Simulator) -> None:
    """Two lines on stdout, a new address, no saved state."""
    tart.edit("mac", macAddress=tart.config("linux")["macAddress"])
    (tart.vm("mac") / "state.vzvmsave").write_text("state", encoding="utf-8")
    with tart.running("linux"), tart.running("mac") as process:
        process.kill()
        assert process.communicate()[0].splitlines()[:2] == [
            "There is already a running VM with the same MAC address!", "Resetting VM to assign a new MAC address..."]
    assert tart.config("mac")["macAddress"] != tart.config("linux")["macAddress"]


def test_run_and_clone_wait_for_the_global_lock(tart: Simulator) -> None:
    """Without a limit; SIGINT is lost meanwhile. Listing does not wait."""
    descriptor = os.open(tart.home, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    process = tart.start("linux")
    with subprocess.Popen([str(tart.program), "clone", "linux", "copy"], env=tart.environment()) as clone:
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        assert tart.state("linux") == "stopped" and process.poll() is None and clone.poll() is None
        os.close(descriptor)
        assert clone.wait(5) == 0
    tart.wait_for("linux", "running", process)
    process.kill()
    process.communicate()


def test_replacing_the_configuration_hides_a_running_vm(tart: Simulator) -> None:
    """Rewriting in place does not; clone onto a running VM does."""
    with tart.running("linux"):
        tart.ok("set", "linux", "--cpu", "1")
        assert tart.state("linux") == "running"
        tart.ok("clone", "mac", "linux")
        assert tart.state("linux") == "stopped"


@pytest.mark.parametrize("version,runs,says", [
    ("2.30.5", True, ""), ("2.32.1", True, ""), ("2.33.0", True, "Failed to run control socket: "), ("2.36.0", False, ""),
])
def test_the_stale_socket(tart: Simulator, version: str, runs: bool, says: str) -> None:
    """Left by the run before: harmless, then silent, then told, then fatal."""
    tart.configure(version=version, agent=True, leases=str(tart.folder / "leases"))
    (tart.folder / "leases").write_text(tart.lease("linux", "192.168.64.7"), encoding="utf-8")
    with tart.running("linux"):
        assert tart.ok("ip", "--resolver", "agent", "linux") == "192.168.64.7\n"
    process = tart.start("linux")
    if not runs:
        assert process.communicate(timeout=5)[1] == "bind(descriptor:ptr:bytes:): Address already in use) (errno: 48)\n"
        assert process.returncode == 1
        (tart.vm("linux") / "control.sock").unlink()
        with tart.running("linux"):
            tart.ok("ip", "--resolver", "agent", "linux")
        return
    tart.wait_for("linux", "running", process)
    time.sleep(0.2)
    answers = tart("ip", "--resolver", "agent", "linux").returncode == 0
    assert answers is (version == "2.30.5")
    process.kill()
    assert process.communicate()[0].startswith(says)


def test_the_agent(tart: Simulator) -> None:
    """Absent: not yet. An error that it reports: the end of the waiting."""
    with tart.running("linux"):
        assert tart("ip", "--resolver", "agent", "linux").stderr.startswith("no IP address found (also make sure")
        tart.configure(agent="error")
        began = time.monotonic()
        done = tart("ip", "--resolver", "agent", "--wait", "20", "linux")
        assert (done.returncode, done.stderr) == (1, "Error: unknown (2): cannot resolve VM's IP address\n")
        assert time.monotonic() - began < 5


def test_exec(tart: Simulator) -> None:
    """Codes and streams pass through; everything after the name belongs to the guest."""
    with tart.running("linux"):
        done = tart("exec", "linux", "true")
        assert done.returncode == 1
        assert done.stderr == ("Failed to connect to the VM using its control socket: The operation couldn\u2019t be completed. "
                               "(GRPC.GRPCConnectionPoolError error 1.), is the Tart Guest Agent running?\n")
        tart.configure(agent=["linux"])
        done = tart("exec", "linux", "sh", "-c", "echo out; echo err >&2; exit 7")
        assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
        assert tart("exec", "linux", "echo", "--help", "-t").stdout == "--help -t\n"
        assert tart("exec", "linux", "cat", stdin="x").stdout == ""
        assert tart("exec", "-i", "linux", "cat", stdin="x").stdout == "x"
        assert tart("exec", "linux", "sh", "-c", "kill -9 $$").returncode == 255
        done = tart("exec", "linux", "--", "true")
        assert (done.returncode, done.stderr) == (1, 'Error: unknown (2): exec: "--": executable file not found in $PATH\n')
        assert tart("exec", "-t", "linux", "true").returncode == -signal.SIGTRAP
        tart.configure(version="2.28.2")
        assert tart("exec", "linux", "true").returncode == -signal.SIGTRAP


def test_ip_text_of_a_running_vm(tart: Simulator) -> None:
    """The question whether it runs is left out."""
    with tart.running("linux"):
        assert tart("ip", "linux").stderr == "no IP address found\n"


def test_a_lost_lease(tart: Simulator) -> None:
    """The fault hides the address that is there."""
    (tart.folder / "leases").write_text(tart.lease("linux", "192.168.64.7"), encoding="utf-8")
    assert tart.ok("ip", "linux") == "192.168.64.7\n"
    tart.configure(faults=[{"command": "ip", "no_lease": True}])
    assert tart("ip", "linux").returncode == 1


def test_dying_early(tart: Simulator) -> None:
    """At once or after a while, with a text and a code."""
    tart.configure(faults=[{"command": "run", "preset": "vz"}])
    done = tart("run", "linux")
    assert done.returncode == 1 and "VZErrorDomain" in done.stderr
    tart.configure(faults=[{"command": "run", "die_after": 0.3, "stderr": "died", "exit": 3}])
    with tart.running("linux") as process:
        assert process.wait(5) == 3 and process.communicate()[1] == "died\n"
    assert tart.state("linux") == "stopped"


def test_softnet(tart: Simulator) -> None:
    """Found in PATH only; needs root; its death is the end."""
    program = tart.program.parent / "softnet"
    program.write_text('#!/bin/sh\necho "$@" >"$0.args"\nwhile read -r line; do :; done\n', encoding="utf-8")
    program.chmod(0o755)
    with tart.running("linux", "--net-softnet-allow=10.0.0.0/8") as process:
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
        softnet = next(pid for pid in children if b"softnet" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())
        assert (tart.program.parent / "softnet.args").read_text(encoding="utf-8").split() == [
            "--vm-fd", "0", "--vm-mac-address", tart.config("linux")["macAddress"], "--allow", "10.0.0.0/8"]
        os.kill(int(softnet), signal.SIGKILL)
        assert process.wait(5) == 1
        assert process.communicate()[1] == 'RuntimeFailed(why: "Softnet process terminated prematurely")\n'
    tart.configure(softnet="no-root")
    done = tart("run", "linux", "--net-host")
    assert (done.returncode, done.stderr.splitlines()) == (1, [
        "root privileges are required to run and passwordless sudo was not available",
        'RuntimeFailed(why: "Softnet process terminated prematurely")'])
    tart.configure(softnet="missing")
    assert tart("run", "linux", "--net-softnet").stderr == 'Error: InitializationFailed(why: "softnet not found in PATH")\n'
    done = tart("run", "linux", "--net-softnet", PATH="/usr/bin:/bin")
    assert done.returncode == 1
    tart.configure(version="2.34.0", softnet="works")
    assert tart("run", "linux", "--net-softnet-control-fd", "2").stderr == (
        'Error: InitializationFailed(why: "Softnet control file descriptor must be greater than 2")\n')


def test_vnc(tart: Simulator) -> None:
    """The address of the guest, or a URL with a password."""
    (tart.folder / "leases").write_text(tart.lease("linux", "192.168.64.7"), encoding="utf-8")
    with tart.running("linux", "--vnc") as process:
        process.kill()
        assert process.communicate()[0] == "VNC server is running at vnc://192.168.64.7\n"
    tart.configure(vnc_patience=1)
    (tart.folder / "leases").unlink()
    done = tart("run", "linux", "--vnc")
    assert (done.returncode, done.stderr) == (1, "IPNotFound()\n")


def test_more_than_the_host_has(tart: Simulator) -> None:
    """Only found out by run."""
    tart.ok("set", "linux", "--cpu", "64")
    assert 'Code=2 "Invalid virtual machine configuration.' in tart("run", "linux").stderr
    tart.ok("set", "linux", "--cpu", "1")
    tart.edit("linux", arch="amd64")
    assert tart("run", "linux").stderr == "Error: UnsupportedArchitectureError()\n"


def test_nothing_is_read_from_stdin_and_the_socket_is_a_socket(tart: Simulator) -> None:
    """A driver may close both."""
    with tart.running("linux") as process:
        assert (tart.vm("linux") / "control.sock").is_socket()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tart.vm("linux") / "control.sock"))
            client.sendall(b"no question\n")
            assert client.recv(10) == b""
        assert process.poll() is None
        assert os.readlink(f"/proc/{process.pid}/cwd") == str(tart.vm("linux"))
