# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hardware of one host: power, boots, resets and its cable.

Runs as `python3 -m tests.lab.machine NAME` beside the host and is the parent of the host's first process, which
dies with it. SIGHUP asks the host to reboot, SIGTERM to power off (after ten seconds the plug is pulled), SIGUSR1 says
that link.json has changed.
"""
from __future__ import annotations

import os
import pathlib
import signal
import sys
import time
import uuid
from typing import Any

from . import cgroup, kernel, mounts, network, paths, process
from .files import read_json, write, write_json
from .link import Cable

_PATIENCE = 10
_REQUESTS = [signal.SIGHUP, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1]
_FOR_INIT = [signal.SIGINT, signal.SIGUSR2]


class Machine:
    """Boots the host as long as it wants to be rebooted."""

    def __init__(self, config: dict[str, Any], directory: pathlib.Path) -> None:
        self.config, self.directory = config, directory
        self.number: int = config["number"]
        self.interface = "en0" if config["kind"] == "mac" else "eth0"
        self.cable = Cable(directory, self.number, self.interface)
        self.pid = 0
        self.restart = False

    def run(self) -> None:
        """Until the host powers off or dies."""
        signal.signal(signal.SIGHUP, lambda *_: self._ask(signal.SIGINT))
        signal.signal(signal.SIGTERM, lambda *_: self._ask(signal.SIGUSR2))
        signal.signal(signal.SIGALRM, lambda *_: self._ask(signal.SIGKILL))
        signal.signal(signal.SIGUSR1, lambda *_: self.pid and self.cable.apply(self.pid))
        try:
            while self._boot() == signal.SIGHUP:
                print("-- reboot --", flush=True)
        finally:
            self.cable.release()

    def _ask(self, number: int) -> None:
        self.restart = number == signal.SIGINT or number == signal.SIGKILL and self.restart
        if self.pid:
            os.kill(self.pid, number)
            signal.alarm(0 if number == signal.SIGKILL else _PATIENCE)

    def _boot(self) -> int:
        """One life of the host; returns the signal that it ended with. SIGHUP means: again."""
        self.restart = False
        write(self.directory / "boot" / "id", f"{uuid.uuid4()}\n")
        write(self.directory / "boot" / "time", f"{time.time():.6f}\n")
        cgroup.create(self.config["name"])
        # Requests wait until the host has booted far enough to hear them.
        signal.pthread_sigmask(signal.SIG_BLOCK, _REQUESTS)
        (ready, ready_write), (go_read, go) = os.pipe(), os.pipe()
        own = os.open("/proc/self/ns/pid", os.O_RDONLY)
        kernel.unshare(kernel.NEWPID)
        self.pid = os.fork()
        if self.pid == 0:
            os.close(ready)
            os.close(go)
            self._first_process(ready_write, go_read)
        kernel.setns(own, kernel.NEWPID)
        for descriptor in (own, ready_write, go_read):
            os.close(descriptor)
        if os.read(ready, 1):
            network.ensure_bridge()
            network.plug(self.number, self.pid, self.interface)
            self.cable.apply(self.pid)
            write_json(self.directory / "init.json", {"pid": self.pid, "start": process.start_time(self.pid)})
            os.write(go, b"1")
        os.close(ready)
        os.close(go)
        return self._wait()

    def _wait(self) -> int:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _REQUESTS)
        status = os.waitpid(self.pid, 0)[1]
        signal.alarm(0)
        self.pid = 0
        self.cable.release()
        ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        return signal.SIGHUP if self.restart else ended

    def _first_process(self, ready: int, go: int) -> None:
        """In the new PID namespace: make the other namespaces and the root, then become the host's init."""
        for number in _REQUESTS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, _FOR_INIT)
        kernel.die_with_parent(signal.SIGKILL)
        cgroup.enter(self.config["name"])
        kernel.unshare(kernel.NEWNS | kernel.NEWNET | kernel.NEWUTS | kernel.NEWIPC | kernel.NEWCGROUP)
        os.write(ready, b"1")
        if not os.read(go, 1):
            os._exit(1)
        os.close(ready)
        os.close(go)
        kernel.set_hostname(self.config["name"])
        network.configure(self.number, self.interface)
        mounts.enter(self.config, self.directory)
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/", "LANG": "C.UTF-8"}
        os.execve("/usr/bin/python3", ["init", "-I", "-S", "/opt/lab/init.py"], environment)


def main(name: str, lock: int) -> None:
    """Say who we are before anything else, then work; the inherited lock is ours until we end."""
    os.set_inheritable(lock, False)
    directory = paths.host(name)
    os.umask(0o022)
    pid = os.getpid()
    write_json(directory / "machine.json", {"pid": pid, "start": process.start_time(pid)})
    Machine(read_json(directory / "host.json"), directory).run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
