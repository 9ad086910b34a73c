# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""dscl . -read and -list of users and groups, from passwd and group."""
from __future__ import annotations

import grp
import os
import pwd
import sys

from . import common


def _user(name: str) -> dict[str, str]:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        common.fail("<dscl_cmd> DS Error: -14136 (eDSRecordNotFound)", 56)
    return {"NFSHomeDirectory": found.pw_dir, "PrimaryGroupID": str(found.pw_gid), "RealName": found.pw_gecos, "RecordName": name,
            "UniqueID": str(found.pw_uid), "UserShell": found.pw_shell}


def main() -> None:
    """Changes are refused: nobody tests them here."""
    words = sys.argv[1:]
    words = words[1:] if words and not words[0].startswith("-") else words
    verb, path, keys = (words + ["", ""])[0].lstrip("-").lower(), (words + ["", ""])[1], words[2:]
    kind, name = os.path.split(path.rstrip("/"))
    if verb == "list" and path in ("/Users", "/Groups"):
        entries = pwd.getpwall() if path == "/Users" else grp.getgrall()
        print("\n".join(sorted(entry[0] for entry in entries)))
    elif verb == "read" and kind == "/Users":
        values = _user(name)
        for key in keys or sorted(values):
            print(f"{key}: {values[key]}" if key in values else f"No such key: {key}")
    else:
        common.record("dscl", words)
        common.fail("<main> attribute status: eDSPermissionError\n<dscl_cmd> DS Error: -14120 (eDSPermissionError)", 40)
