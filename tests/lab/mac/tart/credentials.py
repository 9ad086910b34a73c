# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment, docker's configuration, Keychain, in this order (tart contract 8.4). The keychain is a file of the lab."""
from __future__ import annotations

import base64
import json
import os
import re
import subprocess

from . import console, settings
from .errors import OtherError

KEYCHAIN = "~/Library/Keychains/lab-tart-credentials.json"
_LOCKED = 'Failed(message: "Keychain returned unsuccessful status -25308")'


def find(host: str, switches: settings.Settings) -> tuple[str, str] | None:
    """User and password of the first provider that has them; one that fails only warns since 2.28.6."""
    for name, provider in (("environment", _environment), ("Docker configuration", _docker), ("Keychain", _keychain)):
        try:
            found = provider(host, switches)
        except OtherError as error:
            if not switches.since("2.28.6"):
                raise
            console.out(f"Failed to retrieve credentials using {name} credentials provider, authentication may fail: {error}")
            continue
        if found:
            return found
    return None


def _environment(host: str, _switches: settings.Settings) -> tuple[str, str] | None:
    only = os.environ.get("TART_REGISTRY_HOSTNAME")
    if only is not None and only != host:
        return None
    user, password = os.environ.get("TART_REGISTRY_USERNAME"), os.environ.get("TART_REGISTRY_PASSWORD")
    return (user, password) if user is not None and password is not None else None


def _docker(host: str, _switches: settings.Settings) -> tuple[str, str] | None:
    try:
        with open(os.path.expanduser("~/.docker/config.json"), encoding="utf-8") as file:
            known = json.load(file)
    except FileNotFoundError:
        return None
    except ValueError:
        raise OtherError("The data couldn\u2019t be read because it isn\u2019t in the correct format.") from None
    encoded = known.get("auths", {}).get(host, {}).get("auth", "")
    parts = base64.b64decode(encoded).decode().split(":")
    if len(parts) == 2:
        return parts[0], parts[1]
    for pattern, helper in known.get("credHelpers", {}).items():
        if pattern == host or re.fullmatch(pattern, host):
            return _helper(helper, host)
    return None


def _helper(name: str, host: str) -> tuple[str, str] | None:
    try:
        done = subprocess.run(["docker-credential-" + name, "get"], input=host, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                              text=True)
        answer = json.loads(done.stdout) if done.returncode == 0 else None
    except (FileNotFoundError, ValueError):
        answer = None
    if answer is None:
        raise OtherError(f'Failed(message: "docker-credential-{name} failed")')
    return answer["Username"], answer["Secret"]


def _keychain(host: str, switches: settings.Settings) -> tuple[str, str] | None:
    known = _stored()
    if switches["keychain"] != "unlocked" and known.get(host):
        raise OtherError(_LOCKED)
    return tuple(known[host]) if host in known else None  # type: ignore[return-value]


def _stored() -> dict:
    try:
        with open(os.path.expanduser(KEYCHAIN), encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, ValueError):
        return {}


def store(host: str, pair: tuple[str, str] | None, switches: settings.Settings) -> None:
    """Add, replace or (None) remove."""
    known = _stored()
    if switches["keychain"] != "unlocked" and pair is not None:
        raise OtherError('Failed(message: "Keychain failed to add item: User interaction is not allowed.")')
    known.pop(host, None)
    if pair is not None:
        known[host] = list(pair)
    place = os.path.expanduser(KEYCHAIN)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "w", encoding="utf-8") as file:
        json.dump(known, file)
    os.chmod(place, 0o600)
