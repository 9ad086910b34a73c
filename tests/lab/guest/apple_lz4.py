# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apple's LZ4 framing, as tart's disk layers use it (tart contract 8.5); needs nothing but Python 3.9.

A stream is a row of blocks: ``bv41`` + decoded size + encoded size + an LZ4 block, or ``bv4-`` + size + the bytes as they are; ``bv4$``
ends it. Sizes are 32-bit little-endian. The encoder compresses only runs of one byte (empty disk space); the decoder reads every LZ4 block.
"""
from __future__ import annotations

import struct
from typing import Iterator

BLOCK_SIZE = 1 << 16
_COMPRESSED, _STORED, _END = b"bv41", b"bv4-", b"bv4$"
_LAST_LITERALS = 5  # an LZ4 block ends with at least five literals
_WINDOW = 1 << 16


class FramingError(ValueError):
    """The bytes are no such stream."""


def encode(data: bytes) -> bytes:
    """The whole stream for the data."""
    out = bytearray()
    view = memoryview(data)
    for start in range(0, len(data), BLOCK_SIZE):
        block = bytes(view[start:start + BLOCK_SIZE])
        if len(block) >= 64 and block.count(block[:1]) == len(block):
            packed = _run(block[:1], len(block))
            out += _COMPRESSED + struct.pack("<II", len(block), len(packed)) + packed
        else:
            out += _STORED + struct.pack("<I", len(block)) + block
    return bytes(out + _END)


def _run(byte: bytes, count: int) -> bytes:
    """An LZ4 block for ``count`` times the same byte: one literal, a match at offset 1, and the last literals."""
    match = count - 1 - _LAST_LITERALS - 4
    return b"\x1f" + byte + b"\x01\x00" + _length(match - 15) + bytes([_LAST_LITERALS << 4]) + byte * _LAST_LITERALS


def _length(rest: int) -> bytes:
    return b"\xff" * (rest // 255) + bytes([rest % 255])


def decode(data: bytes) -> bytes:
    """The bytes that the stream holds."""
    return b"".join(blocks(data))


def blocks(data: bytes) -> Iterator[bytes]:
    """The decoded blocks one by one; raises FramingError on anything that is not a complete stream."""
    offset, history = 0, b""
    while True:
        magic = data[offset:offset + 4]
        if magic == _END:
            return
        if magic == _STORED:
            (size,) = _sizes(data, offset, "<I")
            offset += 8
            block = data[offset:offset + size]
        elif magic == _COMPRESSED:
            decoded, size = _sizes(data, offset, "<II")
            offset += 12
            block = _block(data[offset:offset + size], decoded, history)
        else:
            raise FramingError(f"no block starts at byte {offset}: {magic!r}")
        if offset + size > len(data):
            raise FramingError(f"the block at byte {offset} is cut short")
        offset += size
        history = (history + block)[-_WINDOW:]
        yield block


def _sizes(data: bytes, offset: int, layout: str) -> tuple:
    try:
        return struct.unpack_from(layout, data, offset + 4)
    except struct.error as error:
        raise FramingError(f"the header at byte {offset} is cut short") from error


def _block(packed: bytes, size: int, history: bytes) -> bytes:
    """One LZ4 block; matches may reach back into what was decoded before."""
    out = bytearray(history)
    position = 0
    try:
        while position < len(packed):
            token = packed[position]
            literals, position = _extended(packed, position + 1, token >> 4)
            if position + literals > len(packed):
                raise FramingError("literals reach beyond their block")
            out += packed[position:position + literals]
            position += literals
            if position == len(packed):
                break
            distance = packed[position] | packed[position + 1] << 8
            length, position = _extended(packed, position + 2, token & 15)
            _copy(out, distance, length + 4)
    except IndexError as error:
        raise FramingError("a block is cut short") from error
    if len(out) - len(history) != size:
        raise FramingError(f"a block holds {len(out) - len(history)} bytes instead of {size}")
    return bytes(out[len(history):])


def _extended(packed: bytes, position: int, value: int) -> tuple:
    if value == 15:
        while True:
            more = packed[position]
            position += 1
            value += more
            if more != 255:
                break
    return value, position


def _copy(out: bytearray, distance: int, length: int) -> None:
    start = len(out) - distance
    if distance == 0 or start < 0:
        raise FramingError("a match reaches before the start")
    if distance >= length:
        out += out[start:start + length]
        return
    pattern = bytes(out[start:])
    out += (pattern * (length // distance + 1))[:length]
