# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest of some 250 bytes: an ELF kernel with a PVH entry that halts, or does one thing first.

QEMU's ``-kernel`` and the real cloud-hypervisor both start it, so a test can have a hundred idle "running" VMs.
"""
from __future__ import annotations

import pathlib
import struct

LOAD_ADDRESS = 0x100000
ELF_HEADER, PROGRAM_HEADER = 64, 56
PT_LOAD, PT_NOTE = 1, 4
XEN_PHYS32_ENTRY = 18
COM1 = 0x3F8

HALT = b"\xfa\xf4\xeb\xfc"  # cli; hlt; jmp to cli
ACTIONS = ("halt", "poweroff", "reboot", "serial")


def _out8(port: int, value: int) -> bytes:
    """mov dx, port; mov al, value; out dx, al."""
    return b"\x66\xba" + struct.pack("<H", port) + b"\xb0" + bytes([value]) + b"\xee"


def _out16(port: int, value: int) -> bytes:
    """mov dx, port; mov ax, value; out dx, ax."""
    return b"\x66\xba" + struct.pack("<H", port) + b"\x66\xb8" + struct.pack("<H", value) + b"\x66\xef"


def _poweroff() -> bytes:
    """ACPI S5: the sleep register of cloud-hypervisor (0x600), then the one that QEMU's firmware sets up (0x604)."""
    return _out8(0x600, 0x34) + _out16(0x604, 0x2000) + HALT


def _reboot() -> bytes:
    """The keyboard controller's reset line, which both have."""
    return _out8(0x64, 0xFE) + HALT


def _serial_commands() -> bytes:
    """Wait for a byte on COM1: p powers off, r reboots, anything else is sent back. This one is busy while it waits."""
    poweroff, reboot = _poweroff(), _reboot()
    echo = b"\x66\xba" + struct.pack("<H", COM1) + b"\xee"
    wait = b"\x66\xba" + struct.pack("<H", COM1 + 5) + b"\xec\xa8\x01"  # in al, dx; test al, 1
    wait += b"\x74" + struct.pack("<b", -(len(wait) + 2))  # jz back to the start
    read = b"\x66\xba" + struct.pack("<H", COM1) + b"\xec"
    compare = b"\x3c" + b"p" + b"\x74%c"
    compare_r = b"\x3c" + b"r" + b"\x74%c"
    back = len(wait) + len(read) + 8 + len(echo) + 2
    jump_back = b"\xeb" + struct.pack("<b", -back)
    after_p = 4 + len(echo) + 2
    tail = compare % after_p + compare_r % (len(echo) + 2 + len(poweroff))
    return wait + read + tail + echo + jump_back + poweroff + reboot


def _code(action: str, greeting: str) -> bytes:
    say = b"".join(_out8(COM1, byte) for byte in greeting.encode("ascii"))
    body = {"halt": HALT, "poweroff": _poweroff(), "reboot": _reboot(), "serial": _serial_commands()}
    return say + body[action]


def build(action: str = "halt", greeting: str = "") -> bytes:
    """Return the kernel image; it writes `greeting` to the serial port, then does `action` (one of ACTIONS)."""
    code = _code(action, greeting)
    note_offset = ELF_HEADER + 2 * PROGRAM_HEADER
    note = struct.pack("<III4sQ", 4, 8, XEN_PHYS32_ENTRY, b"Xen\0", LOAD_ADDRESS)
    code_offset = 4096
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, LOAD_ADDRESS, ELF_HEADER, 0, 0, ELF_HEADER, PROGRAM_HEADER, 2, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", PT_LOAD, 5, code_offset, LOAD_ADDRESS, LOAD_ADDRESS, len(code), len(code), 4096)
    notes = struct.pack("<IIQQQQQQ", PT_NOTE, 4, note_offset, note_offset, note_offset, len(note), len(note), 4)
    image = header + load + notes + note
    return image.ljust(code_offset, b"\0") + code


def write(path: pathlib.Path, action: str = "halt", greeting: str = "") -> pathlib.Path:
    """Write the kernel to `path` and return the path."""
    path.write_bytes(build(action, greeting))
    return path
