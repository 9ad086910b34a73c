# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for guests with real sockets: who accepts, refuses, is silent, greets, greets late, and dies."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import typing as t

import pytest

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._guest import ready as module
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._guest.ready import ready, wait_ready
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._plan import Observed
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._process import Process
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._spec import VmSpec

# Each guest has an address of its own on the loopback, all on one port.
REFUSES, SILENT, GREETS, BABBLES, FULL, CLOSES = (f"127.0.77.{number}" for number in range(1, 7))


def serve(address: str, port: int, answer: bytes | None) -> socket.socket:
    """A server that says *answer* to all who come; None: closes at once."""
    server = socket.create_server((address, port))

    def run() -> None:
        kept = []
        while True:
            try:
                connection, _peer = server.accept()
            except OSError:
                return
            if answer is None:
                connection.close()
                continue
            with contextlib.suppress(OSError):
                connection.sendall(answer)
            kept.append(connection)

    threading.Thread(target=run, daemon=True).start()
    return server


@pytest.fixture(name="port", scope="module")
def fixture_port() -> t.Iterator[int]:
    """The port that stands for SSH, with guests of all kinds on it."""
    with socket.create_server((GREETS, 0)) as found:
        port = found.getsockname()[1]
    servers = [
        serve(GREETS, port, b"SSH-2.0-OpenSSH_9.2\r\n"),
        serve(SILENT, port, b""),
        serve(BABBLES, port, b"220 mail\r\n"),
        serve(CLOSES, port, None),
    ]
    full = socket.create_server((FULL, port), backlog=0)  # its queue is full, and nobody accepts: packets are lost
    waiting = []
    for _turn in range(3):
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex((FULL, port))
        waiting.append(connection)
    old, module._SSH = module._SSH, port
    yield port
    module._SSH = old
    for one in [*servers, full, *waiting]:
        one.close()


@pytest.mark.parametrize(
    ("address", "levels"),
    [
        (REFUSES, {"ip"}),
        (SILENT, {"ip"}),
        (GREETS, {"ip", "ssh"}),
        (BABBLES, {"ip"}),
        (FULL, set()),
        (CLOSES, {"ip"}),
        ("255.255.255.255", set()),
    ],
)
@pytest.mark.usefixtures("port")
def test_who_is_ready(address: str, levels: set[str]) -> None:
    """A guest that refuses is there; an SSH server has greeted."""
    for level in ("ip", "ssh"):
        assert (ready({"web": (address, level)}) == ["web"]) is (level in levels), level


@pytest.mark.usefixtures("port")
def test_all_at_once() -> None:
    """The slow ones do not keep the others, and one round takes its time once."""
    asked = {
        f"{address} {level}": (address, level) for address in (REFUSES, SILENT, GREETS, BABBLES, FULL, CLOSES) for level in ("ip", "ssh")
    }
    began = time.monotonic()
    found = ready(asked)
    assert time.monotonic() - began < 2
    assert sorted(found) == sorted([f"{address} ip" for address in (REFUSES, SILENT, GREETS, BABBLES, CLOSES)] + [f"{GREETS} ssh"])
    assert ready({}) == []


class Guests:
    """A backend of which only addresses and processes are known."""

    def __init__(self, addresses: dict[str, str], late: float = 0, dies: float = 1e9) -> None:
        self.found, self.begun, self.late, self.dies = addresses, time.monotonic(), late, dies
        self.patient: list[bool] = []
        self.processes = self

    def addresses(self, vms: list[Observed], patient: bool = False) -> dict[str, str]:
        """Nobody has one before *late*."""
        self.patient.append(patient)
        known = time.monotonic() - self.begun >= self.late
        return {vm.name: self.found[vm.name] for vm in vms if known and vm.name in self.found}

    def alive(self, process: Process) -> bool:
        """All die at *dies*."""
        return time.monotonic() - self.begun < self.dies

    def started_badly(self, name: str, what: str) -> CocoonError:
        """As a backend tells it."""
        return CocoonError(f"{what}.", log_tail=f"log of {name}")

    def no_address_hint(self) -> str:
        """As a backend tells it."""
        return "check the guest"


def waited(guests: Guests, *specs: VmSpec) -> tuple[dict[str, str], dict[str, CocoonError]]:
    """What waiting for these VMs gives."""
    return wait_ready(guests, list(specs), {spec.name: Observed(spec.name, "running", True, Process(1, 1, "")) for spec in specs})


@pytest.mark.usefixtures("port")
def test_waiting_for_addresses_and_ssh() -> None:
    """Each to its own level; somebody waits, so that slower ways are tried too."""
    guests = Guests({"a": REFUSES, "b": GREETS}, late=0.3)
    found, late = waited(guests, VmSpec("a", wait_for="ip", wait_timeout=30), VmSpec("b", wait_for="ssh", wait_timeout=30))
    assert (found, late) == ({"a": REFUSES, "b": GREETS}, {})
    assert time.monotonic() - guests.begun >= 0.3 and set(guests.patient) == {True}


@pytest.mark.usefixtures("port")
def test_each_vm_has_a_deadline_of_its_own() -> None:
    """Who is late is told with what is known of it; the others are waited for."""
    guests = Guests({"silent": SILENT, "full": FULL, "good": GREETS})
    found, late = waited(
        guests,
        VmSpec("silent", wait_for="ssh", wait_timeout=0.3),
        VmSpec("full", wait_for="ip", wait_timeout=0.3),
        VmSpec("none", wait_for="ip", wait_timeout=0),
        VmSpec("good", wait_for="ssh", wait_timeout=30),
    )
    assert found["good"] == GREETS and found["silent"] == SILENT
    assert sorted(late) == ["full", "none", "silent"]
    assert (
        late["silent"].msg
        == f"silent runs, but was not ready (ssh) within 0.3 seconds: its address is {SILENT}, but no SSH server answers there."
    )
    assert late["full"].msg.endswith(f"(ip) within 0.3 seconds: its address is {FULL}, but nothing answers there.")
    assert late["none"].msg.endswith("within 0 seconds: no address of it was found.")
    assert late["none"].remedy.endswith("check the guest")


@pytest.mark.usefixtures("port")
def test_a_vm_that_dies_is_not_waited_for() -> None:
    """The end of its process is told at once, with its log."""
    guests = Guests({}, dies=0.2)
    _found, late = waited(guests, VmSpec("web", wait_for="ip", wait_timeout=60))
    assert time.monotonic() - guests.begun < 20
    assert late["web"].msg == "web ended while it was waited for." and late["web"].log_tail == "log of web"
