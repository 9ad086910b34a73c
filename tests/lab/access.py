# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to reach the hosts: keys, known_hosts, an SSH configuration and an Ansible inventory."""
from __future__ import annotations

import pathlib
import subprocess
from typing import Any

from . import network, paths
from .files import write

_SSH = """\
Host *
    IdentityFile {key}
    IdentitiesOnly yes
    UserKnownHostsFile {known_hosts}
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    PreferredAuthentications publickey
    GSSAPIAuthentication no
    ConnectTimeout 10
    LogLevel ERROR
"""


def key() -> pathlib.Path:
    """The lab's private key."""
    return paths.lab() / "ssh" / "id_ed25519"


def config() -> pathlib.Path:
    """For `ssh -F`."""
    return paths.lab() / "ssh" / "config"


def inventory() -> pathlib.Path:
    """For `ansible -i`."""
    return paths.lab() / "inventory.ini"


def make_key(place: pathlib.Path, comment: str) -> None:
    """An ed25519 pair, unless a whole one is there."""
    if place.with_name(place.name + ".pub").exists() and place.exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(place)],
                   check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def user(kind: str) -> str:
    """Who logs in."""
    return "admin" if kind == "mac" else "root"


def update(hosts: dict[str, dict[str, Any]]) -> None:
    """Write everything anew from the list of hosts."""
    _known_hosts(hosts)
    blocks = [f"Host {name} {network.address(host['number'])}\n    HostName {network.address(host['number'])}\n"
              f"    User {user(host['kind'])}\n" for name, host in sorted(hosts.items())]
    write(config(), "".join(blocks) + _SSH.format(key=key(), known_hosts=paths.lab() / "ssh/known_hosts"))
    write(inventory(), _inventory(hosts))


def _known_hosts(hosts: dict[str, dict[str, Any]]) -> None:
    lines = []
    for name, host in sorted(hosts.items()):
        words = (paths.host(name) / "ssh_host_ed25519_key.pub").read_text(encoding="utf-8").split()
        lines.append(f"{name},{network.address(host['number'])} {words[0]} {words[1]}\n")
    write(paths.lab() / "ssh/known_hosts", "".join(lines))


def _inventory(hosts: dict[str, dict[str, Any]]) -> str:
    sections = []
    for group, kind in (("linux_hosts", "linux"), ("mac_hosts", "mac"), ("registries", "registry")):
        sections.append(f"[{group}]")
        sections += [f"{name} ansible_host={network.address(host['number'])} ansible_user={user(kind)}"
                     for name, host in sorted(hosts.items()) if host["kind"] == kind]
        sections.append("")
    sections += ["[hypervisors:children]", "linux_hosts", "mac_hosts", "", "[all:vars]",
                 "ansible_python_interpreter=/usr/bin/python3",
                 f"ansible_ssh_private_key_file={key()}",
                 f"ansible_ssh_common_args=-F {config()}", ""]
    return "\n".join(sections)
