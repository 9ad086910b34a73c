# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees as archives: tar for layers, newc cpio for the initramfs."""
from __future__ import annotations

import gzip
import io
import stat
import tarfile

from .tree import EPOCH, Entry, Tree

_TAR_TYPES = {"dir": tarfile.DIRTYPE, "file": tarfile.REGTYPE, "symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE}
_CPIO_TYPES = {"dir": stat.S_IFDIR, "file": stat.S_IFREG, "symlink": stat.S_IFLNK, "char": stat.S_IFCHR}


def compress(data: bytes, level: int = 6) -> bytes:
    """gzip that repeats bit by bit."""
    return gzip.compress(data, compresslevel=level, mtime=0)


def tar(tree: Tree) -> bytes:
    """An uncompressed POSIX tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in tree:
            info = tarfile.TarInfo(entry.path)
            info.type = _TAR_TYPES[entry.kind]
            info.mode, info.uid, info.gid, info.mtime = entry.mode, entry.uid, entry.gid, EPOCH
            info.linkname = entry.target
            info.size = len(entry.data) if entry.kind == "file" else 0
            archive.addfile(info, io.BytesIO(entry.data))
    return buffer.getvalue()


def cpio(tree: Tree) -> bytes:
    """A newc archive."""
    out = bytearray()
    for inode, entry in enumerate(tree, start=1):
        _cpio_member(out, inode, entry)
    _cpio_member(out, 0, Entry("TRAILER!!!", "file", 0))
    return bytes(out)


def _cpio_member(out: bytearray, inode: int, entry: Entry) -> None:
    data = entry.target.encode() if entry.kind == "symlink" else entry.data
    device = (int(number) for number in entry.target.split(":")) if entry.kind == "char" else (0, 0)
    major, minor = device
    name = entry.path.encode() + b"\0"
    mode = 0 if inode == 0 else _CPIO_TYPES[entry.kind] | entry.mode
    fields = (inode, mode, entry.uid, entry.gid, 1, EPOCH, len(data), 0, 0, major, minor, len(name), 0)
    out += b"070701" + b"".join(b"%08X" % field for field in fields) + name
    out += b"\0" * (-len(out) % 4) + data
    out += b"\0" * (-len(out) % 4)
