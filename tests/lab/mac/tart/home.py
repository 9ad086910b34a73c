# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TART_HOME: where things are, the locks on it, the garbage collection (tart contract 4)."""
from __future__ import annotations

import errno
import fcntl
import os
import pwd

from .errors import RuntimeFailure


def path(*parts: str) -> str:
    """Below TART_HOME, or below .tart in the home of the account, whatever $HOME says."""
    top = os.environ.get("TART_HOME") or os.path.join(pwd.getpwuid(os.geteuid()).pw_dir, ".tart")
    return os.path.join(os.path.abspath(top), *parts)


def prepare() -> None:
    """Make the folders that every command makes."""
    top = path()
    for folder in (top, path("cache"), path("tmp")):
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise RuntimeFailure(_invalid(top, error)) from None


def _invalid(top: str, error: OSError) -> str:
    missing = "/"
    for part in top.strip("/").split("/"):
        missing = os.path.join(missing, part)
        if not os.path.isdir(missing):
            break
    parent, name = os.path.split(missing)
    folder = os.path.basename(parent) or "/"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        why = f"You don\u2019t have permission to save the file \u201c{name}\u201d in the folder \u201c{folder}\u201d."
    else:
        why = f"The file \u201c{name}\u201d couldn\u2019t be saved in the folder \u201c{folder}\u201d."
    return f"TART_HOME is invalid: {missing} does not exist, yet we can't create it: {why}"


def collect() -> None:
    """Delete what nobody holds in tmp/; stops at the first entry that cannot be opened (contract 4.6, 13.2)."""
    for name in os.listdir(path("tmp")):
        entry = path("tmp", name)
        descriptor = os.open(entry, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        finally:
            os.close(descriptor)
        remove(entry)


def remove(entry: str) -> None:
    """A file, a link or a whole folder."""
    if os.path.isdir(entry) and not os.path.islink(entry):
        import shutil  # pylint: disable=import-outside-toplevel
        shutil.rmtree(entry)
    else:
        os.unlink(entry)


def replace(source: str, target: str) -> None:
    """The folder `source` takes the place of `target`, whose content is discarded."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.lexists(target):
        aside = path("tmp", unique())
        os.rename(target, aside)
        os.rename(source, target)
        remove(aside)
    else:
        os.rename(source, target)


def unique() -> str:
    """An upper-case UUID, as Foundation makes them."""
    digits = os.urandom(16).hex().upper()
    return "-".join((digits[:8], digits[8:12], "4" + digits[13:16], digits[16:20], digits[20:]))


class Flock:
    """flock() on a file or folder, waited for, or on a temporary entry."""

    def __init__(self, target: str) -> None:
        self.descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> Flock:
        while True:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX)
                return self
            except InterruptedError:
                continue

    def take_now(self) -> bool:
        """Without waiting."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False

    def release(self) -> None:
        """Let go."""
        os.close(self.descriptor)

    def __exit__(self, *_details: object) -> None:
        self.release()


def global_lock() -> Flock:
    """Held by clone and import around copy and move, by run until its VM is locked."""
    return Flock(path())


def temporary() -> tuple[str, Flock]:
    """A new folder in tmp/, protected from other commands' garbage collection."""
    folder = path("tmp", unique())
    os.mkdir(folder)
    lock = Flock(folder)
    lock.take_now()
    return folder, lock
