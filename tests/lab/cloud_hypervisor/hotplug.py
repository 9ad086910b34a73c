# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hot-plug, removal and resizing of a running VM (contract 2.6 and 2.7)."""
from __future__ import annotations

from . import machine
from .disks import Disk
from .errors import Failure
from .taps import Tap
from .vm import ABSENT, LOCKING, MISSING_DEVICE, Part, Vm, Vsock

DIMM_UNIT = 128 << 20
SECTOR = 512
DEVICE_MANAGER = "Error from device manager"


def _answer(vm: Vm, name: str) -> dict:
    return {"id": name, "bdf": vm.inventory.address(name)}


def add_disk(vm: Vm, config: dict) -> dict:
    """A block device for a VM that runs or is paused."""
    disk = None
    try:
        name = vm.inventory.complete(config, "_disk")
        disk = Disk(config, vm.host.version.major)
        try:
            disk.take_lock()
        except Failure as failure:
            raise failure.under(LOCKING[1])
        part = Part("disk", vm.new_node(), config, disk)
        slot = vm.inventory.virtio(name, config)
        for node in machine.disk_nodes(part.node, disk):
            vm.tell("blockdev-add", node)
        vm.tell("device_add", machine.disk_device(part.node, config, slot))
    except Failure as failure:
        if disk is not None:
            disk.close()
        raise failure.under(DEVICE_MANAGER)
    vm.parts[name] = part
    return _answer(vm, name)


def add_net(vm: Vm, config: dict, fds: list[int]) -> dict:
    """A network device over a tap."""
    try:
        name = vm.inventory.complete(config, "_net")
        tap = Tap(config, fds)
    except Failure as failure:
        raise failure.under(DEVICE_MANAGER)
    node = vm.new_node()
    slot = vm.inventory.virtio(name, config)
    try:
        names = []
        for index, fd in enumerate(tap.fds):
            names.append(f"{node}-{index}")
            vm.tell("getfd", {"fdname": names[-1]}, [fd])
        key = "fd" if len(names) == 1 else "fds"
        vm.tell("netdev_add", {"type": "tap", "id": node, key: ":".join(names)})
        vm.tell("device_add", machine.net_device(node, config, slot, tap))
    except Failure as failure:
        tap.close()
        vm.inventory.remove(name)
        raise failure.under(DEVICE_MANAGER)
    vm.parts[name] = Part("net", node, config, tap)
    return _answer(vm, name)


def add_vsock(vm: Vm, config: dict) -> dict:
    """The vsock device, of which the guest sees nothing here."""
    try:
        name = vm.inventory.complete(config, "_vsock")
        vm.vsock = Vsock(vm.host.loop, config["socket"])
        vm.inventory.virtio(name, config)
    except Failure as failure:
        raise failure.under(DEVICE_MANAGER)
    return _answer(vm, name)


def add_absent(kind: str) -> None:
    """A kind of device that the simulator does not have."""
    raise Failure(DEVICE_MANAGER, ABSENT[kind], MISSING_DEVICE)


def drop_config(config: dict, name: str) -> bool:
    """Take a device out of the configuration."""
    for key in ("disks", "net", "fs", "pmem", "devices", "user_devices", "vdpa", "generic_vhost_user"):
        for device in config.get(key) or []:
            if device.get("id") == name:
                config[key].remove(device)
                return True
    if (config.get("vsock") or {}).get("id") == name:
        config["vsock"] = None
        return True
    return False


def remove(vm: Vm, name: str) -> None:
    """Ask the guest to let a device go; the answer does not wait for that."""
    unknown = Failure(DEVICE_MANAGER, f"Failed to find device corresponding to the given identifier: {name}")
    if name not in vm.inventory.tree:
        raise unknown
    node = vm.inventory.tree[name]
    if "parent" not in node and "pci_bdf" not in node:
        raise Failure(DEVICE_MANAGER, "Could not find the node in the device tree")
    part = vm.parts.get(name)
    is_vsock = (vm.config.get("vsock") or {}).get("id") == name
    if part is None and not is_vsock:
        raise Failure(DEVICE_MANAGER, f"Not allowed to remove this type of device from the VM: {name.lstrip('_')}")
    if not drop_config(vm.config, name) and vm.host.version.major >= 53:
        raise unknown
    if is_vsock:
        vm.vsock.close()
        vm.vsock = None
        vm.inventory.remove(name)
    elif not part.leaving:
        part.leaving = True
        vm.tell("device_del", {"id": f"dev-{part.node}"})


def _present_cpus(vm: Vm) -> tuple[list, list]:
    """QEMU's CPU slots that are taken and that are free, each in order."""
    slots = vm.tell("query-hotpluggable-cpus")
    slots.sort(key=lambda slot: [slot["props"].get(key, 0) for key in ("socket-id", "die-id", "core-id", "thread-id")])
    return [slot for slot in slots if "qom-path" in slot], [slot for slot in slots if "qom-path" not in slot]


def _cpus(vm: Vm, wanted: int) -> None:
    """A removal waits for the guest; until then the CPU counts as present, and only that number may be asked for.

    QEMU 7.2 without KVM crashes when a CPU is unplugged, so the guest is never asked: it behaves as one that ignores the request.
    """
    cpus = vm.config["cpus"]
    present, free = _present_cpus(vm)
    if vm.monitor is not None and wanted != len(present):
        if wanted == 0:
            raise Failure("Error from CPU manager", "Requested zero vCPUs")
        if vm.leaving_cpus:
            raise Failure("Error from CPU manager", "Still pending removed vCPU")
        if wanted > cpus["max_vcpus"]:
            raise Failure("Error from CPU manager", "Requested vCPUs exceed maximum")
        for slot in free[:max(0, wanted - len(present))]:
            vm.tell("device_add", {"driver": slot["type"], **slot["props"]})
        vm.leaving_cpus = max(0, len(present) - wanted)
    cpus["boot_vcpus"] = wanted


def _memory(vm: Vm, wanted: int) -> None:
    memory = vm.config["memory"]
    if memory["zones"]:
        raise Failure("Memory manager error", "Impossible to resize guest memory if it is backed by user defined memory regions")
    grow = wanted - vm.ram - vm.plugged
    if grow > 0:
        if grow % DIMM_UNIT:
            raise Failure("Memory manager error", "The requested hotplug memory addition is not a valid size")
        if vm.plugged + grow > (memory["hotplug_size"] or 0):
            raise Failure("Memory manager error", "Not enough space in the hotplug RAM region")
        if vm.dimms >= machine.MEMORY_SLOTS:
            raise Failure("Memory manager error", "No ACPI slot available")
        vm.dimms += 1
        node = f"dimm{vm.dimms}"
        vm.tell("object-add", {"qom-type": "memory-backend-ram", "id": node, "size": grow})
        vm.tell("device_add", {"driver": "pc-dimm", "id": f"dev-{node}", "memdev": node})
        vm.plugged += grow
    memory["size"] = wanted


def _balloon(vm: Vm, wanted: int) -> None:
    balloon = vm.config["balloon"]
    if not balloon:
        raise Failure(DEVICE_MANAGER, "Missing virtio-balloon, can't proceed as expected")
    vm.tell("balloon", {"value": max(vm.ram - wanted, 1 << 20)})
    balloon["size"] = wanted


def resize(vm: Vm, request: dict) -> None:
    """CPUs, RAM, balloon, in this order; what went before a failure stays."""
    vm.host.events.emit("vm", "resizing")
    for key, action in (("desired_vcpus", _cpus), ("desired_ram", _memory), ("desired_balloon", _balloon)):
        if request[key] is not None:
            action(vm, request[key])
    vm.host.events.emit("vm", "resized")


def resize_disk(vm: Vm, name: str, size: int) -> None:
    """Another size for the image; the guest is told."""
    part = vm.parts.get(name)
    if part is None or part.kind != "disk":
        raise Failure(DEVICE_MANAGER, f"Failed to find device corresponding to the given identifier: {name}")
    if size % SECTOR:
        raise Failure(DEVICE_MANAGER, "Disk resize error", "Disk image size is not a multiple of 512")
    if not part.config["readonly"]:
        part.held.resize(size)
    vm.tell("block_resize", {"node-name": part.node, "size": size})


UNSAMPLED, UNSAMPLED_AVERAGE = 18446744073709551615, 1844674407370955


def counters(vm: Vm) -> dict:
    """Per device; only block and network devices count."""
    found = {}
    entries = [entry for entry in vm.tell("query-blockstats") if entry.get("qdev")]
    stats = {entry["qdev"].split("/")[3]: entry["stats"] for entry in entries}  # /machine/peripheral/dev-n1/virtio-backend
    for name, part in vm.parts.items():
        if part.kind == "net":
            found[name] = part.held.counters()
            continue
        numbers = stats.get(f"dev-{part.node}", {})
        values = {}
        for ours, theirs in (("read", "rd"), ("write", "wr")):
            operations = numbers.get(f"{theirs}_operations", 0)
            latency = numbers.get(f"{theirs}_total_time_ns", 0) // 1000 // operations if operations else UNSAMPLED
            values[f"{ours}_bytes"] = numbers.get(f"{theirs}_bytes", 0)
            values[f"{ours}_ops"] = operations
            values[f"{ours}_latency_min"] = values[f"{ours}_latency_max"] = latency
            values[f"{ours}_latency_avg"] = latency if operations else UNSAMPLED_AVERAGE
        found[name] = values
    return found
