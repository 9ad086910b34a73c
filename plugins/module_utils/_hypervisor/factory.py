# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""Which backend, network provider and image store a host has: the one place that knows them all."""

from __future__ import annotations

import os
import platform
import typing as t

from .._errors import CocoonError
from .._process import DarwinProcesses, LinuxProcesses, Processes

BACKENDS = ("tart", "cloud-hypervisor")
_BY_SYSTEM = {"Darwin": "tart", "Linux": "cloud-hypervisor"}


class Host(t.NamedTuple):
    """What every backend is made of: its name, the host's system, and where our files are."""

    backend: str
    system: str
    root: str
    binary: str
    commands: t.Any

    @property
    def processes(self) -> Processes:
        """The processes of this host."""
        return DarwinProcesses(self.commands) if self.system == "Darwin" else LinuxProcesses()


def host(params: dict[str, t.Any], commands: t.Any) -> Host:
    """Return the host as the options and its own system describe it; raise CocoonError for a backend that it cannot have."""
    system = platform.system()
    backend = params.get("backend") or "auto"
    if backend == "auto":
        backend = _BY_SYSTEM.get(system, "")
    if not backend:
        raise CocoonError(f"This host runs {system}, for which there is no backend.", "use hosts that run Linux or macOS")
    if _BY_SYSTEM.get(system) != backend:
        fits = _BY_SYSTEM.get(system, "none")
        raise CocoonError(f"The backend {backend} does not run on {system}.", f"leave backend out, or set it to {fits} for this host")
    root = params.get("root_dir") or ("/var/lib/cocoon" if system == "Linux" else "~/.cocoon")
    _check_rights(system)
    return Host(backend, system, _checked_root(root), params.get("binary") or backend, commands)


def _checked_root(root: str) -> str:
    """Return the root directory by its one real path: processes are known by paths below it, which programs have to take as they are."""
    path = os.path.realpath(os.path.expanduser(root))
    wrong = sorted({sign for sign in path if sign in ",:[]\"'\\" or sign.isspace() or not sign.isprintable()})
    if wrong:
        signs = " ".join(repr(sign) for sign in wrong)
        raise CocoonError(f"root_dir: {path!r} has signs in it that the hypervisors' options cannot take ({signs}).", "choose a directory without them")
    return path


def _check_rights(system: str) -> None:
    if system == "Linux" and os.geteuid() != 0:
        raise CocoonError("Networks, disks and VMs on this host need root.", "set become: true")
    if system == "Darwin" and os.geteuid() == 0:
        raise CocoonError(
            "tart keeps VMs, keychain and locks per user, and this task runs as root.",
            "run it as the user who owns the VMs (no become, or become_user)",
        )


def hypervisor(machine: Host) -> t.Any:
    """Return the backend of a host."""
    if machine.backend == "tart":
        from .tart import Tart as backend
    else:
        from .cloud_hypervisor import CloudHypervisor as backend  # type: ignore[assignment]
    return backend(machine.commands, machine.processes, machine.root, machine.binary)


def network(machine: Host) -> t.Any:
    """Return the network provider of a host."""
    if machine.backend == "tart":
        from .._network.vmnet import Vmnet as provider
    else:
        from .._network.cni import Cni as provider  # type: ignore[assignment]
    return provider(machine.commands, machine.root)


def images(machine: Host) -> t.Any:
    """Return the image store of a host."""
    if machine.backend == "tart":
        from .._image.tart import TartImages as store
    else:
        from .._image.oci import OciImages as store  # type: ignore[assignment]
    return store(machine.commands, machine.root, machine.binary)
