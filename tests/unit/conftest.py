# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every unit test finds: the top of the repository in the import path, and hypothesis without surprises."""

from __future__ import annotations

import os
import pathlib
import sys

from hypothesis import settings

TOP = pathlib.Path(__file__).resolve().parents[2]
if str(TOP) not in sys.path:
    sys.path.append(str(TOP))  # for tests.lab

# A slow machine is no failure, and CI tries the same examples every time; by hand each run tries new ones.
settings.register_profile("hand", deadline=None, database=None)
settings.register_profile("ci", deadline=None, database=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "hand")
