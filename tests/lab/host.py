# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host of the lab, as its users see it."""
from __future__ import annotations

import fcntl
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from . import access, cgroup, link, network, paths, process
from .errors import LabError
from .files import read_json

_BOOT_TIMEOUT = 30.0


class Host:
    """Reached by SSH only; what looks into it from outside is for inspection and for faults."""

    def __init__(self, name: str, config: dict[str, Any]) -> None:
        self.name = name
        self.kind: str = config["kind"]
        self.number: int = config["number"]
        self.address = network.address(self.number)
        self.directory = paths.host(name)

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.kind} {self.address} {self.state()}>"

    # Reaching it

    def ssh(self, *words: str) -> list[str]:
        """The command line that logs in."""
        return ["ssh", "-F", str(access.config()), *words]

    def run(self, command: str, timeout: float = 60.0, stdin: str | None = None, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a shell command on the host over SSH, as its user."""
        done = subprocess.run(self.ssh(self.name, "--", command), input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout, check=False)
        if check and done.returncode:
            raise LabError(f"{self.name}: `{command}` ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def shell(self, *command: str) -> int:
        """An interactive login, or one command with the caller's terminal."""
        return subprocess.run(self.ssh(*(["-t"] if sys.stdin.isatty() else []), self.name, *(["--", *command] if command else [])),
                              check=False).returncode

    @property
    def pid(self) -> int:
        """The host's first process as the controller sees it."""
        identity = read_json(self.directory / "init.json")
        if not process.alive(identity):
            raise LabError(f"{self.name} is {self.state()}: start it with `python3 -m tests.lab up {self.name}`")
        return identity["pid"]

    def path(self, path: str | pathlib.PurePath) -> pathlib.Path:
        """A file of the host, seen from the controller; links are followed inside the host, the last part is not."""
        root = pathlib.Path(f"/proc/{self.pid}/root")
        parts = [part for part in pathlib.PurePosixPath(path).parts if part != "/"]
        place = pathlib.PurePosixPath("/")
        for _step in range(1000):
            if not parts:
                return root / place.relative_to("/")
            part = parts.pop(0)
            here = root / (place / part).relative_to("/")
            if part == "..":
                place = place.parent
            elif parts and here.is_symlink():
                target = pathlib.PurePosixPath(os.readlink(here))
                place = pathlib.PurePosixPath("/") if target.is_absolute() else place
                parts = [word for word in target.parts if word != "/"] + parts
            else:
                place = place / part
        raise LabError(f"{self.name}: too many links in {path}")

    # Its state

    def alive(self) -> bool:
        """Is its machine on?"""
        return process.alive(read_json(self.directory / "machine.json"))

    def state(self) -> str:
        """up, frozen, cut, slow or off."""
        if not self.alive():
            return "off"
        if cgroup.is_frozen(self.name):
            return "frozen"
        wanted = link.wanted(self.directory)
        if wanted["cut"]:
            return "cut"
        return "up" if wanted == link.PERFECT else "slow"

    def boot_id(self) -> str:
        """Changes with every boot."""
        return (self.directory / "boot" / "id").read_text(encoding="ascii").strip()

    def console(self) -> str:
        """What its machine and its init said."""
        place = self.directory / "console.log"
        return place.read_text(encoding="utf-8", errors="replace") if place.exists() else ""

    # Power

    def power_on(self) -> bool:
        """Start its machine, which outlives the caller; False when it is on already.

        The machine inherits the lock: from before its first instruction until its death nobody starts a second one.
        """
        lock = self._claim()
        if lock is None:
            return False
        try:
            self.clean()
            with open(self.directory / "console.log", "a", encoding="utf-8") as console:
                command = ["setsid", "--fork", sys.executable, "-m", "tests.lab.machine", self.name, str(lock)]
                subprocess.run(command, cwd=paths.REPOSITORY, stdin=subprocess.DEVNULL, stdout=console, stderr=console, pass_fds=(lock,),
                               check=True)
        finally:
            os.close(lock)
        return True

    def _claim(self, timeout: float = 15.0) -> int | None:
        """The machine's lock; None when a machine is running. One that is starting or dying is waited for."""
        descriptor = os.open(self.directory / "power.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                if self.alive():
                    os.close(descriptor)
                    return None
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise LabError(f"the machine of {self.name} neither starts nor ends; its console says:\n{self.console()[-2000:]}")
            time.sleep(0.005)

    def wait_for_machine(self) -> None:
        """Until the machine has written down who it is: from then on nobody starts a second one."""
        deadline = time.monotonic() + 10
        while not (self.directory / "machine.json").exists():
            if time.monotonic() > deadline:
                raise LabError(f"the machine of {self.name} did not start; its console says:\n{self.console()[-2000:]}")
            time.sleep(0.005)

    def clean(self) -> None:
        """Remove what a machine leaves when it was killed; its disks stay."""
        cgroup.destroy(self.name)
        network.unplug(self.number)
        for name in ("machine.json", "init.json", "link.applied"):
            (self.directory / name).unlink(missing_ok=True)
        if not (self.directory / "provisioned").exists():
            shutil.rmtree(self.directory / "upper", ignore_errors=True)
        shutil.rmtree(self.directory / "work", ignore_errors=True)

    def power_off(self) -> None:
        """Pull the plug: every process is gone when this returns."""
        lock = self._claim() if self.directory.is_dir() else None
        if lock is not None:
            os.close(lock)
        process.kill(read_json(self.directory / "machine.json"), signal.SIGKILL)
        self.clean()

    def wait(self, timeout: float = _BOOT_TIMEOUT) -> None:
        """Until its sshd answers, or, with the cable cut, listens."""
        deadline = time.monotonic() + timeout
        answers = self._listens if link.wanted(self.directory)["cut"] else self._greets
        while time.monotonic() < deadline and self.alive():
            if answers():
                return
            time.sleep(0.01)
        raise LabError(f"{self.name} did not come up (it is {self.state()}); its console says:\n{self.console()[-2000:] or '(nothing)'}")

    def _listens(self) -> bool:
        """Asked of the kernel: a packet sent too early would cost a second of waiting for its repetition."""
        identity = read_json(self.directory / "init.json")
        try:
            lines = pathlib.Path(f"/proc/{identity['pid']}/net/tcp").read_text(encoding="ascii").splitlines() if identity else []
        except OSError:
            return False
        return any(line.split()[1].endswith(":0016") and line.split()[3] == "0A" for line in lines[1:])

    def _greets(self) -> bool:
        if not self._listens():
            return False
        try:
            with socket.create_connection((self.address, 22), timeout=2) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def reboot(self, hard: bool = False, wait: bool = True) -> None:
        """All processes die, the boot id changes, /run is new, disks stay; hard is a press on the reset button."""
        before, pid = self.boot_id(), self.pid
        if cgroup.is_frozen(self.name):
            self.thaw()
        machine = read_json(self.directory / "machine.json")
        os.kill(machine["pid"], signal.SIGHUP)
        if hard:
            os.kill(machine["pid"], signal.SIGALRM)
        deadline = time.monotonic() + 20
        while (self.boot_id() == before or process.start_time(pid) is not None) and time.monotonic() < deadline:
            time.sleep(0.01)
        if wait:
            self.wait()

    def down(self) -> None:
        """Remove the host with everything that it had."""
        from .lab import Lab  # the list of hosts is the lab's; it knows us, we know it only here
        Lab().down(self.name)

    # Trouble

    def freeze(self) -> None:
        """Every process stops, as in a machine that hangs; its network card still answers pings."""
        cgroup.freeze(self.name, True)

    def thaw(self) -> None:
        """Go on."""
        cgroup.freeze(self.name, False)

    def cut(self) -> None:
        """Pull the network cable."""
        self._link(cut=True)

    def join(self) -> None:
        """Put the network cable back."""
        self._link(cut=False)

    def slow(self, delay: float = 0, loss: float = 0, rate: float = 0) -> None:
        """A bad cable in each direction: delay in ms, loss in %, rate in bit/s; nothing given makes it good again."""
        self._link(delay=delay, loss=loss, rate=rate)

    def _link(self, **changes: Any) -> None:
        wanted = link.want(self.directory, **changes)
        identity = read_json(self.directory / "machine.json")
        if not process.alive(identity):
            raise LabError(f"{self.name} is off")
        os.kill(identity["pid"], signal.SIGUSR1)
        deadline = time.monotonic() + 10
        while link.applied(self.directory) != wanted:
            if time.monotonic() > deadline:
                raise LabError(f"{self.name}: the cable did not change; its console says:\n{self.console()[-2000:]}")
            time.sleep(0.005)
