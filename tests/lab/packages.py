# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one list of Debian packages that the lab uses: on the controller and in each kind of host."""
from __future__ import annotations

import shutil
import subprocess

# package -> a program that shows it is there
CONTROLLER_PROGRAMS = {
    "busybox-static": "busybox",
    "cpio": "cpio",
    "debian-archive-keyring": None,
    "dosfstools": "mkfs.vfat",
    "e2fsprogs": "mkfs.ext4",
    "erofs-utils": "mkfs.erofs",
    "iproute2": "ip",
    "mmdebstrap": "mmdebstrap",
    "openssh-client": "ssh",
    "qemu-system-x86": "qemu-system-x86_64",
    "qemu-utils": "qemu-img",
    "skopeo": "skopeo",
    "util-linux": "nsenter",
}
CONTROLLER = sorted(CONTROLLER_PROGRAMS)

_EVERY_HOST = ["ca-certificates", "iproute2", "openssh-server", "procps", "python3"]

LINUX = sorted(_EVERY_HOST + [
    "containernetworking-plugins", "curl", "dosfstools", "e2fsprogs", "erofs-utils", "iptables", "iputils-ping", "kmod",
    "libcap2-bin", "nftables", "openssh-client", "qemu-system-x86", "ipxe-qemu", "seabios", "qemu-utils", "skopeo", "sshpass",
    "sudo", "util-linux",
])

MAC = sorted(_EVERY_HOST + [
    "curl", "dnsmasq-base", "iptables", "iputils-ping", "ipxe-qemu", "net-tools", "openssh-client", "qemu-system-x86", "qemu-utils",
    "seabios", "sshpass", "sudo", "zsh",
])

# The registry host has the Linux host's root filesystem with this on top.
REGISTRY = ["docker-registry"]


def missing() -> list[str]:
    """Controller packages whose program, or whose dpkg entry, is not there."""
    return [name for name, program in sorted(CONTROLLER_PROGRAMS.items())
            if not (shutil.which(program) if program else _installed(name))]


def _installed(name: str) -> bool:
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", name], capture_output=True, text=True, check=False)
    return done.stdout.endswith(" installed")


def install() -> list[str]:
    """Install what is missing with apt-get; returns what was installed."""
    wanted = missing()
    if wanted:
        environment = {"DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        subprocess.run(["apt-get", "update", "-q"], check=True, env=environment)
        subprocess.run(["apt-get", "install", "-qy", "--no-install-recommends", *wanted], check=True, env=environment)
    return wanted
