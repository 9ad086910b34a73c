# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One version-2 control group for each host: freeze it, kill it, see that it is empty."""
from __future__ import annotations

import contextlib
import os
import pathlib
import time

from . import paths


def _mount_point() -> pathlib.Path | None:
    """Where cgroup2 is mounted: alone, or beside version 1."""
    with open("/proc/self/mounts", encoding="utf-8") as file:
        for line in file:
            fields = line.split()
            if fields[2] == "cgroup2":
                return pathlib.Path(fields[1])
    return None


def group(name: str) -> pathlib.Path | None:
    """The host's control group, None on a machine without version 2."""
    top = _mount_point()
    return top / paths.instance() / name if top else None


def create(name: str) -> None:
    """Make the host's group."""
    place = group(name)
    if place:
        place.mkdir(parents=True, exist_ok=True)


def enter(name: str) -> None:
    """Move the calling process, and with it its children to come, into the host's group."""
    place = group(name)
    if place:
        (place / "cgroup.procs").write_text("0", encoding="ascii")


def members(name: str) -> list[int]:
    """PIDs in the host's group."""
    place = group(name)
    if not place or not place.is_dir():
        return []
    return [int(pid) for file in place.rglob("cgroup.procs") for pid in file.read_text(encoding="ascii").split()]


def freeze(name: str, frozen: bool) -> None:
    """Stop or continue every process of the host, and wait until it is so."""
    place = group(name)
    if not place:
        raise OSError("freezing needs cgroup version 2 mounted on the controller")
    (place / "cgroup.freeze").write_text("1" if frozen else "0", encoding="ascii")
    wanted = f"frozen {int(frozen)}"
    deadline = time.monotonic() + 10
    while wanted not in (place / "cgroup.events").read_text(encoding="ascii") and time.monotonic() < deadline:
        time.sleep(0.002)


def is_frozen(name: str) -> bool:
    """Was it frozen by us?"""
    place = group(name)
    with contextlib.suppress(FileNotFoundError):
        return bool(place) and (place / "cgroup.freeze").read_text(encoding="ascii").strip() == "1"
    return False


def destroy(name: str) -> None:
    """Kill whatever is left in the group and remove it."""
    place = group(name)
    if not place or not place.is_dir():
        return
    (place / "cgroup.kill").write_text("1", encoding="ascii")
    deadline = time.monotonic() + 10
    while members(name) and time.monotonic() < deadline:
        time.sleep(0.005)
    for folder, _folders, _files in os.walk(place, topdown=False):
        _remove(pathlib.Path(folder))
    _remove(place.parent)


def _remove(place: pathlib.Path) -> None:
    """Zombies keep a group busy for an instant; a parent with other hosts stays."""
    for _attempt in range(100):
        try:
            place.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            if place.name == paths.instance():
                return
            time.sleep(0.01)


def left_over() -> list[str]:
    """Names of hosts that have a group."""
    top = _mount_point()
    parent = top / paths.instance() if top else None
    return sorted(entry.name for entry in parent.iterdir() if entry.is_dir()) if parent and parent.is_dir() else []
