# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""exec (tart contract 1.13 and 2.6). The agent's stand-in tells where the guest is; the command then runs in it over SSH."""
from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time

from .. import interrupt, parser, settings, vmdir
from ..errors import OtherError, RuntimeFailure, Trap
from .address import ask_agent

_UNREACHABLE = ("Failed to connect to the VM using its control socket: The operation couldn\u2019t be completed. "
                "(GRPC.GRPCConnectionPoolError error 1.), is the Tart Guest Agent running?")
_MISSING = 251
_WRAPPER = 'command -v {program} >/dev/null 2>&1 || exit {missing}; exec {command}'


def run_exec(parsed: parser.Parsed, switches: settings.Settings, _fault: dict) -> int:
    """The guest's exit code; a guest command that a signal killed gives 255."""
    if int(str(switches["macos"])) < 14:
        raise RuntimeFailure('"tart exec" is only available on macOS 14 (Sonoma) or newer')
    found = vmdir.open_local(str(parsed.name))
    if not found.running():
        raise RuntimeFailure(f'VM "{found.name}" is not running', 2)
    if parsed.t and not os.isatty(1):
        raise Trap("'try!' expression unexpectedly raised an error: inappropriate ioctl for device")
    if not switches.since("2.28.3") and not os.isatty(1):
        raise Trap("'try!' expression unexpectedly raised an error: inappropriate ioctl for device")
    with interrupt.allowed():
        answer = _login(found, float(str(switches.values.get("exec_patience", 30))))
        if answer is None:
            raise RuntimeFailure(_UNREACHABLE)
        argv = list(parsed.values["command"])  # type: ignore[call-overload]
        if answer.get("guest") != "qemu":
            code = _here(argv, bool(parsed.i))
        else:
            code = _there(argv, bool(parsed.i), bool(parsed.t), answer["address"], switches)
    if code == _MISSING:
        raise OtherError(f'unknown (2): exec: "{argv[0]}": executable file not found in $PATH')
    return code


def _login(found: vmdir.VMDir, patience: float) -> dict | None:
    """Keeps trying as the connection pool does."""
    end = time.monotonic() + patience
    while True:
        answer = ask_agent(found, "login", 1.0)
        if answer and (answer.get("guest") != "qemu" or answer.get("address") and _listens(answer["address"])):
            return answer
        if time.monotonic() >= end:
            return None
        time.sleep(0.2)


def _listens(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), 1) as probe:
            return bool(probe.recv(3))
    except OSError:
        return False


def _here(argv: list[str], wants_input: bool) -> int:
    """Without a guest the command runs on the host: only for tests of the simulator itself."""
    try:
        done = subprocess.run(argv, stdin=None if wants_input else subprocess.DEVNULL, check=False)
    except (FileNotFoundError, PermissionError):
        return _MISSING
    return 255 if done.returncode < 0 else done.returncode


def _there(argv: list[str], wants_input: bool, terminal: bool, address: str, switches: settings.Settings) -> int:
    user, password = switches["guest_login"]  # type: ignore[misc]
    command = _WRAPPER.format(program=shlex.quote(argv[0]), missing=_MISSING, command=" ".join(map(shlex.quote, argv)))
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
               "-o", "PreferredAuthentications=password", "-o", "PubkeyAuthentication=no", "-F", "/dev/null"]
    with tempfile.TemporaryDirectory() as folder:
        helper = os.path.join(folder, "askpass")
        with open(helper, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\necho {shlex.quote(password)}\n")
        os.chmod(helper, 0o700)
        environment = {**os.environ, "SSH_ASKPASS": helper, "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
        ssh = ["ssh", *options, *(["-tt"] if terminal else ["-T"]), f"{user}@{address}", "--", f"sh -c {shlex.quote(command)}"]
        sys.stdout.flush()
        done = subprocess.run(ssh, env=environment, stdin=None if wants_input else subprocess.DEVNULL, check=False)
    return 255 if done.returncode < 0 else done.returncode
