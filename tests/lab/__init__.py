# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: real Debian hosts in namespaces, reached by SSH only, that tests and the demo use."""
from __future__ import annotations

from .errors import LabError
from .host import Host
from .lab import Lab

__all__ = ["Host", "Lab", "LabError"]
