# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""fdesetup status."""
from __future__ import annotations

import sys

from . import common


def main() -> None:
    """On or off by the switch filevault."""
    if sys.argv[1:] != ["status"]:
        common.fail("Usage: fdesetup <command>", 22)
    print(f"FileVault is {'On' if common.switches().get('filevault') else 'Off'}.")
