# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that lack something and programs that fail or hang: the error helps, nothing is lost, and without the fault the same task works."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.integration.controller import Result
from tests.integration.refusals import state_of, tasks, told
from tests.integration.site import Site
from tests.lab import Host, faults

_SETTINGS = {"linux": "/etc/lab/cloud-hypervisor.json", "mac": "/etc/lab/tart.json"}


@contextlib.contextmanager
def fault(site: Site, **settings: Any) -> Iterator[None]:
    """Switch a fault of the lab's double on; it is off again afterwards."""
    path = site.host.path(_SETTINGS[site.kind])
    path.parent.mkdir(exist_ok=True)
    before = path.read_text(encoding="utf-8") if path.exists() else None
    path.write_text(json.dumps({**json.loads(before or "{}"), **settings}), encoding="utf-8")
    try:
        yield
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before, encoding="utf-8")


@contextlib.contextmanager
def away(site: Site, path: str) -> Iterator[None]:
    """Take a file of the host away for a while."""
    site.shell(f"mv {path} {path}.away")
    try:
        yield
    finally:
        site.shell(f"rm -rf {path}; mv {path}.away {path}")


def wish(site: Site, **options: Any) -> dict[str, Any]:
    """A task that has web1 run."""
    small = {"disk_size": "64M"} if site.kind == "linux" else {}
    return {
        "cocoon_vm": {
            "name": "web1", "image": site.image, "networks": [{"name": "lab"}], "cpus": 1, "memory": "192M", "state": "started", **small, **options
        }
    }


def works(site: Site) -> None:
    """Without the fault the same task does what it should."""
    result = tasks(site, {"again": wish(site)})["again"]
    assert result.status == "ok" and result["vms"][0]["state"] == "running", result.get("msg")


def failed_vm(result: Result, *words: str) -> dict[str, Any]:
    """Return the result of the one VM of a task that has failed with these words."""
    told(result, "web1", *words)
    vm: dict[str, Any] = result["vms"][0]
    assert vm["failed"] and vm["name"] == "web1" and vm["remedy"]
    return vm


# Hosts that lack something.


def test_a_host_without_the_program(site: Site) -> None:
    program = "/usr/local/bin/cloud-hypervisor" if site.kind == "linux" else "/opt/homebrew/bin/tart"
    before = state_of(site)
    with away(site, program):
        results = tasks(site, {"real": wish(site), "foretold": {**wish(site), "check_mode": True}})
        for result in results.values():
            told(result, f"The program {program.rsplit('/', maxsplit=1)[-1]} is not on this host", "nstall", "set binary")
    assert state_of(site) == before
    works(site)


def test_a_program_that_is_too_old(site: Site) -> None:
    before = state_of(site)
    forget = f"rm -f {site.root}/*-version.json"  # the program's file is the same, only its answer is another one
    site.shell(forget)
    if site.kind == "mac":
        with fault(site, version="2.9.0"):
            result = tasks(site, {"old": wish(site)})["old"]
    else:
        site.shell("printf \"#!/bin/sh\\necho cloud-hypervisor v50.0\\n\" > /usr/local/bin/old; chmod 755 /usr/local/bin/old")
        result = tasks(site, {"old": wish(site, binary="old")})["old"]
        site.shell("rm /usr/local/bin/old")
    site.shell(forget)
    told(result, "web1", "50.0" if site.kind == "linux" else "2.9.0", "or newer")
    assert state_of(site) == before


def test_a_host_without_kvm(linux_site: Site) -> None:
    """Missing, and there but not to be opened even by root, as in a container that may not use the device."""
    site = linux_site
    before = state_of(site)
    with away(site, "/dev/kvm"):
        results = tasks(site, {"missing": wish(site), "foretold": {**wish(site), "check_mode": True}, "stopped": wish(site, state="absent")})
        told(results["missing"], "web1: /dev/kvm is missing", "virtualization")
        told(results["foretold"], "/dev/kvm is missing")
        assert results["stopped"].status == "ok"
        site.shell("mkdir -p /run/nodev; mount -t tmpfs -o nodev none /run/nodev; mknod -m 666 /run/nodev/kvm c 10 232")
        site.shell("touch /dev/kvm; mount --bind /run/nodev/kvm /dev/kvm")
        denied = tasks(site, {"denied": wish(site)})["denied"]
        site.shell("umount /dev/kvm /run/nodev")
        told(denied, "web1: /dev/kvm cannot be opened: Permission denied", "container")
    assert state_of(site) == before


def test_without_rights(linux_site: Site, mac_site: Site) -> None:
    """Not root on Linux, root on a Mac, records of somebody else: said before anything else."""
    before = state_of(linux_site), state_of(mac_site)
    nobody = tasks(linux_site, {"vm": wish(linux_site), "info": {"cocoon_vm_info": {}}, "net": {"cocoon_net": {"name": "x"}}}, become=True,
                   become_user="nobody", vars={"ansible_remote_tmp": "/tmp/.ansible-nobody"})
    for result in nobody.values():
        told(result, "need root", "Set become: true")
    root = tasks(mac_site, {"vm": wish(mac_site), "info": {"cocoon_vm_info": {}}, "image": {"cocoon_image": {"name": mac_site.image}}}, become=True)
    for result in root.values():
        told(result, "this task runs as root", "no become")
    assert (state_of(linux_site), state_of(mac_site)) == before


def test_records_of_somebody_else(mac_site: Site) -> None:
    site = mac_site
    assert tasks(site, {"made": wish(site, state="present")})["made"].status == "ok"
    before = state_of(site)
    site.shell(f"chown -R root {site.root}/vms/web1; chmod 700 {site.root}/vms/web1")
    results = tasks(site, {"info": {"cocoon_vm_info": {}}, "vm": wish(site), "gone": wish(site, state="absent")})
    site.shell(f"chown -R admin {site.root}/vms/web1")
    assert results["info"]["vms"][0]["state"] == "unknown" and "cannot be read: Permission denied" in results["info"]["vms"][0]["msg"]
    for name in ("vm", "gone"):
        told(results[name], "web1", f"{site.root}/vms/web1/record.json cannot be read: Permission denied", "run the task as the user".capitalize())
    assert state_of(site) == before
    assert tasks(site, {"gone": wish(site, state="absent")})["gone"].changed
    assert site.leftovers() == []


# Disks that are full.


def _without_disk(lines: Iterable[str]) -> list[str]:
    """Leave out the disk and console of the guest that runs: it writes to them by itself."""
    return [line for line in lines if "/runs/cow.raw" not in line and "/runs/console.log" not in line]


def test_a_full_disk(make_linux: Callable[..., Host], linux_site: Site) -> None:
    """Making fails and leaves nothing; what is there can be looked at, stopped and removed, which is how space is made."""
    host = make_linux("linux-small", small_disk="192M")
    site = Site(linux_site.lab, host, linux_site.ansible)
    site.prepare()
    site.shell("mkdir -p /var/lib/cocoon/vms")
    assert tasks(site, {"run": wish(site, name="runs")})["run"].status == "ok"
    before = _without_disk(state_of(site))
    other = site.image[:-1] + "2"
    faults.full_disk(host)
    results = tasks(
        site,
        {
            "make": wish(site),
            "pull": {"cocoon_image": {"name": other, "insecure": True}},
            "net": {"cocoon_net": {"name": "second"}},
            "info": {"cocoon_vm_info": {}},
        },
    )
    told(results["make"], "web1", "/var/lib/cocoon/vms/web1", "No space left on device", "free space on the host".capitalize())
    told(results["pull"], "space")
    told(results["net"], "No space left on device")
    assert [(vm["name"], vm["state"]) for vm in results["info"]["vms"]] == [("runs", "running")]
    assert _without_disk(line for line in state_of(site) if ".lab-fill" not in line) == before
    removed = tasks(site, {"remove": {"cocoon_vm": {"name": "runs", "state": "absent", "force": True}}})["remove"]
    assert removed.status == "ok" and removed["vms"][0]["actions"] == ["stop", "delete"], removed.get("msg")
    assert site.leftovers() == []
    faults.free_disk(host)
    results = tasks(site, {"pull": {"cocoon_image": {"name": other, "insecure": True}}, "make": wish(site, image=other)})
    assert results["pull"].status == results["make"].status == "ok", results["make"].get("msg")
    host.down()


def test_tart_on_a_full_disk(mac_site: Site) -> None:
    """tart leaves what it had begun in its tmp folder, and nothing under the VM's name; neither do we."""
    with fault(mac_site, faults=[{"command": "clone", "preset": "disk-full"}]):
        vm = failed_vm(tasks(mac_site, {"make": wish(mac_site)})["make"], "Cloning", "space")
        assert vm["state"] == "absent" and vm["actions"] == []
    assert mac_site.leftovers() == []
    works(mac_site)
    assert mac_site.vm("web1", state="absent", force=True).status == "ok"


# Programs that fail.


def test_an_answer_of_tart_that_is_cut_off(mac_site: Site) -> None:
    """VMs that are not seen would be made again, over those that are there: without a whole answer nothing is done."""
    site = mac_site
    works(site)
    before = state_of(site)
    with fault(site, faults=[{"command": "list", "cut": 0.5}]):
        wished = {"start": wish(site), "absent": wish(site, state="absent"), "info": {"cocoon_vm_info": {}}, "images": {"cocoon_image_info": {}}}
        for result in tasks(site, wished).values():
            told(result, "tart list gave no whole answer", "tart list --format json", "changes nothing while it cannot see")
    with fault(site, faults=[{"command": "list", "exit": 1, "stderr": "Error: something odd"}]):
        told(tasks(site, {"start": wish(site)})["start"], "Listing VMs failed", "ended with 1", "something odd")
    assert state_of(site) == before
    again = tasks(site, {"again": wish(site)})["again"]
    assert again.status == "ok" and not again.changed
    assert site.vm("web1", state="absent", force=True).status == "ok"


def test_a_guest_that_does_not_start(site: Site) -> None:
    """The program's own words are there, with the cause where it is known; the VM is stopped and can be started later."""
    if site.kind == "linux":
        cases = {"die_at_start": "Failed to open hypervisor interface (is hypervisor interface available?)"}
        words = ["cloud-hypervisor did not start web1", "It ended with 1", "Likely cause"]
    else:
        cases = {"faults": [{"command": "run", "preset": "vz"}]}  # type: ignore[dict-item]
        words = ["tart did not start web1", "It ended with 1", "Likely cause", "graphical session"]
    with fault(site, **cases):
        vm = failed_vm(tasks(site, {"start": wish(site)})["start"], *words)
    assert vm["state"] == "stopped" and vm["actions"] == [f"create from image {site.image}"] and vm["log_tail"] and vm["pid"] is None
    assert not [line for line in state_of(site) if "qemu" in line or line.endswith("/pid")]
    works(site)


def test_a_program_that_hangs_is_ended(site: Site) -> None:
    """A VM whose process answers nothing, neither API nor signals, is stopped all the same, and for good."""
    works(site)
    pid = site.info()["web1"]["pid"]
    site.shell(f"kill -STOP {pid}")
    begun = time.monotonic()
    result = site.vm("web1", state="stopped", stop_timeout=1)
    assert result.status == "ok" and result["vms"][0]["state"] == "stopped", result.get("msg")
    assert time.monotonic() - begun < 60
    assert site.host.run(f"kill -0 {pid}").returncode != 0
    works(site)


def test_an_api_socket_that_hangs(linux_site: Site) -> None:
    """A program that listens and never answers is no VM that runs; what was started of it goes again."""
    site = linux_site
    with fault(site, hang_api=True):
        vm = failed_vm(tasks(site, {"start": wish(site)})["start"], "did not start web1 within 30 seconds", "does not answer vm.info", "api.sock")
    assert vm["state"] == "stopped" and vm["pid"] is None
    assert not [line for line in state_of(site) if "cloud-hypervisor --api" in line or "qemu" in line or "sock" in line]
    works(site)
    assert site.vm("web1", state="absent", force=True).status == "ok"
    assert site.leftovers() == []
