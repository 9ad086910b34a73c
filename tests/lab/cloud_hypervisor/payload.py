# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be booted: an ELF with a PVH note or a bzImage (contract 6.1)."""
from __future__ import annotations

import struct

from .errors import Failure, os_text

PT_LOAD, PT_NOTE, PHYS32_ENTRY = 1, 4, 18
HIGH_MEMORY = 0x100000
INVALID = ("Cannot load the kernel into memory", "Kernel Loader: failed to load bzImage kernel image: Kernel Loader: Invalid bzImage",
           "Kernel Loader: Invalid bzImage")


def _notes(data: bytes):
    """Yield (name, type) of each note."""
    offset = 0
    while offset + 12 <= len(data):
        name_size, desc_size, kind = struct.unpack_from("<III", data, offset)
        yield data[offset + 12:offset + 12 + name_size], kind
        offset += 12 + (name_size + 3) // 4 * 4 + (desc_size + 3) // 4 * 4


def _check_elf(file, head: bytes) -> bool:
    """True for a PVH kernel, False for an ELF that is not a kernel; Failure for a kernel without the note."""
    table, size, count = struct.unpack_from("<Q", head, 32)[0], *struct.unpack_from("<HH", head, 54)
    file.seek(table)
    headers = file.read(size * count)
    lowest = None
    for index in range(count):
        kind, _flags, offset, _virtual, physical, length = struct.unpack_from("<IIQQQQ", headers, index * size)
        if kind == PT_LOAD:
            lowest = physical if lowest is None else min(lowest, physical)
        if kind == PT_NOTE:
            file.seek(offset)
            if any(name == b"Xen\0" and number == PHYS32_ENTRY for name, number in _notes(file.read(length))):
                return True
    if lowest is not None and lowest >= HIGH_MEMORY:
        raise Failure("Kernel lacks PVH header")
    return False


def check_kernel(path: str) -> None:
    """Raise Failure unless the file can be booted."""
    try:
        with open(path, "rb") as file:
            head = file.read(1024)
            if head[:5] == b"\x7fELF\x02":
                try:
                    if _check_elf(file, head):
                        return
                except struct.error as error:
                    raise Failure(*INVALID) from error
    except OSError as error:
        raise Failure("Cannot open kernel file", os_text(error)) from error
    if len(head) < 0x250 or head[0x202:0x206] != b"HdrS" or not head[0x211] & 1:
        raise Failure(*INVALID)


def check_initramfs(path: str | None) -> None:
    """Raise Failure if it cannot be read."""
    if path is None:
        return
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise Failure("Cannot open initramfs file", os_text(error)) from error
