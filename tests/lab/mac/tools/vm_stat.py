# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vm_stat: what Ansible's facts read."""
from __future__ import annotations

from . import common

_PAGE = 16384


def main() -> None:
    """Linux's figures in Mac pages."""
    sizes = {}
    for line in common.read(common.PROC + "/meminfo").splitlines():
        key, _colon, rest = line.partition(":")
        sizes[key] = int(rest.split()[0]) * 1024 // _PAGE
    print(f"Mach Virtual Memory Statistics: (page size of {_PAGE} bytes)")
    for title, key in (("Pages free", "MemFree"), ("Pages active", "Active"), ("Pages inactive", "Inactive"),
                       ("Pages speculative", "Buffers"), ("Pages wired down", "Slab"), ("Pages occupied by compressor", "SwapCached")):
        print(f"{title + ':':<40}{sizes.get(key, 0):>12}.")
