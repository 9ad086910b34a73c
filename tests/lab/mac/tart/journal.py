# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A line for every call and for every exit, so that tests can say what was called and how."""
from __future__ import annotations

import os
import time

from . import plainjson

_ENVIRONMENT = ("CI", "HOME", "LANG", "LC_ALL", "PATH", "SSH_CONNECTION", "TERM", "TRACEPARENT", "USER")


def call(path: str, argv: list[str], version: str) -> None:
    """Who calls, with which words, from which session."""
    environment = {name: value for name, value in os.environ.items() if name in _ENVIRONMENT or name.startswith("TART_")}
    if "TART_REGISTRY_PASSWORD" in environment:
        environment["TART_REGISTRY_PASSWORD"] = "(set)"
    _append(path, {"event": "call", "argv": argv, "env": environment, "uid": os.getuid(), "pid": os.getpid(), "ppid": os.getppid(),
                   "sid": os.getsid(0), "pgid": os.getpgrp(), "tty": [os.isatty(number) for number in (0, 1, 2)],
                   "cwd": os.getcwd(), "version": version, "time": time.time()})


def leave(path: str, code: int) -> None:
    """Not written by a process that is killed."""
    _append(path, {"event": "exit", "pid": os.getpid(), "code": code, "time": time.time()})


def _append(path: str, entry: dict) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        return
    os.write(descriptor, (plainjson.compact(entry) + "\n").encode("utf-8", "surrogateescape"))
    os.close(descriptor)
