# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""Records: one directory per thing, written atomically, under a lock per thing (design decision 6)."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
import typing as t

from ._errors import CocoonError


def write_atomically(path: str, data: bytes, mode: int = 0o600, durable: bool = True) -> None:
    """Replace the file *path* by *data* so that a reader, or a crash, sees the old or the new bytes and nothing else.

    With *durable* the new bytes also outlive a power cut.
    """
    temporary = f"{path}.tmp-{os.getpid()}-{time.monotonic_ns()}"
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            _write_all(handle, data)
            if durable:
                os.fsync(handle)
        finally:
            os.close(handle)
        os.rename(temporary, path)
    except OSError as error:
        remove(temporary)
        raise storage_error(error, path) from error
    if durable:
        _sync_directory(os.path.dirname(path))


def remove(path: str) -> None:
    """Remove a file; one that is not there is fine."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def make_directory(path: str) -> None:
    """Make a directory and its parents, for the owner and group only (0750)."""
    parent = os.path.dirname(path)
    if parent and not os.path.exists(parent):
        make_directory(parent)  # os.makedirs would leave parents open to all
    try:
        os.mkdir(path, mode=0o750)
    except FileExistsError as error:
        if not os.path.isdir(path):
            raise storage_error(error, path) from error
    except OSError as error:
        raise storage_error(error, path) from error


def storage_error(error: OSError, path: str) -> CocoonError:
    """Return what a failed access to our own files means for the user."""
    remedies = {
        errno.ENOSPC: "free space on the host and run the task again: nothing was lost",
        errno.EDQUOT: "raise the quota and run the task again: nothing was lost",
        errno.EACCES: "run the task as the user who owns this directory (on Linux hosts: become: true)",
        errno.EPERM: "run the task as the user who owns this directory (on Linux hosts: become: true)",
        errno.EROFS: "mount the file system writable, or set root_dir to one that is",
    }
    return CocoonError(f"{path} cannot be written: {error.strerror}.", remedies.get(error.errno or 0, "look at the path on the host"))


def _write_all(handle: int, data: bytes) -> None:
    """Write all bytes; on a disk that is nearly full, one write takes only the first of them and is no error."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view):]


def _sync_directory(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some file systems refuse to sync a directory
    finally:
        os.close(handle)


class Lock:
    """An exclusive lock on a name, held by this process until it is released or the process dies."""

    def __init__(self, path: str, what: str) -> None:
        self.path = path
        self.what = what
        self._handle = -1

    def acquire(self, timeout: float) -> None:
        """Take the lock within *timeout* seconds or raise CocoonError that names who holds it."""
        make_directory(os.path.dirname(self.path))
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise storage_error(error, self.path) from error
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
                    os.close(handle)
                    raise CocoonError(
                        f"Another task works on {self.what} (process {holder or 'unknown'} holds {self.path}) and did not finish within {timeout:g} seconds.",
                        "wait for the other play to end, or raise wait_timeout",
                    ) from None
                time.sleep(0.05)
        self._handle = handle
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode("ascii"), 0)
        except OSError:
            pass  # the number only helps others to find us; on a full disk VMs can still be removed

    def release(self) -> None:
        """Give the lock back; releasing twice is fine."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


# What a record of each kind has to have, and what has to be of that type where it is there.
_NEEDED: dict[str, dict[str, type]] = {
    "vms": {"phase": str, "attributes": dict},
    "images": {"reference": str, "digest": str, "layers": list, "kernel": str, "initramfs": str, "size": int},
}
_TYPES: dict[str, dict[str, type]] = {"vms": {"nics": list, "image": dict, "pending": str, "console": dict, "identity": str}}


class Store:
    """The records of one kind (VMs, images, networks) below one root directory: ``<root>/<kind>/<name>/record.json``."""

    def __init__(self, root: str, kind: str) -> None:
        self.root = root
        self.kind = kind
        self.base = os.path.join(root, kind)

    def directory(self, name: str) -> str:
        """Return the directory of *name*, which may not exist."""
        return os.path.join(self.base, name)

    def path(self, name: str, *parts: str) -> str:
        """Return the path of a file in the directory of *name*."""
        return os.path.join(self.base, name, *parts)

    def names(self) -> list[str]:
        """Return the names that have a directory, sorted."""
        try:
            return sorted(entry for entry in os.listdir(self.base) if not entry.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise storage_error(error, self.base) from error

    def read(self, name: str) -> dict[str, t.Any] | None:
        """Return the record of *name*, None where there is none; raise CocoonError for a damaged one."""
        path = self.path(name, "record.json")
        try:
            with open(path, "rb") as file:
                record = json.loads(file.read())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            remedy = "run the task as the user who made it (on Linux hosts: become: true)"
            raise CocoonError(f"The record {path} cannot be read: {error.strerror}.", remedy) from error
        except (ValueError, RecursionError) as error:
            raise self.damaged(name, str(error)) from error
        if not isinstance(record, dict) or record.get("name") != name:
            raise self.damaged(name, f"it does not describe {name}")
        needed = _NEEDED.get(self.kind, {})
        for key, kind in {**needed, **_TYPES.get(self.kind, {})}.items():
            if (key in needed or key in record) and not isinstance(record.get(key), kind):
                raise self.damaged(name, f"{key} is missing or makes no sense")
        return record

    def damaged(self, name: str, why: str) -> CocoonError:
        """Return the error for a record that cannot be used."""
        path = self.path(name, "record.json")
        return CocoonError(
            f"The record {path} is damaged: {why}.",
            f"restore it from a backup, or move {os.path.dirname(path)} away after you have made sure that nothing of it runs",
        )

    def write(self, name: str, record: dict[str, t.Any]) -> None:
        """Write the record of *name* atomically, making its directory where needed."""
        make_directory(self.directory(name))
        data = json.dumps(record, indent=1, sort_keys=True, separators=(",", ": ")) + "\n"
        try:
            write_atomically(self.path(name, "record.json"), data.encode("utf-8"))
        except CocoonError:
            try:
                os.rmdir(self.directory(name))  # only one that has nothing in it can be removed
            except OSError:
                pass
            raise

    def delete(self, name: str) -> None:
        """Remove the directory of *name*; its record goes last, so that a failure can be tried again."""
        directory = self.directory(name)
        try:
            entries = os.listdir(directory)
        except FileNotFoundError:
            return
        try:
            for entry in sorted(entries, key=lambda entry: entry == "record.json"):
                os.unlink(os.path.join(directory, entry))
            os.rmdir(directory)
        except OSError as error:
            raise storage_error(error, directory) from error

    def lock(self, name: str) -> Lock:
        """Return the lock of *name*; the lock's file stays when the record goes."""
        return Lock(os.path.join(self.root, "locks", f"{self.kind}-{name}"), f"{self.kind[:-1]} {name}")
