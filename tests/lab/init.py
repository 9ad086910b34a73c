# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first process of a host: starts its services and sshd, reaps, shuts down. Runs inside, on Python 3.9, alone.

SIGINT reboots and SIGUSR2 powers off, after every process had two seconds to end.
"""
from __future__ import annotations

import ctypes
import json
import os
import signal
import time

_RESTART, _POWER_OFF = 0x01234567, 0x4321FEDC
_WATCHED = [signal.SIGCHLD, signal.SIGINT, signal.SIGUSR2]
_LOGS = "/var/log/lab"


def start(command: list[str]) -> None:
    """A service: its own session, output in a log."""
    log = os.open(os.path.join(_LOGS, os.path.basename(command[0]) + ".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    if os.fork() == 0:
        try:
            os.setsid()
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.chdir("/")
            os.execvp(command[0], command)
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        finally:
            os._exit(127)
    os.close(log)


def reap() -> bool:
    """Collect the dead; False when nobody is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        return True
    except ChildProcessError:
        return False


def end(how: int) -> None:
    """Everybody out, then tell the kernel what the machine shall see."""
    for number, patience in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)):
        try:
            os.kill(-1, number)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + patience
        while reap() and time.monotonic() < deadline:
            signal.sigtimedwait([signal.SIGCHLD], 0.05)
    ctypes.CDLL(None).reboot(ctypes.c_uint(how))


def main() -> None:
    """Services first, then sshd: who can log in finds them started."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    os.makedirs(_LOGS, exist_ok=True)
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    with open("/opt/lab/services.json", encoding="utf-8") as file:
        for command in json.load(file):
            start(command)
    while True:
        number = signal.sigwait(_WATCHED)
        if number == signal.SIGCHLD:
            reap()
        else:
            end(_RESTART if number == signal.SIGINT else _POWER_OFF)


if __name__ == "__main__":
    main()
