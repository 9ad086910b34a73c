# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ifconfig [-a | INTERFACE]: what iproute2 knows, in BSD's words."""
from __future__ import annotations

import json
import subprocess
import sys

from . import common

# Linux's bridge on the Mac's interface is the interface itself on a Mac.
NAMES = {"lo": "lo0", "bridge101": "en0"}
_HIDDEN = ("en0",)


def interfaces() -> list[dict]:
    """Linux's view, with a Mac's names."""
    text = subprocess.run(["ip", "-j", "addr"], stdout=subprocess.PIPE, check=True).stdout
    found = [one for one in json.loads(text) if one and (one["ifname"] not in _HIDDEN or one.get("master") is None)]
    for one in found:
        one["ifname"] = NAMES.get(one["ifname"], one["ifname"])
    return found


def _show(one: dict) -> str:
    loopback = one["ifname"] == "lo0"
    flags = "8049<UP,LOOPBACK,RUNNING,MULTICAST>" if loopback else "8863<UP,BROADCAST,SMART,RUNNING,SIMPLEX,MULTICAST>"
    lines = [f"{one['ifname']}: flags={flags} mtu {one['mtu']}"]
    if not loopback and one.get("address"):
        lines.append(f"\tether {one['address']}")
    for address in one["addr_info"]:
        if address["family"] == "inet":
            mask = 0xffffffff << (32 - address["prefixlen"]) & 0xffffffff
            broadcast = "" if loopback else f" broadcast {address.get('broadcast') or _broadcast(address)}"
            lines.append(f"\tinet {address['local']} netmask 0x{mask:08x}{broadcast}")
        else:
            zone = "%" + one["ifname"] if address["local"].startswith("fe80") else ""
            lines.append(f"\tinet6 {address['local']}{zone} prefixlen {address['prefixlen']}")
    if not loopback:
        lines += ["\tmedia: autoselect (1000baseT <full-duplex>)", "\tstatus: active"]
    return "\n".join(lines)


def _broadcast(address: dict) -> str:
    number = 0
    for part in address["local"].split("."):
        number = number << 8 | int(part)
    number |= (1 << 32 - address["prefixlen"]) - 1
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def main() -> None:
    """Changes are refused."""
    words = sys.argv[1:]
    found = interfaces()
    if words and words != ["-a"]:
        found = [one for one in found if one["ifname"] == words[0]]
        if len(words) > 1:
            common.fail("ifconfig: the lab's stand-in changes nothing")
        if not found:
            common.fail(f"ifconfig: interface {words[0]} does not exist")
    print("\n".join(_show(one) for one in found))
