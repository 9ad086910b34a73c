# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""Bringing one image to what is wished; the same decisions for check mode and for real."""

from __future__ import annotations

import typing as t

from .._errors import CocoonError


def converge(store: t.Any, name: str, state: str, insecure: bool, check_mode: bool) -> dict[str, t.Any]:
    """Return what cocoon_image returns, having pulled or removed the image unless *check_mode*."""
    before = store.inspect(name)
    if state == "absent":
        return _absent(store, name, before, check_mode)
    if before is not None and (state == "present" or check_mode and not _moved(store, name, before, insecure)):
        return _outcome(before, before)
    if check_mode:
        return _outcome(before, {"name": name, "state": "would be pulled"}) | {"image": before}
    if before is None or not store.asks_before_pulling or _moved(store, name, before, insecure):
        store.pull(name, insecure)
    after = store.inspect(name)
    if after is None:
        raise CocoonError(f"{name} was pulled, but is not there.", "look whether something prunes images on the host")
    return _outcome(before, after)


def _moved(store: t.Any, name: str, before: dict[str, t.Any], insecure: bool) -> bool:
    """Tell whether the registry has something else under the reference than the host."""
    return bool(store.asks_before_pulling and store.remote_digest(name, insecure) != before["digest"])


def _absent(store: t.Any, name: str, before: dict[str, t.Any] | None, check_mode: bool) -> dict[str, t.Any]:
    if before is not None and not check_mode:
        store.delete(name)
    return _outcome(before, None)


def _outcome(before: dict[str, t.Any] | None, after: dict[str, t.Any] | None) -> dict[str, t.Any]:
    changed = before != after
    outcome: dict[str, t.Any] = {"changed": changed, "image": after}
    if changed:
        outcome["diff"] = {"before": before or {}, "after": after or {}}
    return outcome
