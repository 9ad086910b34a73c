# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a host's cable: cut or not, slow or not. Its machine applies it, and again at every boot."""
from __future__ import annotations

import pathlib
import subprocess
import sys
from typing import Any

from . import network, paths
from .errors import LabError
from .files import read_json, write_json

PERFECT: dict[str, Any] = {"cut": False, "delay": 0, "loss": 0, "rate": 0}


def wanted(directory: pathlib.Path) -> dict[str, Any]:
    """What the user asked for."""
    return {**PERFECT, **read_json(directory / "link.json", {})}


def want(directory: pathlib.Path, **changes: Any) -> dict[str, Any]:
    """Write down what the user asks for."""
    state = {**wanted(directory), **changes}
    write_json(directory / "link.json", state)
    return state


def applied(directory: pathlib.Path) -> dict[str, Any] | None:
    """What the machine has made of it."""
    return read_json(directory / "link.applied")


class Cable:
    """One host's cable, held by its machine."""

    def __init__(self, directory: pathlib.Path, number: int, interface: str) -> None:
        self.directory, self.number, self.interface = directory, number, interface
        self.relay: subprocess.Popen[str] | None = None

    def apply(self, pid: int) -> None:
        """Make the cable what link.json says; pid is the host's first process."""
        state = wanted(self.directory)
        self.release()
        network.no_netem(self.number, pid, self.interface)
        network.attach(self.number, not state["cut"])
        if state["delay"] or state["loss"] or state["rate"]:
            if not network.netem(self.number, pid, self.interface, state):
                network.no_netem(self.number, pid, self.interface)
                self._relay(state)
        write_json(self.directory / "link.applied", state)

    def _relay(self, state: dict[str, Any]) -> None:
        command = [sys.executable, "-m", "tests.lab.slowlink", str(self.number), *(str(state[key]) for key in ("delay", "loss", "rate"))]
        self.relay = subprocess.Popen(command, cwd=paths.REPOSITORY, stdout=subprocess.PIPE, text=True)
        if self.relay.stdout and not self.relay.stdout.readline():
            raise LabError(f"the slow cable of host number {self.number} does not work")

    def release(self) -> None:
        """End the relay, if there is one."""
        if self.relay:
            self.relay.kill()
            self.relay.communicate()
            self.relay = None
