# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The switches of the simulator: /etc/lab/tart.json (or the file that LAB_TART_SETTINGS names), read at every call.

What may stand in it is in _DEFAULTS. `faults` is a list of objects, each with `command` (default any), `vm` (a name, default any), `times`
(how often, default always) and what shall happen:

preset        one of PRESETS
stderr stdout exit signal   said and done before the command begins
delay hang    seconds; hang may be true
cut           the part of the output of list and get that arrives, 0.5 is half
disk_full     the copy of create, clone or pull fails
no_lease      ip finds nothing; with run, the guest's network card is not connected
ignore_sigint slow_stop die_after   of run; die_after says `stderr` and ends with `exit` after that many seconds, 0 is at the start
"""
from __future__ import annotations

import os

from . import plainjson

DEFAULT_FILE = "/etc/lab/tart.json"
_DEFAULTS = {
    "version": "2.32.1",
    "macos": 26,
    "arch": "arm64",
    "chip": 4,
    "cpus": 8,
    "memory_gb": 16,
    "log": "/var/log/lab/tart-calls.jsonl",
    "run_directory": "/run/lab/tart",
    "leases": "/var/db/dhcpd_leases",
    "arp": "/usr/sbin/arp",
    "agent": False,
    "keychain": "unlocked",
    "softnet": "works",
    "interfaces": [["en0", "Ethernet"], ["en1", "Wi-Fi"]],
    "bridges": {"shared": "bridge100", "host": "bridge100", "en0": "bridge101"},
    "guest": "qemu",
    "guest_login": ["admin", "admin"],
    "max_ram_mb": 192,
    "qemu": "/usr/bin/qemu-system-x86_64",
    "qemu_arguments": [],
    "bridge_helper": "/usr/lib/qemu/qemu-bridge-helper",
    "serial_logs": "/var/log/lab/guests",
    "faults": [],
}
PRESETS = {
    "vz": {"stderr": 'Error Domain=VZErrorDomain Code=1 "The virtual machine failed to start." UserInfo={NSLocalizedFailure=Internal '
                     "Virtualization error., NSLocalizedFailureReason=The virtual machine failed to start.}", "exit": 1},
    "keychain": {"stderr": 'Error: Failed(message: "Keychain returned unsuccessful status -25308")', "exit": 1},
    "keychain-add": {"stderr": 'Error: Failed(message: "Keychain failed to add item: User interaction is not allowed.")', "exit": 1},
    "limit": {"stderr": "The number of VMs exceeds the system limit", "exit": 1},
    "aux-lock": {"stderr": 'Error Domain=VZErrorDomain Code=1 "Failed to lock auxiliary storage."', "exit": 1},
    "disk-full": {"disk_full": True},
}


class Settings:
    """The switches of one call."""

    def __init__(self, values: dict) -> None:
        self.values = dict(_DEFAULTS)
        self.values.update(values)
        self._known: dict[str, tuple] = {}
        self.snapshot = self.values["version"] == "SNAPSHOT"
        self.version = (9998, 0, 0) if self.snapshot else tuple(int(part) for part in str(self.values["version"]).split("."))

    def __getitem__(self, key: str) -> object:
        return self.values[key]

    def since(self, text: str) -> bool:
        """Is this version at least that one?"""
        wanted = self._known.get(text)
        if wanted is None:
            wanted = self._known[text] = tuple(int(part) for part in text.split("."))
        return self.version >= wanted

    def fault(self, command: str, names: list[str]) -> dict:
        """What shall go wrong in this call; a counted fault is used up by it."""
        merged: dict = {}
        for number, fault in enumerate(self.values["faults"]):
            if fault.get("command", command) != command or ("vm" in fault and fault["vm"] not in names):
                continue
            if "times" in fault and not self._take(number, fault):
                continue
            merged.update(PRESETS.get(fault.get("preset", ""), {}))
            merged.update(fault)
        return merged

    def _take(self, number: int, fault: dict) -> bool:
        """One directory for each use: making it is atomic."""
        folder = os.path.join(str(self["run_directory"]), "faults")
        for use in range(int(fault["times"])):
            try:
                os.makedirs(folder, mode=0o777, exist_ok=True)
                os.mkdir(os.path.join(folder, f"{fault.get('id', number)}-{use}"))
                return True
            except FileExistsError:
                continue
        return False


def load() -> Settings:
    """The file; defaults alone when there is none."""
    try:
        return Settings(plainjson.read(os.environ.get("LAB_TART_SETTINGS") or DEFAULT_FILE))
    except FileNotFoundError:
        return Settings({})
