# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""Finding the addresses of guests: leases, ARP, the guest agent; one pass for all VMs of a host (tart contract 6).

Which resolvers are asked, and in which order, depends on the network's mode: a bridged guest has its lease from somebody else's server.
"""

from __future__ import annotations

import re
import time
import typing as t

LEASES = "/var/db/dhcpd_leases"


class Lease(t.NamedTuple):
    """An address that the host's DHCP server gave, until ``expires`` (seconds since the epoch)."""

    address: str
    expires: int


def resolvers(mode: str) -> tuple[str, ...]:
    """Return the resolvers for a network mode in the order in which they are asked."""
    return ("agent", "arp") if mode == "bridged" else ("dhcp", "agent", "arp")


def leases(path: str = LEASES) -> dict[str, Lease]:
    """Return Apple's DHCP leases by MAC address; of several for one MAC the one that ends last."""
    try:
        with open(path, "r", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return {}
    return parse_leases(text, time.time())


def parse_leases(text: str, now: float) -> dict[str, Lease]:
    """Return the leases of a lease file's text that have not expired; blocks that make no sense are left out."""
    found: dict[str, Lease] = {}
    for block in re.findall(r"\{(.*?)\}", text, re.DOTALL):
        fields = dict(line.strip().split("=", 1) for line in block.splitlines() if "=" in line)
        kind, _comma, hardware = fields.get("hw_address", "").partition(",")
        try:
            expires = int(fields.get("lease", "0"), 16)
        except ValueError:
            continue
        mac = normal_mac(hardware)
        if kind != "1" or mac is None or "ip_address" not in fields or expires <= now:
            continue
        if mac not in found or found[mac].expires < expires:
            found[mac] = Lease(fields["ip_address"], expires)
    return found


def normal_mac(text: str) -> str | None:
    """Return a MAC address in lower case with two digits for each byte; macOS leaves leading zeros out."""
    parts = text.lower().split(":")
    if len(parts) != 6 or not all(re.fullmatch(r"[0-9a-f]{1,2}", part) for part in parts):
        return None
    return ":".join(part.zfill(2) for part in parts)


def parse_arp(text: str) -> dict[str, str]:
    """Return addresses by MAC from ``arp -an``; incomplete entries are left out."""
    found = {}
    for address, hardware in re.findall(r"\(([0-9.]+)\) at (\S+) on", text):
        mac = normal_mac(hardware)
        if mac is not None:
            found[mac] = address
    return found


def arp_table_linux(path: str = "/proc/net/arp") -> dict[str, str]:
    """Return addresses by MAC from the kernel's neighbour table; entries that are not complete are left out."""
    with open(path, "r", encoding="ascii") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return {row[3]: row[0] for row in rows if int(row[2], 16) & 2}
