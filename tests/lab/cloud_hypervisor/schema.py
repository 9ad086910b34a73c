# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration's structures: one table for the command line's keys, the API's JSON and its defaults (contract 1.5 and 2.3)."""
from __future__ import annotations

REQUIRED = object()


class Enum:
    """A set of values with a command line spelling and a JSON spelling each."""

    def __init__(self, **spellings: str) -> None:
        self.from_cli = {key.replace("_", "-"): value for key, value in spellings.items()}
        self.values = list(dict.fromkeys(spellings.values()))


class Struct:
    """A nested structure, or a list of them."""

    def __init__(self, name: str, many: bool = False) -> None:
        self.name = name
        self.many = many


class Field:
    """One field: its JSON name, kind, default, key on the command line and the release that brought it."""

    def __init__(self, name: str, kind, default=None, cli: str | None = "", since: int = 0, before: str = "") -> None:
        self.name = name
        self.kind = kind
        self.default = default
        self.cli = name if cli == "" else cli
        self.since = since
        self.before = before  # the JSON name up to v52


HOTPLUG = Enum(acpi="Acpi", **{"virtio-mem": "VirtioMem"})
SCHEDULING = Enum(vm="Vm", vcpu="Vcpu", off="Off")
PROFILE = Enum(host="Host")
MODE = Enum(off="Off", pty="Pty", tty="Tty", file="File", socket="Socket", null="Null")
IMAGE = Enum(raw="Raw", qcow2="Qcow2", vhd="FixedVhd", vhdx="Vhdx")
IMAGE.values.append("Unknown")
LOCKS = Enum(**{"byte-range": "ByteRange", "full": "Full"})
VHOST = Enum(client="Client", server="Server")
RESTORE = Enum(copy="Copy", ondemand="OnDemand")

PCI = [
    Field("id", "str"), Field("iommu", "bool", False), Field("pci_segment", "u16", 0), Field("pci_device_id", "u8", since=52),
]
PCI_KEYS = ("id", "iommu", "pci_segment", "pci_device_id")

STRUCTS: dict = {
    "cpus": [
        Field("boot_vcpus", "u32", REQUIRED, "boot"), Field("max_vcpus", "u32", REQUIRED, "max"),
        Field("topology", Struct("topology"), None, "topology"), Field("kvm_hyperv", "bool", False),
        Field("max_phys_bits", "u8", 46), Field("affinity", Struct("cpu_affinity", True), None, "affinity"),
        Field("features", Struct("features"), {"amx": False}, "features"), Field("nested", "bool", True),
        Field("core_scheduling", SCHEDULING, "Vm", since=52), Field("profile", PROFILE, "Host", since=53),
    ],
    "topology": [Field(name, "u16", REQUIRED) for name in ("threads_per_core", "cores_per_die", "dies_per_package", "packages")],
    "cpu_affinity": [Field("vcpu", "u32", REQUIRED), Field("host_cpus", "ints", REQUIRED)],
    "features": [Field("amx", "bool", False)],
    "memory": [
        Field("size", "size", REQUIRED), Field("mergeable", "bool", False), Field("hotplug_method", HOTPLUG, "Acpi"),
        Field("hotplug_size", "size"), Field("hotplugged_size", "size"), Field("shared", "bool", False),
        Field("hugepages", "bool", False), Field("hugepage_size", "size"), Field("prefault", "bool", False),
        Field("reserve", "bool", False, since=53), Field("zones", Struct("zone", True), None, None), Field("thp", "bool", True),
    ],
    "zone": [
        Field("id", "str", REQUIRED), Field("size", "size", REQUIRED), Field("file", "str"), Field("shared", "bool", False),
        Field("hugepages", "bool", False), Field("hugepage_size", "size"), Field("host_numa_node", "u32"),
        Field("hotplug_size", "size"), Field("hotplugged_size", "size"), Field("prefault", "bool", False),
        Field("reserve", "bool", False, since=53), Field("mergeable", "bool", False, since=52),
    ],
    "payload": [Field(name, "str", None, None) for name in ("firmware", "kernel", "cmdline", "initramfs")],
    "rate_limit_groups": [Field("id", "str", REQUIRED), Field("rate_limiter_config", Struct("rate_limiter"), REQUIRED, None)],
    "rate_limiter": [Field("bandwidth", Struct("bucket")), Field("ops", Struct("bucket"))],
    "bucket": [Field("size", "u64", REQUIRED), Field("one_time_burst", "u64"), Field("refill_time", "u64", REQUIRED)],
    "disks": PCI + [
        Field("path", "str"), Field("readonly", "bool", False), Field("direct", "bool", False), Field("num_queues", "usize", 1),
        Field("queue_size", "u16", 128), Field("vhost_user", "bool", False), Field("vhost_socket", "str", None, "socket"),
        Field("rate_limit_group", "str"), Field("rate_limiter_config", Struct("rate_limiter"), None, None),
        Field("disable_io_uring", "bool", False, "_disable_io_uring"), Field("disable_aio", "bool", False, "_disable_aio"),
        Field("serial", "str"), Field("queue_affinity", Struct("queue_affinity", True), None, "queue_affinity"),
        Field("backing_files", "bool", False), Field("sparse", "bool", True), Field("image_type", IMAGE, "Unknown"),
        Field("lock_granularity", LOCKS, "ByteRange", since=52),
    ],
    "queue_affinity": [Field("queue_index", "u16", REQUIRED), Field("host_cpus", "ints", REQUIRED)],
    "net": PCI + [
        Field("tap", "str"), Field("ip", "ip"), Field("mask", "ip"), Field("mac", "mac"), Field("host_mac", "mac"),
        Field("mtu", "u16"), Field("num_queues", "usize", 2), Field("queue_size", "u16", 256), Field("vhost_user", "bool", False),
        Field("vhost_socket", "str", None, "socket"), Field("vhost_mode", VHOST, "Client"), Field("fds", "ints", None, "fd"),
        Field("rate_limiter_config", Struct("rate_limiter"), None, None), Field("offload_tso", "bool", True),
        Field("offload_ufo", "bool", True), Field("offload_csum", "bool", True),
    ],
    "rng": PCI + [Field("src", "str", "/dev/urandom")],
    "balloon": PCI + [Field("size", "size", REQUIRED), Field("deflate_on_oom", "bool", False), Field("free_page_reporting", "bool", False)],
    "fs": PCI + [
        Field("tag", "str", REQUIRED), Field("socket", "str", REQUIRED), Field("num_queues", "usize", 1), Field("queue_size", "u16", 1024),
    ],
    "generic_vhost_user": PCI + [
        Field("socket", "str", REQUIRED), Field("device_type", "u32", REQUIRED), Field("queue_sizes", "ints", REQUIRED),
    ],
    "pmem": PCI + [Field("file", "str", REQUIRED), Field("size", "size"), Field("discard_writes", "bool", False)],
    "serial": [Field("mode", MODE, REQUIRED, None), Field("file", "str"), Field("socket", "str")],
    "console": [Field("mode", MODE, REQUIRED, None), Field("file", "str"), Field("socket", "str")] + PCI,
    "debug_console": [Field("mode", MODE, REQUIRED, None), Field("file", "str"), Field("iobase", "u16", 233)],
    "devices": PCI + [
        Field("path", "str"), Field("fd", "i32", since=53), Field("x_nv_gpudirect_clique", "u8"),
        Field("x_exclude_mmap_bars", "ints", [], since=52),
    ],
    "user_devices": PCI + [Field("socket", "str", REQUIRED)],
    "vdpa": PCI + [Field("path", "str", REQUIRED), Field("num_queues", "usize", 1)],
    "vsock": PCI + [Field("cid", "u32", REQUIRED), Field("socket", "str", REQUIRED)],
    "rtc": PCI,
    "numa": [
        Field("guest_numa_id", "u32", REQUIRED), Field("cpus", "ints"), Field("distances", Struct("distance", True), None, "distances"),
        Field("memory_zones", "strs"), Field("pci_segments", "ints"), Field("device_id", "str"),
    ],
    "distance": [Field("destination", "u32", REQUIRED), Field("distance", "u8", REQUIRED)],
    "pci_segments": [Field("pci_segment", "u16", 0), Field("mmio32_aperture_weight", "u32", 1), Field("mmio64_aperture_weight", "u32", 1)],
    "platform": [
        Field("num_pci_segments", "u16", 1), Field("iommu_segments", "ints"),
        Field("iommu_address_width_bits", "u8", 64, "iommu_address_width"),
        Field("system_serial_number", "str", before="serial_number"), Field("system_uuid", "str", before="uuid"),
        Field("oem_strings", "strs"), Field("system_manufacturer", "str", since=53), Field("system_product_name", "str", since=53),
        Field("system_version", "str", since=53), Field("system_family", "str", since=53), Field("system_sku_number", "str", since=53),
        Field("chassis_asset_tag", "str", since=53), Field("iommufd", "bool", False, since=52), Field("iommufd_fd", "i32", since=53),
        Field("vfio_p2p_dma", "bool", True, since=52),
    ],
    "tpm": [Field("socket", "str", REQUIRED)],
    "landlock_rules": [Field("path", "str", REQUIRED), Field("access", "str", REQUIRED)],
    "net_fds": [Field("id", "str", REQUIRED), Field("num_fds", "usize", 0), Field("fds", "ints")],
    "restore": [
        Field("source_url", "str", REQUIRED), Field("prefault", "bool", False),
        Field("memory_restore_mode", RESTORE, "Copy", since=52), Field("net_fds", Struct("net_fds", True), None, "net_fds"),
        Field("resume", "bool", False, since=52),
    ],
    "resize": [Field("desired_vcpus", "u32"), Field("desired_ram", "u64"), Field("desired_balloon", "u64")],
    "resize_disk": [Field("id", "str", REQUIRED), Field("desired_size", "u64", REQUIRED)],
    "resize_zone": [Field("id", "str", REQUIRED), Field("desired_ram", "u64", REQUIRED)],
    "remove_device": [Field("id", "str", REQUIRED)],
    "destination": [Field("destination_url", "str", REQUIRED)],
    "receiver": [Field("receiver_url", "str", REQUIRED)],
}

STRUCTS["vm"] = [
    Field("cpus", Struct("cpus"), {"boot_vcpus": 1, "max_vcpus": 1}), Field("memory", Struct("memory"), {"size": 512 << 20}),
    Field("payload", Struct("payload")), Field("rate_limit_groups", Struct("rate_limit_groups", True)),
    Field("disks", Struct("disks", True)), Field("net", Struct("net", True)), Field("rng", Struct("rng"), {}),
    Field("balloon", Struct("balloon")), Field("generic_vhost_user", Struct("generic_vhost_user", True), since=52),
    Field("fs", Struct("fs", True)), Field("pmem", Struct("pmem", True)), Field("serial", Struct("serial"), {"mode": "Null"}),
    Field("console", Struct("console"), {"mode": "Tty"}), Field("debug_console", Struct("debug_console"), {"mode": "Off"}),
    Field("devices", Struct("devices", True)), Field("user_devices", Struct("user_devices", True)), Field("vdpa", Struct("vdpa", True)),
    Field("vsock", Struct("vsock")), Field("pvpanic", "bool", False), Field("iommu", "bool", False),
    Field("numa", Struct("numa", True)), Field("watchdog", "bool", False), Field("rtc", Struct("rtc"), since=53),
    Field("pci_segments", Struct("pci_segments", True)), Field("platform", Struct("platform")), Field("tpm", Struct("tpm")),
    Field("landlock_enable", "bool", False), Field("landlock_rules", Struct("landlock_rules", True)),
]

PCI_STRUCTS = frozenset(name for name, fields in STRUCTS.items() if name != "vm" and any(field is PCI[1] for field in fields))
RUST_NAMES = {"vm": "VmConfig", "cpus": "CpusConfig", "memory": "MemoryConfig", "payload": "PayloadConfig", "disks": "DiskConfig",
              "net": "NetConfig", "rng": "RngConfig", "balloon": "BalloonConfig", "serial": "SerialConfig", "console": "ConsoleConfig"}


def fields_of(name: str, major: int) -> list[Field]:
    """The fields of a structure as one release knows them."""
    return [field for field in STRUCTS[name] if field.since <= major]
