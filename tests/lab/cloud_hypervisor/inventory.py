# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Identifiers, PCI slots and the device tree (contract 2.3)."""
from __future__ import annotations

from .errors import Failure

SLOTS = 32
ROOT = "_virtio-pci-"


def bdf(segment: int, slot: int) -> str:
    """A PCI address as the API writes it."""
    return f"{segment:04x}:00:{slot:02x}.0"


class Inventory:
    """The devices of one VM object and where they sit."""

    def __init__(self, reserved: set, counter: int = 0, wanted: dict | None = None) -> None:
        self.reserved = reserved
        self.wanted = wanted or {}
        self.counter = counter
        self.tree: dict = {}
        self.slots: dict = {}

    def name(self, prefix: str) -> str:
        """The next automatic identifier; one counter serves all kinds."""
        while True:
            name = f"{prefix}{self.counter}"
            self.counter += 1
            if name not in self.reserved and name not in self.tree:
                return name

    def complete(self, device: dict, prefix: str) -> str:
        """Give a device an identifier if it has none."""
        if device.get("id") is None:
            device["id"] = self.name(prefix)
        if device["id"] in self.tree:
            raise Failure(f"Invalid identifier as it is not unique: {device['id']}")
        return device["id"]

    def _slot(self, wanted: int | None) -> int:
        if wanted is not None and wanted not in self.slots:
            return wanted
        for slot in range(1, SLOTS):
            if slot not in self.slots:
                return slot
        raise Failure("Failed to find an available PCI device ID", "Could not find an available device slot on the PCI bus.")

    def virtio(self, name: str, device: dict) -> int:
        """Place a virtio device: two nodes and a slot."""
        slot = self._slot(self.wanted.get(name, device.get("pci_device_id")))
        transport = ROOT + name
        self.slots[slot] = name
        self.tree[name] = {"id": name, "resources": [], "parent": transport, "children": []}
        address = bdf(device.get("pci_segment") or 0, slot)
        self.tree[transport] = {"id": transport, "resources": [], "children": [name], "pci_bdf": address}
        return slot

    def pci(self, name: str) -> int:
        """Place a plain PCI device."""
        slot = self._slot(self.wanted.get(name))
        self.slots[slot] = name
        self.tree[name] = {"id": name, "resources": [], "children": [], "pci_bdf": bdf(0, slot)}
        return slot

    def platform(self, name: str) -> None:
        """A device that is not on the PCI bus."""
        self.tree[name] = {"id": name, "resources": [], "children": []}

    def address(self, name: str) -> str:
        """Where a virtio device sits."""
        return self.tree[ROOT + name]["pci_bdf"]

    def remove(self, name: str) -> None:
        """The guest has let the device go."""
        self.tree.pop(name, None)
        self.tree.pop(ROOT + name, None)
        for slot, owner in list(self.slots.items()):
            if owner == name:
                del self.slots[slot]
