# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""defaults read, write, delete and export on property lists."""
from __future__ import annotations

import os
import plistlib
import sys

from . import common


def _path(domain: str) -> str:
    if domain in ("-g", "NSGlobalDomain"):
        domain = ".GlobalPreferences"
    if not domain.startswith(("/", "~")):
        domain = os.path.join("~/Library/Preferences", domain)
    place = os.path.expanduser(domain)
    return place if place.endswith(".plist") else place + ".plist"


def _load(path: str) -> dict:
    try:
        with open(path, "rb") as file:
            return plistlib.load(file)
    except FileNotFoundError:
        return {}


def _shown(value: object, depth: int = 0) -> str:
    """The old NeXT format."""
    inner = "    " * (depth + 1)
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, dict):
        body = "".join(f"{inner}{_quoted(key)} = {_shown(item, depth + 1)};\n" for key, item in sorted(value.items()))
        return "{\n" + body + "    " * depth + "}"
    if isinstance(value, list):
        return "(\n" + ",\n".join(inner + _shown(item, depth + 1) for item in value) + "\n" + "    " * depth + ")"
    return _quoted(value) if depth else str(value)


def _quoted(value: object) -> str:
    text = str(value)
    plain = text.replace("_", "").replace(".", "").isalnum()
    return text if plain else '"' + text.replace('"', '\\"') + '"'


def _typed(words: list[str]) -> object:
    """-int 5, -bool true, -array a b, -dict k v, -dict-add ..., or a bare string."""
    kind, rest = words[0], words[1:]
    if kind in ("-int", "-integer"):
        return int(rest[0])
    if kind == "-float":
        return float(rest[0])
    if kind in ("-bool", "-boolean"):
        return rest[0].lower() in ("true", "yes", "1")
    if kind == "-array":
        return [_bare(word) for word in rest]
    if kind in ("-dict", "-dict-add"):
        found: dict[str, object] = {}
        while rest:
            key = rest.pop(0)
            found[key] = _typed([rest.pop(0), rest.pop(0)]) if rest and rest[0].startswith("-") else _bare(rest.pop(0))
        return found
    return rest[0] if kind == "-string" else _bare(kind)


def _bare(word: str) -> object:
    return int(word) if word.isdigit() else word


def _missing(domain: str, key: str = "") -> None:
    if key:
        common.fail(f"The domain/default pair of ({os.path.splitext(_path(domain))[0]}, {key}) does not exist")
    common.fail(f"\nDomain {domain} does not exist")


def main() -> None:
    """Only these four verbs."""
    words = [word for word in sys.argv[1:] if word != "-currentHost"]
    if len(words) < 2 or words[0] not in ("read", "write", "delete", "export"):
        common.fail("Command line interface to a user's defaults.", 255)
    verb, domain, rest = words[0], words[1], words[2:]
    path = _path(domain)
    values = _load(path)
    if verb == "read":
        if not os.path.exists(path):
            _missing(domain, rest[0] if rest else "")
        if rest and rest[0] not in values:
            _missing(domain, rest[0])
        print(_shown(values[rest[0]] if rest else values))
        return
    if verb == "export":
        sys.stdout.write(plistlib.dumps(values).decode())
        return
    common.record("defaults", words)
    _change(verb, path, values, rest, domain)


def _change(verb: str, path: str, values: dict, rest: list[str], domain: str) -> None:
    if verb == "delete":
        if not os.path.exists(path) or rest and rest[0] not in values:
            _missing(domain, rest[0] if rest else "")
        if not rest:
            os.unlink(path)
            return
        del values[rest[0]]
    else:
        value = _typed(rest[1:])
        if rest[1] == "-dict-add":
            value = {**values.get(rest[0], {}), **value}  # type: ignore[dict-item]
        values[rest[0]] = value
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            plistlib.dump(values, file, fmt=plistlib.FMT_BINARY)
    except OSError:
        common.fail(f"Could not write domain {os.path.splitext(path)[0]}; exiting")
