# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The semantic rules of a configuration, in the order and the words of the real program (contract 1.6)."""
from __future__ import annotations

import os

from .errors import Failure

MAX_CPUS = 8192
MAX_SEGMENTS = 96
SERIAL_LENGTH = 20
SPECIAL_CIDS = (0, 1, 2, 0xFFFFFFFF)


def payload(config: dict) -> None:
    """A kernel or a firmware, not both; a firmware takes no command line and no initramfs."""
    given = config.get("payload") or {}
    if given.get("firmware") is not None and given.get("kernel") is not None:
        raise Failure("Payload configuration is not bootable", "Specifying a kernel is not supported when a firmware is provided")
    if given.get("firmware") is None and given.get("kernel") is None:
        raise Failure("Payload configuration is not bootable", "No bootitem provided: neither firmware nor kernel")
    if given.get("firmware") is not None:
        given["cmdline"] = given["initramfs"] = None


def _shared(config: dict) -> bool:
    memory = config["memory"]
    if memory["shared"] or memory["hugepages"]:
        return True
    return memory["size"] == 0 and all(zone["shared"] or zone["hugepages"] for zone in memory["zones"] or [])


def total_memory(config: dict) -> int:
    """RAM of the guest: size, zones and what was plugged."""
    zones = config["memory"].get("zones") or []
    sizes = [config["memory"]["size"], config["memory"].get("hotplugged_size") or 0]
    return sum(sizes) + sum(zone["size"] + (zone.get("hotplugged_size") or 0) for zone in zones)


class Rules:
    """Checks one configuration; collects the identifiers on the way."""

    def __init__(self, config: dict) -> None:
        self.config = config
        self.ids: set = set()

    def identifier(self, name: str | None) -> None:
        """Unique, and not one of the program's own."""
        if name is None:
            return
        if name.startswith("__"):
            raise Failure(f"Identifier {name} is not invalid")
        if name in self.ids:
            raise Failure(f"Identifier {name} is not unique")
        self.ids.add(name)

    def pci(self, device: dict) -> None:
        """Segment and slot."""
        platform = self.config.get("platform") or {}
        segment = device.get("pci_segment") or 0
        if segment >= platform.get("num_pci_segments", 1):
            raise Failure(f"Invalid PCI segment id: {segment}")
        if segment in (platform.get("iommu_segments") or []) and not device.get("iommu"):
            raise Failure(f"Device is on an IOMMU PCI segment ({segment}) but not placed behind IOMMU")
        slot = device.get("pci_device_id")
        if slot is not None and slot >= 32:
            raise Failure(f"Given PCI device ID ({slot}) is out of the supported range of 0..32")
        if slot == 0:
            raise Failure(f"Given PCI device ID ({slot}) is reserved")

    def device(self, device: dict) -> None:
        """What holds for every PCI device."""
        self.pci(device)
        self.identifier(device.get("id"))
        self.config["iommu"] = bool(self.config.get("iommu") or device.get("iommu"))

    def _queues(self, used: int, shown: int) -> None:
        boot = self.config["cpus"]["boot_vcpus"]
        if used > boot:
            raise Failure(f"Queue count ({shown}) must not exceed boot vCPUs ({boot})")

    @staticmethod
    def _queue_size(size: int) -> None:
        if size == 0 or size & (size - 1):
            raise Failure(f"Queue size must be a power of 2 no greater than 32768: {size}")

    def _vhost_user(self, device: dict) -> None:
        if device["vhost_user"] and not _shared(self.config):
            raise Failure("Using vhost-user requires using shared memory or huge pages")
        if device["vhost_user"] and device["vhost_socket"] is None:
            raise Failure("No socket provided when using vhost-user")
        if device["vhost_user"] and (device.get("rate_limiter_config") or device.get("rate_limit_group")):
            raise Failure("Rate limiting is not supported with vhost-user")
        if device["vhost_user"] and device.get("iommu"):
            raise Failure("Device does not support being placed behind IOMMU")

    def cpus(self) -> None:
        """Numbers of CPUs."""
        boot, most = self.config["cpus"]["boot_vcpus"], self.config["cpus"]["max_vcpus"]
        if most < boot:
            raise Failure(f"Max CPUs ({most}) lower than boot CPUs ({boot})")
        if most > MAX_CPUS:
            raise Failure(f"Too many CPUs: specified {most} but {MAX_CPUS} is the limit")

    def topology(self) -> None:
        """The product of the parts is the maximum."""
        parts = self.config["cpus"].get("topology")
        if not parts:
            return
        values = list(parts.values())
        if 0 in values:
            raise Failure("No part of the CPU topology can be zero")
        if parts["threads_per_core"] > 2:
            raise Failure("CPU topology supports at most 2 threads per core")
        product = 1
        for value in values:
            product *= value
        if product != self.config["cpus"]["max_vcpus"]:
            raise Failure("Product of CPU topology parts does not match maximum vCPU")

    def groups(self) -> None:
        """Rate limit groups."""
        for group in self.config.get("rate_limit_groups") or []:
            limiter = group["rate_limiter_config"]
            if not (limiter.get("bandwidth") or limiter.get("ops")) or not group["id"]:
                raise Failure("Invalid rate-limiter group")
            self.identifier(group["id"])

    def disks(self) -> None:
        """Block devices."""
        known = {group["id"] for group in self.config.get("rate_limit_groups") or []}
        for disk in self.config.get("disks") or []:
            if disk["vhost_socket"] is not None and disk["path"] is not None:
                raise Failure("Disk path and vhost socket both provided")
            self._vhost_user(disk)
            if disk["rate_limit_group"] is not None and disk["rate_limit_group"] not in known:
                raise Failure("Invalid rate-limiter group")
            self.pci(disk)
            self._queues(disk["num_queues"], disk["num_queues"])
            self._queue_size(disk["queue_size"])
            if disk["queue_size"] <= 2:
                raise Failure(f"Block queue size must be greater than 2: {disk['queue_size']}")
            if disk["rate_limiter_config"] and disk["rate_limit_group"]:
                raise Failure("Invalid rate-limiter group")
            length = len((disk["serial"] or "").encode())
            if length > SERIAL_LENGTH:
                raise Failure(f"Block device serial length ({length}) exceeds maximum allowed length ({SERIAL_LENGTH})")
            self.device(disk)

    def nets(self) -> None:
        """Network devices."""
        for net in self.config.get("net") or []:
            self._vhost_user(net)
            self.pci(net)
            self._net_queues(net)
            if net["mtu"] is not None and net["mtu"] < 1280:
                raise Failure(f"Provided MTU {net['mtu']} is lower than 1280 (expected by VIRTIO specification)")
            if not net["offload_csum"] and (net["offload_tso"] or net["offload_ufo"]):
                raise Failure('"offload_tso" and "offload_ufo" depend on "offload_csum"')
            if net["mask"] is not None and net["ip"] is None:
                raise Failure("Mask provided without an IP")
            if net["ip"] is not None and net["mask"] is None:
                raise Failure("IP provided without a mask")
            self.device(net)

    def _net_queues(self, net: dict) -> None:
        count, fds = net["num_queues"], net["fds"]
        if count < 2:
            raise Failure(f"Number of queues ({count}) to virtio_net should be higher than 2")
        if fds is not None:
            if 2 * len(fds) != count:
                raise Failure(f"Number of queues ({count}) to virtio_net does not match the number of FDs ({2 * len(fds)})")
            for number in fds:
                if number <= 2:
                    raise Failure(f"Reserved fd number (<= 2): {number}")
        self._queues(count // 2, count)
        self._queue_size(net["queue_size"])

    def shared_devices(self) -> None:
        """Devices that need shared memory."""
        for name in ("fs", "generic_vhost_user"):
            for device in self.config.get(name) or []:
                if not _shared(self.config):
                    raise Failure("Using vhost-user requires using shared memory or huge pages")
                if name == "fs":
                    self._queues(device["num_queues"], device["num_queues"])
                    self._queue_size(device["queue_size"])
                if device.get("iommu"):
                    raise Failure("Device does not support being placed behind IOMMU")
                self.device(device)

    def memory(self) -> None:
        """Huge pages and sharing."""
        memory = self.config["memory"]
        if memory["hugepage_size"] is not None:
            if not memory["hugepages"]:
                raise Failure("Huge page size specified but huge pages not enabled")
            if memory["hugepage_size"] == 0 or memory["hugepage_size"] & (memory["hugepage_size"] - 1):
                raise Failure(f"Huge page size is not power of 2: {memory['hugepage_size']}")
        for part in [memory] + (memory["zones"] or []):
            if part["shared"] and part.get("mergeable"):
                raise Failure("Invalid to set both 'mergeable' and 'shared' for memory")

    def late_devices(self) -> None:
        """vfio-user, vDPA, balloon, VFIO, vsock."""
        for device in self.config.get("user_devices") or []:
            if not _shared(self.config):
                raise Failure("Using user devices requires using shared memory or huge pages")
            self.device(device)
        for device in self.config.get("vdpa") or []:
            self.device(device)
        vsock, balloon = self.config.get("vsock"), self.config.get("balloon")
        if vsock and vsock["cid"] in SPECIAL_CIDS:
            raise Failure(f"{vsock['cid']} is a special VSOCK CID")
        if balloon:
            self.device(balloon)
            ram = total_memory(self.config)
            if balloon["size"] >= ram:
                raise Failure(f"Balloon size ({balloon['size']}) greater than RAM ({ram})")
        self._vfio()
        if vsock:
            self.device(vsock)

    def _vfio(self) -> None:
        paths: set = set()
        for device in self.config.get("devices") or []:
            path = device["path"]
            if path is not None and path in paths:
                raise Failure(f"Duplicated device path: {path}")
            paths.add(path)
            if path is None and device.get("fd") is None:
                raise Failure("VFIO device config must specify `path=` or `fd=`")
            if path is not None and device.get("fd") is not None:
                raise Failure("VFIO device config must specify at most one of `path=` or `fd=`")
            if path is None and (self.config.get("platform") or {}).get("iommufd_fd") is None:
                raise Failure("VFIO device `fd=` requires platform `iommufd_fd=<fd>`")
            self.device(device)

    def numa(self) -> None:
        """A node has a device or CPUs and memory; zones belong to one node."""
        owner: dict = {}
        for node in self.config.get("numa") or []:
            if node["device_id"] is None and node["cpus"] is None and node["memory_zones"] is None:
                raise Failure("Invalid NUMA configuration: numa config must specify either device_id or cpus/memory_zones")
            for zone in node["memory_zones"] or []:
                if zone in owner:
                    raise Failure(f"Memory zone: {zone} belongs to multiple NUMA nodes: {owner[zone]} and {node['guest_numa_id']}")
                owner[zone] = node["guest_numa_id"]

    def platform(self) -> None:
        """Segments and iommufd."""
        platform = self.config.get("platform")
        for zone in self.config["memory"]["zones"] or []:
            self.identifier(zone["id"])
        for segment in self.config.get("pci_segments") or []:
            self.pci({"pci_segment": segment["pci_segment"], "iommu": True})
        if not platform:
            return
        count = platform["num_pci_segments"]
        if not 0 < count <= MAX_SEGMENTS:
            raise Failure(f"Number of PCI segments ({count}) not in range of 1 to {MAX_SEGMENTS}")
        for segment in platform["iommu_segments"] or []:
            if segment >= count:
                raise Failure(f"Invalid PCI segment id: {segment}")
        if platform.get("iommufd_fd") is not None and not platform.get("iommufd"):
            raise Failure("Platform `iommufd_fd=<fd>` requires `iommufd=on`")
        self.config["iommu"] = bool(self.config["iommu"] or platform["iommu_segments"] is not None)

    def landlock(self) -> None:
        """Paths exist, access is r, w or both."""
        for rule in self.config.get("landlock_rules") or []:
            if not os.path.exists(rule["path"]):
                raise Failure(f'Path "{rule["path"]}" provided in landlock-rules does not exist')
            if not rule["access"] or set(rule["access"]) - set("rw"):
                raise Failure(f"Invalid landlock access: {rule['access']}")


def check(config: dict) -> set:
    """Raise Failure for the first rule that is broken; return the identifiers in use."""
    payload(config)
    for name in ("console", "serial"):
        if config[name]["mode"] == "File" and config[name]["file"] is None:
            raise Failure("Path missing when using file console mode")
    rules = Rules(config)
    rules.cpus()
    rules.groups()
    rules.disks()
    rules.nets()
    rules.shared_devices()
    for device in (config.get("pmem") or []) + [config["rng"]] + ([config["rtc"]] if config.get("rtc") else []) + [config["console"]]:
        rules.device(device)
    rules.topology()
    rules.memory()
    rules.late_devices()
    rules.numa()
    rules.platform()
    rules.landlock()
    return rules.ids
