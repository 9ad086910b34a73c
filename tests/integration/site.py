# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with an image and a network on it, and the collection's modules to run there: the same for Macs and Linux hosts."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
from typing import Any

from tests.integration.controller import Ansible, Result
from tests.lab import Host, Lab, registry

IMAGES = {"linux": f"{registry.address()}/lab/guest", "mac": f"{registry.address()}/lab/tart-guest"}
SSH = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10"]


def ok(result: Result) -> Result:
    """Return a result that is no failure; fail with all of it otherwise."""
    assert result.status == "ok", result.data
    return result


@dataclasses.dataclass(frozen=True)
class Site:
    """One host of the lab."""

    lab: Lab
    host: Host
    ansible: Ansible

    @property
    def kind(self) -> str:
        """linux or mac."""
        return self.host.kind

    @property
    def image(self) -> str:
        """The guest image of the lab in the form that this host takes."""
        return f"{IMAGES[self.kind]}:1"

    @property
    def root(self) -> str:
        """Where the collection keeps its records on the host."""
        return "/var/lib/cocoon" if self.kind == "linux" else "/Users/admin/.cocoon"

    @property
    def key(self) -> str:
        """A public key whose owner the tests are."""
        return (pathlib.Path(self.lab.ssh_config).parent / "id_ed25519.pub").read_text(encoding="ascii").strip()

    def prepare(self) -> None:
        """Bring image and network to the host."""
        ok(self.run("cocoon_image", name=self.image, insecure=True))
        ok(self.run("cocoon_net", name="lab"))

    def run(self, module: str, check: bool = False, diff: bool = False, **options: Any) -> Result:
        """Run a module by its short name, as an ad hoc command."""
        return self.ansible.adhoc(self.host.name, module, options, check=check, diff=diff).on(self.host.name)

    def vm(self, *names: str, check: bool = False, diff: bool = False, **options: Any) -> Result:
        """Run cocoon_vm for some VMs."""
        return self.run("cocoon_vm", check=check, diff=diff, vms=[{"name": name} for name in names], **options)

    def started(self, *names: str, check: bool = False, diff: bool = False, **options: Any) -> Result:
        """Have VMs run, made from the lab's guest."""
        wished = {"image": self.image, "networks": [{"name": "lab"}], "cpus": 1, "memory": "192M", "ssh_authorized_keys": [self.key], **options}
        if self.kind == "linux":
            wished.setdefault("disk_size", "64M")
        return self.vm(*names, check=check, diff=diff, state="started", **wished)

    def info(self) -> dict[str, dict[str, Any]]:
        """Return cocoon_vm_info by name."""
        return {vm["name"]: vm for vm in self.run("cocoon_vm_info")["vms"]}

    def shell(self, command: str) -> str:
        """Run a command on the host as root and return what it prints."""
        words = command if self.kind == "linux" else f"sudo sh -c '{command}'"
        done = self.host.run(words)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return str(done.stdout)

    def guest(self, address: str, command: str) -> str:
        """Run a command in a guest over SSH through its host, and return what it prints."""
        jump = f"ssh -F {self.lab.ssh_config} -W %h:%p {self.host.name}"
        key = pathlib.Path(self.lab.ssh_config).parent / "id_ed25519"
        words = ["ssh", *SSH, "-i", str(key), "-o", f"ProxyCommand={jump}", f"root@{address}", command]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{command} in {address}: {done.stderr}"
        return done.stdout

    def leftovers(self) -> list[str]:
        """Return what of VMs is left on a host that should have none: processes, records, namespaces, addresses."""
        commands = {
            "linux": "ls /var/lib/cocoon/vms; ip netns list | cut -d\" \" -f1; pgrep -a cloud-hypervis; pgrep -a qemu;"
            " find /var/lib/cni/networks/lab -name \"[0-9]*\" -printf \"lease %f\\n\"; ip -o link show type veth | grep -o \"veth[0-9a-f]*\"",
            "mac": "ls /Users/admin/.cocoon/vms /Users/admin/.tart/vms; /bin/ps -axww -o command= | grep -E \"^qemu|tart run\" | grep -v grep",
        }
        found = self.host.run(commands[self.kind]).stdout.split("\n")
        return [line for line in found if line.strip() and not line.endswith(":")]
