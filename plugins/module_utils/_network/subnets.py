# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""Choosing and checking IPv4 subnets.  Only cocoon_net and the checks before a change import this."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .._errors import CocoonError

POOL = ipaddress.IPv4Network("10.88.0.0/16")  # cocoon's own default network is the first part of it


def choose_subnet(taken: list[str]) -> str:
    """Return the first /24 of the pool that neither the given subnets nor the host's routes overlap."""
    busy = [network for network in map(_network, taken) if network] + host_routes()
    for subnet in POOL.subnets(new_prefix=24):
        if not any(subnet.overlaps(other) for other in busy):
            return str(subnet)
    raise CocoonError(f"All of {POOL} is in use on this host.", "set subnet")


def _network(subnet: str) -> ipaddress.IPv4Network | None:
    """Return a subnet of somebody else's making; None for one of IPv6 or nonsense, which is in nobody's way."""
    try:
        return ipaddress.IPv4Network(subnet, strict=False)
    except ValueError:
        return None


def check_options(interface: str | None, mtu: int | None, dns: list[str]) -> None:
    """Raise CocoonError for what the kernel or a guest would not take."""
    if interface is not None and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}", interface) is None:
        raise CocoonError(f"interface: {interface!r} is no name of a bridge.", "use letters, digits, dots, underscores and hyphens, 15 at most")
    if mtu is not None and not 576 <= mtu <= 65535:
        raise CocoonError(f"mtu: {mtu} is not possible.", "give 576 to 65535, mostly 1500")
    for server in dns:
        try:
            ipaddress.ip_address(server)
        except ValueError as error:
            raise CocoonError(f"dns: {server!r} is no IP address.", "give the addresses of name servers") from error


def host_routes(path: str = "/proc/net/route") -> list[ipaddress.IPv4Network]:
    """Return the networks that the host has routes to, but for the default route."""
    return [network for _interface, _direct, network in _routes(path)]


def connected(subnet: str, path: str = "/proc/net/route") -> list[tuple[str, ipaddress.IPv4Network]]:
    """Return the host's own networks that overlap a subnet, each with its interface: routes without a gateway."""
    wanted = ipaddress.IPv4Network(subnet)
    return [(interface, network) for interface, direct, network in _routes(path) if direct and network.overlaps(wanted)]


def _routes(path: str) -> t.Iterator[tuple[str, bool, ipaddress.IPv4Network]]:
    with open(path, "r", encoding="ascii") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    for row in rows:
        address, mask = (int.from_bytes(bytes.fromhex(row[column]), "little") for column in (1, 7))
        if mask:
            yield row[0], not int(row[3], 16) & 2, ipaddress.IPv4Network((address, bin(mask).count("1")), strict=False)


def first_address(subnet: str) -> str:
    """Return the first usable address of a subnet: the gateway, by custom."""
    return str(next(ipaddress.IPv4Network(subnet).hosts()))


def check_subnet(subnet: str, gateway: str | None, others: list[tuple[str, str]]) -> str:
    """Return a subnet with its prefix; raise CocoonError for one that is none, is too small, overlaps another network, or has not its gateway."""
    try:
        network = ipaddress.IPv4Network(subnet)
    except ValueError as error:
        raise CocoonError(f"subnet: {subnet!r} is no IPv4 network: {error}.", "write it like 10.88.1.0/24") from error
    if network.prefixlen > 29:
        raise CocoonError(f"subnet: {subnet} has no room for VMs.", "use a prefix of 29 or shorter")
    for name, other in others:
        there = _network(other)
        if there and network.overlaps(there):
            raise CocoonError(f"subnet: {subnet} overlaps {other} of network {name}.", "choose another one")
    if gateway is not None:
        check_address(gateway, {"name": "", "subnet": subnet, "gateway": None}, "gateway")
    return str(network)


def check_address(address: str, network: dict[str, t.Any], option: str = "ip_address") -> None:
    """Raise CocoonError for an address that a network's members cannot have."""
    if not network.get("subnet"):
        raise CocoonError(f"{option}: network {network.get('name')} gives no addresses.", "leave ip_address out and set it in the guest")
    subnet = ipaddress.IPv4Network(network["subnet"], strict=False)
    try:
        parsed = ipaddress.IPv4Address(address)
    except ValueError as error:
        raise CocoonError(f"{option}: {address!r} is no IPv4 address.", "write it like 10.88.1.10") from error
    if parsed not in subnet or parsed in (subnet.network_address, subnet.broadcast_address) or address == network.get("gateway"):
        raise CocoonError(f"{option}: {address} is no free member of {subnet}.", f"choose an address of {subnet} that is not the gateway")
