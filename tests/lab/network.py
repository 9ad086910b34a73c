# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's network: one bridge on the controller, one veth pair for each host."""
from __future__ import annotations

import contextlib
import pathlib
import subprocess
from typing import Any

from . import paths
from .errors import LabError

REGISTRY_NUMBER = 5
FIRST_NUMBER = 11
LAST_NUMBER = 199


def bridge() -> str:
    """The switch that all hosts are plugged into."""
    return f"cocoonlab{paths.number()}"


def address(number: int) -> str:
    """A host's number is the last part of its address; the controller has 1."""
    return f"10.{77 + paths.number()}.0.{number}"


def veth(number: int) -> str:
    """The controller's end of a host's cable."""
    return f"clab{paths.number()}x{number}"


def exists(name: str) -> bool:
    """Is there such a network interface on the controller?"""
    return pathlib.Path("/sys/class/net", name).exists()


def _batch(*lines: str, force: bool = False) -> None:
    """Many ip commands in one process."""
    command = ["ip", *(["-force"] if force else []), "-batch", "-"]
    done = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, check=False)
    if done.returncode and not force:
        raise LabError(f"ip could not do `{'; '.join(lines)}`: {done.stderr.strip()}")


def ensure_bridge() -> None:
    """The bridge with the controller's address.

    Its hardware address is its own: by default it borrows a cable's, and takes part in what a slow cable delays.
    """
    if not exists(bridge()):
        _batch(f"link add {bridge()} address 02:c0:c0:00:00:01 type bridge stp_state 0 forward_delay 0",
               f"addr add {address(1)}/24 dev {bridge()}", f"link set {bridge()} up")


def remove(interface: str) -> None:
    """The bridge or the controller's end of a cable; no-op when it is gone."""
    if exists(interface):
        _batch(f"link del {interface}", force=True)


def plug(number: int, pid: int, interface: str) -> None:
    """A cable between the bridge and the network namespace of a process."""
    unplug(number)
    _batch(f"link add {veth(number)} type veth peer name {interface} address 02:c0:c0:00:00:{number:02x} netns {pid}",
           f"link set {veth(number)} master {bridge()}")


def unplug(number: int) -> None:
    """Remove the cable; usually the kernel did it already when the host's namespace died."""
    remove(veth(number))


def configure(number: int, interface: str) -> None:
    """The host's own addresses: runs inside its network namespace."""
    _batch("link set lo up", f"addr add {address(number)}/24 dev {interface}", f"link set {interface} up",
           f"route add default via {address(1)}")


def attach(number: int, connected: bool) -> None:
    """Put the cable into the bridge; pull it out on the controller's side when the host is to be cut off."""
    _batch(f"link set {veth(number)} arp on master {bridge()}", f"link set {veth(number)} {'up' if connected else 'down'}")


def detach(number: int, tap: str) -> None:
    """Put a tap in the place of the cable. The controller itself must not answer on the loose end: no ARP there."""
    _batch(f"link set {veth(number)} arp off nomaster", f"link set {tap} master {bridge()}", f"link set {tap} up")


def netem(number: int, pid: int, interface: str, link: dict[str, Any]) -> bool:
    """Delay, loss and rate in both directions by tc netem; False where the kernel has none."""
    words = ["root", "netem", "delay", f"{link['delay']}ms", "loss", f"{link['loss']}%"]
    if link["rate"]:
        words += ["rate", f"{link['rate']}bit"]
    inside = ["nsenter", f"--net=/proc/{pid}/ns/net", "tc", "qdisc", "replace", "dev", interface, *words]
    outside = ["tc", "qdisc", "replace", "dev", veth(number), *words]
    return all(subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in (outside, inside))


def no_netem(number: int, pid: int, interface: str) -> None:
    """Back to full speed."""
    for command in (["tc", "qdisc", "del", "dev", veth(number), "root"],
                    ["nsenter", f"--net=/proc/{pid}/ns/net", "tc", "qdisc", "del", "dev", interface, "root"]):
        subprocess.run(command, capture_output=True, check=False)


def left_over() -> list[str]:
    """The lab's interfaces on the controller."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(entry.name for entry in pathlib.Path("/sys/class/net").iterdir()
                      if entry.name == bridge() or entry.name.startswith(veth(0)[:-1]))
    return []
