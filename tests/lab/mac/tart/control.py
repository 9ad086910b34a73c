# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""control.sock: the way to the guest's agent, with the bug of stale sockets (tart contract 10.7).

Ours speaks lines of JSON: {"ask": "address"} or {"ask": "login"} gives {"address": ...}, {"error": ...}, or a closed connection when the
guest has no agent.
"""
from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from . import console, plainjson, settings
from .errors import RuntimeFailure

if TYPE_CHECKING:
    from .machine import Machine

NAME = "control.sock"
_IN_USE = "bind(descriptor:ptr:bytes:): Address already in use) (errno: 48)"


class Server:
    """Inside `tart run`."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.listener: socket.socket | None = None
        self.clients: list[socket.socket] = []

    def start(self) -> None:
        """Since 2.30.6 the old socket is removed by a relative name before the change of directory: it stays, and bind fails."""
        switches, folder = self.machine.switches, self.machine.found.folder
        if not switches.since("2.27.0") or int(str(switches["macos"])) < 14:
            return
        relative = switches.since("2.30.6")
        try:
            os.unlink(NAME if relative else os.path.join(folder, NAME))
        except OSError:
            pass
        listener = socket.socket(socket.AF_UNIX)
        try:
            if relative:
                os.chdir(folder)
                listener.bind(NAME)
            else:
                _bind_absolute(listener, os.path.join(folder, NAME))
            listener.listen(16)
            self.listener = listener
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        switches = self.machine.switches
        text = _IN_USE if error.errno == errno.EADDRINUSE else f"{error.strerror or error})"
        if switches.since("2.36.0"):
            raise _Fatal(text)
        if switches.since("2.33.0"):
            console.out(f"Failed to run control socket: {text}")

    def descriptors(self) -> list[socket.socket]:
        """What to wait for."""
        return ([self.listener] if self.listener else []) + self.clients

    def serve(self, ready: list) -> None:
        """Accept and answer."""
        for one in ready:
            if one is self.listener:
                self.clients.append(one.accept()[0])
            elif one in self.clients:
                self._answer(one)

    def _answer(self, client: socket.socket) -> None:
        try:
            asked = client.recv(4096)
            answer = self._reply(plainjson.loads(asked.decode())) if asked else None
            if answer is not None:
                client.sendall(plainjson.compact(answer).encode() + b"\n")
                return
        except (OSError, ValueError):
            pass
        self.clients.remove(client)
        client.close()

    def _reply(self, question: dict) -> dict | None:
        """What the guest's agent would say; nothing when there is none."""
        machine = self.machine
        # Looked up at every question: an agent can appear and go while its guest runs.
        agent = _has_agent(settings.load()["agent"], machine.found.name)
        if not agent:
            return None
        if agent == "error":
            return {"error": "cannot resolve VM's IP address"}
        from .commands import address  # pylint: disable=import-outside-toplevel
        found = address.anywhere(machine.config["macAddress"], machine.switches)
        if question.get("ask") == "login":
            return {"address": found, "guest": machine.switches["guest"]}
        return {"address": found} if found else {"error": "cannot resolve VM's IP address"}


def _has_agent(value: object, name: str) -> object:
    """True, "error", or a list of VMs that have an agent."""
    return name in value if isinstance(value, list) else value


def _bind_absolute(listener: socket.socket, path: str) -> None:
    # A Mac's sun_path has 104 bytes, Linux's 108.
    if len(os.fsencode(path)) >= 104:
        raise OSError(errno.ENAMETOOLONG, "File name too long")
    listener.bind(path)


class _Fatal(RuntimeFailure):
    """2.36: no control socket, no VM."""
