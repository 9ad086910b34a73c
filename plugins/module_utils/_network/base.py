# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""What a network provider has to offer, and what all providers share: named networks as records."""

from __future__ import annotations

import typing as t

from .._errors import CocoonError
from .._store import Store


class Network(t.NamedTuple):
    """A named network as the user wishes it; None means: leave as it is, or let the provider choose."""

    name: str
    mode: str | None = None
    interface: str | None = None
    subnet: str | None = None
    gateway: str | None = None
    mtu: int | None = None
    dns: list[str] | None = None


class NetworkProvider:
    """A provider of named networks.  ``modes`` are those that it has."""

    backend = ""
    modes: tuple[str, ...] = ()

    def __init__(self, commands: t.Any, root: str) -> None:
        self.commands = commands
        self.store = Store(root, "networks")

    def inspect(self, name: str) -> dict[str, t.Any] | None:
        """Return a network as results show it, None where there is none."""
        raise NotImplementedError

    def list(self) -> list[dict[str, t.Any]]:
        """Return all networks of the host, sorted by name."""
        raise NotImplementedError

    def wished(self, network: Network, existing: dict[str, t.Any] | None) -> dict[str, t.Any]:
        """Return what the network will be when *network* has been applied; raise CocoonError for what cannot be."""
        raise NotImplementedError

    def apply(self, network: dict[str, t.Any], existing: dict[str, t.Any] | None) -> None:
        """Make or change a network to be as ``wished`` said."""
        raise NotImplementedError

    def delete(self, network: dict[str, t.Any]) -> None:
        """Remove a network."""
        raise NotImplementedError

    def check(self, nics: list[dict[str, t.Any]]) -> None:
        """Raise CocoonError where a VM cannot have these network cards on this host."""
        raise NotImplementedError

    def users(self, name: str) -> list[str]:
        """Return the VMs of this host whose records name the network."""
        vms = Store(self.store.root, "vms")
        found = []
        for vm in vms.names():
            record = vms.read(vm) or {}
            if any(nic.get("name") == name for nic in record.get("attributes", {}).get("networks") or []):
                found.append(vm)
        return found

    def unknown(self, name: str) -> CocoonError:
        """Return the error for a network that is not there, with those that are."""
        names = ", ".join(network["name"] for network in self.list()) or "none"
        return CocoonError(f"There is no network {name} on this host (there is: {names}).", f"make it first with cocoon_net: name={name}")
