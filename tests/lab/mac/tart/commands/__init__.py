# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subcommands: each is imported only when it is called, `tart list` has to be quick."""
from __future__ import annotations

import importlib
import os
import time

from .. import console, parser, settings
from ..errors import Finished

_MODULES = {
    "create": "make", "clone": "make", "rename": "make", "delete": "make", "import": "archive", "export": "archive",
    "list": "show", "get": "show", "fqn": "show", "set": "change", "ip": "address", "stop": "process", "suspend": "process",
    "exec": "guest", "pull": "transfer", "push": "transfer", "login": "transfer", "logout": "transfer", "prune": "prune", "run": "run",
}
Parsed, Settings = parser.Parsed, settings.Settings


def _function(prefix: str, command: str) -> object:
    module = importlib.import_module(f"{__name__}.{_MODULES[command]}")
    return getattr(module, prefix + command, None)


def validate(parsed: Parsed, switches: Settings) -> None:
    """The command's own check of its arguments, where it has one."""
    check = _function("validate_", str(parsed.command))
    if check:
        check(parsed, switches)  # type: ignore[operator]


def execute(parsed: Parsed, switches: Settings, fault: dict) -> int:
    """Do it; the exit code."""
    return _function("run_", str(parsed.command))(parsed, switches, fault) or 0  # type: ignore[operator]


def suffer(fault: dict) -> None:
    """What a fault does before the command begins."""
    if not fault:
        return
    time.sleep(float(fault.get("delay", 0)))
    if fault.get("hang"):
        time.sleep(float(fault["hang"]) if fault["hang"] is not True else 10**8)
    console.cut_output_at = float(fault.get("cut", 1))
    if "die_after" in fault:
        return
    for stream, key in ((console.out, "stdout"), (console.err, "stderr")):
        if key in fault:
            stream(str(fault[key]))
    if "signal" in fault:
        os.kill(os.getpid(), int(fault["signal"]))
    if "exit" in fault:
        raise Finished(int(fault["exit"]))
