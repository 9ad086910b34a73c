# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Debian packages that the guest is made of: fetched by apt, unpacked into the cache, never installed."""
from __future__ import annotations

import pathlib
import re
import shutil
import subprocess

KERNEL = "linux-image-cloud-amd64"
USERLAND = ("busybox-static", "dropbear-bin", "libc6", "libcrypt1", "libgmp10", "libreadline8", "libtinfo6", "libtomcrypt1", "libtommath1",
            "lua5.4", "openssh-sftp-server", "zlib1g")
TOOLS = ("dosfstools", "mtools", "syslinux", "syslinux-common", "systemd-boot-efi")
_AS_ROOT = ("-o", "APT::Sandbox::User=root")


class PackageError(Exception):
    """A package cannot be had."""


def fetch(directory: pathlib.Path) -> list[pathlib.Path]:
    """The package files, newest candidates of the machine's own sources."""
    directory.mkdir(parents=True, exist_ok=True)
    try:
        return _download(directory, _names())
    except PackageError:
        _apt("apt-get", "update", "-q")
        return _download(directory, _names())


def _names() -> list[str]:
    depends = _apt("apt-cache", "depends", KERNEL)
    kernel = re.search(r"Depends: (linux-image-\S+)", depends)
    if kernel is None:
        raise PackageError(f"{KERNEL} depends on no kernel package")
    return [kernel.group(1), *USERLAND, *TOOLS]


def _download(directory: pathlib.Path, names: list[str]) -> list[pathlib.Path]:
    lines = _apt("apt-get", *_AS_ROOT, "download", "--print-uris", *names).splitlines()
    wanted = [match.group(1) for match in (re.match(r"'[^']+' (\S+\.deb) \d+", line) for line in lines) if match]
    if len(wanted) != len(names):
        raise PackageError(f"apt offers {len(wanted)} of {len(names)} packages: {' '.join(names)}")
    absent = [name for name, file in zip(names, wanted) if not (directory / file).exists()]
    if absent:
        _apt("apt-get", *_AS_ROOT, "download", "-q", *absent, cwd=directory)
    return [directory / file for file in wanted]


def _apt(*command: str, cwd: pathlib.Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackageError(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def unpack(files: list[pathlib.Path], root: pathlib.Path) -> None:
    """All packages in one tree; nothing happens when it already holds exactly these files."""
    stamp = root.parent / "unpacked"
    wanted = "\n".join(file.name for file in files) + "\n"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    stamp.unlink(missing_ok=True)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for file in files:
        subprocess.run(["dpkg-deb", "-x", str(file), str(root)], check=True)
    stamp.write_text(wanted, encoding="utf-8")
