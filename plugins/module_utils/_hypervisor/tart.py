# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""The tart backend: ``tart run`` is the VM; we start it detached and know it by its PID file and by its lock on config.json."""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from .._errors import CocoonError
from .._plan import Observed, Rules
from .._process import Process, lock_holder, read_pid_file, reap, spawn
from .._spec import VmSpec, show_size
from .._store import Lock, remove
from .._tart import TartCommand
from .base import Hypervisor, Target, side_by_side, within

GB = 10**9
_OLDEST = (2, 10, 0)
_APPEAR = 30.0  # seconds until `tart run` holds its lock: it waits for clones that are under way
_SETTLE = 1.0  # refusals by macOS come within a second of the start (hosts-and-guests contract B.13)
_ALONE = 3600.0  # a clone is quick on APFS, and a copy of many gigabytes elsewhere
_MACOS_LIMIT = 2
_ASKS_GUEST = (2, 12, 0)  # SIGUSR2 asks the guest to shut down; before, it killed tart
_AGENT_VERSION = (2, 28, 0)
_AGENT_PAUSE = 3.0
_AGENT_PATIENCE = 10.0


class Tart(Hypervisor):
    """VMs on Macs, of the user who runs the task."""

    backend = "tart"
    rules = Rules(
        classes={
            "image": "recreate",
            "cpus": "restart",
            "memory": "restart",
            "disk_size": "restart",
            "networks": "restart",
            "hostname": "recreate",
            "ssh_authorized_keys": "recreate",
            "user_data": "recreate",
            "labels": "live",
        },
        defaults={"networks": [{"name": "default"}]},
    )

    def __init__(self, commands: t.Any, processes: t.Any, root: str, binary: str) -> None:
        super().__init__(commands, processes, root, binary)
        self.tart = TartCommand(commands, binary)
        self._agents_at = 0.0

    # What there is.

    def observe(self, names: list[str] | None) -> dict[str, Observed]:
        """Read ``tart list`` once; the rest comes from the VMs' and our own files, and from the kernel's locks."""
        rows = {row["Name"]: row for row in self.tart.list("local")}
        self._seen = rows
        if names is None:
            names = sorted({*rows, *self.store.names()})
        return {name: self._observe(name, rows.get(name)) for name in names}

    def _observe(self, name: str, row: dict[str, t.Any] | None) -> Observed:
        try:
            record = self.store.read(name)
        except CocoonError as error:
            return Observed(name, "unknown", True, self._process(name), problem=error)
        managed = record is not None
        record = record or {}
        pending = record.get("pending", "")
        if managed and record.get("phase") != "ready":
            return Observed(name, "creating", True, None, record.get("attributes", {}), pending, "linux", record)
        if row is None:
            return Observed(name, "absent", managed, None, record.get("attributes", {}), pending, "linux", record)
        process = self._process(name)
        config = self.tart.config(name)
        state = "running" if process else str(row.get("State") or "stopped")
        if process is None and state == "running":  # it has ended since tart looked
            state = "suspended" if os.path.exists(self._file(name, "state.vzvmsave")) else "stopped"
        attributes = {**record.get("attributes", {}), **self._sizes(self._file(name, ""), config)}
        return Observed(name, state, managed, process, attributes, pending, config.get("os", "darwin"), {**record, "mac_address": config.get("macAddress")})

    def _sizes(self, folder: str, config: dict[str, t.Any]) -> dict[str, t.Any]:
        found = {"cpus": config.get("cpuCount"), "memory": config.get("memorySize")}
        try:
            if config.get("diskFormat", "raw") == "raw":  # the file of others is not the disk that the guest sees
                found["disk_size"] = os.stat(os.path.join(folder, "disk.img")).st_size
        except OSError:
            pass  # stacked VMs of newer versions have another layout
        return {key: value for key, value in found.items() if value is not None}

    def _file(self, name: str, file: str) -> str:
        return os.path.join(self.tart.home, "vms", name, file)

    def _process(self, name: str) -> Process | None:
        """Return the VM's process: who holds the lock on config.json is it; before it has the lock, its PID file tells."""
        holder = lock_holder(self._file(name, "config.json"))
        recorded = read_pid_file(self.pid_path(name))
        if holder and recorded and recorded.pid == holder:
            return Process(holder, recorded.start, "tart run")  # the kernel's word needs no ps
        if holder:
            return self.processes.find(holder)
        return None if recorded is None else self.processes.ours(self.pid_path(name), ("tart", " run ", f" {name}"))

    def wanted(self, spec: VmSpec) -> dict[str, t.Any]:
        """Return the attributes of a spec; tart counts disks in whole gigabytes of 10^9 bytes, so sizes are rounded up to that."""
        attributes = super().wanted(spec)
        if "disk_size" in attributes:
            attributes["disk_size"] = -(-attributes["disk_size"] // GB) * GB
        return attributes

    def addresses(self, vms: list[Observed], patient: bool = False) -> dict[str, str]:
        """Find addresses by the resolvers that fit each VM's network, in one pass: the lease file once, ``arp`` once.

        Agents are asked one by one, so only while somebody waits for an address (*patient*).
        """
        from .._guest.address import leases, resolvers

        running = {vm.name: vm for vm in vms if vm.state == "running" and vm.record.get("mac_address")}
        found: dict[str, str] = {}
        order = {name: resolvers(self._network.mode(vm.attributes.get("networks") or [])) for name, vm in running.items()}
        if any("dhcp" in resolver for resolver in order.values()):
            table = leases()
            for name, vm in running.items():
                lease = table.get(vm.record["mac_address"])
                if "dhcp" in order[name] and lease and lease.expires != vm.record.get("lease_before"):
                    found[name] = lease.address
        missing = [vm for name, vm in running.items() if name not in found]
        if patient:
            found.update(self._by_agent(missing))
        return {**found, **self._by_arp([vm for vm in missing if vm.name not in found])}

    def _by_agent(self, vms: list[Observed]) -> dict[str, str]:
        """Ask the guest agents, side by side and not more often than every few seconds."""
        from .._spec import is_ipv4

        vms = [vm for vm in vms if os.path.exists(self._file(vm.name, "control.sock"))]
        if not vms or time.monotonic() < self._agents_at or self._version() < _AGENT_VERSION:
            return {}
        self._agents_at = time.monotonic() + _AGENT_PAUSE
        found = {}

        def ask(vm: Observed) -> None:
            try:
                output = self.tart.run("ip", vm.name, "--resolver", "agent", timeout=_AGENT_PATIENCE)
            except CocoonError:
                return  # an agent that hangs is one that does not know yet
            if output.rc == 0 and is_ipv4(output.out.strip()):
                found[vm.name] = output.out.strip()

        side_by_side(ask, vms, 8)
        return found

    def _by_arp(self, vms: list[Observed]) -> dict[str, str]:
        from .._guest.address import parse_arp

        if not vms:
            return {}
        output = self.commands.run(["/usr/sbin/arp", "-an"], timeout=10)
        table = parse_arp(output.out)
        return {vm.name: table[vm.record["mac_address"]] for vm in vms if vm.record["mac_address"] in table}

    def no_address_hint(self) -> str:
        """Return what most often hides an address on Macs."""
        return "guests that identify themselves by DUID get leases that cannot be matched (netplan: dhcp-identifier: mac)"

    # Checks, before anything is touched.

    @property
    def _network(self) -> t.Any:
        from .._network.vmnet import Vmnet

        return Vmnet(self.commands, self.store.root)

    @property
    def _images(self) -> t.Any:
        from .._image.tart import TartImages

        return TartImages(self.commands, self.store.root, self.binary)

    def check(self, targets: list[tuple[Target, t.Any]]) -> dict[str, CocoonError]:
        """Check version, image, networks, sizes and the limit of macOS guests for all plans together."""
        errors: dict[str, CocoonError] = {}
        starts: list[str] = []
        for target, plan in targets:
            try:
                self._check_version()
                for step in plan.steps:
                    self._check_step(target, step)
                if plan.steps[-1].action == "start" and target.observed.state != "running" and self._os(target, plan) == "darwin":
                    starts.append(target.name)
            except CocoonError as error:
                errors[target.name] = error
        errors.update(self._check_limit(starts, {target.name for target, plan in targets if plan.steps[0].action in ("stop", "delete")}))
        return errors

    def _version(self) -> tuple[int, ...]:
        from .._program import version

        return version(self.commands, self.tart.path, self.store.root, "tart")

    def _check_version(self) -> None:
        found = self._version()
        if found < _OLDEST:
            oldest, shown = (".".join(str(part) for part in number) for number in (_OLDEST, found))
            raise CocoonError(f"{self.tart.path} is tart {shown}; its run ends with an error at each stop.", f"install tart {oldest} or newer")

    def _check_step(self, target: Target, step: t.Any) -> None:
        attributes = step.arguments.get("attributes") or step.arguments.get("changes") or {}
        if step.action == "create":
            folder, config = self._images.need(attributes["image"])
            self._check_source(target, attributes["image"], folder)
            self._check_image(attributes, config)
            self._check_disk(attributes, self._sizes(folder, config))
        if step.action in ("create", "configure"):
            self.check_size(attributes)
            if attributes.get("networks") is not None:
                self._network.check(attributes["networks"])

    def _check_source(self, target: Target, image: str, folder: str) -> None:
        """Refuse to clone a VM that would change or go while it is copied."""
        if image == target.name:
            raise CocoonError(f"image: {image} cannot be made from itself.", "name another VM or an image")
        if "/" not in image and lock_holder(os.path.join(folder, "config.json")):
            raise CocoonError(f"image: the VM {image} runs, and its disk would be copied while it changes.", f"stop {image} first")

    def _check_disk(self, attributes: dict[str, t.Any], there: dict[str, t.Any]) -> None:
        """Refuse to make a disk smaller than its image."""
        if attributes.get("disk_size") and attributes["disk_size"] < there.get("disk_size", 0):
            raise CocoonError(
                f"disk_size: {attributes['disk_size'] // GB} GB is less than the image's {there['disk_size'] / GB:g} GB; disks only grow.",
                "give a larger disk_size, or leave it out",
            )

    def _check_image(self, attributes: dict[str, t.Any], config: dict[str, t.Any]) -> None:
        """Refuse what the image cannot have: settings for a first boot in macOS, less than its minimum."""
        guest = config.get("os", "darwin")
        seeded = [option for option in ("hostname", "ssh_authorized_keys", "user_data") if attributes.get(option)]
        if guest == "darwin" and seeded:
            raise CocoonError(f"{', '.join(seeded)}: macOS guests have no cloud-init.", "set it in the image, or over SSH once the VM runs")
        for option, minimum in (("cpus", config.get("cpuCountMin")), ("memory", config.get("memorySizeMin"))):
            if guest == "darwin" and minimum and attributes.get(option) and attributes[option] < minimum:
                least = minimum if option == "cpus" else show_size(minimum)
                raise CocoonError(f"{option}: it is below what the image {attributes['image']} needs.", f"give at least {least}")

    def _os(self, target: Target, plan: t.Any) -> str:
        created = next((step for step in plan.steps if step.action == "create"), None)
        if created is None:
            return target.observed.guest_os
        return str(self._images.need(created.arguments["attributes"]["image"])[1].get("os", "darwin"))

    def _check_limit(self, starts: list[str], stops: set[str]) -> dict[str, CocoonError]:
        """Refuse the third macOS guest, naming those that run."""
        if not starts:
            return {}
        running = [name for name, row in self._seen.items() if row.get("Running") and self.tart.config(name).get("os", "darwin") == "darwin"]
        running = [name for name in running if name not in stops]
        allowed = max(0, _MACOS_LIMIT - len(running))
        return {
            name: CocoonError(
                f"Starting {name} would be more than the {_MACOS_LIMIT} macOS guests that a Mac runs at once"
                f" (running: {', '.join(sorted(running)) or 'none'}; to be started: {', '.join(starts)}).",
                "stop one of them, or place this VM on another Mac",
            )
            for name in starts[allowed:]
        }

    def load(self) -> None:
        """Import what steps need."""
        from .. import _error_catalogue  # noqa: F401  pylint: disable=unused-import
        from .._guest import address, fat, seed  # noqa: F401  pylint: disable=unused-import
        from .._image import tart  # noqa: F401  pylint: disable=unused-import
        from .._network import vmnet  # noqa: F401  pylint: disable=unused-import

    # Steps.

    def create(self, target: Target, attributes: dict[str, t.Any]) -> None:
        """Clone the image and set what differs; the record says "creating" before, so that a cut-off clone is known as ours."""
        from .._guest.seed import new_identity

        name, record = target.name, dict(target.record)
        exists = os.path.exists(self._file(name, "config.json"))
        if exists and record.get("phase") != "creating":
            # clone overwrites without a word (tart contract 10.9)
            raise CocoonError(f"A VM {name} has come up on this host meanwhile.", "run the task again")
        ours = {"pending": record.get("pending", ""), "identity": record.get("identity") or new_identity()}
        # What a cut-off create cloned is whole and can be used, unless it is to be replaced.
        replaced = exists and (record.get("stale") or record.get("attributes", {}).get("image") != attributes["image"])
        target.record.clear()
        self.save(target, name=name, phase="creating", stale=bool(replaced), attributes=attributes, **ours)
        try:
            self.save_user_data(target)
            if replaced:
                self._remove_vm(name)
                self.save(target, stale=False)
            with self._alone():
                if replaced or not exists:
                    self.tart.check(f"Cloning {attributes['image']} to {name}", "clone", attributes["image"], name, timeout=3600)
                self._set(name, attributes, fresh=True)
            self.save(target, phase="ready")
        except (CocoonError, OSError):
            # What a VM was that is made anew is only in its record: the next run needs that.
            if self._taken_back(name) and record.get("phase") != "creating":
                self.store.delete(name)
            raise

    @contextlib.contextmanager
    def _alone(self) -> t.Iterator[None]:
        """Keep others of us from changing VMs meanwhile.

        A clone reads the config.json of all VMs, which ``tart set`` writes in place (tart contract 4.2): side by side, clones would fail.
        """
        lock = Lock(os.path.join(self.store.root, "locks", "tart"), "tart's VMs")
        lock.acquire(_ALONE)
        try:
            yield
        finally:
            lock.release()

    def _taken_back(self, name: str) -> bool:
        """Remove what a create that failed has cloned; tell whether it is gone."""
        try:
            self._remove_vm(name)
        except CocoonError:
            return False
        return True

    def _set(self, name: str, wanted: dict[str, t.Any], fresh: bool = False) -> None:
        """Bring cpus, memory and disk to the wished values by one ``tart set``, or by none when nothing differs.

        A *fresh* clone has its image's MAC address and, with macOS, its serial number; the first one keeps them unless told otherwise.
        """
        config = self.tart.config(name)
        there = self._sizes(self._file(name, ""), config)
        options: list[str] = ["--random-mac"] if fresh else []
        if fresh and config.get("os", "darwin") == "darwin":
            options.append("--random-serial")
        if wanted.get("cpus") and wanted["cpus"] != there.get("cpus"):
            options += ["--cpu", str(wanted["cpus"])]
        if wanted.get("memory") and wanted["memory"] != there.get("memory"):
            options += ["--memory", str(wanted["memory"] // 2**20)]
        if wanted.get("disk_size") and wanted["disk_size"] != there.get("disk_size"):
            self._check_disk(wanted, there)
            options += ["--disk-size", str(wanted["disk_size"] // GB)]
        if not options:
            return
        if "displayRefit" in config:  # a set without it forgets it (tart contract 1.5)
            options.append("--display-refit" if config["displayRefit"] else "--no-display-refit")
        self.tart.check(f"Setting up {name}", "set", name, *options, timeout=600)

    def configure(self, target: Target, changes: dict[str, t.Any]) -> None:
        """Change what tart keeps by one ``tart set``, and what we keep in the record."""
        with self._alone():
            self._set(target.name, changes)
        self.save(target, attributes={**target.record.get("attributes", {}), **changes})

    def adopt(self, target: Target) -> None:
        """Make a record for a VM that somebody else made; the VM itself stays as it is."""
        attributes = {key: value for key, value in target.observed.attributes.items() if key in self.rules.classes}
        self.save(target, name=target.name, phase="ready", pending="", attributes=attributes, adopted=True)

    def start(self, target: Target) -> None:
        """Run the VM detached; return when it holds its lock and has outlived macOS's own refusals."""
        from .._guest.address import leases

        name = target.name
        attributes = target.record["attributes"]
        remove(self._file(name, "control.sock"))  # of an earlier run; newer versions refuse to start beside it (tart contract 10.7)
        argv = [self.tart.path, "run", "--no-graphics", *self._network.run_arguments(attributes.get("networks") or [])]
        seed = self._seed(target)
        if seed:
            argv.append(f"--disk={seed}:ro")
        before = leases().get(self.tart.config(name).get("macAddress", ""))
        self.save(target, lease_before=before.expires if before else None)
        environment = {**os.environ, **self.tart.environment}
        process = spawn(self.processes, [*argv, name], environment, self.log_path(name), self.pid_path(name))
        self._wait_running(name, process)
        self.save(target, pending="", stopped_by="")

    def _seed(self, target: Target) -> str:
        """Write the cloud-init volume of a Linux guest where the user gave something for it; return its path, '' for none."""
        from .._guest.seed import Seed, write_seed

        attributes, user_data = target.record["attributes"], self.user_data(target.name)
        keys = attributes.get("ssh_authorized_keys") or []
        if not (keys or user_data or attributes.get("hostname")):
            return ""
        path = self.store.path(target.name, "seed.img")
        hostname = attributes.get("hostname") or target.name
        write_seed(path, Seed(target.record.get("identity", target.name), hostname, keys, user_data, []))
        return path

    def _wait_running(self, name: str, process: Process) -> None:
        settled = 0.0
        for _left in within(_APPEAR, longest=0.05):
            status = reap(process.pid)
            if status is not None:
                self.forget_run(name)
                raise self.started_badly(name, f"tart did not start {name}", status)
            if lock_holder(self._file(name, "config.json")) == process.pid:
                settled = settled or time.monotonic() + _SETTLE
                if time.monotonic() >= settled:
                    return
        self.processes.terminate(process, grace=2.0)
        self.forget_run(name)
        raise self.started_badly(name, f"tart did not start {name} within {_APPEAR:g} seconds: it never took its lock")

    def stop(self, target: Target, pending: str = "") -> None:
        """Ask a Linux guest to shut down, wait, then let tart stop it, then use signals."""
        name, spec = target.name, target.spec
        process = self._process(name)
        if process is None and target.observed.state != "suspended":
            self._stopped(target, pending)
            return
        self.save_stop(target, pending=pending)
        if process is None:
            self.tart.check(f"Discarding the saved state of {name}", "stop", name)
            self._stopped(target, pending, "discarded")
            return
        rungs = []
        if not spec.force and target.observed.guest_os == "linux" and self._version() >= _ASKS_GUEST:
            rungs.append(("SIGUSR2", lambda: self.signal(process, "SIGUSR2"), float(spec.stop_timeout)))
        # tart's own stop is a power cut, and ends before a process that it had to kill is gone (tart contract 5.3).
        rungs.append(("tart stop", lambda: self.tart.run("stop", name, "--timeout", "10", timeout=30), 5.0))
        how = self.run_ladder(process, rungs)
        self._stopped(target, pending, how)

    def _stopped(self, target: Target, pending: str, how: str = "") -> None:
        self.forget_run(target.name)
        self.save_stop(target, pending=pending, stopped_by=how)

    def delete(self, target: Target, keep_record: bool = False, pending: str = "") -> None:
        """Delete the VM, then the record."""
        process = self._process(target.name)
        if process is not None:
            self.processes.terminate(process)
        if keep_record:
            self.save(target, phase="creating", stale=True, pending=pending)
        self._remove_vm(target.name)
        if keep_record:
            self.save(target, stale=False, identity="")
        else:
            self.store.delete(target.name)

    def _remove_vm(self, name: str) -> None:
        if not os.path.exists(self._file(name, "config.json")):
            return
        with self._alone():
            output = self.tart.run("delete", name, timeout=300)
        if output.rc != 0 and "does not exist" not in output.err:
            raise CocoonError(f"Deleting {name} failed: {output.text}", "look at tart list on the host, then run the task again")

    # For results.

    def disks(self, observed: Observed) -> list[dict[str, t.Any]]:
        """Return the VM's root disk."""
        return [{"path": self._file(observed.name, "disk.img"), "size": observed.attributes.get("disk_size"), "readonly": False}]

    def console(self, observed: Observed) -> dict[str, t.Any]:
        """Headless VMs have neither; remote access is by SSH, or by a screen that the guest offers."""
        return {"pty": None, "log": None}

    def mac_address(self, observed: Observed) -> str | None:
        """Return the MAC address that tart keeps for the VM."""
        return observed.record.get("mac_address")
