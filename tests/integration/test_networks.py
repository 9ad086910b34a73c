# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""cocoon_net and the network cards of VMs."""

from __future__ import annotations

import json

import pytest

from tests.integration.site import Site, ok


def test_a_network_comes_stays_and_goes(site: Site) -> None:
    assert ok(site.run("cocoon_net", name="extra", check=True)).changed
    made = ok(site.run("cocoon_net", name="extra", diff=True))
    assert made.changed and made["network"]["mode"] == "shared" and made["diff"]["after"] == made["network"]
    assert not ok(site.run("cocoon_net", name="extra")).changed
    names = [network["name"] for network in ok(site.run("cocoon_net_info"))["networks"]]
    assert {"extra", "lab"} <= set(names) and names == sorted(names)
    assert ok(site.run("cocoon_net", name="extra", state="absent", check=True)).changed
    assert ok(site.run("cocoon_net", name="extra", state="absent")).changed
    assert not ok(site.run("cocoon_net", name="extra", state="absent")).changed
    assert ok(site.run("cocoon_net_info", name="extra"))["networks"] == []


def test_a_network_in_use_is_neither_changed_nor_removed(site: Site) -> None:
    ok(site.vm("user", state="present", image=site.image, networks=[{"name": "lab"}], memory="192M", cpus=1))
    refused = site.run("cocoon_net", name="lab", state="absent")
    assert refused.status == "failed" and "user" in refused["msg"]
    ok(site.vm("user", state="absent"))


def test_a_mac_changes_nothing_of_the_host(mac_site: Site) -> None:
    site = mac_site
    before = site.shell("ip -o addr; find /etc /var/db /Library -newer /etc/hostname -type f 2>/dev/null | sort")
    ok(site.run("cocoon_net", name="office", mode="bridged", interface="en0"))
    wrong = site.run("cocoon_net", name="office", mode="bridged", interface="en9")
    assert wrong.status == "failed" and "en9" in wrong["msg"] and "en0" in wrong["msg"]
    none = site.run("cocoon_net", name="other", mode="bridged")
    assert none.status == "failed" and "interface" in none["msg"]
    cni = site.run("cocoon_net", name="other", subnet="10.1.0.0/24")
    assert cni.status == "failed" and "subnet" in cni["msg"]
    ok(site.run("cocoon_net", name="office", state="absent"))
    assert site.shell("ip -o addr; find /etc /var/db /Library -newer /etc/hostname -type f 2>/dev/null | sort") == before


def test_the_address_of_a_bridged_guest_is_found_by_arp(mac_site: Site) -> None:
    site = mac_site
    ok(site.run("cocoon_net", name="office", mode="bridged", interface="en0"))
    vm = ok(site.vm("b1", state="started", image=site.image, networks=[{"name": "office"}], memory="192M", cpus=1))["vms"][0]
    assert "--net-bridged=en0" in site.shell(f"/bin/ps -ww -o command= -p {vm['pid']}")
    ok(site.vm("b1", state="absent", force=True))
    ok(site.run("cocoon_net", name="office", state="absent"))
    assert site.leftovers() == []


def test_linux_networks_are_checked(linux_site: Site) -> None:
    site = linux_site
    lab = ok(site.run("cocoon_net_info", name="lab"))["networks"][0]
    for options, words in (
        ({"subnet": "10.1.0.0/33"}, "no IPv4 network"),
        ({"subnet": "10.1.0.1/24"}, "no IPv4 network"),
        ({"subnet": "10.1.0.0/30"}, "no room"),
        ({"subnet": lab["subnet"]}, "overlaps"),
        ({"subnet": "10.1.0.0/24", "gateway": "10.2.0.1"}, "gateway"),
        ({"mode": "softnet"}, "softnet"),
        ({"name": "../x"}, "is not a name"),
    ):
        refused = site.run("cocoon_net", **{"name": "wrong", **options})
        assert refused.status == "failed" and words in refused["msg"], (options, refused.data)
    assert ok(site.run("cocoon_net_info", name="wrong"))["networks"] == []


def test_foreign_conflists_can_be_used_and_are_not_changed(linux_site: Site) -> None:
    site = linux_site
    foreign = {
        "cniVersion": "0.4.0",
        "name": "foreign",
        "plugins": [{"type": "bridge", "bridge": "cni7", "isGateway": True, "ipam": {"type": "host-local", "subnet": "10.99.0.0/24"}}],
    }
    path = site.host.path("/etc/cni/net.d/10-foreign.conflist")
    path.write_text(json.dumps(foreign), encoding="utf-8")
    broken = site.host.path("/etc/cni/net.d/05-broken.conflist")
    broken.write_text("{", encoding="utf-8")
    refused = site.run("cocoon_net", name="foreign", subnet="10.98.0.0/24")
    assert refused.status == "failed" and "did not make it" in refused["msg"]
    vm = ok(site.vm("f1", state="present", image=site.image, networks=[{"name": "foreign"}], memory="192M", cpus=1))["vms"][0]
    assert vm["networks"][0]["ip_address"].startswith("10.99.0.")
    unknown = site.vm("f2", state="present", image=site.image, networks=[{"name": "nowhere"}])
    assert unknown.status == "failed" and "nowhere" in unknown["msg"] and "05-broken" in unknown["msg"]
    ok(site.vm("f1", state="absent"))
    path.unlink()
    broken.unlink()
    site.shell("ip link delete cni7; rm -rf /var/lib/cni/networks/foreign")
    assert site.leftovers() == []


@pytest.mark.guest
def test_two_cards_with_chosen_addresses(linux_site: Site) -> None:
    site = linux_site
    ok(site.run("cocoon_net", name="second", subnet="10.97.0.0/24", dns=["10.97.0.1"]))
    cards = [{"name": "lab", "mac_address": "52:54:00:12:34:56"}, {"name": "second", "ip_address": "10.97.0.50"}]
    vm = ok(site.started("two", networks=cards, wait_for="ssh"))["vms"][0]
    assert vm["mac_address"] == "52:54:00:12:34:56" and vm["networks"][1]["ip_address"] == "10.97.0.50"
    inside = site.guest(vm["ip_address"], "ip -o -4 addr; cat /sys/class/net/eth0/address")
    assert vm["ip_address"] in inside and "10.97.0.50/24" in inside and "52:54:00:12:34:56" in inside
    outside = site.vm("three", state="present", image=site.image, networks=[{"name": "second", "ip_address": "10.98.0.5"}])
    assert outside.status == "failed" and "10.97.0.0/24" in outside["msg"]
    assert not ok(site.started("two", networks=cards)).changed
    ok(site.vm("two", state="absent", force=True))
    ok(site.run("cocoon_net", name="second", state="absent"))
    assert site.leftovers() == []


def test_cards_of_a_stopped_vm_are_quiet(linux_site: Site) -> None:
    site = linux_site
    ok(site.started("quiet"))
    assert "state UP" in site.shell("ip -n cocoon-quiet -o link show eth0")
    ok(site.vm("quiet", state="stopped", force=True))
    for link in ("eth0", "tap0"):
        assert "state DOWN" in site.shell(f"ip -n cocoon-quiet -o link show {link}")
    ok(site.vm("quiet", state="absent"))
    assert site.leftovers() == []
