# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache of images: digest folders, tags as links, reference counting (tart contract 4.1, 4.6, 8.1)."""
from __future__ import annotations

import os

from . import home, names, vmdir

MARKER = ".explicitly-pulled"


def host_folder(remote: names.RemoteName) -> str:
    """The colon of a port is written %3A."""
    return home.path("cache", "OCIs", remote.host.replace(":", "%3A"))


def folder(remote: names.RemoteName) -> str:
    """Where the digest's folder or the tag's link is."""
    return os.path.join(host_folder(remote), remote.namespace, remote.reference)


def digest_of(remote: names.RemoteName) -> str | None:
    """What the cached name points to."""
    if remote.is_digest:
        return remote.reference if os.path.isdir(folder(remote)) else None
    try:
        target = os.path.basename(os.readlink(folder(remote)))
    except OSError:
        return None
    return target if target.startswith("sha256:") else None


def find(remote: names.RemoteName) -> vmdir.VMDir | None:
    """The image's folder, None when it is not cached."""
    digest = digest_of(remote)
    if digest is None or not os.path.isdir(folder(remote.at(digest))):
        return None
    return vmdir.VMDir(folder(remote.at(digest)), str(remote))


def link(remote: names.RemoteName, digest: str) -> None:
    """Point the tag to the digest, with an absolute link, and drop what nobody points to any more."""
    place = folder(remote)
    if os.path.lexists(place):
        home.remove(place)
    os.symlink(folder(remote.at(digest)), place)
    collect()


def everything() -> list[vmdir.VMDir]:
    """A row for each link and one for each digest folder, if complete."""
    found = []
    top = home.path("cache", "OCIs")
    for place, kind in _walk(top):
        relative = os.path.relpath(place, top)
        host, _slash, rest = relative.partition("/")
        namespace, _slash, reference = rest.rpartition("/")
        separator = "@" if kind == "digest" else ":"
        one = vmdir.VMDir(os.path.realpath(place), f"{host.replace('%3A', ':')}/{namespace}{separator}{reference}")
        if one.initialized():
            found.append(one)
    return found


def _walk(top: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    pending = [top]
    while pending:
        current = pending.pop()
        try:
            entries = list(os.scandir(current))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            if entry.is_symlink():
                found.append((entry.path, "tag"))
            elif entry.is_dir(follow_symlinks=False):
                if entry.name.startswith("sha256:"):
                    found.append((entry.path, "digest"))
                else:
                    pending.append(entry.path)
    return found


def collect() -> None:
    """Broken links go, and digest folders that are neither linked nor marked."""
    entries = _walk(home.path("cache", "OCIs"))
    used = set()
    for place, kind in entries:
        if kind == "tag":
            if os.path.exists(place):
                used.add(os.path.realpath(place))
            else:
                os.unlink(place)
    for place, kind in entries:
        if kind == "digest" and os.path.realpath(place) not in used and not os.path.exists(os.path.join(place, MARKER)):
            home.remove(place)


def delete(remote: names.RemoteName) -> bool:
    """The link or the folder, then the collection."""
    place = folder(remote)
    if not os.path.lexists(place):
        return False
    home.remove(place)
    collect()
    return True
