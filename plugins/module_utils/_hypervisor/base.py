# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""What a hypervisor backend has to offer (the seed's Hypervisor interface), and what all backends share: records, logs, results."""

from __future__ import annotations

import os
import signal
import threading
import time
import typing as t

from .._errors import CocoonError
from .._plan import Observed, Rules, attributes_of
from .._process import Process, Processes, tail
from .._spec import VmSpec
from .._store import Store, remove, write_atomically


class Target(t.NamedTuple):
    """One VM that steps work on: what is wished, what was there, and its record, which the steps change and save."""

    spec: VmSpec
    observed: Observed
    record: dict[str, t.Any]

    @property
    def name(self) -> str:
        """The VM's name."""
        return self.spec.name


class Hypervisor:
    """A backend.  Every method may raise CocoonError; none of them exits."""

    backend = ""
    rules = Rules({}, {})

    def __init__(self, commands: t.Any, processes: Processes, root: str, binary: str) -> None:
        self.commands = commands
        self.processes = processes
        self.store = Store(root, "vms")
        self.binary = binary

    # What there is.

    def observe(self, names: list[str] | None) -> dict[str, Observed]:
        """Return what is known of the named VMs, or of all; a constant number of processes for any number of VMs."""
        raise NotImplementedError

    def addresses(self, vms: list[Observed], patient: bool = False) -> dict[str, str]:
        """Return the IPv4 addresses of running VMs by name, found in one pass; VMs without one are left out.

        With *patient* somebody waits for an address, so that slower ways may be tried too.
        """
        raise NotImplementedError

    def no_address_hint(self) -> str:
        """Return what most often keeps a guest from being reached, as the end of a remedy."""
        return "check the guest's network settings"

    def wanted(self, spec: VmSpec) -> dict[str, t.Any]:
        """Return the attributes that a spec names as this backend keeps them: references with their tag, sizes as it can have them."""
        attributes = attributes_of(spec)
        if "/" in attributes.get("image", ""):
            from .._image.base import parse_reference

            attributes["image"] = parse_reference(attributes["image"]).name
        return attributes

    def check(self, targets: list[tuple[Target, t.Any]]) -> dict[str, CocoonError]:
        """Return, by VM, why the plan given with each target cannot work on this host; nothing is touched."""
        raise NotImplementedError

    def load(self) -> None:
        """Import what steps will need: threads that import side by side can be handed a module that is only half there (Python 3.9)."""
        raise NotImplementedError

    # Steps.  Their names are those of plan.Step.action.

    def create(self, target: Target, attributes: dict[str, t.Any]) -> None:
        """Make the VM with these attributes; one that was begun before is made anew."""
        raise NotImplementedError

    def start(self, target: Target) -> None:
        """Start the VM and return when its process works."""
        raise NotImplementedError

    def stop(self, target: Target, pending: str = "") -> None:
        """Stop the VM: ask the guest, wait, then force; how it ended goes to the record as ``stopped_by``."""
        raise NotImplementedError

    def delete(self, target: Target, keep_record: bool = False, pending: str = "") -> None:
        """Remove the VM and all that belongs to it; with *keep_record* it is about to be made anew."""
        raise NotImplementedError

    def configure(self, target: Target, changes: dict[str, t.Any]) -> None:
        """Change attributes of a VM, which does not run unless all of them are live."""
        raise NotImplementedError

    def adopt(self, target: Target) -> None:
        """Take over a VM that somebody else made."""
        raise NotImplementedError

    # For results.

    def disks(self, observed: Observed) -> list[dict[str, t.Any]]:
        """Return the VM's disks: path, size in bytes, readonly."""
        raise NotImplementedError

    def console(self, observed: Observed) -> dict[str, t.Any]:
        """Return what there is to see of the guest's console: ``pty`` and ``log``, each a path or None."""
        raise NotImplementedError

    def mac_address(self, observed: Observed) -> str | None:
        """Return the MAC address of the VM's first network card."""
        raise NotImplementedError

    # Shared by the backends.

    def log_path(self, name: str) -> str:
        """Return where the output of the VM's program goes."""
        return self.store.path(name, "vm.log")

    def pid_path(self, name: str) -> str:
        """Return where the VM's PID file is."""
        return self.store.path(name, "pid")

    def save(self, target: Target, **changes: t.Any) -> None:
        """Change the VM's record and write it."""
        target.record.update(changes)
        self.store.write(target.name, target.record)

    def save_stop(self, target: Target, **changes: t.Any) -> None:
        """Write what a stop changes in the record, unless that is about to go: on a full disk VMs can still be removed."""
        if target.spec.state != "absent":
            self.save(target, **changes)

    def save_user_data(self, target: Target) -> None:
        """Keep the user data beside the record, for its owner only; records hold no secrets."""
        if target.spec.user_data is not None:
            write_atomically(self.store.path(target.name, "user-data"), target.spec.user_data.encode("utf-8"))

    def user_data(self, name: str) -> str:
        """Return the user data that was kept, '' for none."""
        try:
            with open(self.store.path(name, "user-data"), "r", encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def check_size(self, attributes: dict[str, t.Any]) -> None:
        """Raise CocoonError for a VM that is larger than the host."""
        cpus = os.cpu_count() or 1
        if attributes.get("cpus") and attributes["cpus"] > cpus:
            raise CocoonError(f"cpus: {attributes['cpus']} is more than the {cpus} of this host.", f"give at most {cpus}")
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if attributes.get("memory") and attributes["memory"] > memory:
            raise CocoonError(
                f"memory: {attributes['memory'] // 2**20}M is more than the {memory // 2**20}M of this host.",
                f"give at most {memory // 2**20}M",
            )

    def started_badly(self, name: str, what: str, status: int | None = None) -> CocoonError:
        """Return the error for a program that did not come up, explained by its log."""
        from .._error_catalogue import explain

        log = tail(self.log_path(name))
        cause = explain(log)
        ended = "" if status is None else f" It ended with {status}." if status >= 0 else f" It was ended by signal {-status}."
        return CocoonError(
            f"{what}.{ended}" + (f" Likely cause: {cause.cause}." if cause else ""),
            cause.remedy if cause else f"read {self.log_path(name)} on the host",
            log_tail=log,
        )

    def run_ladder(self, process: Process, rungs: list[tuple[str, t.Callable[[], t.Any], float]]) -> str:
        """Try one way after the other to end a process, each for its seconds; return the name of the one that did it."""
        for name, attempt, patience in rungs:
            try:
                attempt()
            except CocoonError:
                pass  # a program that hangs or is gone; the next way helps then
            if self.processes.wait_end(process, patience):
                return name
        return self.processes.terminate(process)

    def signal(self, process: Process, name: str) -> None:
        """Send a signal by name to exactly this process."""
        self.processes.send(process, getattr(signal, name))

    def forget_run(self, name: str, *files: str) -> None:
        """Remove what only a running VM has: the PID file and the given ones."""
        for file in ("pid", *files):
            remove(self.store.path(name, file))


def within(seconds: float, first: float = 0.002, longest: float = 0.1) -> t.Iterator[float]:
    """Yield again and again with growing pauses until *seconds* have passed; the last time at the deadline."""
    deadline = time.monotonic() + seconds
    pause = first
    while True:
        left = deadline - time.monotonic()
        yield left
        if left <= 0:
            return
        time.sleep(min(pause, max(left, 0.001)))
        pause = min(pause * 1.5, longest)


def side_by_side(work: t.Callable[[t.Any], None], items: list[t.Any], parallel: int) -> None:
    """Call *work* for each item, *parallel* at once; the first unexpected error is raised when all have ended."""
    if len(items) == 1 or parallel == 1:
        for item in items:
            work(item)
        return
    queue = list(reversed(items))
    surprises: list[BaseException] = []

    def worker() -> None:
        while True:
            try:
                item = queue.pop()
            except IndexError:
                return
            try:
                work(item)
            except BaseException as error:  # pylint: disable=broad-except  # carried to the main thread below
                surprises.append(error)

    threads = [threading.Thread(target=worker, daemon=True) for number in range(min(parallel, len(items)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if surprises:
        raise surprises[0]
