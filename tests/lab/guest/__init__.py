# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest that the lab's VMs run: a small Debian kernel and userland, in every form that a backend takes.

``build()`` makes what is missing or out of date and returns the paths; docs for people: ``python3 -m tests.lab.guest --help``.
"""
from __future__ import annotations

from .build import build
from .paths import Paths

__all__ = ["Paths", "build"]
