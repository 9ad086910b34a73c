# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The QEMU child and its monitor."""
from __future__ import annotations

import json
import os
import signal
import socket
import time

from .errors import Failure

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TIMEOUT = 60.0


def find(program: str) -> str:
    """The path of a program."""
    for folder in os.environ.get("PATH", PATH).split(":") + PATH.split(":"):
        path = os.path.join(folder, program)
        if os.access(path, os.X_OK):
            return path
    raise Failure(f"the simulator of the lab needs {program}")


class Monitor:
    """A QMP connection: `execute` waits for the answer, `post` does not, events go to `on_event`."""

    def __init__(self, on_event) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.on_event = on_event
        self.buffer = b""
        self.counter = 0
        self.answers: dict = {}
        self.ready = False
        self.closed = False
        self.post("qmp_capabilities")

    def fileno(self) -> int:
        """For the event loop."""
        return self.ours.fileno()

    def pump(self, wait: float = 0) -> None:
        """Read what is there, or wait a while for something, and handle it."""
        self.ours.settimeout(wait)
        try:
            data = self.ours.recv(65536)
        except (BlockingIOError, TimeoutError):
            return
        except OSError:
            data = b""
        if not data:
            self.closed = True
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            self._handle(json.loads(line))

    def _handle(self, message: dict) -> None:
        if "event" in message:
            self.on_event(message["event"], message.get("data") or {})
        elif "id" in message:
            self.ready = True
            if message["id"] in self.answers:
                self.answers[message["id"]] = message

    def post(self, command: str, arguments: dict | None = None, fds: list[int] | None = None) -> int:
        """Send a command; its answer is not looked at."""
        self.counter += 1
        request = {"execute": command, "arguments": arguments or {}, "id": self.counter}
        data = json.dumps(request).encode() + b"\n"
        self.ours.settimeout(TIMEOUT)
        try:
            if fds:
                socket.send_fds(self.ours, [data], fds)
            else:
                self.ours.sendall(data)
        except OSError as error:
            raise Failure("the simulator of the lab lost its QEMU") from error
        return self.counter

    def execute(self, command: str, arguments: dict | None = None, fds: list[int] | None = None):
        """Run one command and return its answer; Failure with QEMU's text otherwise."""
        self.answers[self.counter + 1] = None
        number = self.post(command, arguments, fds)
        deadline = time.monotonic() + TIMEOUT
        while self.answers[number] is None:
            if self.closed or time.monotonic() > deadline:
                raise Failure("the simulator of the lab lost its QEMU")
            self.pump(1.0)
        answer = self.answers.pop(number)
        if "error" in answer:
            raise Failure(f"QEMU: {answer['error']['desc']}")
        return answer["return"]

    def close(self) -> None:
        """Close our end."""
        self.closed = True
        self.ours.close()


class Child:
    """A running QEMU that dies with us: `setpriv` asks the kernel to kill it when its parent ends."""

    def __init__(self, args: list[str], fds: list[int]) -> None:
        argv = [find("setpriv"), "--pdeathsig", "KILL", "--", find(args[0])] + args[1:]
        actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, 2, 1)]
        for fd in fds:
            os.set_inheritable(fd, True)
        try:
            self.pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions, setsigmask=[],
                                      setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGCHLD])
        finally:
            for fd in fds:
                os.set_inheritable(fd, False)
        self.pidfd = os.pidfd_open(self.pid)
        self.alive = True

    def fileno(self) -> int:
        """Readable when the child has ended."""
        return self.pidfd

    def reap(self) -> int:
        """Collect the ended child; its exit status."""
        if not self.alive:
            return 0
        self.alive = False
        os.close(self.pidfd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> None:
        """End it at once and wait."""
        if self.alive:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            self.reap()
