# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""create, clone, rename, delete (tart contract 1.2, 1.3, 1.14, 1.17)."""
from __future__ import annotations

import os

from .. import files, home, interrupt, names, oci, parser, settings, vmdir
from ..errors import OtherError, RuntimeFailure, ValidationError, no_such_vm

_ASIF = "Disk format 'asif' is not supported on this system."


def validate_create(parsed: parser.Parsed, switches: settings.Settings) -> None:
    """Something to install, on a machine that can."""
    if parsed.from_ipsw is None and not parsed.linux:
        raise ValidationError("Please specify either a --from-ipsw or --linux option!")
    if parsed.from_ipsw is not None and switches["arch"] != "arm64":
        raise ValidationError("Only Linux VMs are supported on Intel!")
    if parsed.values.get("disk_format") == "asif" and int(str(switches["macos"])) < 26:
        raise ValidationError(_ASIF)


def run_create(parsed: parser.Parsed, switches: settings.Settings, fault: dict) -> None:
    """Built in tmp/, then put in place of whatever has that name."""
    folder, _lock = home.temporary()
    made = vmdir.VMDir(folder, str(parsed.name))
    with interrupt.allowed():
        if fault.get("disk_full"):
            raise OSError(28, "", "disk.img")
        if parsed.from_ipsw is not None:
            raise OtherError(f"the lab's tart cannot install macOS; clone an image with os darwin instead of {parsed.from_ipsw}")
        files.make_linux(made, int(str(parsed.disk_size)), str(parsed.values.get("disk_format", "raw")),
                         "amd64" if switches["arch"] != "arm64" else "arm64")
    home.replace(folder, vmdir.local(made.name).folder)


def validate_clone(parsed: parser.Parsed, _switches: settings.Settings) -> None:
    """The new VM is local."""
    if "/" in str(parsed.new_name):
        raise ValidationError("<new-name> should be a local name")
    if int(parsed.values.get("concurrency", 4)) < 1:  # type: ignore[call-overload]
        raise ValidationError("network concurrency cannot be less than 1")


def run_clone(parsed: parser.Parsed, switches: settings.Settings, fault: dict) -> None:
    """A copy, with a new MAC address only if a local VM has that one already and the source is not suspended."""
    remote = names.parse(str(parsed.source_name))
    if remote is None:
        source = vmdir.open_local(str(parsed.source_name))
    else:
        from . import transfer  # pylint: disable=import-outside-toplevel
        source = transfer.ensure(remote, parsed, switches)
    _check_stacked(parsed, source, remote is not None)
    if switches.since("2.28.4"):
        from . import prune  # pylint: disable=import-outside-toplevel
        unallocated = max(0, source.disk_size() - source.allocated_size())
        limit = int(parsed.values.get("prune_limit", 100)) * 2**30  # type: ignore[call-overload]
        prune.reclaim(min(unallocated, limit), keep=remote.at(str(oci.digest_of(remote))) if remote else None)
    folder, _lock = home.temporary()
    copy = vmdir.VMDir(folder, str(parsed.new_name))
    with home.global_lock():
        with interrupt.allowed():
            files.copy_vm(source, copy, full=bool(fault.get("disk_full")))
            config = copy.config()
            if source.state() != "suspended" and any(other.config()["macAddress"] == config["macAddress"] for other in vmdir.all_local()):
                config["macAddress"] = vmdir.random_mac()
                copy.save(config)
        home.replace(folder, vmdir.local(copy.name).folder)


def _check_stacked(parsed: parser.Parsed, source: vmdir.VMDir, is_remote: bool) -> None:
    if not parsed.values.get("stacked"):
        return
    if not is_remote:
        raise ValidationError("--stacked requires a remote image")
    if source.config()["os"] != "darwin":
        raise ValidationError("--stacked currently supports only macOS images")
    raise OtherError("stacked disks require DiskImageKit on macOS 27 or newer")


def validate_rename(parsed: parser.Parsed, _switches: settings.Settings) -> None:
    """The new name is local."""
    if "/" in str(parsed.new_name):
        raise ValidationError("<new-name> should be a local name")


def run_rename(parsed: parser.Parsed, _switches: settings.Settings, _fault: dict) -> None:
    """Works on running VMs too; only complete VMs count as existing (contract 13.10)."""
    source, target = vmdir.local(str(parsed.name)), vmdir.local(str(parsed.new_name))
    if not source.initialized():
        raise ValidationError(f"failed to rename a non-existent local VM: {source.name}")
    if target.initialized():
        raise ValidationError(f"failed to rename VM {source.name}, target VM {target.name} already exists, delete it first!")
    home.replace(source.folder, target.folder)


def run_delete(parsed: parser.Parsed, switches: settings.Settings, _fault: dict) -> None:
    """One after the other, up to the first that fails."""
    for name in parsed.name:  # type: ignore[attr-defined]
        remote = names.parse(name)
        if remote is not None:
            if not oci.delete(remote):
                raise no_such_vm(name) if switches.since("2.18.5") else RuntimeFailure(f'the specified VM "{name}" does not exist')
            continue
        _delete_local(vmdir.local(name), switches)


def _delete_local(found: vmdir.VMDir, switches: settings.Settings) -> None:
    if not os.path.exists(found.file("config.json")):
        if not switches.since("2.18.5"):
            raise RuntimeFailure(f"failed to open lock file file://{found.file('config.json')}: No such file or directory")
        raise no_such_vm(found.name)
    lock = found.lock() if switches.since("2.4.1") else -1
    if lock is None:
        raise RuntimeFailure(f'VM "{found.name}" is running')
    home.remove(found.folder)
    if lock >= 0:
        os.close(lock)
