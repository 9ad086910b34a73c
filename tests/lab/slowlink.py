# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A slow cable in user space, for kernels without tc netem: delay, loss and rate between a veth and the bridge.

Runs as `python3 -m tests.lab.slowlink NUMBER DELAY_MS LOSS_PERCENT RATE_BITS` until it is ended.
"""
from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import signal
import socket
import struct
import sys
import time

from . import kernel, network

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x400454CA, 0x0002, 0x1000, 0x4000
_SOL_PACKET, _ADD_MEMBERSHIP, _VNET_HDR, _IGNORE_OUTGOING, _PROMISCUOUS = 263, 1, 15, 23, 1
_QUEUE_LIMIT = 1000
_BIGGEST = 70000


def open_tap(name: str) -> int:
    """A tap device whose frames carry the virtio header, so that checksums and large segments stay as they are."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
    return descriptor


def open_veth(name: str) -> socket.socket:
    """Every frame that arrives on the veth, with the same header."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    raw.setsockopt(_SOL_PACKET, _VNET_HDR, 1)
    raw.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    raw.bind((name, 3))
    raw.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, struct.pack("IHH8x", socket.if_nametoindex(name), _PROMISCUOUS, 0))
    return raw


class Direction:
    """One way through the cable: frames leave in order, each when it is due."""

    def __init__(self, target: int, delay: float, loss: float, rate: float) -> None:
        self.target, self.delay, self.loss, self.rate = target, delay, loss, rate
        self.queue: list[tuple[float, int, bytes]] = []
        self.free_at = 0.0
        self.count = 0

    def accept(self, frame: bytes) -> None:
        """Lose it, or say when it will be out at the other end."""
        if random.random() < self.loss or len(self.queue) >= _QUEUE_LIMIT:
            return
        now = time.monotonic()
        self.free_at = max(now, self.free_at) + (len(frame) * 8 / self.rate if self.rate else 0)
        self.count += 1
        heapq.heappush(self.queue, (self.free_at + self.delay, self.count, frame))

    def deliver(self) -> float | None:
        """Send what is due; returns when the next one is."""
        while self.queue:
            due, _count, frame = self.queue[0]
            if due > time.monotonic():
                return due
            heapq.heappop(self.queue)
            try:
                os.write(self.target, frame)
            except BlockingIOError:
                continue
        return None


def relay(left: int, right: int, delay: float, loss: float, rate: float) -> None:
    """Carry frames both ways until an end is gone."""
    ways = {left: Direction(right, delay, loss, rate), right: Direction(left, delay, loss, rate)}
    while True:
        times = [due for due in (way.deliver() for way in ways.values()) if due is not None]
        timeout = max(0.0, min(times) - time.monotonic()) if times else None
        for source in select.select([left, right], [], [], timeout)[0]:
            try:
                ways[source].accept(os.read(source, _BIGGEST))
            except BlockingIOError:
                continue


def main(number: int, delay: float, loss: float, rate: float) -> None:
    """Take the veth out of the bridge and put the relay in between."""
    kernel.die_with_parent(signal.SIGKILL)
    name, tap = network.veth(number), f"{network.veth(number)}s"
    left, right = open_veth(name), open_tap(tap)
    network.detach(number, tap)
    print("slow", flush=True)
    try:
        relay(left.fileno(), right, delay / 1000, loss / 100, rate)
    except OSError as error:
        print(f"slow cable of host number {number} ends: {error}", file=sys.stderr)


if __name__ == "__main__":
    main(int(sys.argv[1]), *(float(word) for word in sys.argv[2:5]))
