# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""stop and suspend: signals to the process that holds the lock (tart contract 5.3, 5.4)."""
from __future__ import annotations

import _signal
import os
import time

from .. import interrupt, parser, settings, vmdir
from ..errors import RuntimeFailure


def run_stop(parsed: parser.Parsed, switches: settings.Settings, _fault: dict) -> None:
    """SIGINT, poll every 100 ms, SIGKILL at the end without waiting for its effect."""
    found = vmdir.open_local(str(parsed.name))
    state = found.state()
    if state == "suspended" and switches.since("1.8.1"):
        os.unlink(found.file("state.vzvmsave"))
        return
    if state != "running":
        if switches.since("1.8.1") and not switches.since("2.9.0"):
            return
        raise RuntimeFailure(f'VM "{found.name}" is not running', 2)
    pid = found.holder()
    _kill(pid, _signal.SIGINT)
    left = float(str(parsed.timeout))
    with interrupt.allowed():
        while left > 0:
            if not found.running():
                return
            time.sleep(0.1)
            left -= 0.1
    if found.running():
        error = _kill(pid, _signal.SIGKILL)
        if error:
            raise RuntimeFailure(f'failed to forcefully terminate the VM "{found.name}": {error}')


def _kill(pid: int, number: int) -> str:
    try:
        os.kill(pid, number)
        return ""
    except OSError as error:
        return os.strerror(error.errno)


def run_suspend(parsed: parser.Parsed, _switches: settings.Settings, _fault: dict) -> None:
    """Only the signal; the text for a stopped VM is wrapped twice in the original too."""
    found = vmdir.open_local(str(parsed.name))
    pid = found.holder()
    if not pid:
        raise RuntimeFailure(f'VM "VM "{found.name}" is not running" is not running', 2)
    if _kill(pid, _signal.SIGUSR1):
        raise RuntimeFailure('Failed to suspend the VM: failed to send SIGUSR1 signal to the "tart run" process running VM '
                             f'"{found.name}"')
