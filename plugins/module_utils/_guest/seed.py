# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""The cloud-init volume of a VM (NoCloud): what the guest learns at its first boot.

The same wishes give the same bytes, so that a change is seen by comparing.  Our part is JSON, which is YAML too.
"""

from __future__ import annotations

import base64
import json
import os
import typing as t

from .._errors import CocoonError
from .._store import write_atomically


class Seed(t.NamedTuple):
    """What a guest is told."""

    identity: str
    hostname: str
    ssh_authorized_keys: list[str]
    user_data: str
    nics: list[dict[str, t.Any]]


def new_identity() -> str:
    """Return an instance id that no other VM has; cloud-init configures a guest once for each."""
    return base64.b32encode(os.urandom(16)).decode("ascii").rstrip("=")


def write_seed(path: str, seed: Seed) -> None:
    """Write the volume, readable by its owner only: user data may hold secrets."""
    from .fat import volume

    write_atomically(path, volume("CIDATA", files(seed)))


def files(seed: Seed) -> dict[str, bytes]:
    """Return the files of the volume by name."""
    found = {
        "meta-data": json.dumps({"instance-id": seed.identity, "local-hostname": seed.hostname}, sort_keys=True) + "\n",
        "user-data": merged_user_data(seed),
    }
    if seed.nics:
        found["network-config"] = json.dumps(network_config(seed.nics), sort_keys=True) + "\n"
    return {name: text.encode("utf-8") for name, text in found.items()}


def merged_user_data(seed: Seed) -> str:
    """Return our cloud-config, and the user's own data beside it as a second part of a multipart message."""
    ours: dict[str, t.Any] = {"hostname": seed.hostname}
    if seed.ssh_authorized_keys:
        ours["ssh_authorized_keys"] = seed.ssh_authorized_keys
        ours["disable_root"] = False
    config = "#cloud-config\n" + json.dumps(ours, sort_keys=True, indent=1) + "\n"
    return multipart([config, seed.user_data]) if seed.user_data else config


_KINDS = {
    "#cloud-config-archive": "text/cloud-config-archive",
    "#cloud-config": "text/cloud-config",
    "#!": "text/x-shellscript",
    "#include-once": "text/x-include-once-url",
    "#include": "text/x-include-url",
    "#part-handler": "text/part-handler",
    "#cloud-boothook": "text/cloud-boothook",
    "## template: jinja": "text/jinja2",
}


def multipart(parts: list[str]) -> str:
    """Return texts as one MIME message, as cloud-init takes it; a text that already is one is kept inside."""
    boundary = "==cocoon-part=="
    while any(boundary in text for text in parts):
        boundary = f"={boundary}="
    lines = [f'Content-Type: multipart/mixed; boundary="{boundary}"', "MIME-Version: 1.0", ""]
    for text in parts:
        if text.lower().startswith(("content-type:", "mime-version:")):
            lines += [f"--{boundary}", text.rstrip("\n"), ""]
            continue
        kind = next((kind for start, kind in _KINDS.items() if text.startswith(start)), "")
        if not kind:
            raise CocoonError(
                "user_data: cloud-init does not know what this is.",
                "start it with #cloud-config, #! (a script), #include, #cloud-boothook or as a MIME message",
            )
        body, encoding = text, "7bit"
        if not text.isascii() or "\r" in text:  # cloud-init reads the message as text, where these would be lost
            body, encoding = base64.encodebytes(text.encode("utf-8")).decode("ascii"), "base64"
        lines += [f"--{boundary}", f'Content-Type: {kind}; charset="utf-8"', "MIME-Version: 1.0", f"Content-Transfer-Encoding: {encoding}", "", body]
    return "\n".join([*lines, f"--{boundary}--", ""])


def network_config(nics: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    """Return cloud-init's network configuration, version 2, each card known by its MAC address."""
    ethernets = {}
    for number, nic in enumerate(nics):
        card: dict[str, t.Any] = {"match": {"macaddress": nic["mac_address"]}}
        if nic.get("ip_address"):
            card["addresses"] = [f"{nic['ip_address']}/{nic['prefix']}"]
            if nic.get("gateway") and number == 0:
                card["routes"] = [{"to": "default", "via": nic["gateway"]}]
            if nic.get("dns"):
                card["nameservers"] = {"addresses": nic["dns"]}
        else:
            card["dhcp4"] = True
            card["dhcp-identifier"] = "mac"  # vmnet's DHCP tells guests by MAC only (tart contract 6)
        ethernets[f"id{number}"] = card
    return {"version": 2, "ethernets": ethernets}
