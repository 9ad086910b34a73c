# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the guest's artefacts lie."""
from __future__ import annotations

import os
import pathlib
from dataclasses import dataclass

PACKAGE = pathlib.Path(__file__).resolve().parent
FILES = PACKAGE / "files"


def cache() -> pathlib.Path:
    """The lab's cache directory."""
    return pathlib.Path(os.environ.get("COCOON_LAB_CACHE") or "/var/cache/cocoon-lab")


@dataclass(frozen=True)
class Paths:
    """Every artefact below one directory; ``tart_2`` and ``guest:2`` differ from the first in /etc/lab/version."""

    root: pathlib.Path

    @property
    def vmlinuz(self) -> pathlib.Path:
        """The kernel (bzImage), the same bytes as in the OCI image's boot layer."""
        return self.root / "vmlinuz"

    @property
    def initrd(self) -> pathlib.Path:
        """The initramfs, the same bytes as in the OCI image's boot layer."""
        return self.root / "initrd.img"

    @property
    def oci(self) -> pathlib.Path:
        """An OCI layout with the images ``guest:1`` and ``guest:2``."""
        return self.root / "oci"

    @property
    def raw(self) -> pathlib.Path:
        """A disk that BIOS and UEFI boot."""
        return self.root / "guest.raw"

    @property
    def qcow2(self) -> pathlib.Path:
        """The same disk as qcow2 (compat 1.1, no backing file); copy it, a later build replaces it."""
        return self.root / "guest.qcow2"

    @property
    def tart(self) -> pathlib.Path:
        """A tart VM directory (version 1): config.json, disk.img, nvram.bin."""
        return self.root / "tart"

    @property
    def tart_2(self) -> pathlib.Path:
        """The same with version 2 of the disk."""
        return self.root / "tart-2"

    def tart_version(self, version: int) -> pathlib.Path:
        """The tart directory of version 1 or 2."""
        return self.tart_2 if version == 2 else self.tart

    @property
    def packages(self) -> pathlib.Path:
        """The Debian packages, unpacked: programs for the build and for tests of the guest's own scripts."""
        return self.root.parent / "guest-packages" / "root"

    @property
    def stamp(self) -> pathlib.Path:
        """The hash of everything that the artefacts were made from."""
        return self.root / "stamp"


def default() -> Paths:
    """The artefacts in the lab's cache."""
    return Paths(cache() / "guest")
