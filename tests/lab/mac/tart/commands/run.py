# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""run: checks, locks, then the machine until it is gone (tart contract 1.4 and 5.1)."""
from __future__ import annotations

import os

from .. import console, devices, home, machine, parser, settings, vmdir
from ..errors import RuntimeFailure, ValidationError

_SOFTNET = ("net_softnet_allow", "net_softnet_block", "net_softnet_expose", "net_softnet_control_fd")


def _wants_softnet(parsed: parser.Parsed, switches: settings.Settings) -> bool:
    values = parsed.values
    implied = switches.since("2.24.0") and any(values.get(key) is not None for key in _SOFTNET)
    return bool(values.get("net_softnet") or values.get("with_softnet") or implied)


def validate_run(parsed: parser.Parsed, switches: settings.Settings) -> None:
    """In the order of the contract; the first that fails is reported."""
    values = parsed.values
    vnc, experimental = bool(values.get("vnc")), bool(values.get("vnc_experimental"))
    if vnc and experimental:
        raise ValidationError("--vnc and --vnc-experimental are mutually exclusive")
    networks = [bool(values.get("net_bridged")), _wants_softnet(parsed, switches), bool(values.get("net_host"))]
    if sum(networks) > 1:
        raise ValidationError("--net-bridged, --net-softnet and --net-host are mutually exclusive")
    if values.get("graphics") and values.get("no_graphics"):
        raise ValidationError("--graphics and --no-graphics are mutually exclusive")
    if values.get("capture_system_keys") and (values.get("no_graphics") or vnc or experimental):
        raise ValidationError("--captures-system-keys can only be used with the default VM view")
    if values.get("nested"):
        if int(str(switches["macos"])) < 15:
            raise ValidationError("Nested virtualization is supported on hosts starting with macOS 15 (Sequoia), and later.")
        if int(str(switches["chip"])) < 3:
            raise ValidationError("Nested virtualization is available for Mac with the M3 chip, and later.")
    home.prepare()
    _validate_guest(parsed, vmdir.open_local(str(parsed.name)), switches)


def _validate_guest(parsed: parser.Parsed, found: vmdir.VMDir, switches: settings.Settings) -> None:
    values = parsed.values
    darwin = found.config()["os"] == "darwin"
    if values.get("suspendable") or found.state() == "suspended":
        if not darwin:
            raise ValidationError("You can only suspend macOS VMs")
        for device in ("trackpad", "keyboard", "pointer"):
            if values.get(f"no_{device}"):
                raise ValidationError(f"--no-{device} cannot be used with --suspendable")
    if values.get("no_trackpad") and not darwin:
        raise ValidationError("--no-trackpad can only be used with macOS VMs")
    if values.get("provisioning_opts") is not None:
        if int(str(switches["macos"])) < 27:
            raise ValidationError("--provisioning-opts requires the host to be running macOS 27 (or newer)")
        if not darwin:
            raise ValidationError("--provisioning-opts can only be used with macOS VMs")
    if any(disk.endswith("-amd64.iso") for disk in values.get("disk") or []):  # type: ignore[attr-defined]
        raise ValidationError("Seems you have a disk targeting x86 architecture (hence amd64 in the name). "
                              "Please use an 'arm64' version of the disk.")


def run_run(parsed: parser.Parsed, switches: settings.Settings, fault: dict) -> int:
    """The process that this was called in is the VM."""
    found = vmdir.open_local(str(parsed.name))
    with home.global_lock():
        config = found.config()
        if config["diskFormat"] == "asif" and int(str(switches["macos"])) < 26:
            raise ValidationError("Disk format 'asif' is not supported on this system.")
        if switches.since("2.10.0"):
            _renew_clashing_mac(found, config)
        plan = devices.plan(parsed, found, config, switches, _wants_softnet(parsed, switches))
        lock = found.lock()
        if lock is None:
            raise RuntimeFailure(f'VM "{found.name}" is already running!', 2)
    return machine.Machine(found, config, plan, switches, fault).run()


def _renew_clashing_mac(found: vmdir.VMDir, config: dict) -> None:
    """Another running VM has the address: a new one, and the saved state is void."""
    for other in vmdir.all_local():
        if other.name != found.name and other.running() and other.config()["macAddress"] == config["macAddress"]:
            console.out("There is already a running VM with the same MAC address!")
            console.out("Resetting VM to assign a new MAC address...")
            config["macAddress"] = vmdir.random_mac()
            found.save(config)
            if os.path.exists(found.file("state.vzvmsave")):
                os.unlink(found.file("state.vzvmsave"))
            return
