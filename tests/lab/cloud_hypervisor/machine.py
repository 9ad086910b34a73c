# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the QEMU child (contract 9.3).

The machine is `pc`, not q35: its bus 0 takes ACPI hot-plug in every slot, as the bus of cloud-hypervisor does, so the addresses
in the guest are the ones that `vm.info` shows and devices of the start can be unplugged too. Slot 1 holds the chipset there; what
cloud-hypervisor has in slot 1 sits in slot 31.
"""
from __future__ import annotations

import json
import os

from . import validation

PROGRAM = "qemu-system-x86_64"
CHIPSET_SLOT, SPARE_SLOT = 1, 31
MEMORY_SLOTS = 8
QEMU_CPUS = 255


def place(slot: int) -> str:
    """QEMU's address for a slot."""
    return hex(SPARE_SLOT if slot == CHIPSET_SLOT else slot)


def quote(text: str) -> str:
    """A value in QEMU's option syntax."""
    return text.replace(",", ",,")


def disk_nodes(node: str, disk) -> list[dict]:
    """The block nodes of an image; QEMU's own locks stay off, the lock is ours."""
    config = disk.config
    cache = {"direct": bool(config["direct"]), "no-flush": False}
    common = {"read-only": bool(config["readonly"]), "cache": cache, "discard": "unmap" if config["sparse"] else "ignore"}
    file_node = {"driver": "host_device" if _is_block(config["path"]) else "file", "node-name": f"{node}-file",
                 "filename": os.path.abspath(config["path"]), "locking": "off", **common}
    return [file_node, {"driver": disk.qemu_format, "node-name": node, "file": f"{node}-file", **common}]


def _is_block(path: str) -> bool:
    import stat  # pylint: disable=import-outside-toplevel
    return stat.S_ISBLK(os.stat(path).st_mode)


def disk_device(node: str, config: dict, slot: int) -> dict:
    """The virtio block device over a node."""
    device = {"driver": "virtio-blk-pci-non-transitional", "id": f"dev-{node}", "drive": node, "addr": place(slot),
              "num-queues": max(1, config["num_queues"]), "queue-size": min(1024, config["queue_size"])}
    if config["serial"]:
        device["serial"] = config["serial"]
    return device


def net_device(node: str, config: dict, slot: int, tap) -> dict:
    """The virtio network device over a tap."""
    device = {"driver": "virtio-net-pci-non-transitional", "id": f"dev-{node}", "netdev": node, "mac": config["mac"],
              "addr": place(slot), "romfile": ""}
    pairs = len(tap.fds)
    if pairs > 1:
        device.update(mq=True, vectors=2 * pairs + 2)
    if tap.mtu and tap.mtu >= 1280:
        device["host_mtu"] = tap.mtu
    if not config["offload_csum"]:
        device.update(csum=False, guest_csum=False)
    if not config["offload_tso"]:
        device.update(host_tso4=False, host_tso6=False, guest_tso4=False, guest_tso6=False)
    if not config["offload_ufo"]:
        device.update(host_ufo=False, guest_ufo=False)
    return device


class Builder:
    """Collects arguments and the descriptors that QEMU inherits."""

    def __init__(self, config: dict, accel: str) -> None:
        self.config = config
        self.args = [PROGRAM, "-no-user-config", "-nodefaults", "-display", "none", "-machine",
                     "pc,usb=off,vmport=off,hpet=off", "-accel", accel, "-cpu", "max"]
        self.fds: list[int] = []
        self.copies: list[int] = []

    def add(self, *args: str) -> None:
        """Append arguments."""
        self.args += args

    def device(self, properties: dict) -> None:
        """A device in JSON."""
        self.add("-device", json.dumps(properties))

    def inherit(self, fd: int) -> int:
        """Pass a descriptor on; QEMU sees it under the same number."""
        self.fds.append(fd)
        return fd

    def basics(self) -> None:
        """CPUs, memory, what happens at the end of a guest."""
        cpus, memory = self.config["cpus"], self.config["memory"]
        boot = max(1, min(cpus["boot_vcpus"], QEMU_CPUS))
        self.add("-smp", f"cpus={boot},maxcpus={max(boot, min(cpus['max_vcpus'], QEMU_CPUS))}")
        size = validation.total_memory(self.config)
        room = f",slots={MEMORY_SLOTS},maxmem={size + memory['hotplug_size']}B" if memory["hotplug_size"] else ""
        self.add("-m", f"size={size}B{room}")
        self.add("-action", "reboot=shutdown,shutdown=poweroff,panic=none,watchdog=reset")
        if cpus["boot_vcpus"] == 0:
            self.add("-S")

    def payload(self) -> None:
        """A kernel is loaded directly; in place of a firmware stands QEMU's own, which boots the first disk."""
        payload = self.config["payload"]
        if payload.get("kernel") is None:
            return
        self.add("-kernel", payload["kernel"])
        if payload.get("initramfs") is not None:
            self.add("-initrd", payload["initramfs"])
        if payload.get("cmdline"):
            self.add("-append", payload["cmdline"])

    def channel(self, name: str, fd: int) -> str:
        """A character device on an inherited socket."""
        self.add("-chardev", f"socket,id={name},fd={self.inherit(fd)}")
        return name

    def monitor(self, fd: int) -> None:
        """QMP."""
        self.add("-mon", f"chardev={self.channel('qmp', fd)},mode=control")

    def chardev(self, name: str, console) -> None:
        """The backend of a console: a file, our end of a socket pair, or nothing."""
        if console.guest_fd is not None:
            self.channel(name, console.guest_fd)
        elif console.path is not None:
            self.add("-chardev", f"file,id={name},path={quote(console.path)}")
        else:
            self.add("-chardev", f"null,id={name}")

    def smbios(self) -> None:
        """Strings of the platform."""
        platform = self.config.get("platform") or {}
        keys = (("system_manufacturer", "manufacturer"), ("system_product_name", "product"), ("system_version", "version"),
                ("system_serial_number", "serial"), ("system_uuid", "uuid"), ("system_sku_number", "sku"), ("system_family", "family"))
        given = [f"{theirs}={quote(platform[ours])}" for ours, theirs in keys if platform.get(ours)]
        if given:
            self.add("-smbios", ",".join(["type=1"] + given))
        if platform.get("chassis_asset_tag"):
            self.add("-smbios", f"type=3,asset={quote(platform['chassis_asset_tag'])}")
        for text in platform.get("oem_strings") or []:
            self.add("-smbios", f"type=11,value={quote(text)}")

    def rng(self, slot: int) -> None:
        """Entropy."""
        self.add("-object", f"rng-random,id=entropy,filename={quote(self.config['rng']['src'])}")
        self.device({"driver": "virtio-rng-pci-non-transitional", "id": "rng", "rng": "entropy", "addr": place(slot)})

    def balloon(self, slot: int) -> None:
        """Balloon."""
        balloon = self.config["balloon"]
        self.device({"driver": "virtio-balloon-pci-non-transitional", "id": "balloon", "addr": place(slot),
                     "deflate-on-oom": balloon["deflate_on_oom"], "free-page-reporting": balloon["free_page_reporting"]})

    def console(self, slot: int) -> None:
        """hvc0."""
        self.device({"driver": "virtio-serial-pci-non-transitional", "id": "console", "addr": place(slot)})
        self.device({"driver": "virtconsole", "chardev": "console0", "bus": "console.0"})

    def disk(self, node: str, disk, slot: int) -> None:
        """A block device."""
        for part in disk_nodes(node, disk):
            self.add("-blockdev", json.dumps(part))
        self.device(disk_device(node, disk.config, slot))

    def net(self, node: str, config: dict, tap, slot: int) -> None:
        """A network device."""
        copies = [os.dup(fd) for fd in tap.fds]
        self.copies += copies
        fds = [str(self.inherit(fd)) for fd in copies]
        self.add("-netdev", f"tap,id={node}," + (f"fd={fds[0]}" if len(fds) == 1 else f"fds={':'.join(fds)}"))
        self.device(net_device(node, config, slot, tap))
