# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest's process: QEMU, or a stand-in without a guest. It dies with us, whatever kills us."""
from __future__ import annotations

import ctypes
import fcntl
import os
import shlex
import socket

import _signal

from . import devices, plainjson, settings, vmdir

_PR_SET_PDEATHSIG = 1


def spawn(argv: list[str] | None, keep: dict[int, int], errors: int) -> int:
    """Fork, tie the child's life to ours, exec; without argv the child only sleeps. `keep` maps its descriptors to ours."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        for number in (_signal.SIGINT, _signal.SIGUSR1, _signal.SIGUSR2, _signal.SIGPIPE, _signal.SIGCHLD):
            _signal.signal(number, _signal.SIG_DFL)
        null = os.open("/dev/null", os.O_RDWR)
        # Copies first, far from the wanted numbers: a wanted number may be one of the sources.
        all_of_them = {0: null, 1: null, 2: errors, **keep}
        copies = {wanted: fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, 40) for wanted, source in all_of_them.items()}
        for wanted, source in copies.items():
            os.dup2(source, wanted, inheritable=True)
        if argv is None:
            os.closerange(3, 64)
            while True:
                _signal.pause()
        os.execv(argv[0], argv)
    finally:
        os._exit(127)


class Pretended:
    """No guest at all: a child that sleeps until its power button is pressed."""

    def __init__(self, errors: int) -> None:
        self.pid = spawn(None, {}, errors)
        self.started = True
        self.monitor: socket.socket | None = None

    def power_button(self) -> None:
        """It ends at once, as cleanly as a signal allows."""
        os.kill(self.pid, _signal.SIGTERM)

    def save(self, path: str) -> None:
        """Something to restore from."""
        with open(path, "w", encoding="utf-8") as file:
            file.write("nothing was running\n")

    def vnc_port(self) -> int:
        """Nobody listens there."""
        return 5900

    def terminal(self) -> str:
        """A terminal that nobody serves."""
        return os.ttyname(os.openpty()[1])


class Qemu:
    """A guest under emulation, with its monitor on a socket pair."""

    def __init__(self, found: vmdir.VMDir, config: dict, plan: devices.Plan, switches: settings.Settings, fault: dict, errors: int) -> None:
        self.monitor, theirs = socket.socketpair()
        self.buffer = b""
        self.started = False
        keep = {9: theirs.fileno()}
        argv = arguments(found, config, plan, switches, fault)
        state = found.file("state.vzvmsave")
        if os.path.exists(state):
            keep[8] = os.open(state, os.O_RDONLY | os.O_CLOEXEC)
            argv += ["-incoming", "fd:8"]
        self.pid = spawn(argv, keep, errors)
        theirs.close()
        self.started = bool(self._receive())
        if self.started:
            self.ask("qmp_capabilities")

    def _receive(self) -> dict:
        """The next message; nothing when QEMU is gone."""
        assert self.monitor is not None
        while b"\n" not in self.buffer:
            try:
                data = self.monitor.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                return {}
            self.buffer += data
        line, _newline, self.buffer = self.buffer.partition(b"\n")
        return plainjson.loads(line.decode())

    def ask(self, command: str, **arguments_: object) -> dict:
        """A monitor command and its answer; events in between are dropped."""
        assert self.monitor is not None
        message = {"execute": command, "arguments": arguments_} if arguments_ else {"execute": command}
        try:
            self.monitor.sendall(plainjson.compact(message).encode() + b"\n")
        except OSError:
            return {}
        while True:
            answer = self._receive()
            if not answer or "return" in answer or "error" in answer:
                return answer

    def power_button(self) -> None:
        """ACPI."""
        self.ask("system_powerdown")

    def save(self, path: str) -> None:
        """Memory and devices into a file."""
        import time  # pylint: disable=import-outside-toplevel
        self.ask("stop")
        self.ask("migrate", uri="exec:cat > " + shlex.quote(path))
        while self.ask("query-migrate").get("return", {}).get("status") not in ("completed", "failed", None):
            time.sleep(0.05)

    def vnc_port(self) -> int:
        """Where QEMU's own server listens."""
        return int(self.ask("query-vnc")["return"]["service"])

    def terminal(self) -> str:
        """The PTY of the serial console."""
        for device in self.ask("query-chardev")["return"]:
            if device["label"] == "console":
                return device["filename"].partition("pty:")[2]
        return ""


def arguments(found: vmdir.VMDir, config: dict, plan: devices.Plan, switches: settings.Settings, fault: dict) -> list[str]:
    """QEMU's command line: one processor and little memory, so that many guests run at once."""
    memory = min(config["memorySize"] // 2**20, int(str(switches["max_ram_mb"])))
    argv = [str(switches["qemu"]), "-name", found.name, "-nodefaults", "-no-user-config", "-machine", "q35,accel=tcg", "-cpu", "max",
            "-smp", "1", "-m", str(memory), "-display", "none", "-device", "virtio-rng-pci",
            "-chardev", "socket,id=monitor,fd=9", "-mon", "chardev=monitor,mode=control"]
    for number, (path, read_only) in enumerate(plan.disks):
        kind = "" if ":" in path.split("/")[0] else ",format=raw"
        argv += ["-drive", f"if=none,id=disk{number},file={path.replace(',', ',,')}{kind}" + (",readonly=on" if read_only else ""),
                 "-device", f"virtio-blk-pci,drive=disk{number}" + (",bootindex=1" if number == 0 else "")]
    for number, bridge in enumerate(plan.bridges):
        reachable = bridge and not fault.get("no_lease")
        backend = f"bridge,id=net{number},br={bridge},helper={switches['bridge_helper']}"
        if not reachable:
            backend = f"hubport,id=net{number},hubid={number}"
        argv += ["-netdev", backend, "-device", f"virtio-net-pci,netdev=net{number},mac={config['macAddress']},romfile="]
    for tag, path, read_only in plan.shares:
        if os.path.isdir(path):
            argv += ["-virtfs", f"local,path={path.replace(',', ',,')},mount_tag={tag[:31]},security_model=none"
                     + (",readonly=on" if read_only else "")]
    argv += _serial(found, plan, switches)
    if plan.vnc == "host":
        argv += ["-vga", "std", "-vnc", "127.0.0.1:0,to=500"]
    return argv + [str(word) for word in switches["qemu_arguments"]]  # type: ignore[attr-defined]


def _serial(found: vmdir.VMDir, plan: devices.Plan, switches: settings.Settings) -> list[str]:
    """A PTY if asked for, else a file for the lab's own eyes."""
    if plan.serial == "new":
        return ["-chardev", "pty,id=console", "-serial", "chardev:console"]
    if plan.serial:
        return ["-chardev", f"serial,id=console,path={plan.serial}", "-serial", "chardev:console"]
    folder = str(switches["serial_logs"])
    if os.path.isdir(folder) and os.access(folder, os.W_OK):
        return ["-serial", f"file:{os.path.join(folder, found.name)}.serial"]
    return ["-serial", "null"]
