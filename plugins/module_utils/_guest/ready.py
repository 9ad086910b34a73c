# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""Waiting until guests can be reached: one loop for all VMs of a task, each with a deadline of its own."""

from __future__ import annotations

import errno
import select
import socket
import time
import typing as t

from .._errors import CocoonError
from .._plan import Observed
from .._spec import VmSpec

_ROUND = 0.5  # seconds that one round of attempts may take
_PAUSE = 0.2
_SSH = 22
# A guest that refuses a connection is there.
_ALIVE = (0, errno.ECONNREFUSED)


def wait_ready(hypervisor: t.Any, specs: list[VmSpec], observed: dict[str, Observed]) -> tuple[dict[str, str], dict[str, CocoonError]]:
    """Wait for the level that each spec names; return addresses, and for the VMs that did not get there why."""
    begun = time.monotonic()
    waiting = {spec.name: spec for spec in specs}
    addresses: dict[str, str] = {}
    late: dict[str, CocoonError] = {}
    while waiting:
        found = hypervisor.addresses([observed[name] for name in waiting], patient=True)
        addresses.update(found)
        for name in ready({name: (address, waiting[name].wait_for) for name, address in found.items()}):
            del waiting[name]
        lost = _lost(hypervisor, waiting, observed)
        now = time.monotonic() - begun
        for name in [name for name, spec in waiting.items() if name in lost or now >= spec.wait_timeout]:
            late[name] = lost.get(name) or _too_late(hypervisor, waiting[name], addresses.get(name))
            del waiting[name]
        if waiting:
            time.sleep(_PAUSE)
    return addresses, late


def _lost(hypervisor: t.Any, waiting: dict[str, VmSpec], observed: dict[str, Observed]) -> dict[str, CocoonError]:
    """Return the errors of VMs whose process has ended while we wait for them."""
    lost = {}
    for name in waiting:
        process = observed[name].process
        if process is not None and not hypervisor.processes.alive(process):
            lost[name] = hypervisor.started_badly(name, f"{name} ended while it was waited for")
    return lost


def _too_late(hypervisor: t.Any, spec: VmSpec, address: str | None) -> CocoonError:
    where = f"its address is {address}, but nothing answers there" if address else "no address of it was found"
    if address and spec.wait_for == "ssh":
        where = f"its address is {address}, but no SSH server answers there"
    return CocoonError(
        f"{spec.name} runs, but was not ready ({spec.wait_for}) within {spec.wait_timeout:g} seconds: {where}.",
        f"look at the guest's console, raise wait_timeout, or set wait_for: process; {hypervisor.no_address_hint()}",
    )


def ready(asked: dict[str, tuple[str, str]]) -> list[str]:
    """Return the names whose address answers: at level ``ip`` by accepting or refusing, at level ``ssh`` by an SSH server's greeting."""
    poll = select.poll()
    connections: dict[int, tuple[str, str, socket.socket]] = {}
    done: list[str] = []
    for name, (address, level) in asked.items():
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.setblocking(False)
        code = connection.connect_ex((address, _SSH))
        if code in (0, errno.EINPROGRESS):
            poll.register(connection, select.POLLOUT)
            connections[connection.fileno()] = (name, level, connection)
        else:
            connection.close()
            done += [name] if level == "ip" and code in _ALIVE else []
    deadline = time.monotonic() + _ROUND
    while connections and time.monotonic() < deadline:
        for number, _event in poll.poll(max(1, int((deadline - time.monotonic()) * 1000))):
            name, level, connection = connections[number]
            state = _progress(connection, level)
            if state == "greets":
                poll.modify(number, select.POLLIN)
                continue
            done += [name] if state == "ready" else []
            poll.unregister(number)
            connection.close()
            del connections[number]
    for _name, _level, connection in connections.values():
        connection.close()
    return done


def _progress(connection: socket.socket, level: str) -> str:
    """Return what an event on a connection means: ready, not yet, or that the server's greeting is awaited."""
    code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if level == "ip":
        return "ready" if code in _ALIVE else "not yet"
    if code != 0:
        return "not yet"
    try:
        greeting = connection.recv(255)
    except BlockingIOError:
        return "greets"
    except OSError:
        return "not yet"
    return "ready" if greeting.startswith(b"SSH-") else "not yet"
