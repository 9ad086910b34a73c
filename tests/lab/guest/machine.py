# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest in QEMU on this machine, without any backend: for tests of the guest itself and for a look by hand."""
from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import time
from dataclasses import dataclass, field
from typing import Any


class GuestError(Exception):
    """The guest did not do what was awaited; the message ends with what its console said."""


@dataclass(frozen=True)
class Disk:
    """A disk as the guest sees it."""

    path: pathlib.Path
    format: str = "raw"
    serial: str = ""
    readonly: bool = False


@dataclass
class Machine:
    """One QEMU process; its SSH port is forwarded from the loopback address.

    Without the PIT the guest measures its clock against the HPET: on a busy machine the PIT makes it run several times too fast.
    """

    directory: pathlib.Path
    disks: list[Disk]
    direct: dict[str, str] = field(default_factory=dict)  # kernel, initrd, append
    macs: tuple[str, ...] = ("52:54:00:12:34:56",)
    memory: int = 160
    extra: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    port: int = 0

    def start(self) -> "Machine":
        """Start it; the consoles are written to files from the beginning."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for name in ("qmp", "ttyS0", "hvc0"):
            (self.directory / name).unlink(missing_ok=True)
        self.port = _free_port()
        self.started = time.monotonic()
        with open(self.directory / "qemu.log", "wb") as log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def _command(self) -> list[str]:
        command = ["qemu-system-x86_64", "-M", "q35,pit=off", "-cpu", "max", "-m", str(self.memory), "-display", "none", "-nodefaults",
                   "-serial", f"file:{self.directory / 'ttyS0'}", "-qmp", f"unix:{self.directory / 'qmp'},server=on,wait=off",
                   "-device", "virtio-serial-pci", "-chardev", f"file,id=hvc,path={self.directory / 'hvc0'}",
                   "-device", "virtconsole,chardev=hvc", "-device", "virtio-rng-pci", "-device", "virtio-balloon-pci"]
        for name, value in self.direct.items():
            command += [f"-{name}", value]
        for number, disk in enumerate(self.disks):
            readonly = "on" if disk.readonly else "off"
            command += ["-drive", f"if=none,id=d{number},file={disk.path},format={disk.format},readonly={readonly}",
                        "-device", f"virtio-blk-pci,drive=d{number}" + (f",serial={disk.serial}" if disk.serial else "")]
        for number, mac in enumerate(self.macs):
            forward = f",hostfwd=tcp:127.0.0.1:{self.port}-:22" if number == 0 else f",net=10.0.{number + 2}.0/24"
            command += ["-netdev", f"user,id=n{number}{forward}", "-device", f"virtio-net-pci,netdev=n{number},mac={mac}"]
        return command + list(self.extra)

    def console(self, name: str = "ttyS0") -> str:
        """What the console has shown so far."""
        path = self.directory / name
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def wait_ready(self, count: int = 1, timeout: float = 60.0) -> float:
        """Until the guest has said that it is ready for the ``count``-th time; the seconds since QEMU's start."""
        self._wait(lambda: self.console().count("lab-guest: ready ") >= count, timeout, "the guest did not become ready")
        return time.monotonic() - self.started

    def wait_exit(self, timeout: float = 30.0) -> None:
        """Until QEMU has ended."""
        assert self.process is not None
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise GuestError(f"QEMU still runs after {timeout} s\n{self.console()[-2000:]}") from error

    def _wait(self, predicate: Any, timeout: float, message: str) -> None:
        assert self.process is not None
        deadline = time.monotonic() + timeout
        while not predicate():
            if self.process.poll() is not None:
                raise GuestError(f"QEMU ended: {(self.directory / 'qemu.log').read_text(encoding='utf-8')}\n{self.console()[-2000:]}")
            if time.monotonic() > deadline:
                raise GuestError(f"{message} in {timeout} s\n{self.console()[-2000:]}")
            time.sleep(0.02)

    def qmp(self, command: str) -> Any:
        """One QMP command."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.directory / "qmp"))
            stream = connection.makefile("rw", encoding="utf-8")
            stream.readline()
            for name in ("qmp_capabilities", command):
                stream.write(json.dumps({"execute": name}) + "\n")
                stream.flush()
                answer = json.loads(stream.readline())
                while "event" in answer:
                    answer = json.loads(stream.readline())
            return answer

    def ssh(self, command: str, user: str = "root", password: str | None = None, key: pathlib.Path | None = None,
            check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell command in the guest."""
        helper = self.directory / "askpass"
        helper.write_text('#!/bin/sh\nprintf "%s\\n" "$LAB_GUEST_PASSWORD"\n', encoding="utf-8")
        helper.chmod(0o700)
        options = {"StrictHostKeyChecking": "no", "UserKnownHostsFile": str(self.directory / "known_hosts"), "LogLevel": "ERROR",
                   "ConnectTimeout": "10", "IdentitiesOnly": "yes", "NumberOfPasswordPrompts": "1",
                   "PreferredAuthentications": "publickey" if password is None else "password"}
        arguments = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        identity = ["-i", str(key)] if key else []
        environment = {**os.environ, "SSH_ASKPASS": str(helper), "SSH_ASKPASS_REQUIRE": "force", "LAB_GUEST_PASSWORD": password or ""}
        done = subprocess.run(["ssh", *arguments, *identity, "-p", str(self.port), f"{user}@127.0.0.1", command], env=environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False, start_new_session=True)
        if check and done.returncode:
            raise GuestError(f"{command!r} as {user}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def cpu_seconds(self) -> float:
        """Processor time that QEMU has used."""
        assert self.process is not None
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """End QEMU if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
