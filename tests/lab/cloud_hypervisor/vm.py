# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM object: what exists between `vm.boot` and `vm.shutdown`. Devices are opened by us, QEMU runs them."""
from __future__ import annotations

import os
import time

from . import consoles, machine, payload
from .disks import Disk
from .errors import Failure, os_text
from .inventory import Inventory
from .qemu import Child, Monitor
from .taps import Tap

PAGE = 4096
MISSING_DEVICE = "the simulator of the lab has no such device"
ABSENT = {
    "generic_vhost_user": "Cannot create generic vhost-user device", "fs": "Cannot create virtio-fs device",
    "pmem": "Cannot create virtio-pmem device", "vdpa": "Cannot create vdpa device", "devices": "Cannot create a VFIO device",
    "user_devices": "Failed to create vfio-user client", "tpm": "Cannot create tmp device",
}
LOCKING = ("Error locking disk images: Another instance likely holds a lock", "Cannot lock images of all block devices")
START_TIMEOUT = 60.0


def random_mac() -> str:
    """A guest's MAC address, with the prefix of the real program."""
    return ":".join(["2e"] + [f"{octet:02x}" for octet in os.urandom(5)])


class Vsock:
    """The socket of a vsock device. There is no guest side: a CONNECT is closed, as for a port nobody listens on."""

    def __init__(self, loop, path: str) -> None:
        self.loop = loop
        self.path = path
        self.listener = consoles.bind(path, "Cannot create virtio-vsock backend")
        loop.watch(self.listener.fileno(), self._accept)

    def _accept(self, _mask: int) -> None:
        client, _address = self.listener.accept()

        def refuse(_mask: int) -> None:
            self.loop.forget(client.fileno())
            client.close()
        self.loop.watch(client.fileno(), refuse)

    def close(self) -> None:
        """Close and remove the socket."""
        self.loop.forget(self.listener.fileno())
        self.listener.close()
        consoles.remove(self.path)


class Part:
    """A device with a QEMU object behind it: its kind, node name, and what we hold open."""

    def __init__(self, kind: str, node: str, config: dict, held) -> None:
        self.kind = kind
        self.node = node
        self.config = config
        self.held = held
        self.leaving = False


class Vm:
    """One VM and its QEMU."""

    def __init__(self, host, config: dict, ids: set, counter: int = 0, slots: dict | None = None) -> None:
        self.host = host
        self.config = config
        self.state = "Created"
        self.inventory = Inventory(ids, counter, slots)
        self.parts: dict = {}
        self.vsock: Vsock | None = None
        self.monitor: Monitor | None = None
        self.child: Child | None = None
        self.balloon = 0
        self.ram = 0
        self.reason = ""
        self.nodes = 0
        self.leaving_cpus = 0
        self.plugged = 0
        self.dimms = 0
        self.builder = machine.Builder(config, host.settings.get("accel", "tcg"))
        try:
            self._check_memory()
            self._devices()
            payload.check_initramfs((config["payload"] or {}).get("initramfs"))
        except Failure:
            self.release()
            raise

    def _check_memory(self) -> None:
        memory = self.config["memory"]
        if memory["size"] == 0 and not memory["zones"]:
            raise Failure("Memory manager error", "No memory zones found")
        if any(part["size"] % PAGE for part in [memory] + (memory["zones"] or [])):
            text = "Memory size is misaligned with default page size or its hugepage size"
            raise Failure("Memory manager error", text)

    def _devices(self) -> None:
        self.builder.basics()
        self.builder.smbios()
        try:
            for name in ("serial", "debug_console"):
                if self.config[name]["mode"] != "Off":
                    self.inventory.platform(f"__{name}")
            self.inventory.platform("__ioapic")
            self._create()
        except Failure as failure:
            raise failure.under("Error from device manager")

    def _create(self) -> None:
        """The devices in the order that gives them their slots (contract 2.3)."""
        config, builder = self.config, self.builder
        self._consoles()
        self._each("disks", self._boot_disk)
        self._each("net", self._boot_net)
        self._check_source(config["rng"]["src"])
        builder.rng(self.inventory.virtio("__rng", config["rng"]))
        for name, text in ABSENT.items():
            if config.get(name):
                raise Failure(text, MISSING_DEVICE)
        if config["vsock"]:
            self.inventory.virtio(self.inventory.complete(config["vsock"], "_vsock"), config["vsock"])
            self.vsock = Vsock(self.host.loop, config["vsock"]["socket"])
        if config["balloon"]:
            builder.balloon(self.inventory.virtio("__balloon", config["balloon"]))
        if config["watchdog"]:
            builder.device({"driver": "i6300esb", "addr": machine.place(self.inventory.virtio("__watchdog", {}))})
        if config.get("rtc"):
            self.inventory.virtio("__rtc", config["rtc"])
        if config["pvpanic"]:
            builder.device({"driver": "pvpanic-pci", "addr": machine.place(self.inventory.pci("__pvpanic"))})

    def _each(self, kind: str, make) -> None:
        """Make the devices of a kind. As in the real program one failure drops the whole list, and the next boot goes without it."""
        try:
            for device in self.config[kind] or []:
                make(device)
        except Failure:
            self.config[kind] = None
            raise

    @staticmethod
    def _check_source(path: str) -> None:
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise Failure("Cannot create virtio-rng device", os_text(error)) from error

    def _consoles(self) -> None:
        made, builder = self.host.consoles, self.builder
        console, serial, debug = (made.get(name) for name in ("console", "serial", "debug_console"))
        if console is not None:
            builder.chardev("console0", console)
            builder.console(self.inventory.virtio("__console", self.config["console"]))
        if serial is not None:
            builder.chardev("serial0", serial)
            builder.device({"driver": "isa-serial", "chardev": "serial0"})
        if debug is not None:
            builder.chardev("debug0", debug)
            builder.device({"driver": "isa-debugcon", "chardev": "debug0", "iobase": self.config["debug_console"]["iobase"] or 0xE9})

    def new_node(self) -> str:
        """A name for QEMU's objects; identifiers of the API may be what QEMU refuses."""
        self.nodes += 1
        return f"n{self.nodes}"

    def _boot_disk(self, config: dict) -> None:
        name = self.inventory.complete(config, "_disk")
        part = Part("disk", self.new_node(), config, Disk(config, self.host.version.major))
        self.parts[name] = part
        self.builder.disk(part.node, part.held, self.inventory.virtio(name, config))

    def _boot_net(self, config: dict) -> None:
        name = self.inventory.complete(config, "_net")
        part = Part("net", self.new_node(), config, Tap(config, config["fds"]))
        self.parts[name] = part
        self.builder.net(part.node, config, part.held, self.inventory.virtio(name, config))

    def boot(self, wait: bool, extra: tuple = (), fds: tuple = ()) -> None:
        """Lock the disks, check the payload, start QEMU; with `wait` until it answers."""
        if self.state == "Paused":
            self.resume()
            return
        self._lock()
        given = self.config["payload"]
        payload.check_kernel(given["kernel"] if given.get("kernel") is not None else given["firmware"])
        self.builder.payload()
        self.start(extra, fds)
        self.state = "Running"
        if wait:
            self.wait_ready()
        if self.config["balloon"] and self.config["balloon"]["size"]:
            self.monitor.post("balloon", {"value": self.ram - self.config["balloon"]["size"]})

    def _lock(self) -> None:
        for part in self.parts.values():
            if part.kind == "disk":
                try:
                    part.held.take_lock()
                except Failure as failure:
                    raise failure.under(*LOCKING)

    def start(self, extra: tuple = (), fds: tuple = ()) -> None:
        """Spawn QEMU."""
        self.ram = machine.validation.total_memory(self.config)
        self.monitor = Monitor(self._on_event)
        self.builder.monitor(self.monitor.theirs.fileno())
        self.builder.add(*extra)
        for fd in fds:
            self.builder.inherit(fd)
        self.child = Child(self.builder.args, self.builder.fds)
        self.monitor.theirs.close()
        for fd in self.builder.copies:
            os.close(fd)
        self.builder.copies = []
        self.host.loop.watch(self.monitor.fileno(), self._on_monitor)
        self.host.loop.watch(self.child.fileno(), self._on_exit)

    def wait_ready(self) -> None:
        """Until QEMU has built the machine, or has ended instead."""
        deadline = time.monotonic() + START_TIMEOUT
        while not self.monitor.ready:
            if self.monitor.closed or time.monotonic() > deadline:
                self.state = "Created"
                self._stop_qemu()
                raise Failure("Error from device manager", "QEMU of the simulator ended at its start, see the log")
            self.monitor.pump(1.0)

    def wait_restored(self) -> None:
        """Until QEMU has read the whole snapshot."""
        self.wait_ready()
        deadline = time.monotonic() + START_TIMEOUT
        while self.monitor.execute("query-status")["status"] == "inmigrate":
            if time.monotonic() > deadline:
                raise Failure("Cannot restore VM", "QEMU of the simulator does not end reading the snapshot")
            time.sleep(0.005)

    def _on_monitor(self, _mask: int) -> None:
        self.monitor.pump()
        if self.monitor.closed:
            self.host.loop.forget(self.monitor.fileno())

    def _on_event(self, event: str, data: dict) -> None:
        if event == "SHUTDOWN":
            self.reason = data.get("reason", "")
        elif event == "BALLOON_CHANGE":
            self.balloon = max(0, self.ram - data["actual"])
        elif event == "DEVICE_DELETED" and data.get("device"):
            self._gone(data["device"])
        elif event == "GUEST_PANICKED":
            self.host.events.emit("guest", "panic", {"event": "Panic"})

    def _on_exit(self, _mask: int) -> None:
        while not self.monitor.closed:
            self.monitor.pump(1.0)
        started = self.monitor.ready
        self.host.loop.forget(self.child.fileno())
        status = self.child.reap()
        self.host.guest_ended(self.reason, started, status)

    def _gone(self, device: str) -> None:
        """The guest has ejected a device."""
        for name, part in list(self.parts.items()):
            if device != f"dev-{part.node}":
                continue
            address = self.inventory.address(name)
            del self.parts[name]
            if part.kind == "disk":
                self.monitor.post("blockdev-del", {"node-name": part.node})
                self.monitor.post("blockdev-del", {"node-name": f"{part.node}-file"})
            else:
                self.monitor.post("netdev_del", {"id": part.node})
            part.held.close()
            self.inventory.remove(name)
            self.host.events.emit("vm", "device-removed", {"id": name, "bdf": address})

    def pause(self) -> None:
        """Stop the CPUs."""
        if self.state == "Paused":
            raise Failure("Cannot pause VM", "Failed to pause migratable component",
                          "Invalid transition: InvalidStateTransition(Paused, Paused)")
        self.host.events.emit("vm", "pausing")
        self.tell("stop")
        self.state = "Paused"
        self.host.events.emit("vm", "paused")

    def resume(self) -> None:
        """Let the CPUs run again."""
        if self.state == "Running":
            raise Failure("Cannot resume VM", "Failed to resume migratable component",
                          "Invalid transition: InvalidStateTransition(Running, Running)")
        self.host.events.emit("vm", "resuming")
        self.tell("cont")
        self.state = "Running"
        self.host.events.emit("vm", "resumed")

    def tell(self, command: str, arguments: dict | None = None, fds: list[int] | None = None):
        """Run a command in QEMU; a VM whose boot failed has none and takes everything."""
        return [] if self.monitor is None else self.monitor.execute(command, arguments, fds)

    def _stop_qemu(self) -> None:
        if self.child is not None:
            if self.child.alive:
                self.host.loop.forget(self.child.fileno())
            self.child.kill()
            self.host.loop.forget(self.monitor.fileno())
            self.monitor.close()
        self.child = self.monitor = None

    def release(self) -> None:
        """Hard stop: QEMU, locks, taps, sockets."""
        self._stop_qemu()
        for fd in self.builder.copies:
            os.close(fd)
        self.builder.copies = []
        for part in self.parts.values():
            part.held.close()
        self.parts = {}
        if self.vsock is not None:
            self.vsock.close()
            self.vsock = None
        self.state = "Shutdown"
