# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""arp -an and arp -a, from the kernel's neighbour table (tart contract 6)."""
from __future__ import annotations

import sys

from . import common

# Bridged guests are on a bridge of the lab, on a Mac they are on the interface itself.
_SHOWN = {"bridge101": "en0", "eth0": "en0"}


def main() -> None:
    """Octets without leading zeros, (incomplete) ones included."""
    words = sys.argv[1:]
    if not words or not all(word.startswith("-") for word in words) or "a" not in "".join(words):
        common.fail("usage: arp [-n] [-i interface] [-l] -a")
    for line in common.read(common.PROC + "/net/arp").splitlines()[1:]:
        address, _kind, flags, mac, _mask, device = line.split()
        device = _SHOWN.get(device, device)
        kind = "bridge" if device.startswith("bridge") else "ethernet"
        shown = ":".join(f"{int(part, 16):x}" for part in mac.split(":")) if int(flags, 16) & 2 else "(incomplete)"
        permanent = " permanent" if int(flags, 16) & 4 else ""
        sys.stdout.write(f"? ({address}) at {shown} on {device} ifscope{permanent} [{kind}]\n")
