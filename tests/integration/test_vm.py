# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""cocoon_vm from nothing to nothing on both kinds of hosts: each step in check mode, for real, and again."""

from __future__ import annotations

import pytest

from tests.integration.site import Site


@pytest.mark.guest
def test_a_vm_is_made_started_reached_and_left_alone(site: Site) -> None:
    foretold = site.started("web1", hostname="web-one", check=True, diff=True, wait_for="ssh")
    assert foretold.changed and foretold["vms"][0]["state"] == "running"
    assert site.info() == {}

    made = site.started("web1", hostname="web-one", diff=True, wait_for="ssh")
    assert made.status == "ok", made.data
    vm = made["vms"][0]
    assert vm["actions"] == foretold["vms"][0]["actions"] == [f"create from image {site.image}", "start"]
    assert made["diff"] == foretold["diff"]
    assert made["diff"]["after"]["web1"]["cpus"] == 1 and made["diff"]["before"]["web1"] == {"state": "absent"}
    assert (vm["state"], vm["cpus"], vm["memory"], vm["managed"], vm["failed"]) == ("running", 1, 192 * 2**20, True, False)
    assert vm["pid"] > 1 and vm["mac_address"] and vm["disks"][0]["size"] == vm["disk_size"]
    assert site.guest(vm["ip_address"], "hostname").strip() == "web-one"

    again = site.started("web1", hostname="web-one", wait_for="ssh")
    assert not again.changed and again["vms"][0]["actions"] == []
    assert {key: again["vms"][0][key] for key in ("pid", "ip_address", "mac_address")} == {key: vm[key] for key in ("pid", "ip_address", "mac_address")}

    seen = site.info()["web1"]
    assert seen == {key: again["vms"][0][key] for key in seen}


@pytest.mark.guest
def test_a_change_that_needs_a_restart_is_refused_then_allowed(site: Site) -> None:
    before = site.started("web1", wait_for="ssh")["vms"][0]
    refused = site.started("web1", memory="256M")
    assert refused.status == "failed"
    assert "memory" in refused["msg"] and "restart: if_needed" in refused["msg"]
    assert site.info()["web1"]["pid"] == before["pid"]

    allowed = {"memory": "256M", "restart": "if_needed"}
    foretold = site.started("web1", check=True, **allowed)["vms"][0]["actions"]
    changed = site.started("web1", **allowed)["vms"][0]
    assert changed["actions"] == foretold == ["stop", "set memory 192M -> 256M", "start"]
    assert changed["memory"] == 256 * 2**20 and changed["pid"] != before["pid"]
    assert changed["mac_address"] == before["mac_address"]
    assert not site.started("web1", **allowed).changed


@pytest.mark.guest
def test_another_image_means_another_vm(site: Site) -> None:
    other = site.image[:-1] + "2"
    assert site.run("cocoon_image", name=other, insecure=True).status == "ok"
    site.started("web1", wait_for="ssh")
    refused = site.started("web1", image=other)
    assert refused.status == "failed" and "recreate: if_needed" in refused["msg"] and "disks" in refused["msg"]
    made = site.started("web1", image=other, recreate="if_needed", wait_for="ssh")["vms"][0]
    assert made["actions"] == ["stop", "delete, to change image", f"create from image {other}", "start"]
    assert site.guest(made["ip_address"], "cat /etc/lab/version").strip() == "2"
    assert not site.started("web1", image=other).changed


@pytest.mark.guest
def test_stopping_asks_the_guest_and_is_idempotent(site: Site) -> None:
    vm = site.started("web1", wait_for="ssh")["vms"][0]
    site.guest(vm["ip_address"], "echo kept > /root/kept")
    stopped = site.vm("web1", state="stopped")["vms"][0]
    assert (stopped["state"], stopped["actions"], stopped["pid"]) == ("stopped", ["stop"], None)
    record = site.shell(f"cat {site.root}/vms/web1/record.json")
    assert ("power button" if site.kind == "linux" else "SIGUSR2") in record
    assert not site.vm("web1", state="stopped").changed
    assert not site.vm("web1", state="present").changed

    again = site.started("web1", wait_for="ssh")["vms"][0]
    assert again["actions"] == ["start"]
    assert site.guest(again["ip_address"], "cat /root/kept").strip() == "kept"


def test_restarted_and_absent(site: Site) -> None:
    before = site.started("web1")["vms"][0]["pid"]
    again = site.vm("web1", state="restarted", force=True)["vms"][0]
    assert again["actions"] == ["stop", "start"] and again["pid"] != before
    foretold = site.vm("web1", state="absent", check=True)["vms"][0]
    assert foretold["actions"] == ["stop", "delete"] and foretold["state"] == "absent"
    gone = site.vm("web1", state="absent", force=True)["vms"][0]
    assert gone["actions"] == ["stop", "delete"] and gone["state"] == "absent"
    assert not site.vm("web1", state="absent").changed


def test_present_neither_starts_nor_stops(site: Site) -> None:
    options = {"image": site.image, "networks": [{"name": "lab"}], "memory": "192M", "cpus": 1}
    made = site.vm("web1", state="present", **options)["vms"][0]
    assert made["state"] == "stopped" and made["actions"] == [f"create from image {site.image}"]
    larger = site.vm("web1", state="present", memory="256M", labels={"role": "web"})["vms"][0]
    assert larger["actions"] == ["set labels unset -> {'role': 'web'}, memory 192M -> 256M"]
    assert larger["labels"] == {"role": "web"} and larger["state"] == "stopped"
    assert not site.vm("web1", state="present", memory="256M", labels={"role": "web"}).changed


@pytest.mark.guest
def test_disks_grow_and_never_shrink(site: Site) -> None:
    size = site.started("web1", wait_for="none")["vms"][0]["disk_size"]
    site.vm("web1", state="stopped", force=True)
    grown = site.vm("web1", state="stopped", disk_size=str(size + 10**9))["vms"][0]
    assert grown["disk_size"] >= size + 10**9 and "disk_size" in grown["actions"][0]
    assert not site.vm("web1", state="stopped", disk_size=str(size + 10**9)).changed
    refused = site.vm("web1", state="stopped", disk_size=str(size))
    assert refused.status == "failed" and "disk_size" in refused["msg"] and "recreate" in refused["msg"]
    back = site.started("web1", disk_size=str(grown["disk_size"]), wait_for="ssh")
    assert back.status == "ok", back.data


def test_a_batch_runs_side_by_side_and_one_failure_hides_no_success(site: Site) -> None:
    names = ["a1", "a2", "a3"]
    options = {"image": site.image, "networks": [{"name": "lab"}], "memory": "192M", "cpus": 1}
    assert site.vm(*names, state="present", **options).status == "ok"
    if site.kind == "linux":
        site.shell("rm /var/lib/cocoon/vms/a2/cow.raw")
    else:
        site.shell("sed -i s/arm64/amd64/ /Users/admin/.tart/vms/a2/config.json")
    result = site.vm(*names, state="started")
    assert result.status == "failed" and "1 of 3 VMs failed" in result["msg"] and "a2" in result["msg"]
    states = {vm["name"]: (vm["state"], vm["failed"]) for vm in result["vms"]}
    assert states == {"a1": ("running", False), "a2": ("stopped", True), "a3": ("running", False)}
    broken = result["vms"][1]
    assert broken["msg"] and broken["log_tail"] and broken["remedy"]
