# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the artefacts, once for every state of their inputs."""
from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator

from . import archive, content, disk, oci, packages, tart
from .paths import PACKAGE, Paths, default
from .tree import merged

_NOT_INPUTS = {"__main__.py", "machine.py", "tart_push.py"}


def _inputs() -> str:
    total = hashlib.sha256()
    for path in sorted(path for path in PACKAGE.rglob("*") if path.is_file()):
        if path.suffix != ".pyc" and path.name not in _NOT_INPUTS:
            total.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest() + "\n"


# taken when the code is loaded: a process that runs on while files change must not vouch for the new ones
_INPUTS = _inputs()


def build(report: Callable[[str], None] = lambda _text: None, force: bool = False) -> Paths:
    """The artefacts' paths, after making them when this package's files have changed (or by ``force``)."""
    paths = default()
    with _locked(paths):
        if force or not paths.stamp.exists() or paths.stamp.read_text(encoding="utf-8") != _INPUTS:
            _rebuild(paths, report)
            paths.stamp.write_text(_INPUTS, encoding="utf-8")
    return paths


@contextlib.contextmanager
def _locked(paths: Paths) -> Iterator[None]:
    paths.root.parent.mkdir(parents=True, exist_ok=True)
    with open(paths.root.parent / "guest.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _rebuild(paths: Paths, report: Callable[[str], None]) -> None:
    report("guest: fetching Debian packages")
    files = packages.fetch(paths.packages.parent / "debs")
    packages.unpack(files, paths.packages)
    with tempfile.TemporaryDirectory(prefix="guest-", dir=paths.root.parent) as scratch:
        made = Paths(pathlib.Path(scratch) / "guest")
        made.root.mkdir()
        _make(made, paths.packages, report)
        _publish(made.root, paths)


def _make(made: Paths, root: pathlib.Path, report: Callable[[str], None]) -> None:
    initrd, kernel = archive.cpio(content.initramfs(root)), content.kernel(root)
    made.vmlinuz.write_bytes(kernel)
    made.initrd.write_bytes(initrd)
    report("guest: writing the OCI images")
    shared = [content.base_layer(root), content.boot_layer(root, initrd)]
    oci.write(made.oci, shared, {f"guest:{version}": content.top_layer(version) for version in (1, 2)})
    report("guest: writing the disks")
    for version in (1, 2):
        tree = merged(*shared, content.top_layer(version))
        for path in [path for path in tree.entries if path.startswith("boot/")]:
            del tree.entries[path]  # the disk has them on its boot partition
        directory = made.tart_version(version)
        directory.mkdir()
        disk.write(directory / "disk.img", root, kernel, initrd, tree)
        tart.write_settings(directory)
    os.link(made.tart / "disk.img", made.raw)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "compat=1.1", str(made.raw), str(made.qcow2)], check=True)


def _publish(source: pathlib.Path, paths: Paths) -> None:
    """Put the new artefacts in place one by one; running guests keep the files that they have open."""
    paths.root.mkdir(exist_ok=True)
    paths.stamp.unlink(missing_ok=True)
    for path in source.iterdir():
        target = paths.root / path.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(path, target)
