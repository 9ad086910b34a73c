# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""The part of cloud-hypervisor's REST API that we use, over its Unix socket.

Python's http.client costs more to import than all of this; the server wants one request a connection, with Content-Length,
and its answer is read by Content-Length because it never closes first (cloud-hypervisor contract 2.1, 2.9).
"""

from __future__ import annotations

import json
import socket
import time
import typing as t

from .._errors import CocoonError


class ApiError(CocoonError):
    """The program answered with an error, or did not answer at all; ``status`` is 0 then."""

    def __init__(self, msg: str, status: int = 0) -> None:
        super().__init__(msg, "look at the VM's log on the host")
        self.status = status


class Api:
    """One VM's API socket.  Every call opens, sends, reads and closes within *timeout* seconds."""

    def __init__(self, path: str, timeout: float = 5.0) -> None:
        self.path = path
        self.timeout = timeout

    def get(self, name: str) -> t.Any:
        """Return the decoded answer of a GET, such as ``vm.info``."""
        return self._call("GET", name, None)

    def put(self, name: str, body: t.Any = None) -> t.Any:
        """Return the decoded answer of a PUT, such as ``vm.power-button``; None for an empty one."""
        return self._call("PUT", name, body)

    def answers(self) -> bool:
        """Tell whether somebody accepts connections on the socket."""
        try:
            self._connect().close()
        except OSError:
            return False
        return True

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self.timeout)
        try:
            connection.connect(self.path)
        except OSError:
            connection.close()
            raise
        return connection

    def _call(self, method: str, name: str, body: t.Any) -> t.Any:
        data = b"" if body is None else json.dumps(body).encode("utf-8")
        head = f"{method} /api/v1/{name} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n"
        if data:
            head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        try:
            with self._connect() as connection:
                connection.sendall(head.encode("ascii") + b"\r\n" + data)
                status, answer = _read(connection, time.monotonic() + self.timeout)
        except OSError as error:
            raise ApiError(f"The API socket {self.path} does not answer {name}: {error.strerror or error}.") from error
        except (ValueError, IndexError) as error:
            raise ApiError(f"What answers {name} on the API socket {self.path} does not speak HTTP.") from error
        if status not in (200, 204):
            raise ApiError(f"{name} was refused with {status}: {_chain(answer)}", status)
        try:
            return json.loads(answer) if answer.strip() else None
        except ValueError as error:
            raise ApiError(f"The answer to {name} on the API socket {self.path} is no JSON: {error}.") from error


def _read(connection: socket.socket, deadline: float) -> tuple[int, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(connection, deadline)
    head, _sep, answer = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split()[1])
    fields = {key.strip().lower(): value.strip() for key, _colon, value in (line.partition(":") for line in lines[1:])}
    length = int(fields.get("content-length", "0"))
    while len(answer) < length:
        answer += _more(connection, deadline)
    return status, answer[:length]


def _more(connection: socket.socket, deadline: float) -> bytes:
    connection.settimeout(max(0.001, deadline - time.monotonic()))
    data = connection.recv(65536)
    if not data:
        raise ConnectionResetError(104, "connection closed before the whole answer came")
    return data


def _chain(answer: bytes) -> str:
    """Return an error body as one line: a JSON array of causes since v47, plain text before, or empty."""
    text = answer.decode("utf-8", "replace").strip()
    try:
        causes = json.loads(text)
    except ValueError:
        return text or "no reason given"
    return " -> ".join(str(cause) for cause in causes) if isinstance(causes, list) else text
