# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a Linux Python look like a Mac's to the programs that run on it. Imported by sitecustomize on the lab's Macs, at every start.

Names go, constants and os.uname() lie, fcntl's record locks take Darwin's layout; everything else stays as it is. Cheap: no imports but
built-in modules.
"""
from __future__ import annotations

import errno
import os
import sys
import types

import _struct

RELEASE = "25.1.0"
VERSION = f"Darwin Kernel Version {RELEASE}: Mon Oct 20 19:34:05 PDT 2025; root:xnu-12377.41.6~2/RELEASE_ARM64_T6041"
# What a Mac's Python 3.9 does not have.
_OS_NAMES = ("pidfd_open", "sched_getaffinity", "sched_setaffinity", "sched_getparam", "sched_getscheduler", "sched_setparam",
             "sched_setscheduler", "sched_rr_get_interval", "memfd_create", "copy_file_range", "pipe2", "getxattr", "setxattr", "listxattr",
             "removexattr", "fdatasync", "posix_fadvise", "posix_fallocate", "getrandom", "getresuid", "getresgid", "setresuid",
             "setresgid", "fexecve", "P_PIDFD", "O_TMPFILE", "O_DIRECT", "O_PATH", "O_NOATIME", "O_LARGEFILE", "MFD_CLOEXEC")
_DARWIN_LOCKS = {"F_GETLK": 7, "F_SETLK": 8, "F_SETLKW": 9, "F_RDLCK": 1, "F_UNLCK": 2, "F_WRLCK": 3}
# struct flock: Darwin has start, length, pid, type, whence; 64-bit Linux has type, whence, start, length, pid and padding.
_DARWIN, _LINUX, _LINUX_SIZE = "=qqihh", "hhqqi", 32


def _hide(module: types.ModuleType, names: tuple[str, ...] | list[str]) -> None:
    for name in names:
        module.__dict__.pop(name, None)


def _uname(real: object) -> object:
    def uname() -> object:
        found = real()  # type: ignore[operator]
        return type(found)(("Darwin", found.nodename, RELEASE, VERSION, "arm64"))
    return uname


def _disguise_os() -> None:
    import posix  # pylint: disable=import-outside-toplevel
    sys.platform = "darwin"
    os.uname = posix.uname = _uname(posix.uname)  # type: ignore[assignment]
    for module in (os, posix):
        _hide(module, _OS_NAMES)


def _disguise_fcntl() -> None:
    import fcntl  # pylint: disable=import-outside-toplevel
    real = fcntl.fcntl
    linux = {name: getattr(fcntl, name) for name in _DARWIN_LOCKS}
    commands = {_DARWIN_LOCKS[name]: linux[name] for name in ("F_GETLK", "F_SETLK", "F_SETLKW")}
    to_linux = {_DARWIN_LOCKS[name]: linux[name] for name in ("F_RDLCK", "F_UNLCK", "F_WRLCK")}
    to_darwin = {number: name for name, number in to_linux.items()}

    def disguised(descriptor: object, command: int, argument: object = 0) -> object:
        """Record locks in Darwin's layout, everything else as it is."""
        if command not in commands or not isinstance(argument, (bytes, bytearray, memoryview)):
            return real(descriptor, command, argument)  # type: ignore[arg-type]
        data = bytes(argument)
        if len(data) < 24:
            raise OSError(errno.EFAULT, "Bad address")
        start, length, pid, kind, whence = _struct.unpack(_DARWIN, data[:24])
        if kind not in to_linux:
            raise OSError(errno.EINVAL, "Invalid argument")
        asked = _struct.pack(_LINUX, to_linux[kind], whence, start, length, 0).ljust(_LINUX_SIZE, b"\0")
        answer = real(descriptor, commands[command], asked)  # type: ignore[arg-type]
        kind, whence, start, length, held_by = _struct.unpack_from(_LINUX, answer)  # type: ignore[arg-type]
        return _struct.pack(_DARWIN, start, length, held_by or pid, to_darwin[kind], whence) + data[24:]

    fcntl.fcntl = disguised  # type: ignore[assignment]
    for name, number in _DARWIN_LOCKS.items():
        setattr(fcntl, name, number)


def _disguise_others() -> None:
    import _signal  # pylint: disable=import-outside-toplevel
    import select  # pylint: disable=import-outside-toplevel
    _hide(_signal, ("pidfd_send_signal", "sigwaitinfo", "sigtimedwait"))
    _hide(select, [name for name in select.__dict__ if name.startswith(("epoll", "EPOLL"))])
    # urllib.request on a Mac asks the system for proxies.
    proxies = types.ModuleType("_scproxy")
    proxies._get_proxies = proxies._get_proxy_settings = dict  # type: ignore[attr-defined]
    sys.modules["_scproxy"] = proxies


def put_on() -> None:
    """All of it."""
    _disguise_os()
    _disguise_fcntl()
    _disguise_others()
