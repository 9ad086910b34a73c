# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running VM: starts the guest, answers signals, ends with it (tart contract 5)."""
from __future__ import annotations

import _signal
import fcntl
import os
import select
import tempfile
import time

from . import console, control, devices, hypervisor, settings, softnet, vmdir
from .errors import RuntimeFailure

_START_FAILURE = ('Error Domain=VZErrorDomain Code=1 "The virtual machine failed to start." UserInfo={{NSLocalizedFailure=Internal '
                  "Virtualization error., NSLocalizedFailureReason=The virtual machine failed to start.{more}}}")
_UNSAVABLE = ("Failed to suspend the VM: Invalid virtual machine configuration. The virtual machine configuration does not support "
              "save and restore.")
_RESTORE_FAILURE = ('Error Domain=VZErrorDomain Code=12 "The virtual machine failed to restore from the saved state." '
                    "UserInfo={NSLocalizedFailure=Invalid virtual machine state.}")


class Machine:
    """One guest's life."""

    def __init__(self, found: vmdir.VMDir, config: dict, plan: devices.Plan, switches: settings.Settings, fault: dict) -> None:
        self.found, self.config, self.plan, self.switches, self.fault = found, config, plan, switches, fault
        self.errors = tempfile.TemporaryFile()
        self.control = control.Server(self)
        self.softnet: softnet.Process | None = None
        self.guest: hypervisor.Qemu | hypervisor.Pretended | None = None
        self.stopping = False
        self.slot = -1

    def run(self) -> int:
        """Until the guest is gone; the exit code. Errors in here have no prefix."""
        wake, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        for number in (_signal.SIGINT, _signal.SIGUSR1, _signal.SIGUSR2, _signal.SIGCHLD):
            _signal.signal(number, lambda *_: None)
        _signal.set_wakeup_fd(wake_write)
        try:
            self._start()
        except (softnet.Failed, RuntimeFailure) as error:
            console.err(str(error))
            self._kill_guest()
            return 1
        return self._watch(wake)

    def _start(self) -> None:
        if "die_after" in self.fault and float(self.fault["die_after"]) == 0:
            raise _Failure(str(self.fault.get("stderr", _START_FAILURE.format(more=""))))
        if self.config["os"] == "darwin":
            self._claim_slot()
            if self.switches["keychain"] != "unlocked":
                raise _Failure(_START_FAILURE.format(more=""))
        if self.plan.softnet:
            self.softnet = softnet.Process(self.plan.softnet, self.switches)
        state = self.found.file("state.vzvmsave")
        restoring = os.path.exists(state)
        if restoring:
            console.out("restoring VM state from a snapshot...")
            if os.path.getsize(state) == 0:
                raise _Failure(_RESTORE_FAILURE)
        if self.switches["guest"] == "qemu":
            self.guest = hypervisor.Qemu(self.found, self.config, self.plan, self.switches, self.fault, self.errors.fileno())
        else:
            self.guest = hypervisor.Pretended(self.errors.fileno())
        if not self.guest.started:
            os.waitpid(self.guest.pid, 0)
            raise _Failure(_START_FAILURE.format(more=f", NSUnderlyingError={self._last_words()!r}"))
        if restoring:
            os.unlink(state)
            console.out("resuming VM...")
        self._say_consoles()
        self.control.start()

    def _last_words(self) -> str:
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace").strip()[-500:]

    def _claim_slot(self) -> None:
        """Two macOS guests on a host, whoever runs them: the kernel frees the slot with the process."""
        folder = os.path.join(str(self.switches["run_directory"]), "darwin-guests")
        os.makedirs(folder, exist_ok=True)
        for number in (0, 1):
            place = os.path.join(folder, str(number))
            try:
                slot = os.open(place, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
                fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.slot = slot
                return
            except BlockingIOError:
                os.close(slot)
        others = sorted(other.name for other in vmdir.all_local() if other.name != self.found.name and other.running())
        hint = f" (other running VMs: {', '.join(others)})" if others and self.switches.since("2.18.1") else ""
        raise _Failure(f"The number of VMs exceeds the system limit{hint}")

    def _say_consoles(self) -> None:
        assert self.guest is not None
        if self.plan.serial == "new":
            console.out(f"Successfully open pty {self.guest.terminal()}")
        if not self.plan.vnc:
            return
        if self.plan.vnc == "guest":
            url = f"vnc://{self._wait_for_address()}"
        else:
            words = "-".join(_WORDS[byte % len(_WORDS)] for byte in os.urandom(4))
            url = f"vnc://:{words}@127.0.0.1:{self.guest.vnc_port()}"
        if self.plan.quiet or "CI" in os.environ:
            console.out(f"VNC server is running at {url}")
        else:
            console.out(f"Opening {url}...")

    def _wait_for_address(self) -> str:
        from .commands import address  # pylint: disable=import-outside-toplevel
        resolver = address.arp if self.plan.bridged else address.dhcp
        for _second in range(int(str(self.switches.values.get("vnc_patience", 60)))):
            found = resolver(self.config["macAddress"], self.switches)
            if found:
                return found
            time.sleep(1)
        raise _Failure("IPNotFound()")

    def _watch(self, wake: int) -> int:
        deadline = time.monotonic() + float(self.fault["die_after"]) if "die_after" in self.fault else None
        while True:
            code = self._check_children()
            if code is not None:
                return code
            patience = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = select.select([wake] + self.control.descriptors(), [], [], patience)[0]
            if deadline is not None and time.monotonic() >= deadline:
                console.err(str(self.fault.get("stderr", "Fatal error")))
                self._kill_guest()
                return int(self.fault.get("exit", 1))
            if wake in ready:
                for number in os.read(wake, 64):
                    code = self._signal(number)
                    if code is not None:
                        return code
            self.control.serve(ready)

    def _check_children(self) -> int | None:
        """Has the guest or Softnet ended?"""
        assert self.guest is not None
        pid, status = os.waitpid(self.guest.pid, os.WNOHANG)
        if pid:
            if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0 or os.WIFSIGNALED(status) and os.WTERMSIG(status) == _signal.SIGTERM:
                console.out("guest has stopped the virtual machine")
            else:
                console.out('guest has stopped the virtual machine due to error: Error Domain=VZErrorDomain Code=1 "Internal '
                            'Virtualization error. The virtual machine stopped unexpectedly."')
            return 0
        if self.softnet and self.softnet.ended():
            self._kill_guest()
            console.err('RuntimeFailed(why: "Softnet process terminated prematurely")')
            return 1
        return None

    def _signal(self, number: int) -> int | None:
        if number == _signal.SIGINT and not self.fault.get("ignore_sigint"):
            return self._stop()
        if number == _signal.SIGUSR1:
            return self._suspend()
        if number == _signal.SIGUSR2 and self.switches.since("2.12.0"):
            console.out("Requesting guest OS to stop...")
            # macOS shows a dialog that nobody answers.
            if self.config["os"] != "darwin" and self.guest:
                self.guest.power_button()
        return None

    def _stop(self) -> int:
        console.out("Stopping VM...")
        time.sleep(float(self.fault.get("slow_stop", 0)))
        self._kill_guest()
        if not self.switches.since("2.10.0"):
            console.err("CancellationError()")
            return 1
        return 0

    def _suspend(self) -> int:
        assert self.guest is not None
        console.out("pausing VM to take a snapshot...")
        if not self.plan.suspendable:
            console.err(_UNSAVABLE)
            self._kill_guest()
            return 1
        console.out("creating a snapshot...")
        self.guest.save(self.found.file("state.vzvmsave"))
        console.out("snapshot created successfully! shutting down the VM...")
        self._kill_guest()
        return 0

    def _kill_guest(self) -> None:
        if self.softnet:
            self.softnet.kill()
        if self.guest:
            try:
                os.kill(self.guest.pid, _signal.SIGKILL)
                os.waitpid(self.guest.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass


class _Failure(RuntimeFailure):
    """A start that failed, without a prefix, always 1."""


_WORDS = ("amber", "basil", "cedar", "delta", "ember", "fjord", "grove", "heron", "ivory", "jolly", "koala", "lemon", "maple", "noble",
          "ocean", "pearl", "quartz", "river", "solar", "tulip", "umber", "violet", "willow", "xenon", "yonder", "zebra")
