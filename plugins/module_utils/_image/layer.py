# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""One layer of an OCI image becomes one EROFS file: unpacked by tar, whiteouts made overlayfs's own, packed by mkfs.erofs.

mkfs.erofs reads tar itself since 1.7, but Debian 12 has 1.5; this way is right on both.  Whiteouts have to be translated, or deleted
files come back in the guest (cocoon defect Q4).
"""

from __future__ import annotations

import os
import re
import stat
import typing as t
import uuid

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_OPAQUE_ATTRIBUTE = "trusted.overlay.opaque"


def unpack(commands: t.Any, archive: str, tree: str) -> None:
    """Unpack a layer (plain, gzip, zstd, ...) with owners, modes and attributes, and translate its whiteouts.

    GNU tar keeps members inside the tree: it strips leading slashes, refuses ``..`` and makes symbolic links last.
    """
    os.mkdir(tree, 0o755)
    tar = commands.need("tar", "install tar")
    argv = [tar, "--extract", "--file", archive, "--directory", tree, "--numeric-owner", "--same-owner", "--same-permissions"]
    argv += ["--xattrs", "--xattrs-include=*", "--delay-directory-restore"]
    commands.check(argv, f"Unpacking layer {os.path.basename(archive)[:12]}", timeout=3600)
    for folder, folders, files in os.walk(tree):
        for name in files + folders:
            if name.startswith(_WHITEOUT):
                _translate(folder, name)


def _translate(folder: str, name: str) -> None:
    """Make one whiteout what overlayfs understands: a 0:0 device for a deleted name, an attribute for an opaque directory."""
    os.unlink(os.path.join(folder, name))
    if name == _OPAQUE:
        os.setxattr(folder, _OPAQUE_ATTRIBUTE, b"y")
    elif not name.startswith(".wh..wh."):  # other names of that kind are aufs's own bookkeeping
        path = os.path.join(folder, name[len(_WHITEOUT):])
        if not os.path.lexists(path):
            os.mknod(path, stat.S_IFCHR | 0o000, os.makedev(0, 0))


def boot_files(tree: str) -> dict[str, str]:
    """Return the paths of the kernel and initramfs of a layer by the names that we keep them under; the newest of several wins."""
    found: dict[str, str] = {}
    for folder in (tree, os.path.join(tree, "boot")):
        if os.path.islink(folder) or not os.path.isdir(folder):
            continue
        for name in sorted(os.listdir(folder), key=_natural):
            path = os.path.join(folder, name)
            if name.endswith(".old") or os.path.islink(path) or not os.path.isfile(path):
                continue
            for target in ("vmlinuz", "initrd.img"):
                if name.startswith(target):
                    found[target] = path
    return found


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key by which 6.10 comes after 6.9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def build(mkfs: str, commands: t.Any, tree: str, target: str, digest: str) -> None:
    """Pack a tree; the same layer always gives the same bytes (fixed times, UUID from the digest)."""
    identity = uuid.uuid5(uuid.NAMESPACE_URL, digest)
    commands.check([mkfs, "--quiet", "-zlz4hc", "-T0", "-U", str(identity), target, tree], f"Packing layer {digest}", timeout=3600)
