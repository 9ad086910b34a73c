# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file system that a host sees: made in its own mount namespace, so that nothing of it can outlive the host."""
from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import stat
import subprocess
from typing import Any

from . import kernel, paths, provision

_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0),
            "kvm": (10, 232), "fuse": (10, 229), "net/tun": (10, 200)}
_MAC_DEVICES = {name: _DEVICES[name] for name in ("null", "zero", "random", "urandom", "tty", "net/tun")}


def proc_folder(kind: str) -> str:
    """A Mac has no /proc; only the stand-ins of its commands know this one."""
    return "opt/lab-proc" if kind == "mac" else "proc"


def enter(config: dict[str, Any], directory: pathlib.Path) -> None:
    """Called by the host's first process in fresh namespaces; afterwards its root is the host's."""
    kind = config["kind"]
    root = directory / "root"
    root.mkdir(exist_ok=True)
    kernel.mount("none", "/", flags=kernel.REC | kernel.PRIVATE)
    _root(config, directory, root)
    _devices(root, kind)
    kernel.mount("tmpfs", _folder(root / "run"), "tmpfs", kernel.NOSUID | kernel.NODEV, "mode=755")
    _processes(root, kind, directory)
    if kind != "mac":
        _system(root)
    _code(root, kind, directory)
    _data_disk(root, kind, directory)
    _small_disk(root, config, directory)
    if not (directory / "provisioned").exists():
        provision.provision(root, config, directory)
        (directory / "provisioned").touch()
    _empty(root / "tmp")
    kernel.pivot_root(root)


def _folder(place: pathlib.Path) -> pathlib.Path:
    place.mkdir(parents=True, exist_ok=True)
    return place


def _root(config: dict[str, Any], directory: pathlib.Path, root: pathlib.Path) -> None:
    for name in ("upper", "work"):
        (directory / name).mkdir(exist_ok=True)
    os.chmod(directory / "upper", 0o755)
    options = f"lowerdir={config['rootfs']},upperdir={directory / 'upper'},workdir={directory / 'work'}"
    kernel.mount("overlay", root, "overlay", options=options)


def _devices(root: pathlib.Path, kind: str) -> None:
    """A private /dev: never the controller's disks."""
    dev = _folder(root / "dev")
    kernel.mount("tmpfs", dev, "tmpfs", kernel.NOSUID, "mode=755")
    for name, (major, minor) in (_MAC_DEVICES if kind == "mac" else _DEVICES).items():
        place = dev / name
        _folder(place.parent)
        os.mknod(place, stat.S_IFCHR, os.makedev(major, minor))
        os.chmod(place, 0o666)
    proc = "/" + proc_folder(kind)
    for name, target in (("fd", f"{proc}/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"), ("ptmx", "pts/ptmx")):
        (dev / name).symlink_to(target)
    kernel.mount("devpts", _folder(dev / "pts"), "devpts", kernel.NOSUID | kernel.NOEXEC, "newinstance,gid=5,mode=620,ptmxmode=666")
    kernel.mount("tmpfs", _folder(dev / "shm"), "tmpfs", kernel.NOSUID | kernel.NODEV, "mode=1777")


def _processes(root: pathlib.Path, kind: str, directory: pathlib.Path) -> None:
    proc = _folder(root / proc_folder(kind))
    kernel.mount("proc", proc, "proc", kernel.NOSUID | kernel.NODEV | kernel.NOEXEC)
    kernel.bind(directory / "boot" / "id", proc / "sys/kernel/random/boot_id", read_only=True)
    (proc / "sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")
    if kind == "mac":
        for name in ("proc", "sys"):
            with contextlib.suppress(FileNotFoundError):
                (root / name).rmdir()


def _system(root: pathlib.Path) -> None:
    """sysfs shows the interfaces of the network namespace that it is mounted in."""
    kernel.mount("sysfs", _folder(root / "sys"), "sysfs", kernel.NOSUID | kernel.NODEV | kernel.NOEXEC)
    with contextlib.suppress(OSError):
        kernel.mount("cgroup2", root / "sys/fs/cgroup", "cgroup2", kernel.NOSUID | kernel.NODEV | kernel.NOEXEC)
        kernel.mount("", root / "sys/fs/cgroup", flags=kernel.BIND | kernel.REMOUNT | kernel.RDONLY)


def _code(root: pathlib.Path, kind: str, directory: pathlib.Path) -> None:
    """What the lab brings: its init, when the host was booted, and the simulators' code, read-only."""
    lab = _folder(root / "opt/lab")
    shutil.copyfile(paths.PACKAGE / "init.py", lab / "init.py")
    kernel.bind(directory / "boot", _folder(lab / "boot"), read_only=True)
    name = {"mac": "mac", "linux": "cloud_hypervisor"}.get(kind)
    if name and (paths.PACKAGE / name).is_dir():
        kernel.bind(paths.PACKAGE / name, _folder(lab / name), read_only=True)


def _data_disk(root: pathlib.Path, kind: str, directory: pathlib.Path) -> None:
    """A disk for images and VMs that is no overlay: overlayfs itself refuses the whiteouts that image layers are made of."""
    if kind == "linux":
        kernel.bind(_folder(directory / "data"), _folder(root / "var/lib/cocoon"))


def _small_disk(root: pathlib.Path, config: dict[str, Any], directory: pathlib.Path) -> None:
    """A disk of its own and of limited size, kept over reboots; the loop device goes with the mount."""
    disk = config.get("small_disk")
    if not disk:
        return
    image = directory / "small.img"
    if not image.exists():
        with open(image, "wb") as file:
            file.truncate(disk["size"])
        owner = "501:20" if config["kind"] == "mac" else "0:0"
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-E", f"root_owner={owner}", str(image)], check=True)
    place = _folder(root / disk["path"].lstrip("/"))
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    with contextlib.suppress(OSError):
        (place / "lost+found").rmdir()


def _empty(folder: pathlib.Path) -> None:
    """As at every boot of a Mac and of a Debian machine."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
