# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""A FAT12 volume with a few files, always the same bytes for the same content.

Macs have no mkfs.vfat, so that this is ours on both platforms (layout: cocoon contract 5).
"""

from __future__ import annotations

import struct

from .._errors import CocoonError

_SECTOR = 512
_SECTORS = 2048
_FAT_SECTORS = 6
_ROOT_ENTRIES = 128
_ROOT_SECTORS = _ROOT_ENTRIES * 32 // _SECTOR
_DATA_START = 1 + 2 * _FAT_SECTORS + _ROOT_SECTORS
_CLUSTERS = _SECTORS - _DATA_START
_EPOCH = 0x0021  # 1 January 1980, the first day that FAT knows
_LAST = 0xFFF


def volume(label: str, files: dict[str, bytes]) -> bytes:
    """Return a 1 MiB FAT12 image that holds *files* in its root; raise CocoonError when they do not fit."""
    fat = [0xFF8, _LAST]
    root = [_entry(label.ljust(11).encode("ascii"), 0x08, 0, 0)]
    data = b""
    for number, name in enumerate(sorted(files)):
        content = files[name]
        clusters = -(-len(content) // _SECTOR)
        first = len(fat) if clusters else 0
        fat += [len(fat) + step + 1 for step in range(clusters - 1)] + ([_LAST] if clusters else [])
        data += content.ljust(clusters * _SECTOR, b"\0")
        short = _alias(name, number)
        root += [*_long_name(name, short), _entry(short, 0x20, first, len(content))]
    if len(fat) - 2 > _CLUSTERS or len(root) > _ROOT_ENTRIES:
        raise CocoonError("The data for the guest's first boot is larger than 1 MiB.", "shorten user_data; let it fetch the rest itself")
    table = _pack(fat).ljust(_FAT_SECTORS * _SECTOR, b"\0")
    image = _boot_sector(label) + table * 2 + b"".join(root).ljust(_ROOT_SECTORS * _SECTOR, b"\0") + data
    return image.ljust(_SECTORS * _SECTOR, b"\0")


def _boot_sector(label: str) -> bytes:
    head = struct.pack(
        "<3s8sHBHBHHBHHHII", b"\xeb\x3c\x90", b"COCOON  ", _SECTOR, 1, 1, 2, _ROOT_ENTRIES, _SECTORS, 0xF8, _FAT_SECTORS, 32, 64, 0, 0
    )
    tail = struct.pack("<BBBI11s8s", 0x80, 0, 0x29, 0xC0C00000, label.ljust(11).encode("ascii"), b"FAT12   ")
    return (head + tail).ljust(_SECTOR - 2, b"\0") + b"\x55\xaa"


def _pack(fat: list[int]) -> bytes:
    """Return 12-bit entries as bytes, two entries in three."""
    packed = bytearray()
    for low, high in zip(fat[::2], (fat + [0])[1::2]):
        packed += bytes((low & 0xFF, low >> 8 | (high & 0xF) << 4, high >> 4))
    return bytes(packed)


def _alias(name: str, number: int) -> bytes:
    """Return the 8.3 name that stands behind a long one."""
    stem = "".join(sign for sign in name.upper() if sign.isalnum())[:6]
    return f"{stem}~{number + 1}".ljust(11).encode("ascii")


def _entry(name: bytes, kind: int, cluster: int, size: int) -> bytes:
    return struct.pack("<11sBBBHHHHHHHI", name, kind, 0, 0, 0, _EPOCH, _EPOCH, 0, 0, _EPOCH, cluster, size)


def _long_name(name: str, short: bytes) -> list[bytes]:
    """Return the directory entries that spell a long name, last part first."""
    checksum = 0
    for byte in short:
        checksum = ((checksum & 1) << 7 | checksum >> 1) + byte & 0xFF
    units = [ord(sign) for sign in name] + [0]
    units += [0xFFFF] * (-len(units) % 13)
    parts = [units[start:start + 13] for start in range(0, len(units), 13)]
    entries = []
    for number, part in enumerate(parts, 1):
        order = number | (0x40 if number == len(parts) else 0)
        entries.append(struct.pack("<B5HBBB6HH2H", order, *part[:5], 0x0F, 0, checksum, *part[5:11], 0, *part[11:]))
    return entries[::-1]
