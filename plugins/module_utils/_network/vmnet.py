# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""Networks of Macs: vmnet does it all, we only keep names and say which options ``tart run`` gets (the seed's thin provider)."""

from __future__ import annotations

import os
import stat
import typing as t

from .._errors import CocoonError
from .base import Network, NetworkProvider

DEFAULT = {"name": "default", "mode": "shared", "interface": None}


class Vmnet(NetworkProvider):
    """Named choices of tart's network modes.  Nothing on the host is created, changed or removed."""

    backend = "tart"
    modes = ("shared", "bridged", "softnet", "host")

    def inspect(self, name: str) -> dict[str, t.Any] | None:
        """Return the network as results show it; ``default`` is always there and is vmnet's own NAT."""
        record = self.store.read(name)
        if record is None:
            return _shown(DEFAULT, False) if name == DEFAULT["name"] else None
        if record.get("mode") not in self.modes:
            raise self.store.damaged(name, "it has no mode that a network can have")
        return _shown(record, True)

    def list(self) -> list[dict[str, t.Any]]:
        """Return all networks of the host."""
        networks = [self.inspect(name) for name in sorted({*self.store.names(), "default"})]
        return [network for network in networks if network is not None]

    def wished(self, network: Network, existing: dict[str, t.Any] | None) -> dict[str, t.Any]:
        """Return the network that will be; an interface to bridge to has to be there."""
        unknown = [option for option in ("subnet", "gateway", "mtu", "dns") if getattr(network, option)]
        if unknown:
            raise CocoonError(f"{', '.join(unknown)}: vmnet decides that on Macs.", "leave it out for Macs, or change the vmnet settings of macOS")
        there = existing or {}
        mode = network.mode or there.get("mode") or "shared"
        interface = network.interface or (there.get("interface") if mode == there.get("mode") else None)
        if mode == "bridged":
            self._check_interface(interface)
        elif network.interface:
            raise CocoonError(f"interface: mode {mode} has none.", "set mode: bridged, or leave interface out")
        if mode in ("softnet", "host"):
            self._check_softnet()
        return _shown({"name": network.name, "mode": mode, "interface": interface}, True)

    def _check_interface(self, interface: str | None) -> None:
        known = self._interfaces()
        shown = ", ".join(f"{device} ({port})" for device, port in known.items())
        if not interface:
            raise CocoonError("mode: bridged needs an interface.", f"set interface to one of: {shown}")
        if interface not in known and interface not in known.values():
            raise CocoonError(f"interface: this Mac has no {interface}.", f"set interface to one of: {shown}")

    def _interfaces(self) -> dict[str, str]:
        """Return the Mac's interfaces and their display names, as networksetup lists them."""
        out = self.commands.check(["/usr/sbin/networksetup", "-listallhardwareports"], "Listing the interfaces of this Mac", timeout=20)
        found, port = {}, ""
        for line in out.splitlines():
            key, _colon, value = line.partition(": ")
            if key == "Hardware Port":
                port = value.strip()
            elif key == "Device":
                found[value.strip()] = port
        return found

    def _check_softnet(self) -> None:
        path = self.commands.need("softnet", "install softnet with tart")
        status = os.stat(os.path.realpath(path))
        if status.st_uid != 0 or not status.st_mode & stat.S_ISUID:
            raise CocoonError(
                f"softnet ({os.path.realpath(path)}) may not run as root, so VMs would die right after their start.",
                "run: sudo chown root FILE && sudo chmod u+s FILE, for the real file behind the link; an upgrade removes that again",
            )

    def apply(self, network: dict[str, t.Any], existing: dict[str, t.Any] | None) -> None:
        """Keep the choice."""
        self.store.write(network["name"], {key: network[key] for key in ("name", "mode", "interface")})

    def delete(self, network: dict[str, t.Any]) -> None:
        """Forget the choice; macOS takes vmnet's resources back by itself."""
        self.store.delete(network["name"])

    def check(self, nics: list[dict[str, t.Any]]) -> None:
        """Check that the networks are there and that tart can have them together."""
        found = self._of(nics)
        for nic in nics:
            named = [option for option in ("mac_address", "ip_address") if nic.get(option)]
            if named:
                raise CocoonError(f"networks: {', '.join(named)} cannot be chosen on Macs.", "leave it out; tart gives addresses")
        if len(found) != 1 and not (found and all(network["mode"] == "bridged" for network in found)):
            raise CocoonError("networks: tart gives a VM one network card, or several bridged ones.", "name one network, or only bridged ones")
        if any(network["mode"] in ("softnet", "host") for network in found):
            self._check_softnet()

    def _of(self, nics: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
        found = []
        for nic in nics:
            network = self.inspect(nic["name"])
            if network is None:
                raise self.unknown(nic["name"])
            found.append(network)
        return found

    def run_arguments(self, nics: list[dict[str, t.Any]]) -> list[str]:
        """Return the options of ``tart run`` for these network cards."""
        arguments: list[str] = []
        for network in self._of(nics):
            if network["mode"] == "bridged":
                arguments.append(f"--net-bridged={network['interface']}")
            elif network["mode"] != "shared":
                arguments.append(f"--net-{network['mode']}")
        return arguments

    def mode(self, nics: list[dict[str, t.Any]]) -> str:
        """Return the mode of a VM's first card, which decides how its address is found."""
        network = self.inspect(nics[0]["name"]) if nics else None
        return str(network["mode"]) if network else "shared"


def _shown(record: dict[str, t.Any], managed: bool) -> dict[str, t.Any]:
    return {
        "name": record["name"],
        "backend": "tart",
        "mode": record["mode"],
        "managed": managed,
        "interface": record.get("interface"),
        "subnet": None,
        "gateway": None,
        "mtu": None,
        "dns": [],
        "path": None,
    }
