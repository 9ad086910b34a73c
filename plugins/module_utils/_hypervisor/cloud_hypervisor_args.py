# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""The command line of cloud-hypervisor for one VM.  Pure; one builder for starts, check mode and info (cocoon defect Q19)."""

from __future__ import annotations

import typing as t

# image_type and sparse need it, and older ones write to raw disks that they do not know (cloud-hypervisor contract 1.5.4, 7).
OLDEST_VERSION = (51, 0)


class Machine(t.NamedTuple):
    """What a VM's command line is made of: paths on the host, sizes in bytes."""

    name: str
    api_socket: str
    kernel: str
    initramfs: str
    layers: list[str]
    cow: str
    seed: str | None
    cpus: int
    memory: int
    nics: list[dict[str, t.Any]]
    hostname: str
    console_log: str


def arguments(machine: Machine) -> list[str]:
    """Return the arguments after the program's name; one occurrence of each flag, as every version since 36 takes them."""
    argv = ["--api-socket", f"path={_quoted(machine.api_socket)}" if "," in machine.api_socket else machine.api_socket]
    argv += ["--kernel", machine.kernel, "--initramfs", machine.initramfs, "--cmdline", kernel_command_line(machine)]
    argv += ["--cpus", f"boot={machine.cpus}", "--memory", f"size={machine.memory}"]
    argv += ["--disk", *_disks(machine)]
    if machine.nics:
        argv += ["--net", *[_net(nic, number) for number, nic in enumerate(machine.nics)]]
    argv += ["--balloon", "size=0,deflate_on_oom=on,free_page_reporting=on"]
    argv += ["--serial", f"file={_quoted(machine.console_log)}", "--console", "pty"]
    return argv


def kernel_command_line(machine: Machine) -> str:
    """Return the kernel parameters that cocoon's images boot by (cocoon contract 3, 4.5; cloud-hypervisor contract 6.3)."""
    serials = ",".join(f"cocoon-layer{number}" for number in reversed(range(len(machine.layers))))
    # The last console is /dev/console; the first one is the log that we keep.
    words = ["console=ttyS0", "console=hvc0", "loglevel=3", "boot=cocoon-overlay", f"cocoon.layers={serials}", "cocoon.cow=cocoon-cow"]
    words += ["clocksource=kvm-clock", "rw", "net.ifnames=0", f"cocoon.hostname={machine.hostname}"]
    words += [_ip(nic, number, machine.hostname) for number, nic in enumerate(machine.nics) if nic.get("ip_address")]
    return " ".join(words)


def netmask(prefix: int) -> str:
    """Return a prefix length as a dotted netmask."""
    bits = (0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF
    return ".".join(str(bits >> shift & 255) for shift in (24, 16, 8, 0))


def _disks(machine: Machine) -> list[str]:
    disks = [f"path={_quoted(path)},readonly=on,image_type=raw,serial=cocoon-layer{number}" for number, path in enumerate(machine.layers)]
    disks.append(f"path={_quoted(machine.cow)},image_type=raw,sparse=on,serial=cocoon-cow")
    if machine.seed:
        disks.append(f"path={_quoted(machine.seed)},readonly=on,image_type=raw,serial=cocoon-cidata")
    return disks


def _net(nic: dict[str, t.Any], number: int) -> str:
    return f"tap={nic['tap']},mac={nic['mac_address']},id=net{number},num_queues=2,queue_size=256"


def _ip(nic: dict[str, t.Any], number: int, hostname: str) -> str:
    dns = "".join([f":{server}" for server in nic.get("dns") or [] if ":" not in server][:2])
    return f"ip={nic['ip_address']}::{nic.get('gateway') or ''}:{netmask(nic['prefix'])}:{hostname}:eth{number}:off{dns}"


def _quoted(value: str) -> str:
    """Quote a value that would end at a comma or bracket (cloud-hypervisor contract 1.3)."""
    return '"' + value.replace('"', '""') + '"' if any(sign in value for sign in ',[]"') else value
