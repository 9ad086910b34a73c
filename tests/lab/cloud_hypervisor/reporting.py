# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log on stderr or in a file, the event monitor, and the error block of the end (contract 1.7, 3.5, 3.6)."""
from __future__ import annotations

import os
import sys
import time

from .errors import Failure, os_text

LEVELS = {"ERROR": 0, "WARN": 0, "INFO": 1, "DEBUG": 2, "TRACE": 3}


class Log:
    """Lines as the real program writes them, with the simulator in place of a source file."""

    def __init__(self, verbosity: int, path: str | None) -> None:
        self.started = time.monotonic()
        self.verbosity = verbosity
        self.fd = 2
        if path is not None:
            try:
                self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            except OSError as error:
                raise Failure("Error creating log file", os_text(error)) from error

    def write(self, level: str, message: str, thread: str = "vmm") -> None:
        """One line, if the verbosity wants it."""
        if LEVELS[level] <= self.verbosity:
            elapsed = time.monotonic() - self.started
            line = f"cloud-hypervisor: {elapsed:10.6f}s: <{thread}> {level}:lab-simulator:1 -- {message}\r\n"
            try:
                os.write(self.fd, line.encode())
            except OSError:
                pass


class Events:
    """The event monitor: pretty JSON documents, each followed by an empty line."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.fd = -1

    def open(self, path: str | None, fd: int | None) -> None:
        """Where events go."""
        try:
            self.fd = fd if fd is not None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            os.set_blocking(self.fd, False)
        except OSError as error:
            raise Failure("Error doing event monitor I/O", os_text(error)) from error

    def emit(self, source: str, event: str, properties: dict | None = None) -> None:
        """Write one event; a full pipe drops it."""
        self.log.write("INFO", f"Event: source = {source} event = {event}")
        if self.fd < 0:
            return
        elapsed = time.monotonic() - self.log.started
        values = "null"
        if properties:
            lines = ",\n".join(f'    "{key}": "{value}"' for key, value in properties.items())
            values = "{\n" + lines + "\n  }"
        seconds, nanos = int(elapsed), int(elapsed % 1 * 1e9)
        text = (f'{{\n  "timestamp": {{\n    "secs": {seconds},\n    "nanos": {nanos}\n  }},\n'
                f'  "source": "{source}",\n  "event": "{event}",\n  "properties": {values}\n}}\n\n')
        try:
            os.write(self.fd, text.encode())
        except OSError:
            pass


def error_block(chain: list[str], log: Log | None) -> None:
    """The numbered chain on stderr."""
    if log is not None:
        log.write("ERROR", f"Fatal error: LabSimulator({chain!r})", "main")
    if len(chain) == 1:
        text = f"Error: Cloud Hypervisor exited with the following error:\n  {chain[0]}\n"
    else:
        lines = "".join(f"  {index}: {message}\n" for index, message in enumerate(chain))
        text = "Error: Cloud Hypervisor exited with the following chain of errors:\n" + lines
    sys.stderr.write(text)
    sys.stderr.flush()
