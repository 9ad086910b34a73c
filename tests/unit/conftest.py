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

# A slow machine is no failure, and CI tries the same examples every time; by hand each run tries new ones. The runs on
# every ansible-core try few of them, because the plain run has tried many.
settings.register_profile("ours", deadline=None, database=None, derandomize="CI" in os.environ,
                          max_examples=int(os.environ.get("COCOON_EXAMPLES") or 100))
settings.load_profile("ours")
