# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tap interfaces of the VM's network devices (contract 5.1)."""
from __future__ import annotations

import fcntl
import os
import struct

from .errors import Failure, os_text

TUNSETIFF, TUNGETIFF = 0x400454CA, 0x800454D2
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 0x0002, 0x1000, 0x4000, 0x0100
NAME_LENGTH = 15
IF_NAME = "16sH22x"
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCGIFMTU, SIOCSIFMTU, SIOCSIFADDR, SIOCSIFNETMASK, SIOCSIFHWADDR, SIOCGIFHWADDR = (
    0x8913, 0x8914, 0x8921, 0x8922, 0x8916, 0x891C, 0x8924, 0x8927)
IFF_UP = 1
DEVICE = "Cannot create virtio-net device"


def _control(request: int, name: str, payload: bytes) -> bytes:
    import socket  # pylint: disable=import-outside-toplevel
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        return fcntl.ioctl(channel, request, (name.encode().ljust(16, b"\0") + payload).ljust(40, b"\0"))


def _check_queues(name: str, pairs: int) -> None:
    """The queues of an existing tap must agree with the device."""
    try:
        with open(f"/sys/class/net/{name}/tun_flags", encoding="ascii") as file:
            multi = bool(int(file.read().strip(), 16) & IFF_MULTI_QUEUE)
    except (OSError, ValueError):
        return
    if pairs > 1 and not multi:
        raise Failure("Error related to the multiqueue support (no support TAP side)")
    if pairs == 1 and multi:
        raise Failure("Error related to the multiqueue support (no support device side)")


def _open_queue(name: str, pairs: int) -> tuple[int, str]:
    if len(name.encode()) > NAME_LENGTH:
        raise Failure("Open tap device failed", f"Interface name too long (max length is {NAME_LENGTH}): {name}")
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Failure("Open tap device failed", "Couldn't open /dev/net/tun", os_text(error)) from error
    flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (IFF_MULTI_QUEUE if pairs > 1 else 0)
    try:
        answer = fcntl.ioctl(fd, TUNSETIFF, struct.pack(IF_NAME, name.encode(), flags))
    except OSError as error:
        os.close(fd)
        raise Failure("Open tap device failed", "Unable to configure tap interface", os_text(error)) from error
    return fd, answer[:16].rstrip(b"\0").decode()


class Tap:
    """The open queues of one device; a named tap that exists is used as it is."""

    def __init__(self, config: dict, given: list[int] | None = None) -> None:
        self.config = config
        self.mtu: int | None = None
        self.fds: list[int] = []
        self.name = config.get("tap") or "vmtap%d"
        try:
            if given:
                self._use_given(given)
            else:
                self._open()
        except Failure as failure:
            self.close()
            raise failure.under(DEVICE)

    def _use_given(self, given: list[int]) -> None:
        for fd in given:
            try:
                answer = fcntl.ioctl(fd, TUNGETIFF, bytes(40))
            except OSError as error:
                raise Failure("Using existing tap", f"Ioctl failed ({TUNGETIFF})", os_text(error)) from error
            self.name = answer[:16].rstrip(b"\0").decode()
            self.fds.append(os.dup(fd))
        self.mtu = self.config["mtu"]

    def _open(self) -> None:
        pairs = max(1, self.config["num_queues"] // 2)
        try:
            _check_queues(self.name, pairs)
            for _index in range(pairs):
                fd, self.name = _open_queue(self.name, pairs)
                self.fds.append(fd)
            self._configure()
        except Failure as failure:
            raise failure.under("Failed to open taps")

    def _configure(self) -> None:
        config = self.config
        try:
            flags = struct.unpack_from("H", _control(SIOCGIFFLAGS, self.name, b""), 16)[0]
            if config["ip"] and ":" not in config["ip"]:
                for request, key in ((SIOCSIFADDR, "ip"), (SIOCSIFNETMASK, "mask")):
                    address = bytes(int(part) for part in config[key].split("."))
                    _control(request, self.name, struct.pack("HH4s", 2, 0, address))
            if config["host_mac"]:
                octets = bytes(int(part, 16) for part in config["host_mac"].split(":"))
                _control(SIOCSIFHWADDR, self.name, struct.pack("H6s", 1, octets))
            if config["mtu"]:
                _control(SIOCSIFMTU, self.name, struct.pack("i", config["mtu"]))
            if not flags & IFF_UP:
                _control(SIOCSIFFLAGS, self.name, struct.pack("H", flags | IFF_UP))
            self.mtu = struct.unpack_from("i", _control(SIOCGIFMTU, self.name, b""), 16)[0]
            octets = _control(SIOCGIFHWADDR, self.name, b"")[18:24]
            config["host_mac"] = ":".join(f"{octet:02x}" for octet in octets)
        except OSError as error:
            raise Failure("Enabling tap interface failed", "Ioctl failed", os_text(error)) from error

    def counters(self) -> dict:
        """What the guest saw: the host's numbers the other way round."""
        found = {}
        for guest, host in (("rx", "tx"), ("tx", "rx")):
            for theirs, ours in (("bytes", "bytes"), ("frames", "packets")):
                try:
                    with open(f"/sys/class/net/{self.name}/statistics/{host}_{ours}", encoding="ascii") as file:
                        found[f"{guest}_{theirs}"] = int(file.read())
                except (OSError, ValueError):
                    found[f"{guest}_{theirs}"] = 0
        return found

    def close(self) -> None:
        """Close the queues; a tap that is not persistent vanishes."""
        for fd in self.fds:
            os.close(fd)
        self.fds = []
