# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""Which version a program is: asked once, remembered until its file changes."""

from __future__ import annotations

import json
import os
import re
import typing as t

from ._errors import CocoonError
from ._store import write_atomically

NEWEST = (999, 0)


def version(commands: t.Any, path: str, root: str, product: str) -> tuple[int, ...]:
    """Return the version of the program at *path* as numbers; NEWEST for a build that names none.

    The answer is kept below *root* with the file's identity, so that an unchanged program is not asked again.
    """
    status = os.stat(os.path.realpath(path))
    stamp = [os.path.realpath(path), status.st_ino, status.st_size, status.st_mtime_ns]
    cache = os.path.join(root, f"{product}-version.json")
    try:
        with open(cache, "r", encoding="utf-8") as file:
            kept = json.load(file)
        if kept["stamp"] == stamp:
            return tuple(kept["version"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # nothing is remembered
    found = parse_version(commands.check([path, "--version"], f"Asking {path} for its version", timeout=10), path)
    if os.path.isdir(root):  # looking, as in check mode, makes no directories
        try:
            write_atomically(cache, json.dumps({"stamp": stamp, "version": list(found)}).encode("ascii"))
        except CocoonError:
            pass  # on a full disk it is asked again
    return found


def parse_version(text: str, path: str) -> tuple[int, ...]:
    """Return the first ``X.Y[.Z]`` of a version text; raise CocoonError where there is none."""
    lines = text.strip().splitlines()
    first = lines[0] if lines else ""
    match = re.search(r"\bv?(\d+(?:\.\d+)+)", first)
    if match:
        return tuple(int(part) for part in match.group(1).split("."))
    if "SNAPSHOT" in first:  # locally built tart (tart contract 9.1)
        return NEWEST
    raise CocoonError(f"{path} --version answers {first[:80]!r}, which is no version.", "set binary to the right program")
