# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disk images: open, recognise, lock (contract 1.5.4 and 3.7)."""
from __future__ import annotations

import fcntl
import os
import struct

from .errors import Failure, os_text

OFD_SETLK = 37
FLOCK = "hhqqi4x"
CLI_NAMES = {"Raw": "raw", "Qcow2": "qcow2", "FixedVhd": "vhd", "Vhdx": "vhdx"}
QEMU_FORMATS = {"Raw": "raw", "Qcow2": "qcow2", "FixedVhd": "vpc", "Vhdx": "vhdx"}


class Locked(Exception):
    """Somebody else holds a lock that conflicts."""


def lock(fd: int, write: bool, length: int = 0) -> None:
    """Take an open file description lock on [0, length), or on the whole file for 0."""
    request = struct.pack(FLOCK, fcntl.F_WRLCK if write else fcntl.F_RDLCK, os.SEEK_SET, 0, length, 0)
    try:
        fcntl.fcntl(fd, OFD_SETLK, request)
    except (BlockingIOError, PermissionError) as error:
        raise Locked() from error


def unlock(fd: int) -> None:
    """Give up the lock."""
    fcntl.fcntl(fd, OFD_SETLK, struct.pack(FLOCK, fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))


def detect(fd: int) -> str:
    """The image type by its content; whatever is nothing else is raw."""
    head = os.pread(fd, 512, 0)
    if head[:4] == b"QFI\xfb":
        return "Qcow2"
    if head[:8] == b"vhdxfile":
        return "Vhdx"
    size = os.lseek(fd, 0, os.SEEK_END)
    if size >= 512 and os.pread(fd, 8, size - 512) == b"conectix":
        return "FixedVhd"
    return "Raw"


def _has_backing_file(fd: int) -> bool:
    head = os.pread(fd, 20, 0)
    return len(head) == 20 and struct.unpack(">Q", head[8:16])[0] != 0


class Disk:
    """An image that a VM holds open."""

    def __init__(self, config: dict, major: int) -> None:
        self.config = config
        self.path = config["path"]
        self.major = major
        if self.path is None:
            raise Failure("No disk path was specified when one was expected")
        self.fd = self._open()
        try:
            self.virtual_size = os.lseek(self.fd, 0, os.SEEK_END)
            self._recognise()
        except Failure:
            self.close()
            raise

    def _open(self) -> int:
        flags = os.O_RDONLY if self.config["readonly"] else os.O_RDWR
        try:
            fd = os.open(self.path, flags | os.O_CLOEXEC)
            if os.path.isdir(self.path):
                os.close(fd)
                raise IsADirectoryError(21, "directory")
            return fd
        except OSError as error:
            inner = [f"I/O error (path={self.path} op=open)"] if self.major >= 52 else []
            raise Failure("Cannot open disk path", *inner, os_text(error)) from error

    def _recognise(self) -> None:
        found, wanted = detect(self.fd), self.config["image_type"]
        if wanted == "Unknown":
            self.config["image_type"] = found
        elif wanted != found and wanted != "Raw":
            text = f"specified = {CLI_NAMES[wanted]}, detected = {CLI_NAMES[found]}"
            raise Failure(f"Disk image type does not match expected type: {text}")
        if self.config["image_type"] == "Qcow2" and not self.config["backing_files"] and _has_backing_file(self.fd):
            raise Failure("Cannot open disk path", "backing files are disabled: QCOW2 image has a backing file")

    @property
    def qemu_format(self) -> str:
        """The name of QEMU's block driver for it."""
        return QEMU_FORMATS[self.config["image_type"]]

    def take_lock(self) -> None:
        """Exclusive for a writable disk, shared for a read-only one."""
        whole = self.config.get("lock_granularity") == "Full"
        try:
            lock(self.fd, not self.config["readonly"], 0 if whole else self.virtual_size)
        except Locked as error:
            kind = "Read" if self.config["readonly"] else "Write"
            raise Failure(f"Failed to get {kind} lock for disk image: {self.path}", "The file is already locked") from error

    def resize(self, size: int) -> None:
        """Grow or cut a raw image; QEMU is told separately."""
        if self.config["image_type"] == "Raw":
            os.ftruncate(self.fd, size)
            self.virtual_size = size

    def close(self) -> None:
        """Close it, which gives up its lock."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
