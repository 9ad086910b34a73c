# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Softnet's process, as far as it can go wrong (tart contract 7)."""
from __future__ import annotations

import os
import socket
import stat

import _signal

from . import console, settings
from .errors import TartError
from .hypervisor import spawn

_NO_ROOT = "root privileges are required to run and passwordless sudo was not available"


class Failed(TartError):
    """Ends the VM."""


class Process:
    """A child that has to live as long as the guest; its stdin is a socket to us."""

    def __init__(self, argv: list[str], switches: settings.Settings) -> None:
        if switches["softnet"] == "no-root" or (switches["softnet"] == "suid-only" and not _is_suid(argv[0])):
            console.err(_NO_ROOT)
            raise Failed('RuntimeFailed(why: "Softnet process terminated prematurely")')
        self.ours, theirs = socket.socketpair()
        self.pid = spawn(argv, {0: theirs.fileno()}, 2)
        theirs.close()

    def ended(self) -> bool:
        """Gone before the guest."""
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            return True

    def kill(self) -> None:
        """It goes with the guest."""
        try:
            os.kill(self.pid, _signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def _is_suid(program: str) -> bool:
    found = os.stat(os.path.realpath(program))
    return found.st_uid == 0 and bool(found.st_mode & stat.S_ISUID)
