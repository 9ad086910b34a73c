# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bootable disk: an MBR, a FAT partition that BIOS (syslinux) and UEFI (systemd-boot) start from, and an ext4 root."""
from __future__ import annotations

import os
import pathlib
import struct
import subprocess
import tempfile

from .tree import EPOCH, Tree

_MIB = 1 << 20
_SECTOR = 512
_BOOT_START, _BOOT_SIZE = 1 * _MIB, 23 * _MIB
_ROOT_START, _ROOT_SIZE = 24 * _MIB, 40 * _MIB
SIZE = 64 * _MIB
_FIRST_INODE = 12  # behind lost+found
_ROOT_LABEL = "lab-root"
_ROOT_UUID = "6c616267-7565-4374-8000-000000000001"
_CMDLINE = f"root=LABEL={_ROOT_LABEL} console=hvc0 console=ttyS0 loglevel=3 net.ifnames=0 cryptomgr.notests edd=off rw"
_SYSLINUX = f"DEFAULT lab\nPROMPT 0\nLABEL lab\n  KERNEL /vmlinuz\n  INITRD /initrd.img\n  APPEND {_CMDLINE}\n"
_ENTRY = f"title lab guest\nlinux /vmlinuz\ninitrd /initrd.img\noptions {_CMDLINE}\n"


def write(path: pathlib.Path, packages: pathlib.Path, kernel: bytes, initrd: bytes, tree: Tree) -> None:
    """Write the disk; no loop device and no mount is needed."""
    with tempfile.TemporaryDirectory(prefix="lab-guest-") as scratch:
        work = pathlib.Path(scratch)
        boot = _boot_partition(work, packages, kernel, initrd)
        root = _root_partition(work, tree)
        with open(path, "wb") as disk:
            disk.truncate(SIZE)
            disk.write(_boot_record(packages))
            _copy_sparse(boot, disk, _BOOT_START)
            _copy_sparse(root, disk, _ROOT_START)


def _boot_record(packages: pathlib.Path) -> bytes:
    code = (packages / "usr/lib/syslinux/mbr/mbr.bin").read_bytes()
    table = b""
    for active, kind, start, size in ((0x80, 0xEF, _BOOT_START, _BOOT_SIZE), (0, 0x83, _ROOT_START, _ROOT_SIZE)):
        outside = b"\xfe\xff\xff"  # no cylinder/head/sector address: readers take the sector numbers
        table += struct.pack("<B3sB3sII", active, outside, kind, outside, start // _SECTOR, size // _SECTOR)
    return code.ljust(440, b"\0") + struct.pack("<IH", 0x6C616267, 0) + table.ljust(64, b"\0") + b"\x55\xaa"


def _boot_partition(work: pathlib.Path, packages: pathlib.Path, kernel: bytes, initrd: bytes) -> pathlib.Path:
    image = work / "boot"
    image.write_bytes(b"")
    os.truncate(image, _BOOT_SIZE)
    environment = {"PATH": f"{packages}/usr/bin:{packages}/sbin:{packages}/usr/sbin:/usr/bin:/bin", "SOURCE_DATE_EPOCH": str(EPOCH),
                   "MTOOLS_SKIP_CHECK": "1", "TZ": "UTC"}

    def run(*command: str) -> None:
        subprocess.run(command, env=environment, check=True, capture_output=True)

    hidden = str(_BOOT_START // _SECTOR)
    run("mkfs.fat", "--invariant", "-F", "16", "-n", "LAB-BOOT", "-h", hidden, str(image))
    run("mmd", "-i", str(image), "::/EFI", "::/EFI/BOOT", "::/loader", "::/loader/entries")
    files = {"syslinux.cfg": _SYSLINUX.encode(), "loader/loader.conf": b"timeout 0\n", "loader/entries/lab.conf": _ENTRY.encode(),
             "EFI/BOOT/BOOTX64.EFI": (packages / "usr/lib/systemd/boot/efi/systemd-bootx64.efi").read_bytes(),
             "initrd.img": initrd, "vmlinuz": kernel}
    for name, data in files.items():
        source = work / "file"
        source.write_bytes(data)
        os.utime(source, (EPOCH, EPOCH))
        run("mcopy", "-m", "-i", str(image), str(source), f"::/{name}")
    run("syslinux", "--install", str(image))
    return image


def _root_partition(work: pathlib.Path, tree: Tree) -> pathlib.Path:
    source, image = work / "tree", work / "root"
    source.mkdir()
    tree.write(source)
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "E2FSPROGS_FAKE_TIME": str(EPOCH)}
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-L", _ROOT_LABEL, "-U", _ROOT_UUID,
                    "-E", f"hash_seed={_ROOT_UUID},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0", "-d", str(source),
                    str(image), str(_ROOT_SIZE // 4096)], env=environment, check=True, capture_output=True)
    _fix_times(image, tree, environment)
    return image


def _fix_times(image: pathlib.Path, tree: Tree, environment: dict[str, str]) -> None:
    """mke2fs takes the change times of the source files, the only thing that differs from build to build."""
    count = sum(entry.kind != "hardlink" for entry in tree)
    script = image.with_name("times")
    with open(script, "w", encoding="ascii") as commands:
        for inode in (2, *range(_FIRST_INODE, _FIRST_INODE + count)):
            commands.write(f"set_inode_field <{inode}> ctime @{EPOCH}\nset_inode_field <{inode}> ctime_extra 0\n")
    subprocess.run(["debugfs", "-w", "-f", str(script), str(image)], env=environment, check=True, capture_output=True)


def _copy_sparse(source: pathlib.Path, disk, start: int) -> None:
    with open(source, "rb") as data:
        offset = start
        while block := data.read(1 << 16):
            if block.count(0) != len(block):
                disk.seek(offset)
                disk.write(block)
            offset += len(block)
