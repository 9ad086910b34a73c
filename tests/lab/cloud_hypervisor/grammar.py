# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The grammar of `key=value` lists (contract 1.3)."""
from __future__ import annotations

from .errors import Failure

MAC_LENGTH = 17


class Conversion(Exception):
    """A value does not fit its type."""


def split_commas(text: str) -> list[str]:
    """Split at commas outside of brackets and double quotes."""
    parts, current, depth, quoted = [], "", 0, False
    for char in text.strip():
        if char == '"':
            quoted = not quoted
        elif quoted:
            pass
        elif char == "[":
            depth += 1
        elif char == "]":
            depth -= 1
            if depth < 0:
                raise Failure(f"invalid syntax: {text}")
        elif char == "," and depth == 0:
            parts.append(current)
            current = ""
            continue
        current += char
    if quoted or depth:
        raise Failure(f"invalid syntax: {text}")
    return parts + [current]


def dequote(text: str) -> str:
    """Remove double quotes; a doubled one inside a quoted part stays as one."""
    out, quoted, previous = "", False, ""
    for char in text:
        if char == '"':
            if previous == '"' and not quoted:
                out += '"'
            quoted = not quoted
        else:
            out += char
        previous = char
    return out


def parse(text: str, keys: dict, subset: bool = False) -> dict:
    """Return {key: raw value}; `keys` maps each known key to whether it needs a value."""
    found: dict = {}
    if not text.strip():
        return found
    for token in split_commas(text):
        key, equals, value = token.partition("=")
        if key not in keys:
            if subset:
                continue
            raise Failure(f"unknown option: {key}")
        if keys[key] and not equals:
            raise Failure(f"invalid syntax: {token}")
        found[key] = value.strip() if keys[key] else ""
    return found


def _unsigned(text: str) -> int:
    digits = text[1:] if text.startswith("+") else text
    if not digits.isascii() or not digits.isdigit():
        raise Conversion(text)
    return int(digits)


def integer(text: str, bits: int) -> int:
    """An unsigned integer of so many bits."""
    value = _unsigned(text)
    if value >= 1 << bits:
        raise Conversion(text)
    return value


def toggle(text: str) -> bool:
    """on, off, true, false in any case."""
    if text.lower() not in ("on", "off", "true", "false"):
        raise Conversion(text)
    return text.lower() in ("on", "true")


def size(text: str) -> int:
    """Bytes with an optional binary suffix K, M or G."""
    text = text.strip()
    shift = {"K": 10, "M": 20, "G": 30}.get(text[-1:], 0)
    return integer(text.rstrip("KMG"), 64) << shift


def integers(text: str) -> list[int]:
    """[0,2-4,7], brackets optional."""
    values: list[int] = []
    for item in text.strip().strip("[]").split(","):
        bounds = item.split("-")
        if len(bounds) > 2:
            raise Conversion(text)
        numbers = [integer(bound, 64) for bound in bounds]
        if len(numbers) == 2 and numbers[0] >= numbers[1]:
            raise Conversion(text)
        values += range(numbers[0], numbers[-1] + 1)
    return values


def strings(text: str) -> list[str]:
    """[a,b], brackets optional for one."""
    return [dequote(item) for item in split_commas(text.strip().strip("[]"))]


def pairs(text: str, second) -> list[tuple]:
    """[k@v,k2@[a,b]]; `second` converts what follows the @."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        raise Conversion(text)
    found = []
    try:
        items = split_commas(text[1:-1])
    except Failure as failure:
        raise Conversion(text) from failure
    for item in items:
        first, at, rest = item.partition("@")
        if not at or "@" in rest:
            raise Conversion(text)
        found.append((dequote(first), second(rest)))
    return found


def mac(text: str) -> str:
    """A MAC address, written in lower case."""
    octets = text.split(":")
    if len(text) != MAC_LENGTH or len(octets) != 6:
        raise Conversion(text)
    try:
        return ":".join(f"{int(octet, 16):02x}" for octet in octets)
    except ValueError as error:
        raise Conversion(text) from error


def address(text: str) -> str:
    """An IPv4 or IPv6 address."""
    import socket  # pylint: disable=import-outside-toplevel
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_ntop(family, socket.inet_pton(family, text))
        except OSError:
            continue
    raise Conversion(text)
