# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies that stay sparse, and the files of a new VM."""
from __future__ import annotations

import errno
import fcntl
import os

from . import vmdir

_FICLONE = 0x40049409
NVRAM_SIZE = 131072


def copy_vm(source: vmdir.VMDir, target: vmdir.VMDir, full: bool = False) -> None:
    """Configuration, disk, NVRAM and, when suspended, the saved state."""
    for name in vmdir.FILES + ("state.vzvmsave",):
        if name == "state.vzvmsave" and not os.path.exists(source.file(name)):
            continue
        if full and name == "disk.img":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), source.file(name))
        copy(source.file(name), target.file(name))


def copy(source: str, target: str) -> None:
    """A clone where the file system has them, else the data without the holes."""
    with open(source, "rb") as old, open(target, "wb") as new:
        size = os.fstat(old.fileno()).st_size
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError:
            os.truncate(new.fileno(), size)
            _copy_data(old.fileno(), new.fileno(), size)
    os.chmod(target, os.stat(source).st_mode & 0o777)


def _copy_data(old: int, new: int, size: int) -> None:
    position = 0
    while position < size:
        try:
            start = os.lseek(old, position, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(old, start, os.SEEK_HOLE)
        while start < end:
            done = _copy_range(old, new, end - start, start)
            if not done:
                return
            start += done
        position = end


def _copy_range(old: int, new: int, count: int, start: int) -> int:
    try:
        return os.copy_file_range(old, new, count, start, start)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        return os.pwrite(new, os.pread(old, min(count, 1 << 20), start), start)


def make_linux(made: vmdir.VMDir, gigabytes: int, disk_format: str, arch: str) -> None:
    """An empty Linux VM as `create --linux` leaves it (contract 1.2)."""
    with open(made.file("disk.img"), "wb") as file:
        file.truncate(gigabytes * vmdir.GIGABYTE)
    descriptor = os.open(made.file("nvram.bin"), os.O_WRONLY | os.O_CREAT, 0o600)
    os.truncate(descriptor, NVRAM_SIZE)
    os.close(descriptor)
    vmdir.write_config(made.file("config.json"), {
        "version": 1, "os": "linux", "arch": arch, "cpuCountMin": 4, "cpuCount": 4, "memorySizeMin": 2**32, "memorySize": 2**32,
        "macAddress": vmdir.random_mac(), "display": {"width": 1024, "height": 768}, "diskFormat": disk_format})
