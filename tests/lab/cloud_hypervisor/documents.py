# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON of the API to configuration and back (contract 2.3): exact types, unknown fields ignored, defaults filled in."""
from __future__ import annotations

from . import schema
from .grammar import Conversion, address, mac

BITS = {"u8": 8, "u16": 16, "u32": 32, "u64": 64, "usize": 64, "size": 64}


class Unfit(Exception):
    """The JSON does not have the shape that the structure needs."""


def _type_name(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"boolean `{str(value).lower()}`"
    if isinstance(value, int):
        return f"integer `{value}`"
    if isinstance(value, float):
        return f"floating point `{value}`"
    if isinstance(value, str):
        return f'string "{value}"'
    return "sequence" if isinstance(value, list) else "map"


def _wrong(value: object, expected: str) -> Unfit:
    return Unfit(f"invalid type: {_type_name(value)}, expected {expected}")


def _alternatives(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " or ".join(quoted) if len(quoted) == 2 else "one of " + ", ".join(quoted)


def _integer(value: object, kind: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(value, "i32" if kind == "i32" else f"u{BITS[kind]}")
    low, high = (-(1 << 31), 1 << 31) if kind == "i32" else (0, 1 << BITS[kind])
    if not low <= value < high:
        raise Unfit(f"invalid value: integer `{value}`, expected {'i32' if kind == 'i32' else f'u{BITS[kind]}'}")
    return value


def _text(value: object, kind: str) -> str:
    if not isinstance(value, str):
        raise _wrong(value, "a string")
    try:
        return {"mac": mac, "ip": address}.get(kind, str)(value)
    except Conversion as error:
        raise Unfit(f"invalid {kind} address: {value}") from error


def _list(value: object, one) -> list:
    if not isinstance(value, list):
        raise _wrong(value, "a sequence")
    return [one(item) for item in value]


def _value(kind, value: object, major: int):
    if isinstance(kind, schema.Struct):
        if kind.many:
            return _list(value, lambda item: read(kind.name, item, major))
        return read(kind.name, value, major)
    if isinstance(kind, schema.Enum):
        if value not in kind.values:
            raise Unfit(f"unknown variant `{value}`, expected " + _alternatives(kind.values))
        return value
    if kind == "bool":
        if not isinstance(value, bool):
            raise _wrong(value, "a boolean")
        return value
    if kind == "ints":
        return _list(value, lambda item: _integer(item, "u64") if not isinstance(item, int) or item >= 0 else item)
    if kind == "strs":
        return _list(value, lambda item: _text(item, "str"))
    return _integer(value, kind) if kind in BITS or kind == "i32" else _text(value, kind)


def default_of(field: schema.Field, major: int):
    """A fresh copy of the value that an absent field takes."""
    if field.default is None:
        return None
    if isinstance(field.kind, schema.Struct):
        return read(field.kind.name, field.default, major)
    return list(field.default) if isinstance(field.default, list) else field.default


def read(name: str, value: object, major: int) -> dict:
    """Check a JSON object against a structure and return it complete."""
    if not isinstance(value, dict):
        raise _wrong(value, f"struct {schema.RUST_NAMES.get(name, name)}")
    fields = schema.fields_of(name, major)
    if name == "rate_limiter" or name == "bucket":
        known = {field.name for field in fields}
        for key in value:
            if key not in known:
                raise Unfit(f"unknown field `{key}`, expected " + _alternatives(sorted(known)))
    found = {}
    for field in fields:
        given = value.get(field.name, value.get(field.before) if field.before else None)
        if given is None and field.default is schema.REQUIRED:
            if field.name in value:
                raise _wrong(None, str(field.kind))
            raise Unfit(f"missing field `{field.name}`")
        found[field.name] = default_of(field, major) if given is None else _value(field.kind, given, major)
    return found


def _plain(kind, value, major: int):
    if isinstance(kind, schema.Struct) and value is not None:
        return [write(kind.name, item, major) for item in value] if kind.many else write(kind.name, value, major)
    return value


def write(name: str, value: dict, major: int) -> dict:
    """The JSON form of a structure: absent options are left out since v53 and are null before."""
    found = {}
    for field in schema.fields_of(name, major):
        item = _plain(field.kind, value.get(field.name), major)
        if field.name == "iommu" and name != "vm" and not item:
            continue
        if item is None and major >= 53:
            continue
        found[field.before if field.before and major < 53 else field.name] = item
    return found
