# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""networksetup -listallhardwareports, from the switches of the simulated tart."""
from __future__ import annotations

import os
import sys

from ..tart import settings
from . import common


def main() -> None:
    """The other verbs are only written down."""
    words = sys.argv[1:]
    interfaces = settings.load()["interfaces"]
    assert isinstance(interfaces, list)
    if words == ["-listallhardwareports"]:
        for identifier, title in interfaces:
            address = common.read(f"{common.PROC}/sys/net/ipv4/conf/{identifier}/forwarding") and _mac(identifier)
            print(f"\nHardware Port: {title}\nDevice: {identifier}\nEthernet Address: {address or '00:00:00:00:00:00'}")
        print("\nVLAN Configurations\n===================")
        return
    if words == ["-listallnetworkservices"]:
        print("An asterisk (*) denotes that a network service is disabled.")
        for _identifier, title in interfaces:
            print(title)
        return
    common.record("networksetup", words)
    if os.getuid():
        common.fail("** Error: Command requires admin privileges.", 14)


def _mac(identifier: str) -> str:
    import fcntl  # pylint: disable=import-outside-toplevel
    import socket  # pylint: disable=import-outside-toplevel
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        try:
            answer = fcntl.ioctl(handle.fileno(), 0x8927, identifier.encode().ljust(256, b"\0"))
        except OSError:
            return ""
    return ":".join(f"{byte:02x}" for byte in answer[18:24])
