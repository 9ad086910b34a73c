# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab as a whole: which hosts there are, making them, removing them without a trace."""
from __future__ import annotations

import concurrent.futures
import pathlib
import re
import shutil
from collections.abc import Callable
from typing import Any

from . import access, cgroup, network, paths, rootfs
from .errors import LabError
from .files import locked, read_json, write_json
from .host import Host

_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")


def kind_of(name: str) -> str:
    """The beginning of a name decides: registry, mac*, everything else is Linux."""
    if name == "registry":
        return "registry"
    return "mac" if name.startswith("mac") else "linux"


class Lab:
    """`Lab().up("linux1")` gives a running host; what is up already stays as it is."""

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self.say = say or (lambda _line: None)

    @property
    def inventory(self) -> pathlib.Path:
        """An Ansible inventory of all hosts."""
        return access.inventory()

    @property
    def ssh_config(self) -> pathlib.Path:
        """For `ssh -F`."""
        return access.config()

    @property
    def hosts(self) -> dict[str, Host]:
        """Every host that was made, also when it is off."""
        return {name: Host(name, config) for name, config in sorted(self._read().items())}

    def host(self, name: str) -> Host:
        """One of them."""
        try:
            return self.hosts[name]
        except KeyError:
            raise LabError(f"there is no host {name} in the lab; make it with `python3 -m tests.lab up {name}`") from None

    def _read(self) -> dict[str, dict[str, Any]]:
        return read_json(paths.lab() / "lab.json", {})

    def up(self, name: str, **options: Any) -> Host:
        """Make and start one host."""
        return self.up_all([name], **options)[0]

    def up_all(self, names: list[str], kind: str | None = None, suite: str | None = None, cloud_hypervisor: str | None = None,
               small_disk: str | None = None) -> list[Host]:
        """Make and start hosts; all boot at the same time."""
        configs = {name: self._config(name, kind, suite, cloud_hypervisor, small_disk) for name in names}
        self._build(configs)
        hosts = []
        with locked(paths.lock()):
            for name, config in configs.items():
                hosts.append(self._start(name, config))
            for host in hosts:
                host.wait_for_machine()
        for host in hosts:
            if host.state() != "frozen":
                self._wait(host)
            self.say(f"{host.name} ({host.kind}) is {host.state()} at {host.address}")
        return hosts

    def _wait(self, host: Host) -> None:
        """A machine that was about to die when we looked is started once more."""
        try:
            host.wait()
        except LabError:
            with locked(paths.lock()):
                if host.name not in self._read() or not host.power_on():
                    raise
            host.wait_for_machine()
            host.wait()

    def _config(self, name: str, kind: str | None, suite: str | None, cloud_hypervisor: str | None,
                small_disk: str | None) -> dict[str, Any]:
        if not _NAME.fullmatch(name):
            raise LabError(f"{name!r} is no host name: small letters, digits and -, beginning with a letter, at most 41")
        kind = kind_of(name) if name == "registry" else kind or kind_of(name)
        if kind not in rootfs.SUITES:
            raise LabError(f"{kind!r} is no kind of host: " + ", ".join(sorted(rootfs.SUITES)))
        config: dict[str, Any] = {"name": name, "kind": kind, "suite": suite or rootfs.SUITES[kind]}
        if cloud_hypervisor:
            config["cloud_hypervisor"] = str(pathlib.Path(cloud_hypervisor).resolve(strict=True))
        if small_disk:
            config["small_disk"] = parse_disk(small_disk, kind)
        return config

    def _build(self, configs: dict[str, dict[str, Any]]) -> None:
        """The root filesystems of these hosts, side by side."""
        wanted = {(rootfs.flavour(config["kind"]), config["suite"]) for config in configs.values()}
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(lambda pair: rootfs.ensure(*pair, say=self.say), sorted(wanted)))
        for config in configs.values():
            config["rootfs"] = str(rootfs.location(rootfs.flavour(config["kind"]), config["suite"]))

    def _start(self, name: str, config: dict[str, Any]) -> Host:
        known = self._read()
        if name in known:
            host = Host(name, known[name])
        else:
            self._sweep(known)
            host = self._register(name, config, known)
        access.update(self._read())
        network.ensure_bridge()
        if host.power_on() and name in known:
            self.say(f"{name} was off: it starts again")
        return host

    def _register(self, name: str, config: dict[str, Any], known: dict[str, dict[str, Any]]) -> Host:
        """Remove what a crash has left of a host of this name, then write it down."""
        shutil.rmtree(paths.host(name), ignore_errors=True)
        host = Host(name, {**config, "number": _free_number(config["kind"], known)})
        access.make_key(access.key(), "cocoon lab")
        access.make_key(host.directory / "ssh_host_ed25519_key", name)
        config = {**config, "number": host.number}
        write_json(host.directory / "host.json", config)
        write_json(paths.lab() / "lab.json", {**known, name: config})
        return host

    def _sweep(self, known: dict[str, dict[str, Any]]) -> None:
        """Things of hosts that are in no list."""
        for name in set(cgroup.left_over()) - set(known):
            cgroup.destroy(name)
        folder = paths.lab() / "hosts"
        for place in folder.iterdir() if folder.is_dir() else []:
            if place.name not in known:
                Host(place.name, {"kind": "linux", "number": 0}).power_off()
                shutil.rmtree(place, ignore_errors=True)

    def down(self, *names: str) -> None:
        """Remove hosts; with the last one the bridge and every file of the lab go, the cache stays."""
        with locked(paths.lock()):
            for name in names:
                self._remove(name)
            if not self._read():
                self._close()

    def down_all(self) -> None:
        """Remove every host, and what crashes have left behind."""
        with locked(paths.lock()):
            self._sweep(self._read())
            for name in self._read():
                self._remove(name)
            self._close()

    def _remove(self, name: str) -> None:
        known = self._read()
        if name not in known:
            self.say(f"{name} is not there")
            return
        Host(name, known.pop(name)).power_off()
        write_json(paths.lab() / "lab.json", known)
        access.update(known)
        shutil.rmtree(paths.host(name))
        self.say(f"{name} is gone")

    def _close(self) -> None:
        for name in cgroup.left_over():
            cgroup.destroy(name)
        for interface in network.left_over():
            network.remove(interface)
        if paths.lab().is_dir():
            shutil.rmtree(paths.lab())
            self.say("nothing of the lab is left but its cache in " + str(paths.cache()))
        paths.lock().unlink(missing_ok=True)


def _free_number(kind: str, known: dict[str, dict[str, Any]]) -> int:
    taken = {config["number"] for config in known.values()}
    wanted = [network.REGISTRY_NUMBER] if kind == "registry" else range(network.FIRST_NUMBER, network.LAST_NUMBER)
    for number in wanted:
        if number not in taken:
            return number
    raise LabError("no address is left in the lab")


def parse_disk(text: str, kind: str) -> dict[str, Any]:
    """64M or 64M:/where/it/is/mounted."""
    size, _colon, path = text.partition(":")
    match = re.fullmatch(r"(\d+)([MG])", size)
    if not match:
        raise LabError(f"{size!r} is no disk size: 64M, 1G")
    default = "/Users/admin/.tart" if kind == "mac" else "/var/lib/cocoon"
    return {"size": int(match[1]) << {"M": 20, "G": 30}[match[2]], "path": path or default}
