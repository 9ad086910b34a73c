# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""prune, and what pull and clone free by themselves (tart contract 1.12, 8.2 and correction 13.5)."""
from __future__ import annotations

import os
import time

from .. import console, home, names, oci, parser, settings, vmdir
from ..errors import RuntimeFailure, ValidationError

_GIBIBYTE = 2**30


def validate_prune(parsed: parser.Parsed, _switches: settings.Settings) -> None:
    """Something has to limit it."""
    limits = (parsed.older_than, parsed.values.get("space_budget"), parsed.values.get("cache_budget"))
    if all(limit is None for limit in limits) and not parsed.values.get("gc"):
        raise ValidationError("at least one pruning criteria must be specified")


class Entry:  # pylint: disable=too-few-public-methods
    """Something that may be removed."""

    def __init__(self, place: str, size: int) -> None:
        self.place, self.size = place, size
        self.accessed = os.stat(place).st_atime


def _images() -> list[Entry]:
    found = [Entry(one.folder, one.allocated_size()) for one in oci.everything() if "@sha256:" in one.name]
    sources = home.path("cache", "IPSWs")
    if os.path.isdir(sources):
        found += [Entry(entry.path, entry.stat().st_blocks * 512) for entry in os.scandir(sources)]
    return found


def run_prune(parsed: parser.Parsed, _switches: settings.Settings, _fault: dict) -> None:
    """Says nothing about what it removes."""
    if parsed.values.get("cache_budget") is not None:
        console.err("--cache-budget is deprecated, please use --space-budget")
    if parsed.values.get("gc"):
        oci.collect()
    kind = parsed.values.get("entries", "caches")
    if kind == "caches":
        entries = _images()
    elif kind == "vms":
        entries = [Entry(one.folder, one.allocated_size()) for one in vmdir.all_local() if not one.running()]
    else:
        raise ValidationError('unsupported --entries value, please specify either "caches" or "vms"')
    if parsed.older_than is not None:
        limit = time.time() - int(str(parsed.older_than)) * 86400
        for entry in entries:
            if entry.accessed <= limit:
                _remove(entry)
    budget = parsed.values.get("space_budget")
    budget = parsed.values.get("cache_budget") if budget is None else budget
    if budget is not None:
        _keep_within(int(str(budget)) * _GIBIBYTE, [entry for entry in entries if os.path.exists(entry.place)])
    oci.collect()


def _keep_within(budget: int, entries: list[Entry]) -> None:
    """Newest first; what does not fit goes without using up budget, so older and smaller ones may stay."""
    for entry in sorted(entries, key=lambda one: one.accessed, reverse=True):
        if entry.size <= budget:
            budget -= entry.size
        else:
            _remove(entry)


def _remove(entry: Entry) -> None:
    if os.path.exists(os.path.join(entry.place, "config.json")) and vmdir.VMDir(entry.place, os.path.basename(entry.place)).running():
        raise RuntimeFailure(f'VM "{os.path.basename(entry.place)}" is running')
    home.remove(entry.place)


def reclaim(needed: int, keep: names.RemoteName | None = None) -> None:
    """Least recently used images go until strictly more than what is missing is free; none if that cannot be reached."""
    if "TART_NO_AUTO_PRUNE" in os.environ:
        return
    free = os.statvfs(home.path())
    missing = needed - free.f_bavail * free.f_frsize
    if missing <= 0:
        return
    entries = sorted(_images(), key=lambda one: one.accessed)
    if keep is not None:
        entries = [entry for entry in entries if entry.place != oci.folder(keep)]
    if sum(entry.size for entry in entries) < missing:
        return
    reclaimed = 0
    for entry in entries:
        if reclaimed > missing:
            break
        home.remove(entry.place)
        reclaimed += entry.size
    oci.collect()
