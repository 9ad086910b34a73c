# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file tree in memory, the source of layers, the initramfs and disks; everything in it is explicit, so builds repeat bit by bit."""
from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass

EPOCH = 1_700_000_000  # the time stamp of every file


@dataclass(frozen=True)
class Entry:
    """One file: kind is ``dir``, ``file``, ``symlink``, ``hardlink`` or ``char`` (device numbers 5:1 in ``target``)."""

    path: str
    kind: str
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    data: bytes = b""
    target: str = ""


class Tree:
    """Entries by path; parents of a file appear by themselves."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(sorted(self.entries.values(), key=lambda entry: (entry.kind == "hardlink", entry.path.split("/"))))

    def add(self, entry: Entry) -> None:
        """Add the entry and the directories above it."""
        parent = os.path.dirname(entry.path)
        if parent and parent not in self.entries:
            self.directory(parent)
        self.entries[entry.path] = entry

    def directory(self, path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        """A directory."""
        self.add(Entry(path, "dir", mode, uid, gid))

    def file(self, path: str, data: bytes | str, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        """A regular file."""
        self.add(Entry(path, "file", mode, uid, gid, data.encode() if isinstance(data, str) else data))

    def symlink(self, path: str, target: str) -> None:
        """A symbolic link."""
        self.add(Entry(path, "symlink", 0o777, target=target))

    def hardlink(self, path: str, target: str) -> None:
        """A second name for the file at ``target`` (a path in this tree)."""
        self.add(Entry(path, "hardlink", self.entries[target].mode, target=target))

    def write(self, root: pathlib.Path) -> None:
        """Write the tree below a directory that exists (root only: it sets owners)."""
        for entry in self:
            path = root / entry.path
            if entry.kind == "hardlink":
                os.link(root / entry.target, path)
                continue
            _create(path, entry)
            os.lchown(path, entry.uid, entry.gid)
            if entry.kind != "symlink":
                os.chmod(path, entry.mode)
        for entry in reversed(list(self)):
            os.utime(root / entry.path, (EPOCH, EPOCH), follow_symlinks=False)


def _create(path: pathlib.Path, entry: Entry) -> None:
    if entry.kind == "dir":
        path.mkdir(exist_ok=True)
    elif entry.kind == "symlink":
        path.symlink_to(entry.target)
    else:
        path.write_bytes(entry.data)


def merged(*layers: Tree) -> Tree:
    """The layers on top of each other, whiteouts applied."""
    result = Tree()
    for layer in layers:
        for entry in layer:
            _remove_hidden(result, entry.path)
        for entry in layer:
            if not os.path.basename(entry.path).startswith(".wh."):
                result.entries[entry.path] = entry
    return result


def _remove_hidden(tree: Tree, path: str) -> None:
    directory, name = os.path.split(path)
    if name == ".wh..wh..opq":
        gone = directory + "/"
    elif name.startswith(".wh."):
        gone = os.path.join(directory, name[4:])
        tree.entries.pop(gone, None)
        gone += "/"
    else:
        return
    for known in [known for known in tree.entries if known.startswith(gone)]:
        del tree.entries[known]
