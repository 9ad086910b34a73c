# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same work beside community.libvirt.virt in a loop, on libvirt's test driver."""

from __future__ import annotations

import fcntl
import glob
import io
import pathlib
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable

from tests.bench.site import Bench, names
from tests.bench.table import Row, median
from tests.lab import paths, rootfs

COLLECTIONS = "ansible>=12,<13"  # the community's package, in which community.libvirt is
_DOMAIN = "<domain type='test'><name>{name}</name><memory>131072</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>"


def measure(bench: Bench, count: int, rounds: int, say: Callable[[str], None]) -> Row:
    """Running VMs that should run."""
    folder = _folder()
    _install(bench, folder, say)
    bench.put({"domains.xml": "<node>" + "".join(_DOMAIN.format(name=name) for name in names(count)) + "</node>\n"}, "/root/libvirt")
    theirs = {"name": "Loop", "community.libvirt.virt": {"name": "{{ item }}", "state": "running", "uri": "test:///root/libvirt/domains.xml"},
              "loop": names(count)}
    bench.ansible.collections = folder / "collections"
    found: dict[str, list[float]] = {"Ours": [], "Loop": []}
    for _round in range(rounds):
        for task in bench.ansible.tasks(bench.host.name, [{"name": "Ours", **bench.task(names(count), "started")}, theirs]):
            if task["changed"]:
                raise RuntimeError(f"{task['task']} changed something")
            found[task["task"]].append(task["seconds"])
    return Row(f"{count} running VMs unchanged, linux", median(found["Ours"]), median(found["Loop"]), "s",
               note="reference: community.libvirt.virt in a loop, test driver")


def _folder() -> pathlib.Path:
    """What the reference needs, kept for the next run."""
    place = paths.cache() / "bench"
    (place / "debs" / "partial").mkdir(parents=True, exist_ok=True)
    return place


def _install(bench: Bench, folder: pathlib.Path, say: Callable[[str], None]) -> None:
    """libvirt's client library for the host's Python, and the collection for the controller; nothing of libvirt runs as a daemon."""
    with open(folder / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "collections/ansible_collections/community/libvirt").is_dir():
            say("fetching community.libvirt")
            _collection(folder)
        if not glob.glob(str(folder / "debs/python3-lxml_*.deb")):
            say("fetching libvirt's library for the host")
            _packages(folder / "debs", say)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted((folder / "debs").glob("*.deb")):
            archive.add(path, path.name)
    bench.unpack(buffer.getvalue(), "/root/libvirt/debs")
    bench.host.run("dpkg --force-unsafe-io --install /root/libvirt/debs/*.deb", timeout=120, check=True)


def _collection(folder: pathlib.Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder / "wheel"), COLLECTIONS]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    for wheel in (folder / "wheel").glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            wanted = [name for name in archive.namelist() if name.startswith("ansible_collections/community/libvirt/")]
            archive.extractall(folder / "collections", wanted)
        wheel.unlink()


def _packages(folder: pathlib.Path, say: Callable[[str], None]) -> None:
    """Those that the host lacks; it has the controller's Debian release, but no way out of the lab."""
    subprocess.run(["apt-get", "update", "--quiet"], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    settings = {"Dir::State::status": rootfs.ensure("linux", say=say) / "var/lib/dpkg/status", "Dir::Cache::archives": folder,
                "Dir::Cache::pkgcache": "", "Dir::Cache::srcpkgcache": "", "Debug::NoLocking": 1}
    command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "--download-only",
               *(f"--option={name}={value}" for name, value in settings.items()), "python3-libvirt", "python3-lxml"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
