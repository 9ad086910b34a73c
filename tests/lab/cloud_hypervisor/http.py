# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP over the API socket with the framing of micro-http (contract 2.1)."""
from __future__ import annotations

import array
import os
import socket

from .loop import IN

MAX_CONNECTIONS, MAX_BODY, MAX_LINE = 10, 51200, 1024
METHODS = ("GET", "PUT", "PATCH")
FULL = (b"HTTP/1.1 503\r\nServer: Firecracker API\r\nConnection: close\r\nContent-Length: 40\r\n\r\n"
        b'{ "error": "Too many open connections" }')
CONTINUE = b"HTTP/1.1 100 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n"


class BadRequest(Exception):
    """The request cannot be parsed."""


def response(status: int, body: bytes = b"", server: str = "Cloud Hypervisor API") -> bytes:
    """A response: no reason phrase, no length for 204."""
    head = f"HTTP/1.1 {status} \r\nServer: {server}\r\nConnection: keep-alive\r\n"
    if status not in (100, 204):
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def _parse_error(text: str) -> bytes:
    body = '{ "error": "' + text + "\nAll previous unanswered requests will be dropped." + '" }'
    return response(400, body.encode(), "Firecracker API")


class Request:
    """One parsed request."""

    def __init__(self, line: str) -> None:
        parts = line.split(" ")
        if len(parts) != 3:
            raise BadRequest("Invalid request.")
        self.method, self.path, version = parts
        if self.method not in METHODS:
            raise BadRequest("Invalid HTTP Method: Unsupported HTTP method.")
        if version not in ("HTTP/1.0", "HTTP/1.1"):
            raise BadRequest("Invalid HTTP Version: Unsupported HTTP version.")
        if self.path.startswith("http://"):
            self.path = "/" + self.path[7:].partition("/")[2]
        self.length = 0
        self.expects = False
        self.body = b""
        self.fds: list[int] = []

    def header(self, line: str) -> None:
        """Take one header line; most are ignored."""
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequest(f"Invalid header. Reason: Header is incorrectly formatted. Key: {line}")
        name, value = name.strip().lower(), value.strip()
        if name == "content-length":
            if not value.isdigit():
                raise BadRequest(f"Invalid header. Reason: Invalid value. Key:Content-Length; Value: {value}")
            self.length = int(value)
            if self.length > MAX_BODY:
                raise BadRequest(f"Request payload with size {value} is larger than the limit of {MAX_BODY} allowed by server.")
        elif name == "expect" and value == "100-continue":
            self.expects = True
        elif name == "accept-encoding" and value.replace(" ", "") in ("identity;q=0", "*;q=0"):
            raise BadRequest(f"Invalid header. Reason: Invalid value. Key:Accept-Encoding; Value:{value}")


class Connection:
    """One client."""

    def __init__(self, server: Server, channel: socket.socket) -> None:
        self.server = server
        self.channel = channel
        self.buffer = b""
        self.request: Request | None = None
        self.in_body = False
        self.fds: list[int] = []
        self.parsed: list[Request] = []
        channel.setblocking(False)

    def on_readable(self, _mask: int) -> None:
        """Read and serve what is complete."""
        try:
            data, ancillary, _flags, _address = self.channel.recvmsg(65536, socket.CMSG_SPACE(64 * 4))
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self.fds += array.array("i", payload[:len(payload) // 4 * 4])
        if not data:
            self.server.drop(self)
            return
        self.buffer += data
        try:
            self._parse()
        except BadRequest as error:
            self.buffer, self.request, self.in_body, self.parsed = b"", None, False, []
            self.send(_parse_error(str(error)))
        while self.parsed:
            self._answer(self.parsed.pop(0))

    def _parse(self) -> None:
        while self.channel.fileno() >= 0:
            if self.in_body:
                if len(self.buffer) < self.request.length:
                    return
                self.request.body, self.buffer = self.buffer[:self.request.length], self.buffer[self.request.length:]
                self._finish()
                continue
            line, end, rest = self.buffer.partition(b"\r\n")
            if len(line) > MAX_LINE:
                shown = line[:MAX_LINE].decode("latin-1")
                self.buffer = b""
                raise BadRequest(f"Invalid header. Reason: Invalid content length. Header: {shown}")
            if not end:
                return
            self.buffer = rest
            self._line(line.decode("latin-1"))

    def _line(self, line: str) -> None:
        if self.request is None:
            self.request = Request(line)
        elif line:
            self.request.header(line)
        elif self.request.length:
            self.in_body = True
            if self.request.expects:
                self.send(CONTINUE)
        else:
            self._finish()

    def _finish(self) -> None:
        request, self.request, self.in_body = self.request, None, False
        request.fds, self.fds = self.fds, []
        self.parsed.append(request)

    def _answer(self, request: Request) -> None:
        if self.server.hang:
            return
        status, body = self.server.handle(request)
        self.send(response(status, body))
        for fd in request.fds:
            os.close(fd)

    def send(self, data: bytes) -> None:
        """Write a response; a client that is gone is dropped."""
        try:
            self.channel.setblocking(True)
            self.channel.settimeout(10)
            self.channel.sendall(data)
            self.channel.setblocking(False)
        except OSError:
            self.server.drop(self)


class Server:
    """The listening socket and its clients; `handle(request)` gives (status, body)."""

    def __init__(self, loop, listener: socket.socket, handle, hang: bool) -> None:
        self.loop = loop
        self.listener = listener
        self.handle = handle
        self.hang = hang
        self.clients: list[Connection] = []
        loop.watch(listener.fileno(), self._accept, IN)

    def _accept(self, _mask: int) -> None:
        try:
            channel, _address = self.listener.accept()
        except OSError:
            return
        if len(self.clients) >= MAX_CONNECTIONS:
            channel.sendall(FULL)
            channel.close()
            return
        client = Connection(self, channel)
        self.clients.append(client)
        self.loop.watch(channel.fileno(), client.on_readable, IN)

    def drop(self, client: Connection) -> None:
        """Forget a client."""
        if client in self.clients:
            self.clients.remove(client)
            self.loop.forget(client.channel.fileno())
            client.channel.close()
