# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""Known messages of the programs that we drive, their causes and remedies (hosts-and-guests contract, section F)."""

from __future__ import annotations

import re
import typing as t


class Cause(t.NamedTuple):
    """What a known message means: a short name, the likely cause, and the remedy."""

    name: str
    cause: str
    remedy: str


_CATALOGUE: list[tuple[str, Cause]] = [
    (
        r"number of VMs exceeds the system limit|maximum supported number of active virtual machines",
        Cause(
            "vm_limit",
            "a Mac runs at most two macOS guests at once, whoever owns them",
            "stop another macOS guest on this Mac, or place this one on another host; if none runs, reboot the host",
        ),
    ),
    (
        r"Keychain returned unsuccessful status|User interaction is not allowed",
        Cause(
            "keychain_locked",
            "the keychain is locked in SSH sessions",
            "pass registry credentials through TART_REGISTRY_HOSTNAME, TART_REGISTRY_USERNAME and TART_REGISTRY_PASSWORD",
        ),
    ),
    (
        r"VZErrorDomain Code=(1|-9)\b|HostKey|-25308|Failed to generate keypair|not allowed access to the window system",
        Cause(
            "no_gui_session",
            "macOS refused to start the guest: the user has no graphical session or the login keychain is locked",
            "log the user in on the Mac's desktop once (auto-login), or unlock the login keychain in the session that starts the VM",
        ),
    ),
    (
        r"no bridge interfaces matched",
        Cause("bad_bridge", "the Mac has no such interface to bridge to", "use one of the interfaces that the message lists"),
    ),
    (
        r"softnet not found|passwordless sudo was not available|Softnet process terminated",
        Cause(
            "softnet",
            "softnet is missing or may not run as root",
            "install softnet, then chown root and chmod u+s the real file behind the link (an upgrade removes that again)",
        ),
    ),
    (
        r"LessThanMinimalResources",
        Cause("resources", "the image needs more cpus or memory", "raise cpus or memory to what the message names"),
    ),
    (
        r"should be larger than the current disk size",
        Cause("shrink", "disks only grow", "ask for a larger disk_size, or allow recreate: if_needed"),
    ),
    (
        r"UnsupportedRestoreImageError|requires a software update|host macOS version is outdated",
        Cause("host_too_old", "the guest's macOS is newer than the host's", "update macOS on the host first"),
    ),
    (
        r"bind\(.*Address already in use",
        Cause("stale_socket", "a control socket of an earlier run was left behind", "remove control.sock from the VM's folder"),
    ),
    (
        r"is hypervisor interface available|no supported hypervisor|Failed to create Vm|/dev/kvm",
        Cause(
            "kvm",
            "/dev/kvm is missing or may not be opened",
            "enable virtualization in the firmware, load kvm_intel or kvm_amd, and run the task as root or as a member of group kvm",
        ),
    ),
    (
        r"/dev/net/tun",
        Cause("tun", "/dev/net/tun is missing or may not be opened", "load the kernel module tun, and run the task as root (become: true)"),
    ),
    (
        r"Another instance likely holds a lock|already locked",
        Cause("disk_lock", "another process uses this VM's disk", "stop the process that holds the disk (see /proc/locks)"),
    ),
    (
        r"failed to find plugin|no such file or directory.*cni",
        Cause("cni_path", "a CNI plugin is not installed", "install the CNI plugins (Debian: containernetworking-plugins)"),
    ),
    (
        r"[Mm]issing multiqueue|multiqueue support",
        Cause("tap_queues", "the TAP's queues do not fit the machine's", "recreate the VM's network: stop the VM, then start it again"),
    ),
    (
        r"no IP addresses available in range|failed to allocate for range",
        Cause("pool_full", "the network has no free address left", "remove VMs that are not needed, or make a network with a larger subnet"),
    ),
    (
        r"[Nn]o space left on device|ENOSPC|os error 28|there isn.t enough space|volume .* is out of space",
        Cause("disk_full", "the host's disk is full", "free space on the host and run the task again: nothing was lost"),
    ),
    (
        r"GRPCConnectionPoolError",
        Cause("no_agent", "the guest agent does not answer", "install tart-guest-agent in the image, or wait until it has booted"),
    ),
    (
        r"connection refused|no such host|i/o timeout|no route to host|NSURLErrorDomain Code=-100[1346]",
        Cause("unreachable", "the registry cannot be reached from the host", "check the reference, and the host's network and DNS"),
    ),
    (
        r"server gave HTTP response to HTTPS client",
        Cause("plain_http", "the registry speaks plain HTTP", "set insecure: true if you trust the network between host and registry"),
    ),
    (
        r"manifest unknown|name unknown|repository name not known|code: 404\b",
        Cause("not_in_registry", "the registry has no such image or tag", "check the reference for typing errors"),
    ),
    (
        r"unauthorized|authentication required|AuthFailed|denied: requested access",
        Cause("credentials", "the registry wants other credentials", "log in to the registry on the host or pass credentials"),
    ),
]


def explain(text: str) -> Cause | None:
    """Return the cause of the first known message in *text*, or None."""
    for pattern, cause in _CATALOGUE:
        if re.search(pattern, text):
            return cause
    return None
