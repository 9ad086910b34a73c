# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""Networks of Linux hosts: CNI plugins give addresses, a TAP takes the guest's frames (cloud-hypervisor contract 5.2).

Each VM has a network namespace of its own.  For each network card the CNI plugins make ``eth<N>`` in it; its address goes to the
guest, and ``tc`` redirects every frame between ``eth<N>`` and ``tap<N>``, so that no bridge is in the guest's own data path.
"""

from __future__ import annotations

import json
import os
import typing as t

from .._errors import CocoonError
from .._store import make_directory, remove, write_atomically
from .base import Network, NetworkProvider

CONFIG_DIRECTORY = "/etc/cni/net.d"
PLUGIN_DIRECTORIES = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni", "/usr/local/lib/cni"]
_INSTALL = "install the CNI plugins (Debian and Ubuntu: containernetworking-plugins)"


class Cni(NetworkProvider):
    """CNI networks: ours are conflists that cocoon_net wrote, others can be used but are not changed."""

    backend = "cloud-hypervisor"
    modes = ("shared",)

    # Networks.

    def _configured(self) -> dict[str, dict[str, t.Any]]:
        """Return the conflists of the host by network name, each with the file it is in; broken ones are left out, with a reason."""
        found: dict[str, dict[str, t.Any]] = {}
        self.broken: dict[str, str] = {}
        try:
            files = sorted(os.listdir(CONFIG_DIRECTORY))
        except FileNotFoundError:
            files = []
        for file in files:
            if not file.endswith(".conflist"):
                continue
            path = os.path.join(CONFIG_DIRECTORY, file)
            try:
                with open(path, "r", encoding="utf-8") as handle:
                    conflist = json.load(handle)
                name, kinds = conflist["name"], [plugin["type"] for plugin in conflist["plugins"]]
                if not kinds or not all(isinstance(text, str) for text in (name, *kinds)):
                    raise ValueError("name or plugins are missing")
            except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
                self.broken[path] = f"{type(error).__name__} {error}"
                continue
            found.setdefault(name, {"conflist": conflist, "path": path})
        return found

    def _conflist(self, name: str) -> dict[str, t.Any]:
        found = self._configured().get(name)
        if found is not None:
            return t.cast("dict[str, t.Any]", found["conflist"])
        error = self.unknown(name)
        if self.broken:
            error.msg += " These files are broken: " + "; ".join(f"{path}: {why}" for path, why in self.broken.items()) + "."
        raise error

    def inspect(self, name: str) -> dict[str, t.Any] | None:
        """Return the network as results show it."""
        found = self._configured().get(name)
        return None if found is None else self._shown(name, found)

    def list(self) -> list[dict[str, t.Any]]:
        """Return all networks of the host."""
        return [self._shown(name, found) for name, found in sorted(self._configured().items())]

    def _shown(self, name: str, found: dict[str, t.Any]) -> dict[str, t.Any]:
        plugin = found["conflist"]["plugins"][0]
        ranges = (plugin.get("ipam") or {}).get("ranges") or [[{}]]
        first = (ranges[0] or [{}])[0]
        return {
            "name": name,
            "backend": self.backend,
            "mode": "shared",
            "managed": found["path"] == _path(name) and self.store.read(name) is not None,
            "interface": plugin.get("bridge"),
            "subnet": first.get("subnet") or (plugin.get("ipam") or {}).get("subnet"),
            "gateway": first.get("gateway"),
            "mtu": plugin.get("mtu"),
            "dns": (found["conflist"].get("dns") or plugin.get("dns") or {}).get("nameservers") or [],
            "path": found["path"],
        }

    def wished(self, network: Network, existing: dict[str, t.Any] | None) -> dict[str, t.Any]:
        """Return the network that will be; a subnet that is not given is one that the host does not use yet."""
        from .subnets import check_options, check_subnet, choose_subnet, first_address

        if network.mode not in (None, "shared"):
            raise CocoonError(f"mode: {network.mode} is not to be had on Linux hosts.", "use mode: shared there")
        if existing is not None and not existing["managed"]:
            raise CocoonError(f"The network {network.name} is on this host ({existing['path']}), but this collection did not make it.", "choose another name")
        check_options(network.interface, network.mtu, network.dns or [])
        there = existing or {}
        taken = {other["name"]: other["subnet"] for other in self.list() if other["subnet"]}
        subnet = network.subnet or there.get("subnet") or choose_subnet(list(taken.values()))
        subnet = check_subnet(subnet, network.gateway, [(name, other) for name, other in taken.items() if name != network.name])
        same = subnet == there.get("subnet")
        wished = {
            "name": network.name,
            "backend": self.backend,
            "mode": "shared",
            "managed": True,
            "interface": network.interface or there.get("interface") or bridge_name(network.name),
            "subnet": subnet,
            "gateway": network.gateway or (there.get("gateway") if same else None) or first_address(subnet),
            "mtu": network.mtu if network.mtu is not None else there.get("mtu"),
            "dns": network.dns if network.dns is not None else there.get("dns") or [],
            "path": _path(network.name),
        }
        self._check_host(wished, there)
        return wished

    def _check_host(self, wished: dict[str, t.Any], there: dict[str, t.Any]) -> None:
        """Refuse a network that would take an interface or a subnet of the host, or that the host has no plugins for."""
        from .subnets import connected

        if wished == there:
            return
        for plugin in ("bridge", "host-local"):
            self._plugin(plugin)
        bridge, subnet = wished["interface"], wished["subnet"]
        if bridge != there.get("interface") and os.path.exists(f"/sys/class/net/{bridge}"):
            raise CocoonError(f"interface: {bridge} is on this host already, for something else.", "choose another name, or leave interface out")
        if subnet != there.get("subnet"):
            for interface, other in connected(subnet):
                if interface not in (bridge, there.get("interface")):
                    raise CocoonError(f"subnet: {subnet} overlaps {other}, which this host reaches by {interface}.", "choose another one")

    def apply(self, network: dict[str, t.Any], existing: dict[str, t.Any] | None) -> None:
        """Write the conflist; the bridge itself is made by its plugin with the first VM."""
        if existing is not None and any(existing[key] != network[key] for key in ("subnet", "gateway", "interface")):
            self._forget_bridge(existing)
        make_directory(CONFIG_DIRECTORY)
        self.store.write(network["name"], {"name": network["name"]})
        text = json.dumps(conflist(network), indent=2) + "\n"
        write_atomically(network["path"], text.encode("utf-8"), 0o644)

    def delete(self, network: dict[str, t.Any]) -> None:
        """Remove bridge, conflist and record, in this order: without the first two the record is nobody's."""
        self._forget_bridge(network)
        remove(network["path"])
        self.store.delete(network["name"])

    def _forget_bridge(self, network: dict[str, t.Any]) -> None:
        if network["interface"] and os.path.exists(f"/sys/class/net/{network['interface']}/bridge"):
            self.commands.check([self._ip, "link", "delete", network["interface"]], f"Removing the bridge of {network['name']}")

    # Network cards of VMs.

    @property
    def _ip(self) -> str:
        return self.commands.need("ip", "install iproute2")

    def _plugin(self, name: str) -> str:
        for folder in PLUGIN_DIRECTORIES:
            path = os.path.join(folder, name)
            if os.access(path, os.X_OK):
                return path
        raise CocoonError(f"The CNI plugin {name} is in none of {', '.join(PLUGIN_DIRECTORIES)}.", _INSTALL)

    def check(self, nics: list[dict[str, t.Any]]) -> None:
        """Check that the networks and the programs that attach to them are there, and wished addresses are in their subnets."""
        from .subnets import check_address

        for nic in nics:
            for plugin in self._conflist(nic["name"])["plugins"]:
                self._plugin(plugin["type"])
            network = self.inspect(nic["name"]) or {}
            if nic.get("ip_address"):
                check_address(nic["ip_address"], network)
        self.commands.need("tc", "install iproute2")

    def enter(self, vm: str, nics: list[dict[str, t.Any]]) -> list[str]:
        """Return what to put before a command so that it runs in the VM's namespace."""
        return [self._ip, "netns", "exec", namespace(vm)] if nics else []

    def attach(self, vm: str, networks: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
        """Make the namespace and the network cards, all links down but the plugins' own; return the cards for the record.

        On failure whatever was made is taken back.
        """
        if not networks:
            return []
        try:
            self._ip_check(["netns", "add", namespace(vm)], vm)
            nics = [self._add(vm, number, wish) for number, wish in enumerate(networks)]
            self._wire(vm, nics)
        except CocoonError as error:
            try:
                self.detach(vm, networks)
            except CocoonError as second:
                error.msg += f" Then taking it back failed too: {second.msg}"
            raise
        return nics

    def _add(self, vm: str, number: int, wish: dict[str, t.Any]) -> dict[str, t.Any]:
        """Let the plugins of the network make ``eth<N>``; return what they gave."""
        result: dict[str, t.Any] = {}
        network = self._conflist(wish["name"])
        for plugin in network["plugins"]:
            result = self._call("ADD", vm, number, wish, network, plugin, result)
        address: dict[str, t.Any] = next((ip for ip in result.get("ips") or [] if ":" not in ip["address"]), {})
        ip_address, _slash, prefix = address.get("address", "").partition("/")
        macs = [interface["mac"] for interface in result.get("interfaces") or [] if interface.get("sandbox")]
        if not macs:
            raise CocoonError(f"The CNI plugins of network {wish['name']} made no interface for {vm}.", f"check the network's file in {CONFIG_DIRECTORY}")
        dns = (result.get("dns") or {}).get("nameservers") or (network.get("dns") or {}).get("nameservers") or []
        return {
            "name": wish["name"],
            "interface": f"eth{number}",
            "tap": f"tap{number}",
            "mac_address": macs[0].lower(),
            "ip_address": ip_address or None,
            "prefix": int(prefix) if prefix else None,
            "gateway": address.get("gateway"),
            "mtu": network["plugins"][0].get("mtu") or 1500,
            "dns": dns,
        }

    def _call(
        self,
        command: str,
        vm: str,
        number: int,
        wish: dict[str, t.Any],
        network: dict[str, t.Any],
        plugin: dict[str, t.Any],
        previous: dict[str, t.Any],
    ) -> dict[str, t.Any]:
        """Run one plugin as the CNI specification says; return its result."""
        config = {**plugin, "name": network["name"], "cniVersion": network.get("cniVersion", "0.4.0")}
        if previous:
            config["prevResult"] = previous
        path = f"/run/netns/{namespace(vm)}"
        arguments = ["IgnoreUnknown=1"]
        arguments += [f"IP={wish['ip_address']}"] if wish.get("ip_address") else []
        arguments += [f"MAC={wish['mac_address']}"] if wish.get("mac_address") else []
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": namespace(vm),
            "CNI_NETNS": path if os.path.exists(path) else "",
            "CNI_IFNAME": f"eth{number}",
            "CNI_PATH": ":".join(PLUGIN_DIRECTORIES),
            "CNI_ARGS": ";".join(arguments),
        }
        output = self.commands.run([self._plugin(plugin["type"])], timeout=60, env=env, data=json.dumps(config))
        if output.rc != 0:
            raise _plugin_failed(command, vm, plugin["type"], network["name"], output)
        try:
            return t.cast("dict[str, t.Any]", json.loads(output.out)) if output.out.strip() else {}
        except ValueError as error:
            raise CocoonError(
                f"CNI plugin {plugin['type']} gave {vm} an answer that is no JSON ({error}).", f"check {self._plugin(plugin['type'])} on the host"
            ) from error

    def _wire(self, vm: str, nics: list[dict[str, t.Any]]) -> None:
        """Give each card its TAP and redirect all frames between the two: two processes for any number of cards."""
        links, filters = ["link set lo up"], []
        for nic in nics:
            links += [
                f"address flush dev {nic['interface']}",
                f"tuntap add dev {nic['tap']} mode tap vnet_hdr",
                f"link set {nic['tap']} txqueuelen 10000 mtu {nic['mtu']}",
                f"link set {nic['interface']} down",
            ]
            for source, target in ((nic["interface"], nic["tap"]), (nic["tap"], nic["interface"])):
                filters += [
                    f"qdisc add dev {source} ingress",
                    f"filter add dev {source} parent ffff: protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev {target}",
                ]
        self._ip_check(["-n", namespace(vm), "-batch", "-"], vm, links)
        tc = self.commands.need("tc", "install iproute2")
        self.commands.check([tc, "-n", namespace(vm), "-batch", "-"], f"Redirecting frames of {vm}", data="\n".join(filters) + "\n")

    def activate(self, vm: str, nics: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
        """Bring the cards of a VM that is about to start up; after a reboot of the host make them anew with the same addresses."""
        if not nics:
            return nics
        if not os.path.exists(f"/run/netns/{namespace(vm)}"):
            self.detach(vm, nics)
            nics = self.attach(vm, nics)
        self._set_links(vm, nics, "up")
        return nics

    def quiet(self, vm: str, nics: list[dict[str, t.Any]]) -> None:
        """Take the cards of a stopped VM down: frames redirected to a TAP that nobody reads load the host (contract 5.2)."""
        if nics and os.path.exists(f"/run/netns/{namespace(vm)}"):
            self._set_links(vm, nics, "down")

    def _set_links(self, vm: str, nics: list[dict[str, t.Any]], state: str) -> None:
        lines = [f"link set {nic[key]} {state}" for nic in nics for key in ("interface", "tap")]
        self._ip_check(["-n", namespace(vm), "-batch", "-"], vm, lines)

    def detach(self, vm: str, networks: list[dict[str, t.Any]]) -> None:
        """Give addresses back and remove namespace and cards; what is not there any more is fine."""
        path = f"/run/netns/{namespace(vm)}"
        for number, wish in enumerate(networks):
            if os.path.exists(path) or self._leased(vm, wish["name"]):
                self._del(vm, number, wish)
        if os.path.exists(path):
            self._ip_check(["netns", "delete", namespace(vm)], vm)

    def _del(self, vm: str, number: int, wish: dict[str, t.Any]) -> None:
        network = self._configured().get(wish["name"])
        if network is None:
            return  # the network is gone, and its addresses with it
        for plugin in reversed(network["conflist"]["plugins"]):
            self._call("DEL", vm, number, {}, network["conflist"], plugin, {})

    def _leased(self, vm: str, network: str) -> bool:
        """Tell whether host-local still keeps an address for the VM, which outlives its namespace at a host's reboot."""
        folder = os.path.join("/var/lib/cni/networks", network)
        try:
            addresses = os.listdir(folder)
        except OSError:
            return False
        for address in addresses:
            try:
                with open(os.path.join(folder, address), "r", encoding="utf-8") as file:
                    if file.readline().strip() == namespace(vm):
                        return True
            except OSError:
                continue
        return False

    def _ip_check(self, arguments: list[str], vm: str, lines: list[str] | None = None) -> None:
        data = None if lines is None else "\n".join(lines) + "\n"
        self.commands.check([self._ip, *arguments], f"Wiring the network of {vm}", data=data)


def namespace(vm: str) -> str:
    """Return the name of a VM's network namespace, which is also its CNI container id."""
    return f"cocoon-{vm}"


def _path(network: str) -> str:
    return os.path.join(CONFIG_DIRECTORY, f"50-cocoon-{network}.conflist")


def bridge_name(network: str) -> str:
    """Return a bridge's name for a network: readable where it fits into the kernel's 15 characters."""
    name = f"cn-{network}"
    if len(name) <= 15:
        return name
    import hashlib

    return "cn-" + hashlib.sha256(network.encode("ascii")).hexdigest()[:10]


def conflist(network: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the CNI configuration of a shared network: a bridge with NAT, addresses by host-local."""
    plugin: dict[str, t.Any] = {
        "type": "bridge",
        "bridge": network["interface"],
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": network["subnet"], "gateway": network["gateway"]}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    if network["mtu"]:
        plugin["mtu"] = network["mtu"]
    result: dict[str, t.Any] = {"cniVersion": "0.4.0", "name": network["name"], "plugins": [plugin]}
    if network["dns"]:
        plugin["dns"] = {"nameservers": network["dns"]}
    return result


def _plugin_failed(command: str, vm: str, plugin: str, network: str, output: t.Any) -> CocoonError:
    """Return the error of a plugin, which reports it as JSON on standard output."""
    from .._error_catalogue import explain

    try:
        answer = json.loads(output.out)
        why = ": ".join(str(answer[key]) for key in ("msg", "details") if answer.get(key))
    except (ValueError, AttributeError):
        why = output.text
    cause = explain(why)
    remedy = cause.remedy if cause else f"check network {network} in {CONFIG_DIRECTORY}, then run the task again"
    return CocoonError(f"CNI plugin {plugin} failed to {command} {vm} in network {network}: {why or 'no reason given'}.", remedy)
