# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception of the lab: a message for the reader."""
from __future__ import annotations


class LabError(Exception):
    """What failed, on which host, and what to do about it."""
