# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One VM's folder: its files, its lock, its state, its configuration (tart contract 4.2 to 4.4)."""
from __future__ import annotations

import fcntl
import os
import time

import _struct

from . import home, plainjson
from .errors import OtherError, RuntimeFailure, no_such_vm

FILES = ("config.json", "disk.img", "nvram.bin")
GIGABYTE = 10**9
# The kernel's struct flock on 64-bit Linux: type, whence, start, length, pid.
_FLOCK = "hhqqi"


class VMDir:
    """A local VM or a cached image."""

    def __init__(self, folder: str, name: str) -> None:
        self.folder = folder
        self.name = name

    def file(self, name: str) -> str:
        """One of its files."""
        return f"{self.folder}/{name}"

    def initialized(self) -> bool:
        """All three files are there."""
        return all(os.path.exists(self.file(name)) for name in FILES)

    def holder(self) -> int:
        """PID that holds the lock on config.json, 0 for none; a file that cannot be opened for writing counts as free."""
        try:
            descriptor = os.open(self.file("config.json"), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return 0
        try:
            answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, _struct.pack(_FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0) + b"\0\0\0\0")
        finally:
            os.close(descriptor)
        kind, _whence, _start, _length, pid = _struct.unpack_from(_FLOCK, answer)
        return 0 if kind == fcntl.F_UNLCK else pid

    def running(self) -> bool:
        """Does a process hold the lock?"""
        return self.holder() != 0

    def state(self) -> str:
        """running, suspended or stopped."""
        if self.running():
            return "running"
        return "suspended" if os.path.exists(self.file("state.vzvmsave")) else "stopped"

    def lock(self) -> int | None:
        """Take the lock for this process; None when another has it. The descriptor must be the only one ever opened from now on."""
        try:
            descriptor = os.open(self.file("config.json"), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise RuntimeFailure(f"failed to open lock file file://{self.file('config.json')}: No such file or directory") from None
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor

    def touch(self) -> None:
        """Opening sets the access time, and the modification time to the access time before (contract 13)."""
        try:
            before = os.stat(self.folder).st_atime_ns
            os.utime(self.folder, ns=(time.time_ns(), before))
        except PermissionError:
            raise RuntimeFailure("utimes(2) failed: Operation not permitted") from None

    def sizes(self) -> tuple[int, int, int]:
        """Bytes of the three files, of the disk alone, and on disk."""
        found = [os.stat(self.file(name)) for name in FILES]
        return sum(one.st_size for one in found), found[1].st_size, sum(one.st_blocks for one in found) * 512

    def logical_size(self) -> int:
        """Bytes of the three files."""
        return sum(os.stat(self.file(name)).st_size for name in FILES)

    def allocated_size(self) -> int:
        """Bytes on disk of the three files."""
        return sum(os.stat(self.file(name)).st_blocks * 512 for name in FILES)

    def disk_size(self) -> int:
        """Bytes that the guest sees."""
        return os.stat(self.file("disk.img")).st_size

    def config(self) -> dict:
        """config.json with the defaults of what may be absent."""
        return read_config(self.file("config.json"))

    def save(self, config: dict) -> None:
        """In place, the same inode, unknown keys dropped: that is how tart does it."""
        write_config(self.file("config.json"), config)


_KEYS = ("version", "os", "arch", "cpuCountMin", "cpuCount", "memorySizeMin", "memorySize", "macAddress", "display", "displayRefit",
         "diskFormat", "ecid", "hardwareModel")


def read_config(path: str) -> dict:
    """Decode and check what is required."""
    try:
        config = plainjson.read(path)
        if not isinstance(config, dict):
            raise ValueError(path)
    except ValueError:
        raise OtherError("The data couldn\u2019t be read because it isn\u2019t in the correct format.") from None
    except FileNotFoundError:
        raise OtherError("The file \u201cconfig.json\u201d couldn\u2019t be opened because there is no such file.") from None
    required = ["version", "cpuCountMin", "cpuCount", "memorySizeMin", "memorySize", "macAddress"]
    config.setdefault("os", "darwin")
    if config["os"] == "darwin":
        required += ["ecid", "hardwareModel"]
    if any(key not in config for key in required):
        raise OtherError("The data couldn\u2019t be read because it is missing.")
    config.setdefault("arch", "arm64")
    config.setdefault("display", {"width": 1024, "height": 768})
    if config.get("diskFormat") not in ("raw", "asif"):
        config["diskFormat"] = "raw"
    return config


def write_config(path: str, config: dict) -> None:
    """The same file, rewritten."""
    kept = {key: config[key] for key in _KEYS if key in config}
    with open(path, "w", encoding="utf-8") as file:
        file.write(plainjson.swift(kept))


def random_mac() -> str:
    """Locally administered, unicast."""
    data = bytearray(os.urandom(6))
    data[0] = data[0] & 0xFC | 0x02
    return ":".join(f"{byte:02x}" for byte in data)


def local(name: str) -> VMDir:
    """The folder of that name, there or not."""
    return VMDir(home.path("vms", name), name)


def open_local(name: str) -> VMDir:
    """An existing, complete local VM; counts as an access."""
    found = local(name)
    if not os.path.isdir(found.folder):
        raise no_such_vm(name)
    check_complete(found)
    found.touch()
    return found


def check_complete(found: VMDir) -> None:
    """The text for a folder that lacks files; without config.json the VM does not exist (contract 1.17)."""
    if not found.initialized():
        raise RuntimeFailure("VM is missing some of its files (config.json, disk.img or nvram.bin)")


def all_local() -> list[VMDir]:
    """Complete ones, in the order of the folder."""
    try:
        names = os.listdir(home.path("vms"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [found for found in map(local, names) if found.initialized()]
