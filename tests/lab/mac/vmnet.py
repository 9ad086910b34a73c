# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vmnet of the lab's Mac: a NAT network with DHCP and Apple's lease file, and a bridge on the Mac's own interface.

The leases of the first go to /var/db/dhcpd_leases. macOS makes bridge100 when the first guest starts; here it is always there. Guests on
it are not isolated from each other, as they are on a Mac.
"""
from __future__ import annotations

import os
import subprocess
import sys
import time

SHARED, BRIDGED, OUTSIDE = "bridge100", "bridge101", "en0"
NETWORK = "192.168.64"
LEASES = "/var/db/dhcpd_leases"
_STATE = "/var/db/lab-dhcp"
_SECONDS = 86400


def _ip(*words: str, check: bool = True) -> str:
    done = subprocess.run(["ip", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, text=True)
    if check and done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def _bridge(name: str) -> None:
    _ip("link", "add", name, "type", "bridge", "stp_state", "0", "forward_delay", "0")
    _ip("link", "set", name, "up")


def _shared_network() -> None:
    """192.168.64.1/24 with address translation towards the LAN."""
    _bridge(SHARED)
    _ip("addr", "add", f"{NETWORK}.1/24", "dev", SHARED)
    rule = ["iptables", "-t", "nat", "-A", "POSTROUTING", "-s", f"{NETWORK}.0/24", "!", "-d", f"{NETWORK}.0/24", "-j", "MASQUERADE"]
    subprocess.run(rule, check=False)


def _bridged_network() -> str:
    """The Mac's interface becomes a port; its address and routes move to the bridge. The address, for DHCP."""
    address = _ip("-4", "-o", "addr", "show", "dev", OUTSIDE).split()
    cidr = address[address.index("inet") + 1] if "inet" in address else ""
    routes = [line for line in _ip("-4", "route", "show", "dev", OUTSIDE).splitlines() if "via" in line]
    mac = _ip("-o", "link", "show", "dev", OUTSIDE).split("link/ether ")[1].split()[0]
    _ip("link", "add", BRIDGED, "address", mac, "type", "bridge", "stp_state", "0", "forward_delay", "0")
    _ip("link", "set", BRIDGED, "up")
    _ip("addr", "flush", "dev", OUTSIDE)
    _ip("link", "set", OUTSIDE, "master", BRIDGED)
    if cidr:
        _ip("addr", "add", cidr, "dev", BRIDGED)
    for route in routes:
        _ip("route", "add", *route.replace(f"dev {OUTSIDE}", "").split(), "dev", BRIDGED, check=False)
    return cidr


def _dnsmasq(interface: str, first: str, last: str, options: list[str]) -> subprocess.Popen:
    """DHCP only. Its leases are kept over reboots, as a Mac's are."""
    command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--bind-interfaces", f"--interface={interface}",
               "--except-interface=lo", f"--dhcp-range={first},{last},{_SECONDS}s", f"--dhcp-leasefile={_STATE}/{interface}.leases",
               "--dhcp-authoritative", "--no-ping", "--user=root", "--dhcp-lease-max=250", "--pid-file=", "--log-facility=-", *options]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL)


def apple_leases(text: str) -> str:
    """dnsmasq's lines (expiry, MAC, address, name, client id) as bootpd's blocks."""
    blocks = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 5 or words[0] == "duid":
            continue
        expiry, mac, address, name, client = words[:5]
        octets = ":".join(f"{int(part, 16):x}" for part in mac.split(":"))
        # A client id that is not the MAC hides the guest from tart (contract 6).
        kind, _colon, rest = client.partition(":")
        other = client not in ("*",) and not (kind == "01" and rest.lower() == mac.lower())
        identifier = f"{int(kind, 16):x}," + ":".join(f"{int(part, 16):x}" for part in rest.split(":") if part) if other else f"1,{octets}"
        lines = ([f"name={name}"] if name != "*" else []) + [f"ip_address={address}", f"hw_address={identifier}",
                                                             f"identifier={identifier}", f"lease=0x{int(expiry):x}"]
        blocks.append("{\n" + "".join(f"\t{one}\n" for one in lines) + "}\n")
    return "".join(blocks)


def _write_leases(known: str) -> str:
    """Follow dnsmasq's file; written in one step, so that nobody reads half a file."""
    try:
        with open(f"{_STATE}/{SHARED}.leases", encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return known
    if text != known:
        with open(LEASES + ".new", "w", encoding="utf-8") as file:
            file.write(apple_leases(text))
        os.chmod(LEASES + ".new", 0o644)
        os.rename(LEASES + ".new", LEASES)
    return text


def start() -> list[subprocess.Popen]:
    """Both networks and their DHCP servers."""
    os.makedirs(_STATE, exist_ok=True)
    _shared_network()
    cidr = _bridged_network()
    servers = [_dnsmasq(SHARED, f"{NETWORK}.2", f"{NETWORK}.254", [f"--dhcp-option=option:router,{NETWORK}.1"])]
    if cidr:
        prefix, number = cidr.partition("/")[0].rsplit(".", 1)
        # Every Mac offers its own part of the LAN's upper half.
        first = 128 + int(number) % 16 * 8
        last = min(254, first + 7)
        servers.append(_dnsmasq(BRIDGED, f"{prefix}.{first}", f"{prefix}.{last}", [f"--dhcp-option=option:router,{prefix}.1"]))
    return servers


def serve(servers: list[subprocess.Popen]) -> None:
    """Keep Apple's lease file up to date as long as both servers live."""
    known = ""
    while all(server.poll() is None for server in servers):
        known = _write_leases(known)
        time.sleep(0.2)
    sys.exit("a DHCP server has ended")
