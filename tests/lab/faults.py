# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trouble that a host's own disk makes."""
from __future__ import annotations

import errno
import os

from .errors import LabError
from .files import read_json
from .host import Host

_FILL = ".lab-fill"


def full_disk(host: Host, path: str | None = None) -> None:
    """Fill the host's small disk to the last block."""
    place = host.path(path or _small_disk(host))
    if os.stat(place).st_dev == os.stat(host.path("/")).st_dev:
        raise LabError(f"{host.name}: {path} is on the controller's own disk; make the host with --small-disk 64M")
    with open(place / _FILL, "wb") as file:
        for step in (64 << 20, 1 << 20, 64 << 10, 4 << 10):
            while _grow(file.fileno(), step):
                pass


def _grow(descriptor: int, step: int) -> bool:
    """Whole steps only: a half one would be taken back."""
    try:
        os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, step)
        return True
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False


def free_disk(host: Host, path: str | None = None) -> None:
    """Make room again."""
    (host.path(path or _small_disk(host)) / _FILL).unlink(missing_ok=True)


def _small_disk(host: Host) -> str:
    disk = read_json(host.directory / "host.json", {}).get("small_disk")
    if not disk:
        raise LabError(f"{host.name} has no small disk; make it with --small-disk 64M")
    return disk["path"]
