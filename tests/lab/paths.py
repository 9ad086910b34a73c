# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lab keeps its things."""
from __future__ import annotations

import os
import pathlib

PACKAGE = pathlib.Path(__file__).resolve().parent
REPOSITORY = PACKAGE.parent.parent


def cache() -> pathlib.Path:
    """What is expensive to make and outlives every lab: root filesystems and guest images."""
    return pathlib.Path(os.environ.get("COCOON_LAB_CACHE") or "/var/cache/cocoon-lab")


def number() -> int:
    """Several labs can be up side by side: each has its own folder, bridge, addresses and control groups."""
    return int(os.environ.get("COCOON_LAB_NUMBER") or "0")


def instance() -> str:
    """The lab's name: cocoon-lab, cocoon-lab-1, ..."""
    return f"cocoon-lab-{number()}" if number() else "cocoon-lab"


def lab() -> pathlib.Path:
    """The running lab; gone when its last host is."""
    return pathlib.Path(os.environ.get("COCOON_LAB_DIR") or f"/var/lib/{instance()}")


def lock() -> pathlib.Path:
    """Beside the lab, so that the lab can be removed while the lock is held."""
    return lab().with_name(lab().name + ".lock")


def host(name: str) -> pathlib.Path:
    """Everything about one host."""
    return lab() / "hosts" / name
