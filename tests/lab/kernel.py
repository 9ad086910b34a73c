# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The few system calls that Python 3.10 does not offer: namespaces, mounts, a parent-death signal."""
from __future__ import annotations

import ctypes
import os
import pathlib

NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWPID, NEWNET = 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
DETACH = 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_LIBC = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the given namespaces for new ones."""
    _checked(_LIBC.unshare(ctypes.c_int(flags)), f"unshare({flags:#x})")


def setns(descriptor: int, kind: int) -> None:
    """Enter a namespace."""
    _checked(_LIBC.setns(ctypes.c_int(descriptor), ctypes.c_int(kind)), "setns")


def mount(source: str, target: str | pathlib.Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    words = [word.encode() or None for word in (source, str(target), kind)]
    result = _LIBC.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), options.encode() or None)
    _checked(result, f"mount {source} on {target}")


def bind(source: str | pathlib.Path, target: str | pathlib.Path, read_only: bool = False) -> None:
    """A bind mount, read-only when asked."""
    mount(str(source), target, flags=BIND)
    if read_only:
        mount("", target, flags=BIND | REMOUNT | RDONLY)


def umount(target: str | pathlib.Path) -> None:
    """Detach now, clean up when nobody uses it any more."""
    _checked(_LIBC.umount2(str(target).encode(), DETACH), f"umount {target}")


def pivot_root(new: str | pathlib.Path) -> None:
    """Make the mount point `new` the root and let go of the old one."""
    os.chdir(new)
    _checked(_LIBC.syscall(_PIVOT_ROOT[os.uname().machine], b".", b"."), f"pivot_root {new}")
    umount(".")
    os.chdir("/")


def die_with_parent(number: int) -> None:
    """PR_SET_PDEATHSIG: this signal comes when the parent is gone."""
    _checked(_LIBC.prctl(1, ctypes.c_ulong(number), 0, 0, 0), "prctl")


def set_hostname(name: str) -> None:
    """sethostname(2): Python has it in socket, which is slow to import here."""
    data = name.encode()
    _checked(_LIBC.sethostname(data, ctypes.c_size_t(len(data))), "sethostname")
