# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The VMM: the state machine behind the API (contract 2.5 and 3.1)."""
from __future__ import annotations

import time

from . import documents, hotplug, snapshot, validation
from .consoles import Consoles
from .errors import Failure, Fatal
from .vm import Vm, random_mac

NOT_CREATED = "VM is not created"
NOT_RUNNING = "VM is not running"
ALREADY = "VM is already created"


class Vmm:
    """At most one configuration, at most one VM object."""

    def __init__(self, loop, log, events, settings: dict, version) -> None:
        self.loop = loop
        self.log = log
        self.events = events
        self.settings = settings
        self.version = version
        self.config: dict | None = None
        self.consoles: Consoles | None = None
        self.vm: Vm | None = None
        self.no_shutdown = False

    def _running(self) -> Vm:
        if self.vm is None:
            raise Failure(NOT_RUNNING)
        return self.vm

    def _created(self) -> dict:
        if self.config is None:
            raise Failure(NOT_CREATED)
        return self.config

    def create(self, config: dict) -> None:
        """Store the configuration and make the consoles."""
        if self.config is not None:
            raise Failure(ALREADY)
        for net in config["net"] or []:
            net["mac"] = net["mac"] or random_mac()
        self.config = config
        for name, keys in (("console", ("file",)), ("serial", ("file", "socket"))):
            for key in keys:
                if config[name]["mode"] == key.capitalize() and config[name][key] is None:
                    raise Fatal("Failed to join on VMM thread: Any { .. }")
        self._open_consoles()

    def _open_consoles(self) -> None:
        self.consoles = Consoles(self.loop, self.config, self.version.major >= 53)

    def boot(self, wait: bool = True) -> None:
        """From the configuration to a running guest."""
        if self.vm is not None and (self.version.major >= 53 or self.vm.state == "Running"):
            text = ALREADY if self.version.major >= 53 else "invalid VM state transition: Running to Running"
            raise Failure(text)
        self.events.emit("vm", "booting")
        if self.config is None:
            raise Failure("VM config is missing")
        if self.consoles is None:
            self._open_consoles()
        if self.settings.get("boot_delay_ms"):
            time.sleep(self.settings["boot_delay_ms"] / 1000)
        if self.vm is None:
            self.vm = self._new_vm()
        self.vm.boot(wait)
        self.events.emit("vm", "booted")

    def _new_vm(self) -> Vm:
        try:
            ids = validation.check(self.config)
        except Failure as failure:
            raise failure.under("Failed to validate config")
        return Vm(self, self.config, ids)

    def shutdown(self) -> None:
        """Hard stop; the configuration stays."""
        vm, self.vm = self._running(), None
        vm.release()
        self._close_consoles()
        self.events.emit("vm", "shutdown")

    def _close_consoles(self) -> None:
        if self.consoles is not None:
            self.consoles.close()
            self.consoles = None

    def reboot(self) -> None:
        """A new VM object in this process: new terminals, truncated files."""
        self.events.emit("vm", "rebooting")
        if self.vm is None:
            raise Failure(NOT_CREATED)
        vm, self.vm = self.vm, None
        vm.release()
        self._close_consoles()
        self._open_consoles()
        vm = self._new_vm()
        try:
            vm.boot(True)
        except Failure:
            vm.release()
            raise
        self.vm = vm
        self.events.emit("vm", "rebooted")

    def delete(self) -> None:
        """Forget everything; nothing to do is fine."""
        if self.config is None:
            return
        if self.vm is not None:
            self.shutdown()
        self._close_consoles()
        self.config = None
        self.events.emit("vm", "deleted")

    def end(self) -> None:
        """`vmm.shutdown`."""
        self.delete()
        self.events.emit("vmm", "shutdown")
        self.loop.stop(0)

    def guest_ended(self, reason: str, started: bool, status: int) -> None:
        """QEMU is gone without being told to."""
        if not started and status > 0:
            raise Fatal("Error booting VM", "The VM could not boot", "Error from device manager",
                        f"QEMU of the simulator ended with status {status} at its start")
        if reason == "guest-reset":
            try:
                self.reboot()
            except Failure as failure:
                raise Fatal("VMM thread exited with error", "Error rebooting VM", *failure.chain) from failure
            return
        if reason == "guest-shutdown" and self.no_shutdown:
            self.shutdown()
            return
        if reason not in ("guest-shutdown", "host-signal"):
            self.log.write("ERROR", f"the guest ended: {reason or 'QEMU died'}, status {status}", "vcpu0")
        self.end()

    def info(self) -> dict:
        """`vm.info`."""
        config = self._created()
        total = validation.total_memory(config) - (config["memory"]["hotplugged_size"] or 0)
        found = {"config": documents.write("vm", config, self.version.major), "state": "Created", "memory_actual_size": total}
        if self.vm is not None:
            found["state"] = self.vm.state
            found["memory_actual_size"] = max(0, total - self.vm.balloon)
            found["device_tree"] = self.vm.inventory.tree
        elif self.version.major < 53:
            found["device_tree"] = None
        return found

    def pause(self) -> None:
        """`vm.pause`."""
        self._running().pause()

    def resume(self) -> None:
        """`vm.resume`."""
        self._running().resume()

    def power_button(self) -> None:
        """The ACPI event."""
        self._running().tell("system_powerdown")

    def nmi(self) -> None:
        """A non-maskable interrupt."""
        self._running().tell("inject-nmi")

    def counters(self) -> dict:
        """`vm.counters`."""
        return hotplug.counters(self._running())

    def resize(self, request: dict) -> None:
        """`vm.resize`; without a VM object it edits the configuration."""
        config = self._created()
        if self.vm is not None:
            hotplug.resize(self.vm, request)
            return
        if request["desired_vcpus"] is not None:
            config["cpus"]["boot_vcpus"] = request["desired_vcpus"]
        if request["desired_ram"] is not None:
            config["memory"]["size"] = request["desired_ram"]
        if request["desired_balloon"] is not None and config["balloon"]:
            config["balloon"]["size"] = request["desired_balloon"]

    def resize_disk(self, request: dict) -> None:
        """`vm.resize-disk`."""
        self._created()
        if self.vm is None:
            raise Failure("Failed resizing a disk image")
        hotplug.resize_disk(self.vm, request["id"], request["desired_size"])

    def resize_zone(self, request: dict) -> None:
        """`vm.resize-zone`: only the configuration of a VM that is not built."""
        zones = self._created()["memory"]["zones"] or []
        if self.vm is None:
            for zone in zones:
                if zone["id"] == request["id"]:
                    zone["size"] = request["desired_ram"]
                    return
        raise Failure("Failed resizing a memory zone")

    def add(self, kind: str, device: dict, fds: list[int]) -> dict | None:
        """Hot-plug, or append to the configuration of a VM that is not built."""
        config = self._created()
        if kind == "vsock" and config["vsock"] is not None:
            raise Failure("Too many virtio-vsock devices")
        if kind == "net":
            device["mac"] = device["mac"] or random_mac()
            device["fds"] = list(fds) or device["fds"]
        self._check_with(kind, device)
        answer = self._plug(kind, device, fds) if self.vm is not None else None
        if kind == "vsock":
            config["vsock"] = device
        else:
            config[kind] = (config[kind] or []) + [device]
        return answer

    def _check_with(self, kind: str, device: dict) -> None:
        trial = dict(self.config)
        trial[kind] = device if kind == "vsock" else (trial[kind] or []) + [device]
        try:
            validation.check(trial)
        except Failure as failure:
            raise failure.under("Failed to validate config")

    def _plug(self, kind: str, device: dict, fds: list[int]) -> dict:
        if kind == "disks":
            return hotplug.add_disk(self.vm, device)
        if kind == "net":
            return hotplug.add_net(self.vm, device, fds)
        if kind == "vsock":
            return hotplug.add_vsock(self.vm, device)
        return hotplug.add_absent(kind)

    def remove_device(self, name: str) -> None:
        """`vm.remove-device`."""
        if self.vm is not None:
            hotplug.remove(self.vm, name)
        elif not hotplug.drop_config(self._created(), name):
            raise Failure(f'No device with id "{name}" to remove')

    def take_snapshot(self, url: str) -> None:
        """`vm.snapshot`."""
        snapshot.take(self._running(), url, self.version.major)

    def restore(self, request: dict) -> None:
        """`vm.restore`: the VM ends paused, or running with `resume`."""
        if self.vm is not None or self.config is not None:
            raise Failure(ALREADY)
        self.events.emit("vm", "restoring")
        if request.get("prefault") and request.get("memory_restore_mode") == "OnDemand":
            raise Failure("Failed to validate config", "'prefault' cannot be combined with 'memory_restore_mode=ondemand'")
        try:
            source = snapshot.Source(request["source_url"], self.version.major)
        except Failure as failure:
            raise failure.under("Cannot restore VM")
        self.config = source.config
        try:
            self._restore_from(source)
            if request.get("resume"):
                self.vm.resume()
        except Failure:
            self.delete()
            raise
        self.events.emit("vm", "restored")

    def _restore_from(self, source: snapshot.Source) -> None:
        import os  # pylint: disable=import-outside-toplevel
        self._open_consoles()
        try:
            ids = validation.check(self.config)
        except Failure as failure:
            raise failure.under("Failed to validate config")
        self.vm = Vm(self, self.config, ids, source.counter, source.slots)
        fd = source.memory()
        try:
            self.vm.boot(False, ("-S", "-incoming", f"fd:{fd}"), (fd,))
        finally:
            os.close(fd)
        self.vm.wait_restored()
        self.vm.state = "Paused"
