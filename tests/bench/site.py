# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of the bench: the collection's modules on it, with VMs that do nothing."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Callable
from typing import Any

from tests.bench import images
from tests.bench.clock import Clock
from tests.lab import Host

MODULE = "cocoonstack.cocoon.cocoon_vm"
STATES = {"started": "running", "present": "stopped"}  # what VMs that were just made are
PING: dict[str, Any] = {"ansible.builtin.ping": {}}


def names(count: int) -> list[str]:
    """Names of VMs."""
    return [f"idle{number}" for number in range(1, count + 1)]


@dataclasses.dataclass(frozen=True)
class Bench:
    """One host, and Ansible to reach it."""

    host: Host
    ansible: Clock

    @property
    def kind(self) -> str:
        """linux or mac."""
        return self.host.kind

    def prepare(self) -> None:
        """Bring the image and a network to the host, and remove VMs of an earlier run."""
        self.now("cocoon_image", {"name": images.references()[self.kind], "insecure": True, "state": "latest"})
        self.now("cocoon_net", {"name": "bench"})
        left = [vm["name"] for vm in self.now("cocoon_vm_info", {})["vms"]]
        if left:
            self.vms(left, "absent", force=True)

    def now(self, module: str, options: dict[str, Any]) -> dict[str, Any]:
        """Run a module once and return its result; a failure ends the benchmark."""
        run = self.ansible.adhoc(self.host.name, f"cocoonstack.cocoon.{module}", options)
        result = run.on(self.host.name)
        if result.status != "ok":
            raise RuntimeError(f"{module} on {self.host.name}: {result.get('msg')}")
        return result.data

    def task(self, vms: list[str], state: str, **more: Any) -> dict[str, Any]:
        """A task of cocoon_vm with all that a user says of VMs."""
        options = {"state": state, "image": images.references()[self.kind], "networks": [{"name": "bench"}], "cpus": 1,
                   "memory": images.MEMORY, "vms": [{"name": name} for name in vms], **more}
        if self.kind == "linux":
            options["disk_size"] = "64M"
        return {MODULE: options}

    def vms(self, vms: list[str], state: str, **more: Any) -> dict[str, Any]:
        """Bring VMs to a state now."""
        return self.now("cocoon_vm", self.task(vms, state, **more)[MODULE])

    def bring(self, vms: list[str], state: str, say: Callable[[str], None]) -> None:
        """Bring many VMs to a state; what fails is shown and tried again, because it is not what is measured."""
        for _try in range(2):
            try:
                self.vms(vms, state)
                return
            except RuntimeError as error:
                say(f"  THIS FAILED and is tried again: {error}")
        self.vms(vms, state)

    def lease(self) -> None:
        """Give a Mac's running VMs the addresses that guests which do something would have asked for."""
        blocks = []
        for number, vm in enumerate(self.now("cocoon_vm_info", {})["vms"], start=2):
            address = ":".join(part.lstrip("0") or "0" for part in vm["mac_address"].split(":"))
            fields = {"name": vm["name"], "ip_address": f"192.168.64.{number}", "hw_address": f"1,{address}", "identifier": f"1,{address}",
                      "lease": hex(int(time.time()) + 86400)}
            blocks.append("{\n" + "".join(f"\t{key}={value}\n" for key, value in fields.items()) + "}\n")
        self.host.run("sudo tee /var/db/dhcpd_leases >/dev/null", stdin="".join(blocks), check=True)

    def put(self, files: dict[str, str], folder: str) -> None:
        """Write small files to the host over SSH."""
        for name, text in files.items():
            self.host.run(f"mkdir -p {folder} && cat >{folder}/{name}", stdin=text, check=True)

    def unpack(self, archive: bytes, folder: str) -> None:
        """Unpack a tar archive on the host over SSH."""
        command = self.host.ssh(self.host.name, "--", f"mkdir -p {folder} && tar -C {folder} -xf -")
        subprocess.run(command, input=archive, check=True, timeout=60)
