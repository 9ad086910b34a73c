# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pmset -g, -g custom and setting values, kept in a file."""
from __future__ import annotations

import os
import sys

from . import common

STATE = "/var/db/lab-pmset.json"
_DEFAULTS = {"sleep": "1", "displaysleep": "10", "disksleep": "10", "womp": "1", "powernap": "1", "ttyskeepawake": "1", "tcpkeepalive": "1",
             "autorestart": "0", "standby": "0", "networkoversleep": "0", "lowpowermode": "0"}


def main() -> None:
    """Setting needs root."""
    words = sys.argv[1:]
    try:
        values = {**_DEFAULTS, **common.plainjson.read(STATE)}
    except (OSError, ValueError):
        values = dict(_DEFAULTS)
    if words[:1] == ["-g"]:
        print("AC Power:" if words[1:] == ["custom"] else "System-wide power settings:\nCurrently in use:")
        for key, value in sorted(values.items()):
            print(f" {key:<20} {value}")
        return
    common.record("pmset", words)
    if os.getuid():
        common.fail("'pmset' must be run as root...", 77)
    pairs = words[1:] if words and words[0].startswith("-") else words
    values.update(dict(zip(pairs[::2], pairs[1::2])))
    with open(STATE, "w", encoding="utf-8") as file:
        file.write(common.plainjson.compact(values))
