# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a bare root filesystem a host of its kind: users, keys, sshd, services, the simulators. Once per host."""
from __future__ import annotations

import importlib
import json
import os
import pathlib
import shutil
from typing import Any

from . import network, paths
from .files import write

_SSHD = """\
Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org
X11Forwarding no
PrintMotd no
PrintLastLog no
MaxSessions 100
MaxStartups 100:30:200
Subsystem sftp internal-sftp
"""
_MAC_SSHD = """\
AllowUsers admin
SetEnv PATH=/usr/bin:/bin:/usr/sbin:/sbin
"""
_POWER = """\
#!/bin/sh
# The lab's reboot, poweroff, halt and shutdown: they ask the host's init.
signal=USR2
case "${0##*/}" in reboot) signal=INT ;; esac
for word in "$@"; do case "$word" in -r|--reboot) signal=INT ;; -c) exit 0 ;; esac; done
exec kill -"$signal" 1
"""
_REGISTRY = """\
version: 0.1
log: {level: warn}
storage:
  filesystem: {rootdirectory: /var/lib/docker-registry}
  delete: {enabled: true}
http:
  addr: ":5000"
"""
_SSHD_COMMAND = ["/usr/sbin/sshd", "-D", "-e"]


def provision(root: pathlib.Path, config: dict[str, Any], directory: pathlib.Path) -> None:
    """root is the mounted root filesystem of the host."""
    kind = config["kind"]
    _identity(root, config)
    _sshd(root, config, directory)
    for name in ("reboot", "poweroff", "halt", "shutdown"):
        _program(root / "usr/sbin" / name, _POWER)
    services = {"mac": _mac, "linux": _linux, "registry": _registry}[kind](root, config)
    write(root / "opt/lab/services.json", json.dumps([*services, _SSHD_COMMAND]) + "\n")


def _program(place: pathlib.Path, text: str) -> None:
    place.unlink(missing_ok=True)
    write(place, text, 0o755)


def _identity(root: pathlib.Path, config: dict[str, Any]) -> None:
    write(root / "etc/hostname", config["name"] + "\n")
    write(root / "etc/resolv.conf", "")
    lines = ["127.0.0.1 localhost", f"{network.address(config['number'])} {config['name']}",
             f"{network.address(network.REGISTRY_NUMBER)} registry"]
    write(root / "etc/hosts", "\n".join(dict.fromkeys(lines)) + "\n")


def _sshd(root: pathlib.Path, config: dict[str, Any], directory: pathlib.Path) -> None:
    for old in (root / "etc/ssh").glob("ssh_host_*"):
        old.unlink()
    for name, mode in (("ssh_host_ed25519_key", 0o600), ("ssh_host_ed25519_key.pub", 0o644)):
        write(root / "etc/ssh" / name, (directory / name).read_text(encoding="utf-8"), mode)
    write(root / "etc/ssh/sshd_config", _SSHD + (_MAC_SSHD if config["kind"] == "mac" else ""))
    if config["kind"] != "mac":
        _authorize(root / "root", 0, 0)


def _authorize(home: pathlib.Path, uid: int, gid: int) -> None:
    key = (paths.lab() / "ssh" / "id_ed25519.pub").read_text(encoding="utf-8")
    write(home / ".ssh/authorized_keys", key, 0o600)
    os.chmod(home / ".ssh", 0o700)
    for place in (home, home / ".ssh", home / ".ssh/authorized_keys"):
        os.chown(place, uid, gid)


def _offered(name: str, attribute: str) -> Any:
    """What another part of the lab offers, None as long as it is not there."""
    if not (paths.PACKAGE / (name.replace(".", "/") + ".py")).is_file():
        return None
    return getattr(importlib.import_module(f"{__package__}.{name}"), attribute)


def _linux(root: pathlib.Path, config: dict[str, Any]) -> list[list[str]]:
    write(root / "etc/machine-id", os.urandom(16).hex() + "\n")
    if config.get("cloud_hypervisor"):
        place = root / "usr/local/bin/cloud-hypervisor"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(config["cloud_hypervisor"], place)
        os.chmod(place, 0o755)
        return []
    install = _offered("cloud_hypervisor.install", "install")
    if install:
        install(root)
    return []


def _registry(root: pathlib.Path, _config: dict[str, Any]) -> list[list[str]]:
    write(root / "etc/lab-registry.yml", _REGISTRY)
    return [["/usr/bin/docker-registry", "serve", "/etc/lab-registry.yml"]]


def _mac(root: pathlib.Path, _config: dict[str, Any]) -> list[list[str]]:
    _mac_user(root)
    for name in ("etc/os-release", "usr/lib/os-release", "etc/debian_version", "etc/machine-id"):
        (root / name).unlink(missing_ok=True)
    install = _offered("mac.install", "install")
    if install:
        install(root)
    return _offered("mac.services", "SERVICES") or []


def _mac_user(root: pathlib.Path) -> None:
    """Users and groups as on a Mac: admin is 501, staff is 20, root's group is wheel."""
    shell = "/bin/zsh" if (root / "bin/zsh").exists() else "/bin/bash"
    _edit(root / "etc/passwd", {"admin"}, [f"admin:x:501:20:admin:/Users/admin:{shell}"])
    _edit(root / "etc/shadow", {"admin"}, ["admin:*:19000:0:99999:7:::"])
    _edit(root / "etc/group", {"root", "dialout", "staff", "admin"}, ["wheel:x:0:root", "staff:x:20:root", "admin:x:80:root,admin"])
    home = root / "Users/admin"
    home.mkdir(parents=True, exist_ok=True)
    _authorize(home, 501, 20)
    write(root / "etc/sudoers.d/admin", "admin ALL=(ALL) NOPASSWD: ALL\n", 0o440)


def _edit(place: pathlib.Path, without: set[str], added: list[str]) -> None:
    """Replace entries of a passwd-like file by name."""
    mode = place.stat().st_mode & 0o777
    lines = [line for line in place.read_text(encoding="utf-8").splitlines() if line.split(":")[0] not in without]
    write(place, "\n".join(lines + added) + "\n", mode)
