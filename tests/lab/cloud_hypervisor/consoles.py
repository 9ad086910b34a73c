# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Consoles: files, pseudo terminals, sockets, the standard output (contract 1.5.6 and 3.4).

A terminal or a socket stands between QEMU and the user here, so that output from before the first reader is kept (v53) and a
path in `vm.info` is right from the start.
"""
from __future__ import annotations

import os
import socket
import sys

from .errors import Failure, os_text
from .loop import IN, OUT

KEEP = 1 << 20
CREATE = "Error creating console device"


class Console:
    """One console of a VM: what QEMU writes goes to a sink, what the user types goes to QEMU."""

    def __init__(self, loop, keep: bool = True) -> None:
        self.loop = loop
        self.keep = keep
        self.path: str | None = None
        self.guest_fd: int | None = None
        self.guest: socket.socket | None = None
        self.theirs: socket.socket | None = None
        self.sink = -1
        self.source = -1
        self.pending = b""

    def connect(self) -> None:
        """Make the pair of sockets whose other end QEMU gets."""
        self.guest, self.theirs = socket.socketpair()
        self.guest.setblocking(False)
        self.guest_fd = self.theirs.fileno()
        self.loop.watch(self.guest.fileno(), self._from_guest)

    def attach(self, sink: int, source: int) -> None:
        """Where output goes and input comes from; -1 for nowhere."""
        self.sink, self.source = sink, source
        self._update()
        self.flush()

    def _update(self) -> None:
        mask = OUT if self.pending and self.sink >= 0 else 0
        if self.source == self.sink:
            mask |= IN
        elif self.source >= 0:
            self.loop.watch(self.source, self._from_user)
        if self.sink >= 0 and mask:
            self.loop.watch(self.sink, self._on_sink, mask)
        elif self.sink >= 0:
            self.loop.forget(self.sink)

    def _on_sink(self, mask: int) -> None:
        if mask & OUT:
            self.flush()
        if mask & ~OUT and self.source == self.sink:
            self._from_user(mask)

    def _from_guest(self, _mask: int) -> None:
        try:
            data = self.guest.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.loop.forget(self.guest.fileno())
            return
        if self.sink >= 0 or self.keep:
            self.pending = (self.pending + data)[-KEEP:]
            self.flush()

    def flush(self) -> None:
        """Write what is pending as far as the sink takes it."""
        if self.sink < 0 or not self.pending:
            return
        try:
            self.pending = self.pending[os.write(self.sink, self.pending):]
        except BlockingIOError:
            pass
        except OSError:
            self.hang_up()
            return
        self._update()

    def _from_user(self, _mask: int) -> None:
        try:
            data = os.read(self.source, 4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.hang_up()
        elif self.guest is not None:
            try:
                self.guest.send(data)
            except OSError:
                pass

    def hang_up(self) -> None:
        """The user side is gone."""
        for fd in {self.sink, self.source} - {-1}:
            self.loop.forget(fd)
        self.sink = self.source = -1

    def close(self) -> None:
        """Give everything back."""
        self.hang_up()
        if self.guest is not None:
            self.loop.forget(self.guest.fileno())
            self.guest.close()
            self.theirs.close()
        self.guest = self.theirs = self.guest_fd = None


class PtyConsole(Console):
    """A pseudo terminal; `vm.info` shows its path."""

    def __init__(self, loop) -> None:
        super().__init__(loop)
        import termios  # pylint: disable=import-outside-toplevel
        try:
            self.master, self.slave = os.openpty()
        except OSError as error:
            raise Failure(CREATE, os_text(error)) from error
        mode = termios.tcgetattr(self.slave)
        mode[0] = mode[1] = mode[3] = 0
        mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        termios.tcsetattr(self.slave, termios.TCSANOW, mode)
        os.set_blocking(self.master, False)
        self.terminal = os.ttyname(self.slave)
        self.connect()
        self.attach(self.master, self.master)

    def close(self) -> None:
        super().close()
        for fd in (self.master, self.slave):
            os.close(fd)


class TtyConsole(Console):
    """Standard output; input only from a real terminal."""

    def __init__(self, loop) -> None:
        super().__init__(loop)
        self.connect()
        self.attach(1, 0 if sys.stdin is not None and os.isatty(0) else -1)

    def _update(self) -> None:
        if self.source >= 0:
            self.loop.watch(self.source, self._from_user)

    def hang_up(self) -> None:
        if self.source >= 0:
            self.loop.forget(self.source)
        self.sink = self.source = -1


class SocketConsole(Console):
    """A UNIX socket; one client at a time, a new one takes over."""

    def __init__(self, loop, path: str, keep: bool) -> None:
        super().__init__(loop, keep)
        self.socket_path = path
        self.client: socket.socket | None = None
        self.listener = bind(path, CREATE)
        self.loop.watch(self.listener.fileno(), self._accept)
        self.connect()

    def _accept(self, _mask: int) -> None:
        self.hang_up()
        self.client, _address = self.listener.accept()
        self.client.setblocking(False)
        self.attach(self.client.fileno(), self.client.fileno())

    def hang_up(self) -> None:
        super().hang_up()
        if self.client is not None:
            self.client.close()
            self.client = None

    def close(self) -> None:
        super().close()
        self.loop.forget(self.listener.fileno())
        self.listener.close()
        remove(self.socket_path)


class FileConsole(Console):
    """A file that QEMU writes itself; it is truncated here first."""

    def __init__(self, loop, path: str) -> None:
        super().__init__(loop)
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666))
        except OSError as error:
            raise Failure(CREATE, os_text(error)) from error
        self.path = path


def bind(path: str, title: str) -> socket.socket:
    """A listening UNIX socket; a path that exists is an error, it is not unlinked."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
    except OSError as error:
        listener.close()
        if error.errno is None:
            raise Failure(title, "path must be shorter than SUN_LEN") from error
        raise Failure(title, os_text(error)) from error
    listener.listen(128)
    return listener


def remove(path: str) -> None:
    """Remove a file that may be gone."""
    try:
        os.unlink(path)
    except OSError:
        pass


def _one(loop, config: dict, keep: bool) -> Console | None:
    mode = config["mode"]
    if mode == "Off":
        return None
    if mode == "Pty":
        console = PtyConsole(loop)
        config["file"] = console.terminal
        return console
    if mode == "Tty":
        return TtyConsole(loop)
    if mode == "Null":
        return Console(loop)
    if mode == "File":
        return FileConsole(loop, config["file"])
    return SocketConsole(loop, config["socket"], keep)


class Consoles:
    """All consoles of a VM, made at `vm.create`."""

    def __init__(self, loop, config: dict, keep: bool) -> None:
        self.made: dict = {}
        self.listener_pid = 0
        self.listener_pipe = -1
        try:
            for name in ("console", "serial", "debug_console"):
                if name != "serial" and config[name]["mode"] == "Socket":
                    raise Failure("No socket option support for console device")
                self.made[name] = _one(loop, config[name], keep)
                if name == "console" and config[name]["mode"] == "Pty":
                    self._start_listener()
        except Failure as failure:
            self.close()
            raise failure.under("Error creating console devices")

    def _start_listener(self) -> None:
        """The second process of the real program: it waits for the size of the terminal to change and has the same command line."""
        read, write = os.pipe()
        pid = os.fork()
        if pid:
            os.close(read)
            self.listener_pid, self.listener_pipe = pid, write
            return
        os.setsid()
        slave = self.made["console"].slave
        keep = sorted({0, 1, 2, read, slave})
        for low, high in zip(keep, keep[1:] + [os.sysconf("SC_OPEN_MAX")]):
            os.closerange(low + 1, high)
        from .identity import set_name  # pylint: disable=import-outside-toplevel
        set_name("vmm")
        while True:
            try:
                os.read(read, 1)
            finally:
                os._exit(0)

    def get(self, name: str) -> Console | None:
        """One of console, serial, debug_console; None if it is off."""
        return self.made.get(name)

    def close(self) -> None:
        """Close all and end the listener."""
        for console in self.made.values():
            if console is not None:
                console.close()
        self.made = {}
        if self.listener_pid:
            os.close(self.listener_pipe)
            os.waitpid(self.listener_pid, 0)
            self.listener_pid = 0
