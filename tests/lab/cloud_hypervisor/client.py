# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client for tests: start the program (simulator or real), ask its API, end it."""
from __future__ import annotations

import json
import pathlib
import socket
import subprocess
import time

TIMEOUT = 30.0


class Answer:
    """A response of the API."""

    def __init__(self, head: str, body: bytes) -> None:
        self.status_line, *lines = head.split("\r\n")
        self.headers = dict(line.split(": ", 1) for line in lines)
        self.status = int(self.status_line.split(" ")[1])
        self.body = body

    @property
    def json(self):
        """The body, parsed; None for an empty one."""
        return json.loads(self.body) if self.body else None

    @property
    def error(self) -> str:
        """The innermost message of an error."""
        return self.json[-1]


def read_answer(channel: socket.socket) -> Answer:
    """Read one response by its length."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = channel.recv(65536)
        if not part:
            raise ConnectionError(f"the connection was closed after {data!r}")
        data += part
    head, _end, body = data.partition(b"\r\n\r\n")
    answer = Answer(head.decode(), body)
    while len(answer.body) < int(answer.headers.get("Content-Length", 0)):
        answer.body += channel.recv(65536)
    return answer


def until(condition, timeout: float = TIMEOUT, what: str = ""):
    """Wait for something to be true and return it."""
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout} s for {what or condition}")
        time.sleep(0.02)


class Running:
    """One process of the program in a folder of its own."""

    def __init__(self, command: list[str], folder: pathlib.Path, env: dict, socket_name: str = "api.sock") -> None:
        self.folder = folder
        self.socket = folder / socket_name
        self.output = folder / f"{socket_name}.out"
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)

    @property
    def text(self) -> str:
        """What it wrote so far."""
        return self.output.read_text(errors="replace")

    def connect(self) -> socket.socket:
        """A connection to the API."""
        channel = socket.socket(socket.AF_UNIX)
        channel.settimeout(TIMEOUT)
        channel.connect(str(self.socket))
        return channel

    def wait_ready(self) -> Running:
        """Until the API answers."""
        def ready() -> bool:
            if self.process.poll() is not None:
                raise ChildProcessError(f"exit {self.process.returncode}: {self.text}")
            try:
                self.connect().close()
            except OSError:
                return False
            return self.call("GET", "vmm.ping").status == 200
        until(ready, what="the API")
        return self

    def raw(self, data: bytes) -> Answer:
        """Send bytes, read one response."""
        with self.connect() as channel:
            channel.sendall(data)
            return read_answer(channel)

    def call(self, method: str, name: str, body=None) -> Answer:
        """One request."""
        payload = b"" if body is None else json.dumps(body).encode()
        head = f"{method} /api/v1/{name} HTTP/1.1\r\nHost: localhost\r\n"
        if payload:
            head += f"Content-Length: {len(payload)}\r\n"
        return self.raw(head.encode() + b"\r\n" + payload)

    def put(self, name: str, body=None) -> Answer:
        """A PUT request."""
        return self.call("PUT", name, body)

    def info(self) -> dict:
        """vm.info of a VM that exists."""
        answer = self.call("GET", "vm.info")
        assert answer.status == 200, answer.body
        return answer.json

    def wait(self, timeout: float = TIMEOUT) -> int:
        """The exit status."""
        return self.process.wait(timeout)

    def end(self) -> None:
        """Kill it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
