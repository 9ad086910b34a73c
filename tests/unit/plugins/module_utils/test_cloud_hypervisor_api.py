# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client of cloud-hypervisor's API against real Unix sockets: its answers, and all that can go wrong (contract 2.1, 2.4)."""

from __future__ import annotations

import json
import pathlib
import socket
import threading
import time
import typing as t

import pytest
from hypothesis import given, strategies as st

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._hypervisor.cloud_hypervisor_api import Api, ApiError

HEAD = b"HTTP/1.1 %d \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n"
Server = t.Callable[..., "Peer"]


def answer(status: int, body: bytes | None = None) -> bytes:
    """An answer as the server writes it: an empty reason, no length with 204."""
    if body is None:
        return HEAD % status + b"\r\n"
    return HEAD % status + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class Peer:
    """A server that gives every request the same pieces of bytes; it never closes first unless told to."""

    def __init__(self, path: str, pieces: list[bytes], pause: float = 0, close: bool = False) -> None:
        self.path, self.pieces, self.pause, self.close = path, pieces, pause, close
        self.requests: list[bytes] = []
        self.kept: list[socket.socket] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(path)
        self.socket.listen()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _peer = self.socket.accept()
                self.kept.append(connection)
                self._serve(connection)
            except OSError:
                return

    def _serve(self, connection: socket.socket) -> None:
        request = connection.recv(65536)
        length = int(request.partition(b"Content-Length: ")[2].partition(b"\r\n")[0] or b"0")
        while len(request.partition(b"\r\n\r\n")[2]) < length:
            request += connection.recv(65536)
        self.requests.append(request)
        try:
            for piece in self.pieces:
                connection.sendall(piece)
                time.sleep(self.pause)
        except OSError:
            return
        if self.close:
            connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture(name="server")
def fixture_server(tmp_path: pathlib.Path) -> t.Iterator[Server]:
    """server(piece, ...): a server on a socket."""
    peers: list[Peer] = []

    def server(*pieces: bytes, **options: t.Any) -> Peer:
        peers.append(Peer(str(tmp_path / f"{len(peers)}.sock"), list(pieces), **options))
        return peers[-1]

    yield server
    for peer in peers:
        for one in [peer.socket, *peer.kept]:
            one.close()


def test_a_request(server: Server) -> None:
    """One line, a host, and a body only with its length: the server knows no chunks."""
    peer = server(answer(200, b'{"state":"Running"}'))
    assert Api(peer.path).get("vm.info") == {"state": "Running"}
    assert Api(peer.path).put("vm.resize", {"desired_vcpus": 2}) == {"state": "Running"}
    assert peer.requests == [
        b"GET /api/v1/vm.info HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
        b"PUT /api/v1/vm.resize HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n"
        b"Content-Type: application/json\r\nContent-Length: 20\r\n\r\n" + b'{"desired_vcpus": 2}',
    ]


@pytest.mark.parametrize("reply", [answer(204), answer(200, b""), answer(200, b"null")])
def test_answers_without_content(server: Server, reply: bytes) -> None:
    """204 has no length, and the server does not close: nobody waits for more."""
    began = time.monotonic()
    assert Api(server(reply).path, timeout=10).put("vm.power-button") is None
    assert time.monotonic() - began < 5


@given(st.dictionaries(st.text(max_size=5), st.text() | st.integers(0, 2**64 - 1), max_size=4), st.lists(st.integers(1, 60), max_size=6))
def test_answers_in_pieces(tmp_path_factory: pytest.TempPathFactory, body: dict[str, t.Any], cuts: list[int]) -> None:
    """Wherever the stream is cut, the whole is read."""
    reply = answer(200, json.dumps(body).encode("ascii"))
    pieces = []
    for cut in cuts:
        pieces.append(reply[:cut])
        reply = reply[cut:]
    path = tmp_path_factory.getbasetemp() / f"{time.monotonic_ns()}.sock"
    peer = Peer(str(path), [*pieces, reply])
    try:
        assert Api(str(path)).get("vm.info") == body
    finally:
        for one in [peer.socket, *peer.kept]:
            one.close()
        path.unlink()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            500,
            b'["Error from API","The VM could not boot","Failed to validate config"]',
            "vm.boot was refused with 500: Error from API -> The VM could not boot -> Failed to validate config",
        ),
        (
            404,
            b'["Error from API","The VM info is not available","VM is not created"]',
            "refused with 404: Error from API -> .* -> VM is not created",
        ),
        (500, b"The VM could not boot: config", "vm.boot was refused with 500: The VM could not boot: config"),
        (400, b"", "vm.boot was refused with 400: no reason given"),
        (503, b'{ "error": "Too many open connections" }', 'refused with 503: { "error": "Too many open connections" }'),
        (400, b'{ "error": "Invalid HTTP Method: X\nAll previous unanswered requests will be dropped." }', "Invalid HTTP Method: X"),
        (429, b'["Too Many Requests"]', "refused with 429: Too Many Requests"),
        (500, b"\xff\xfe", "refused with 500: \ufffd\ufffd"),
    ],
)
def test_refusals(server: Server, status: int, body: bytes, message: str) -> None:
    """Chains since v47, plain text before, other JSON from the server's own layer, nothing at all."""
    with pytest.raises(ApiError, match=message) as caught:
        Api(server(answer(status, body)).path).put("vm.boot")
    assert caught.value.status == status and "log" in caught.value.remedy


def test_a_socket_that_hangs(server: Server) -> None:
    """It accepts and says nothing: the call ends in time."""
    began = time.monotonic()
    with pytest.raises(ApiError, match="sock does not answer vm.info: timed out") as caught:
        Api(server().path, timeout=0.3).get("vm.info")
    assert 0.3 <= time.monotonic() - began < 5 and caught.value.status == 0


def test_an_answer_that_drips(server: Server) -> None:
    """A byte now and then does not make the call longer than its time."""
    peer = server(*[bytes([byte]) for byte in answer(200, b"{}")], pause=0.1)
    began = time.monotonic()
    with pytest.raises(ApiError, match="does not answer vm.info"):
        Api(peer.path, timeout=0.5).get("vm.info")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("length", [0, 5, 40, 95, 110])
def test_an_answer_that_is_cut_off(server: Server, length: int) -> None:
    """The program died while it answered."""
    with pytest.raises(ApiError, match="does not answer vm.info: connection closed before the whole answer came|Connection reset"):
        Api(server(answer(200, b'{"state":"Running"}')[:length], close=True).path).get("vm.info")


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        HEAD % 200 + b"Content-Length: many\r\n\r\n",
        answer(200, b"{"),
        answer(200, b"\xff"),
    ],
)
def test_an_answer_that_is_none(server: Server, reply: bytes) -> None:
    """Something else listens there: an error that names the socket, no traceback."""
    with pytest.raises(ApiError, match="sock"):
        Api(server(reply, close=True).path).get("vm.info")


def test_nobody_is_there(tmp_path: pathlib.Path, server: Server) -> None:
    """No socket, a socket that a dead process left, a file, a path that is too long."""
    peer = server(answer(204))
    assert Api(peer.path).answers()
    peer.socket.shutdown(socket.SHUT_RDWR)
    peer.socket.close()
    (tmp_path / "file").write_text("", encoding="ascii")
    for path, why in (
        (str(tmp_path / "none.sock"), "No such file or directory"),
        (peer.path, "Connection refused"),
        (str(tmp_path / "file"), "Connection refused"),
        (str(tmp_path / ("x" * 120)), "AF_UNIX path too long"),
    ):
        assert not Api(path).answers()
        with pytest.raises(CocoonError, match=f"does not answer vmm.ping: {why}"):
            Api(path).get("vmm.ping")
