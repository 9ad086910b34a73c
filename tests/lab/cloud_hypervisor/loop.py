# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event loop: one thread, so requests are served strictly one after the other (contract 2.1)."""
from __future__ import annotations

import os
import select
import signal
import socket

IN, OUT = select.EPOLLIN, select.EPOLLOUT


class Loop:
    """Watches descriptors; a callback gets the event mask."""

    def __init__(self) -> None:
        self.poll = select.epoll()
        self.callbacks: dict = {}
        self.result: int | None = None
        self.signals, self.wake = socket.socketpair()

    def watch(self, fd: int, callback, mask: int = IN) -> None:
        """Call `callback(mask)` when something happens on `fd`."""
        if fd in self.callbacks:
            self.poll.modify(fd, mask)
        else:
            self.poll.register(fd, mask)
        self.callbacks[fd] = callback

    def forget(self, fd: int) -> None:
        """Stop watching; to be called before the descriptor is closed."""
        if self.callbacks.pop(fd, None) is not None:
            try:
                self.poll.unregister(fd)
            except (OSError, ValueError):
                pass

    def on_signals(self, numbers: list[int], callback) -> None:
        """Handle signals in the loop, not in the middle of something."""
        self.wake.setblocking(False)
        self.signals.setblocking(False)
        signal.set_wakeup_fd(self.wake.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda _number, _frame: None)

        def read(_mask: int) -> None:
            for number in os.read(self.signals.fileno(), 64):
                if number in numbers:
                    callback(number)
        self.watch(self.signals.fileno(), read)

    def stop(self, result: int) -> None:
        """End `run` with this exit code; the first one wins."""
        if self.result is None:
            self.result = result

    def run(self) -> int:
        """Serve until stopped."""
        while self.result is None:
            for fd, mask in self.poll.poll():
                callback = self.callbacks.get(fd)
                if callback is not None and self.result is None:
                    callback(mask)
        return self.result
