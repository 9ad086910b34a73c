# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""The cloud-hypervisor backend: one process a VM, started by its command line, watched and stopped through its API."""

from __future__ import annotations

import os
import time
import typing as t

from .._errors import CocoonError
from .._plan import Observed, Rules
from .._process import Process, reap, rotate, spawn
from .._store import remove
from .base import Hypervisor, Target, within

_LEFT_BEHIND = 2.0  # seconds for a plugin of a killed run to end; an ADD takes a tenth of one
_PATIENCE = 30.0  # seconds for the API to say Running; cocoon waits 5, which a loaded host misses


class CloudHypervisor(Hypervisor):
    """VMs on Linux hosts.  A VM's directory holds its record, disks, sockets, PID file and logs."""

    backend = "cloud-hypervisor"
    rules = Rules(
        classes={
            "image": "recreate",
            "cpus": "restart",
            "memory": "restart",
            "disk_size": "restart",
            "networks": "restart",
            "hostname": "restart",
            "ssh_authorized_keys": "recreate",
            "user_data": "recreate",
            "labels": "live",
        },
        defaults={"cpus": 2, "memory": 2**30, "disk_size": 10 * 2**30, "networks": [{"name": "default"}]},
    )

    # What there is.

    def observe(self, names: list[str] | None) -> dict[str, Observed]:
        """Read records and PID files; one scan of /proc finds what has lost its PID file."""
        self._scanned: dict[str, Process] | None = None
        return {name: self._observe(name) for name in (self.store.names() if names is None else names)}

    def _observe(self, name: str) -> Observed:
        try:
            record = self.store.read(name)
            if record and record["phase"] == "ready" and not {"nics", "image", "identity"} <= record.keys():
                raise self.store.damaged(name, "it says nothing of network cards, image or identity")
        except CocoonError as error:
            return Observed(name, "unknown", True, self._process(name), problem=error)
        process = self._process(name)
        if record is None and process is None:
            return Observed(name)
        if record is None:
            return Observed(name, "unknown", True, process, problem=self._without_record(name, process))
        if record["phase"] != "ready":
            return Observed(name, "creating", True, None, record["attributes"], record.get("pending", ""), "linux", record)
        state = "running" if process else "stopped"
        return Observed(name, state, True, process, record["attributes"], record.get("pending", ""), "linux", record)

    def _process(self, name: str) -> Process | None:
        """Return the VM's process: by its PID file, else by the witness that no VM can do without, its command line."""
        needle = f"--api-socket {self._socket(name)} "
        found = self.processes.ours(self.pid_path(name), (needle,))
        if found is not None or not os.path.isdir(self.store.directory(name)):
            return found
        scanned = self._scanned  # other threads may forget it meanwhile, and may not see half of it
        if scanned is None:
            scanned = {}
            for process in sorted(self.processes.all(), key=lambda process: (process.start, process.pid)):
                flag, _sep, rest = process.command.partition("--api-socket ")
                if rest and flag != process.command:
                    # With a pty console there is a second process with the same command line; the first one is the VM (contract 3.4).
                    scanned.setdefault(rest.split(" ", 1)[0], process)
            self._scanned = scanned
        return scanned.get(self._socket(name))

    def _without_record(self, name: str, process: Process) -> CocoonError:
        return CocoonError(
            f"{self.store.path(name, 'record.json')} is gone, but process {process.pid} runs as the VM {name}.",
            f"restore the record from a backup, or end the process and remove {self.store.directory(name)}",
        )

    def _socket(self, name: str) -> str:
        return self.store.path(name, "api.sock")

    def addresses(self, vms: list[Observed], patient: bool = False) -> dict[str, str]:
        """Return what the networks gave; for networks without addresses of their own, what the host's ARP table knows."""
        running = [vm for vm in vms if vm.state == "running"]
        found = {}
        for vm in running:
            nics = vm.record.get("nics") or []
            if nics and nics[0].get("ip_address"):
                found[vm.name] = nics[0]["ip_address"]
        missing = [vm for vm in running if vm.name not in found and vm.record.get("nics")]
        if not missing:
            return found
        from .._guest.address import arp_table_linux

        table = arp_table_linux()
        for vm in missing:
            if vm.record["nics"][0]["mac_address"] in table:
                found[vm.name] = table[vm.record["nics"][0]["mac_address"]]
        return found

    # Checks, before anything is touched.

    def check(self, targets: list[tuple[Target, t.Any]]) -> dict[str, CocoonError]:
        """Check program, KVM, image, networks, sizes and addresses for all plans."""
        errors: dict[str, CocoonError] = {}
        for target, plan in targets:
            try:
                for step in plan.steps:
                    self._check_step(target, step)
            except CocoonError as error:
                errors[target.name] = error
        return errors

    def _check_step(self, target: Target, step: t.Any) -> None:
        if step.action == "start":
            self._check_program()
        attributes = step.arguments.get("attributes") or step.arguments.get("changes") or {}
        if step.action not in ("create", "configure"):
            return
        self.check_size(attributes)
        if step.action == "create":
            self._images.need(attributes["image"])
            if len(self._socket(target.name)) > 100:
                raise CocoonError(f"The socket path {self._socket(target.name)} is longer than a socket's path may be.", "set root_dir to a shorter path")
        if attributes.get("networks"):
            self._network.check(attributes["networks"])
            self._check_addresses(target, attributes["networks"])

    def _check_program(self) -> None:
        from .._hypervisor.cloud_hypervisor_args import OLDEST_VERSION
        from .._program import version

        path = self.commands.need(self.binary, "install cloud-hypervisor, or set binary to its path")
        found = version(self.commands, path, self.store.root, "cloud-hypervisor")
        if found < OLDEST_VERSION:
            oldest = ".".join(str(part) for part in OLDEST_VERSION)
            shown = ".".join(str(part) for part in found)
            raise CocoonError(f"{path} is cloud-hypervisor {shown}, which cannot be told a disk's image_type.", f"install {oldest} or newer")
        try:
            os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
        except FileNotFoundError as error:
            remedy = "enable virtualization in the firmware (or nested virtualization) and load kvm_intel or kvm_amd"
            raise CocoonError("/dev/kvm is missing.", remedy) from error
        except OSError as error:
            raise CocoonError(
                f"/dev/kvm cannot be opened: {error.strerror}.",
                "load kvm_intel or kvm_amd; if this host is a container, let it use the device",
            ) from error

    def _check_addresses(self, target: Target, nics: list[dict[str, t.Any]]) -> None:
        """Refuse a MAC or IP address that another VM of this host has."""
        macs = {nic["mac_address"] for nic in nics if nic.get("mac_address")}
        addresses = {(nic["name"], nic["ip_address"]) for nic in nics if nic.get("ip_address")}
        if not (macs or addresses):
            return
        for name in self.store.names():
            record = {} if name == target.name else self.store.read(name) or {}
            for nic in record.get("nics") or []:
                if nic["mac_address"] in macs:
                    raise CocoonError(f"MAC address {nic['mac_address']} belongs to the VM {name} of this host.", "give another one, or none")
                if (nic["name"], nic.get("ip_address")) in addresses:
                    raise CocoonError(f"IP address {nic['ip_address']} belongs to the VM {name} of this host.", "give another one, or none")

    def load(self) -> None:
        """Import what steps need."""
        from .. import _error_catalogue  # noqa: F401  pylint: disable=unused-import
        from .._guest import fat, seed  # noqa: F401  pylint: disable=unused-import
        from .._image import oci  # noqa: F401  pylint: disable=unused-import
        from .._network import cni  # noqa: F401  pylint: disable=unused-import
        from . import cloud_hypervisor_api, cloud_hypervisor_args  # noqa: F401  pylint: disable=unused-import

    # Steps.

    @property
    def _network(self) -> t.Any:
        from .._network.cni import Cni

        return Cni(self.commands, self.store.root)

    @property
    def _images(self) -> t.Any:
        from .._image.oci import OciImages

        return OciImages(self.commands, self.store.root)

    def create(self, target: Target, attributes: dict[str, t.Any]) -> None:
        """Make disks, network and seed; the record says so before and after, so that a cut-off create is made anew."""
        from .._guest.seed import new_identity

        pending, again = target.record.get("pending", ""), target.record.get("phase") == "creating"
        image = self._images.need(attributes["image"]).as_record()
        target.record.clear()
        self.save(target, name=target.name, phase="creating", pending=pending, attributes=attributes, identity=new_identity(), image=image, nics=[])
        try:
            self.save_user_data(target)
            self._make_disk(target, attributes["disk_size"])
            nics = self._attach(target, attributes["networks"], again)
            target.record.update(nics=nics, attributes=_realised(attributes, nics))
            self._make_seed(target)
            self._images.files(image)  # a removal may have come before the record said that they are needed
            self.save(target, phase="ready")
        except (CocoonError, OSError):
            # What a VM was that is made anew is only in its record: the next run needs that.
            if self._taken_back(target, attributes) and not again:
                self.store.delete(target.name)
            raise

    def _taken_back(self, target: Target, attributes: dict[str, t.Any]) -> bool:
        """Remove what a create that failed has made; tell whether all of it is gone."""
        try:
            self._network.detach(target.name, attributes["networks"])
            self.forget_run(target.name, "cow.raw", "seed.img")
        except (CocoonError, OSError):
            return False
        return True

    def _make_disk(self, target: Target, size: int) -> None:
        path = self.store.path(target.name, "cow.raw")
        remove(path)
        with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.truncate(size)
        # The flags are cocoon's (cocoon contract 3): no reserved blocks, tables filled in later by the guest.
        argv = [self.commands.need("mkfs.ext4", "install e2fsprogs"), "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,discard", path]
        self.commands.check(argv, f"Making the disk of {target.name}")

    def _attach(self, target: Target, networks: list[dict[str, t.Any]], again: bool = False) -> list[dict[str, t.Any]]:
        """Attach the network cards, after whatever a cut-off run left of them is gone.

        A plugin that a killed run started may still be at work, so that the first try of a run that comes *again* can meet it.
        """
        self._network.detach(target.name, networks)
        try:
            return list(self._network.attach(target.name, networks))
        except CocoonError:
            if not again:
                raise
        time.sleep(_LEFT_BEHIND)
        return self._attach(target, networks)

    def _make_seed(self, target: Target) -> None:
        """Write the cloud-init volume where the user gave something for it; hostname and addresses also go by the kernel's command line."""
        from .._guest.seed import Seed, write_seed

        attributes = target.record["attributes"]
        path = self.store.path(target.name, "seed.img")
        user_data = self.user_data(target.name)
        if not (attributes.get("ssh_authorized_keys") or user_data):
            remove(path)
            return
        write_seed(
            path,
            Seed(
                identity=target.record["identity"],
                hostname=attributes.get("hostname") or target.name,
                ssh_authorized_keys=attributes.get("ssh_authorized_keys") or [],
                user_data=user_data,
                nics=target.record["nics"],
            ),
        )

    def command_line(self, name: str, record: dict[str, t.Any]) -> list[str]:
        """Return the program and its arguments for a VM, inside its network namespace where it has one."""
        from .cloud_hypervisor_args import Machine, arguments

        attributes = record["attributes"]
        image = self._images.files(record["image"])
        seed = self.store.path(name, "seed.img")
        machine = Machine(
            name=name,
            api_socket=self._socket(name),
            kernel=image.kernel,
            initramfs=image.initramfs,
            layers=image.layers,
            cow=self.store.path(name, "cow.raw"),
            seed=seed if os.path.exists(seed) else None,
            cpus=attributes["cpus"],
            memory=attributes["memory"],
            nics=record["nics"],
            hostname=attributes.get("hostname") or name,
            console_log=self.store.path(name, "console.log"),
        )
        program = self.commands.need(self.binary, "install cloud-hypervisor, or set binary to its path")
        return [*self._network.enter(name, record["nics"]), program, *arguments(machine)]

    def start(self, target: Target) -> None:
        """Start the program and wait until its API says that the VM runs; on failure nothing of the try stays."""
        from .cloud_hypervisor_api import Api

        name = target.name
        # A change of networks that failed has left a VM without cards.
        there = target.record["nics"] or self._attach(target, target.record["attributes"]["networks"])
        nics = self._network.activate(name, there)
        if nics != target.record["nics"]:
            self.save(target, nics=nics, attributes=_realised(target.record["attributes"], nics))
        argv = self.command_line(name, target.record)
        self._clear_socket(name)
        rotate(self.store.path(name, "console.log"))
        process = None
        try:
            process = spawn(self.processes, argv, dict(os.environ), self.log_path(name), self.pid_path(name))
            info = self._wait_running(name, process, Api(self._socket(name), timeout=2.0))
        except CocoonError:
            if process is not None:
                self.processes.terminate(process, grace=2.0)
            self._clean(target)
            raise
        pty = info["config"].get("console", {}).get("file")
        self.save(target, pending="", console={"pty": pty}, stopped_by="")

    def _clear_socket(self, name: str) -> None:
        """Remove a socket that a dead process left; never one that answers (contract 3.3)."""
        from .cloud_hypervisor_api import Api

        if os.path.exists(self._socket(name)):
            if Api(self._socket(name)).answers():
                raise CocoonError(f"Something answers on {self._socket(name)}, but no process of {name} was found.", "find it with fuser and end it")
            remove(self._socket(name))

    def _wait_running(self, name: str, process: Process, api: t.Any) -> dict[str, t.Any]:
        """Return vm.info once the VM runs; a socket that accepts says nothing of that (contract 1.7)."""
        last = "its API socket did not appear"
        for _left in within(_PATIENCE, longest=0.01):
            status = reap(process.pid)
            if status is not None:
                raise self.started_badly(name, f"cloud-hypervisor did not start {name}", status)
            if not os.path.exists(api.path):
                continue
            try:
                info = api.get("vm.info")
            except CocoonError as error:
                last = error.msg
                continue
            if info.get("state") == "Running":
                return t.cast("dict[str, t.Any]", info)
            last = f"the VM is {info.get('state')}"
        raise self.started_badly(name, f"cloud-hypervisor did not start {name} within {_PATIENCE:g} seconds: {last}")

    def stop(self, target: Target, pending: str = "") -> None:
        """Press the power button, wait, shut the program down through its API, then by signals."""
        from .cloud_hypervisor_api import Api

        name, spec = target.name, target.spec
        self._scanned = None
        process = self._process(name)
        if process is None:
            self._clean(target, pending=pending)
            return
        self.save_stop(target, pending=pending)
        rungs = [] if spec.force else [("power button", lambda: _try(Api(self._socket(name)), "vm.power-button"), float(spec.stop_timeout))]
        rungs.append(("vmm.shutdown", lambda: _try(Api(self._socket(name)), "vmm.shutdown"), 5.0))
        how = self.run_ladder(process, rungs)
        self._clean(target, pending=pending, stopped_by=how)

    def _clean(self, target: Target, **changes: t.Any) -> None:
        """Remove what only a running VM has and make its network cards quiet."""
        self.forget_run(target.name, "api.sock", "api.sock.lock")
        self._network.quiet(target.name, target.record.get("nics") or [])
        self.save_stop(target, console={}, **changes)

    def delete(self, target: Target, keep_record: bool = False, pending: str = "") -> None:
        """Remove network, disks and record; only after no process of the VM lives."""
        self._scanned = None
        process = self._process(target.name)
        if process is not None:
            self.processes.terminate(process)
        networks = target.record.get("attributes", {}).get("networks") or []
        self._network.detach(target.name, networks)
        if keep_record:
            self.save(target, phase="creating", pending=pending, nics=[])
            self.forget_run(target.name, "api.sock", "api.sock.lock", "cow.raw", "seed.img")
        else:
            self.store.delete(target.name)

    def configure(self, target: Target, changes: dict[str, t.Any]) -> None:
        """Change the record, and what it stands for: the disk's size, the network cards, the seed."""
        attributes = {**target.record["attributes"], **changes}
        nics = target.record["nics"]
        if "disk_size" in changes:
            self._grow_disk(target, changes["disk_size"])
        if "networks" in changes:
            self._network.detach(target.name, target.record["attributes"]["networks"])
            self.save(target, nics=[])
            nics = self._attach(target, changes["networks"])
        self.save(target, nics=nics, attributes=_realised(attributes, nics))
        if changes.keys() & {"networks", "hostname"}:
            self._make_seed(target)

    def _grow_disk(self, target: Target, size: int) -> None:
        path = self.store.path(target.name, "cow.raw")
        os.truncate(path, size)
        checked = self.commands.run([self.commands.need("e2fsck", "install e2fsprogs"), "-f", "-p", path], timeout=600)
        if checked.rc > 1:
            raise CocoonError(f"The disk of {target.name} has errors: {checked.text}", f"repair it with e2fsck {path}")
        self.commands.check([self.commands.need("resize2fs", "install e2fsprogs"), path], f"Growing the disk of {target.name}", timeout=600)

    def adopt(self, target: Target) -> None:
        """Nothing else makes VMs that this backend could take over: only those with a record are seen."""
        raise CocoonError(f"{target.name} cannot be adopted: cloud-hypervisor keeps no list of VMs.", "make it with cocoon_vm")

    # For results.

    def disks(self, observed: Observed) -> list[dict[str, t.Any]]:
        """Return the writable disk; the image's layers are shared and read-only."""
        return [{"path": self.store.path(observed.name, "cow.raw"), "size": observed.attributes.get("disk_size"), "readonly": False}]

    def console(self, observed: Observed) -> dict[str, t.Any]:
        """Return the pty of a running VM, and the serial log that is kept."""
        pty = (observed.record.get("console") or {}).get("pty") if observed.process else None
        return {"pty": pty, "log": self.store.path(observed.name, "console.log")}

    def mac_address(self, observed: Observed) -> str | None:
        """Return the MAC address of the first network card."""
        nics = observed.record.get("nics") or []
        return nics[0]["mac_address"] if nics else None


def _try(api: t.Any, request: str) -> None:
    """Make a request that may fail: the next rung of the ladder is what helps then."""
    try:
        api.put(request)
    except CocoonError:
        pass


def _realised(attributes: dict[str, t.Any], nics: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    """Return attributes with the addresses that the network cards really got."""
    networks = [{key: nic[key] for key in ("name", "mac_address", "ip_address") if nic.get(key)} for nic in nics]
    return {**attributes, "networks": networks}
