# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""Bringing one network to what is wished; the same decisions for check mode and for real."""

from __future__ import annotations

import os
import typing as t

from .._errors import CocoonError
from .._spec import check_name
from .._store import Lock, storage_error
from .base import Network


def converge(provider: t.Any, params: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Return what cocoon_net returns, having made, changed or removed the network unless *check_mode*."""
    check_name(params["name"], "name")
    if check_mode:
        return _converge(provider, params, False)
    lock = Lock(os.path.join(provider.store.root, "locks", "networks"), "the networks of this host")
    lock.acquire(60)
    try:
        return _converge(provider, params, True)
    except OSError as error:
        raise storage_error(error, str(error.filename)) from error
    finally:
        lock.release()


def _converge(provider: t.Any, params: dict[str, t.Any], act: bool) -> dict[str, t.Any]:
    name = params["name"]
    before = provider.inspect(name)
    if params["state"] == "absent":
        return _absent(provider, name, before, act)
    wish = Network(*(params[field] for field in Network._fields))
    after = provider.wished(wish, before)
    if after == before:
        return {"changed": False, "network": before}
    if before is not None and before["managed"]:
        _refuse_if_used(provider, name, "changed")
    if act:
        provider.apply(after, before)
    return {"changed": True, "network": after, "diff": {"before": before or {}, "after": after}}


def _absent(provider: t.Any, name: str, before: dict[str, t.Any] | None, act: bool) -> dict[str, t.Any]:
    if before is None or (not before["managed"] and before["path"] is None):
        return {"changed": False, "network": before}
    if not before["managed"]:
        raise CocoonError(f"The network {name} ({before['path']}) was not made by this collection.", "remove its file yourself")
    _refuse_if_used(provider, name, "removed")
    if act:
        provider.delete(before)
    return {"changed": True, "network": None, "diff": {"before": before, "after": {}}}


def _refuse_if_used(provider: t.Any, name: str, verb: str) -> None:
    users = provider.users(name)
    if users:
        raise CocoonError(f"The network {name} cannot be {verb}: these VMs are in it: {', '.join(users)}.", "remove the VMs or give them other networks first")
