# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots: the files of the real program, but `memory-ranges` is QEMU's migration stream (contract 4 and 9.3)."""
from __future__ import annotations

import json
import os
import time

from . import documents
from .errors import Failure, os_text

SENDING = "Failed to send migratable component snapshot"
RECEIVING = "Failed to receive migratable component snapshot"
CONFIG, STATE, MEMORY = "config.json", "state.json", "memory-ranges"
MIGRATION_TIMEOUT = 600.0


def directory(url: str) -> str:
    """The folder that a file URL names."""
    if not url.startswith("file://"):
        raise Failure(SENDING, f"Could not extract path from URL: {url}")
    path = url[len("file://"):]
    if not os.path.isdir(path):
        raise Failure(SENDING, f'Destination is not a directory: "{path}"')
    return path


def _create(folder: str, name: str, what: str) -> int:
    try:
        return os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Failure(SENDING, f"Error creating {what} snapshot file", os_text(error)) from error


def _write(folder: str, name: str, what: str, document: dict) -> None:
    with os.fdopen(_create(folder, name, what), "w", encoding="utf-8") as file:
        json.dump(document, file, separators=(",", ":"))


def _node(state: dict, children: dict | None = None) -> dict:
    return {"snapshots": children or {}, "snapshot_data": {"state": json.dumps(state, separators=(",", ":"))}}


def _state(vm) -> dict:
    devices = {name: _node({"disk_path": part.config.get("path")}) for name, part in vm.parts.items() if part.kind == "disk"}
    manager = {"device_tree": vm.inventory.tree, "device_id_cnt": vm.inventory.counter,
               "slots": {str(slot): name for slot, name in vm.inventory.slots.items()}}
    memory = {"memory_ranges": {"data": [{"gpa": 0, "length": vm.ram}]}, "boot_ram": vm.ram, "current_ram": vm.ram + vm.plugged}
    parts = {"cpu-manager": _node({}), "device-manager": _node(manager, devices), "memory-manager": _node(memory)}
    return {"snapshots": parts, "snapshot_data": {"state": json.dumps({"simulator": "lab"})}}


def take(vm, url: str, major: int) -> None:
    """Write config, state and memory of a paused VM."""
    if vm.state != "Paused" or vm.monitor is None:
        raise Failure("Cannot snapshot VM", "Failed to snapshot migratable component", "Trying to snapshot while VM is running")
    vm.host.events.emit("vm", "snapshotting")
    try:
        folder = directory(url)
        _write(folder, CONFIG, "VM config", documents.write("vm", vm.config, major))
        _write(folder, STATE, "VM state", _state(vm))
        fd = _create(folder, MEMORY, "VM memory")
        try:
            vm.monitor.execute("getfd", {"fdname": "snapshot"}, [fd])
        finally:
            os.close(fd)
        vm.monitor.execute("migrate", {"uri": "fd:snapshot"})
        _wait(vm)
    except Failure as failure:
        raise failure.under("Cannot send VM snapshot")
    vm.host.events.emit("vm", "snapshotted")


def _wait(vm) -> None:
    deadline = time.monotonic() + MIGRATION_TIMEOUT
    while time.monotonic() < deadline:
        status = vm.monitor.execute("query-migrate").get("status")
        if status == "completed":
            return
        if status in ("failed", "cancelled"):
            break
        time.sleep(0.005)
    raise Failure(SENDING, "QEMU could not write the memory")


class Source:
    """A snapshot to restore from."""

    def __init__(self, url: str, major: int) -> None:
        self.folder = directory(url)
        self.config = self._config(major)
        state = json.loads(self._read(STATE, "VM state"))
        manager = json.loads(state["snapshots"]["device-manager"]["snapshot_data"]["state"])
        self.slots = {name: int(slot) for slot, name in manager.get("slots", {}).items()}
        self.counter = manager["device_id_cnt"]

    def _read(self, name: str, what: str) -> str:
        path = os.path.join(self.folder, name)
        try:
            with open(path, encoding="utf-8") as file:
                return file.read()
        except OSError as error:
            raise Failure(RECEIVING, f'Error opening {what} snapshot file "{path}"', os_text(error)) from error

    def _config(self, major: int) -> dict:
        try:
            return documents.read("vm", json.loads(self._read(CONFIG, "VM config")), major)
        except (ValueError, documents.Unfit) as error:
            raise Failure(RECEIVING, "Error deserialising VM config snapshot", str(error)) from error

    def memory(self) -> int:
        """The migration stream, open."""
        path = os.path.join(self.folder, MEMORY)
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise Failure("Memory manager error", "Error opening snapshot file", os_text(error)) from error
