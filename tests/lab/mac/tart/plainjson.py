# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON without the cost of importing json, and JSON as Apple's encoder writes it (tart contract 2.1)."""
from __future__ import annotations

import _json
import os


class _Context:  # pylint: disable=too-few-public-methods
    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


_SCAN = _json.make_scanner(_Context())
quote = _json.encode_basestring_ascii


def loads(text: str) -> dict:
    """The value, mostly an object (typing is slow to import); ValueError for anything that is no JSON."""
    text = text.strip(" \t\r\n\ufeff")
    try:
        value, end = _SCAN(text, 0)
    except (StopIteration, SystemError):
        # SystemError: the C code wants to raise the error class of json, which nobody has imported.
        raise ValueError("no JSON value") from None
    if end != len(text):
        raise ValueError("something follows the JSON value")
    return value


def read(path: str) -> dict:
    """The value in a file."""
    with open(path, encoding="utf-8") as file:
        return loads(file.read())


def compact(value: object) -> str:
    """One line, keys sorted: journals and manifests."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{quote(str(key))}:{compact(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(compact(item) for item in value) + "]"
    return _scalar(value, slashes=False)


def swift(value: object, ordered: bool = False, depth: int = 0) -> str:
    """Pretty printed by Foundation: two spaces, " : ", escaped slashes, keys in any order, `[`, blank line, `]` for an empty list."""
    inner = "  " * (depth + 1)
    if isinstance(value, dict):
        if not value:
            return "{\n\n" + "  " * depth + "}"
        keys = sorted(value) if ordered else _shuffled(list(value))
        body = ",\n".join(f"{inner}{_string(key)} : {swift(value[key], ordered, depth + 1)}" for key in keys)
        return "{\n" + body + "\n" + "  " * depth + "}"
    if isinstance(value, (list, tuple)):
        if not value:
            return "[\n\n" + "  " * depth + "]"
        return "[\n" + ",\n".join(inner + swift(item, ordered, depth + 1) for item in value) + "\n" + "  " * depth + "]"
    return _scalar(value, slashes=True)


def _string(text: str) -> str:
    # Apple's encoder leaves non-ASCII characters as they are.
    return _json.encode_basestring(text).replace("/", "\\/")


def _scalar(value: object, slashes: bool) -> str:
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, (int, float)):
        return repr(value)
    return _string(str(value)) if slashes else quote(str(value))


def _shuffled(keys: list[str]) -> list[str]:
    """Another order in every process, the same for all objects of one run or not: nobody may rely on it."""
    turn = _TURN % max(1, len(keys))
    keys = keys[turn:] + keys[:turn]
    return keys[::-1] if _TURN & 64 else keys


_TURN = os.urandom(1)[0]
