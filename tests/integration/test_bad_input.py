# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input is refused with what, where and what to do, and nothing on the host is touched."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.refusals import state_of, tasks, told
from tests.integration.site import Site

NAMES = ["../evil", "/etc/passwd", "-rf", "--help", "..", "", "a" * 64, "two words",
         "w\u00e9b", "\u0443\u0437\u0435\u043b", "a\nb", "a;id", "$(id)", "a,b", "web1 "]
REFERENCES = ["guest", "guest:1", "-rf/x", "http://registry/guest:1", "registry.example.com/UPPER:1", "registry.example.com/a:b:c", "../../etc/passwd", ""]
SECRET = "hunter2-in-user-data"


def _vm(site: Site, **options: Any) -> dict[str, Any]:
    return {"cocoon_vm": {"name": "web1", "image": site.image, "networks": [{"name": "lab"}], "state": "started", **options}}


def test_names(site: Site) -> None:
    """Paths, options, too long, spaces, unicode: none becomes a path or an argument, and all of a batch are told at once."""
    before = state_of(site)
    wished = {
        "started": {"cocoon_vm": {"vms": [{"name": name} for name in NAMES], "image": site.image, "state": "started"}},
        "absent": {"cocoon_vm": {"vms": [{"name": name} for name in NAMES], "state": "absent", "force": True, "adopt": True}},
        "one": {"cocoon_vm": {"name": "-rf", "state": "absent"}},
        "info": {"cocoon_vm_info": {"names": ["../lab", "web1"]}},
        "net": {"cocoon_net": {"name": "../evil"}},
        "net option": {"cocoon_net": {"name": "-rf", "state": "absent"}},
        "net long": {"cocoon_net": {"name": "a" * 64}},
        "nic": _vm(site, networks=[{"name": "../lab"}]),
        "hostname": _vm(site, hostname="-rf"),
    }
    results = tasks(site, wished)
    for task in ("started", "absent"):
        message = told(results[task], "63 characters at most", "nothing was changed")
        for number, name in enumerate(NAMES):
            assert f"vms[{number}]: name: {name!r} is not a name" in message
    told(results["one"], "name: '-rf' is not a name", "letters, digits")
    told(results["info"], "'../lab' is not a name")
    for name in ("net", "net option", "net long"):
        told(results[name], "is not a name", "letters, digits")
    told(results["nic"], "networks[0].name: '../lab' is not a name")
    told(results["hostname"], "hostname: '-rf' is not a host name")
    assert state_of(site) == before


def test_references(site: Site) -> None:
    """What is no reference to an image is refused before a registry, a cache or a VM is touched."""
    before = state_of(site)
    wished = {f"image {number}": {"cocoon_image": {"name": name, "insecure": True}} for number, name in enumerate(REFERENCES)}
    wished["vms"] = {"cocoon_vm": {"vms": [{"name": f"web{number}", "image": name} for number, name in enumerate(REFERENCES) if "/" in name]}}
    results = tasks(site, wished)
    for number, name in enumerate(REFERENCES):
        message = told(results[f"image {number}"], f"{name!r} is not an image reference", "registry/repository:tag")
        if "/" in name:
            message = told(results["vms"], f"web{number}: image: {name!r} is not an image reference")
    assert state_of(site) == before


def test_what_is_not_there(site: Site) -> None:
    """Unknown image, network and backend: the message names what there is, or how to bring it."""
    before = state_of(site)
    missing = site.image[:-1] + "missing"
    other = "tart" if site.kind == "linux" else "cloud-hypervisor"
    nic = {"networks": [{"name": "lab"}], "state": "started"}
    unknown = [{"name": "a", "image": missing}, {"name": "b"}, {"name": "c", "image": site.image, "networks": [{"name": "nowhere"}]}]
    results = tasks(
        site,
        {
            "vms": {"cocoon_vm": {**nic, "vms": unknown}},
            "pull": {"cocoon_image": {"name": missing, "insecure": True}},
            "registry": {"cocoon_image": {"name": f"{site.image.split(':')[0]}:1/none:1", "insecure": True}},
            "backend": _vm(site, backend=other),
            "no backend": _vm(site, backend="qemu"),
            "binary": _vm(site, binary="no-such-program"),
        },
    )
    message = told(results["vms"], "a:", missing, "cocoon_image", "b does not exist, and no image is given", "nothing was changed")
    assert "no network nowhere" in message and "lab" in message and "cocoon_net" in message
    assert [(vm["name"], vm["failed"], bool(vm["remedy"])) for vm in results["vms"]["vms"]] == [("a", True, True), ("b", True, True), ("c", True, True)]
    told(results["pull"], missing, "Check the reference")
    told(results["registry"], "cannot be reached", "Check the reference")
    told(results["backend"], f"The backend {other} does not run on", "Leave backend out")
    told(results["no backend"], "backend", "qemu", "tart")
    told(results["binary"], "no-such-program is not on this host", "set binary")
    assert state_of(site) == before


# What is wrong with one VM each, and what the message has to say: seen before the host is looked at, or compared with it.
VALUES: dict[str, list[tuple[dict[str, Any], str]]] = {
    "spec": [
        ({"cpus": 0}, "cpus: 0 is too few"),
        ({"memory": "512"}, "memory: 512 is below the minimum of 64M. Did you mean 512M?"),
        ({"memory": "99999999999999T"}, "memory: 99999999999999T is above the maximum"),
        ({"memory": "99999999999999999999999999T"}, "memory: '99999999999999999999999999T' is not a size"),
        ({"memory": str(2**27 + 1)}, "no whole number of MiB"),
        ({"memory": "lots"}, "memory: 'lots' is not a size. Write a number and a unit"),
        ({"disk_size": "1M"}, "disk_size: 1M is below the minimum of 16M"),
        ({"disk_size": "40T"}, "disk_size: 40T is above the maximum"),
        ({"stop_timeout": -1}, "stop_timeout: -1.0 is negative"),
        ({"wait_timeout": "nan"}, "wait_timeout: nan"),
        ({"ssh_authorized_keys": ["-----BEGIN OPENSSH PRIVATE KEY-----"]}, "ssh_authorized_keys: an entry is no public key"),
        ({"user_data": SECRET}, "user_data: cloud-init does not know what this is. Start it with #cloud-config"),
    ],
    "host": [
        ({"cpus": 100000}, "cpus: 100000 is more than the"),
        ({"memory": "20T"}, "memory: 20971520M is more than the"),
    ],
}


def test_sizes_and_values(site: Site) -> None:
    """Below the minimum, above the host, or no value at all: VM, option and limit are named, in check mode too."""
    before = state_of(site)
    shared = {"image": site.image, "networks": [{"name": "lab"}], "state": "started"}
    wished = {
        group: {"cocoon_vm": {**shared, "vms": [{"name": f"web{number}", **options} for number, (options, _words) in enumerate(cases)]}}
        for group, cases in VALUES.items()
    }
    wished["parallel"] = {"cocoon_vm": {**shared, "parallel": 0, "vms": [{"name": "a"}, {"name": "b"}]}}
    wished["root"] = _vm(site, root_dir="/tmp/a,b")
    for check in (True, False):
        results = tasks(site, wished, check=check)
        for group, cases in VALUES.items():
            message = told(results[group], "nothing was changed")
            for number, (_options, words) in enumerate(cases):
                assert any(f"web{number}" in line and words in line for line in message.splitlines()), (number, words, message)
            assert SECRET[:8] not in json.dumps(results[group].data)
        told(results["parallel"], "parallel: 0 is too few")
        told(results["root"], "root_dir", "','", "hoose a directory")
    assert state_of(site) == before


def test_a_disk_smaller_than_the_image(mac_site: Site) -> None:
    """tart would say so after the clone; it is known before, and check mode says the same."""
    folder = mac_site.image.replace(":", "/").replace("/5000", "%3A5000")
    disk = f"/Users/admin/.tart/cache/OCIs/{folder}/disk.img"
    size = mac_site.shell(f"stat -L -f %z {disk}").strip()
    mac_site.shell(f"truncate -s 5000000000 {disk}")
    before = state_of(mac_site)
    wished = {"real": _vm(mac_site, disk_size="2G"), "foretold": {**_vm(mac_site, disk_size="2G"), "check_mode": True}}
    results = tasks(mac_site, wished)
    mac_site.shell(f"truncate -s {size} {disk}")
    message = told(results["real"], "web1: disk_size: 3 GB is less than the image's 5 GB", "Give a larger disk_size")
    assert results["foretold"]["msg"] == message
    assert state_of(mac_site) == before


def test_what_two_vms_may_not_share(site: Site) -> None:
    """Names and MAC addresses, in the batch and with a VM that is there; the VM that is there goes on."""
    mac, other = "52:54:00:aa:bb:01", "52:54:00:aa:bb:02"
    shared = {"image": site.image, "networks": [{"name": "lab"}], "cpus": 1, "memory": "192M"}
    if site.kind == "linux":
        shared["disk_size"] = "64M"
    mine = [{"name": "lab", "mac_address": mac}] if site.kind == "linux" else [{"name": "lab"}]
    assert site.vm("there", state="present", **{**shared, "networks": mine}).status == "ok"
    before = state_of(site)
    nic = {"networks": [{"name": "lab", "mac_address": other}]}
    results = tasks(
        site,
        {
            "names": {"cocoon_vm": {"vms": [{"name": "a"}, {"name": "b"}, {"name": "a"}], **shared}},
            "case": {"cocoon_vm": {"vms": [{"name": "a"}, {"name": "A"}], **shared}},
            "macs": {"cocoon_vm": {"vms": [{"name": "a", **nic}, {"name": "b", **nic}], **shared}},
            "mac there": {"cocoon_vm": {"name": "a", **shared, "networks": [{"name": "lab", "mac_address": mac.upper()}]}},
            "multicast": {"cocoon_vm": {"name": "a", **shared, "networks": [{"name": "lab", "mac_address": "01:00:5e:00:00:01"}]}},
            "both": {"cocoon_vm": {"name": "a", "vms": [{"name": "b"}], **shared}},
        },
    )
    told(results["names"], "a and a have the name a in common")
    told(results["case"], "A and a have the name a in common")
    told(results["macs"], f"b and a have MAC address {other} in common")
    if site.kind == "linux":
        told(results["mac there"], f"a: MAC address {mac} belongs to the VM there of this host")
    else:
        told(results["mac there"], "mac_address cannot be chosen on Macs")
    told(results["multicast"], "networks[0].mac_address", "unicast")
    told(results["both"], "name", "vms")
    assert state_of(site) == before
    if site.kind == "linux":  # an address that was refused is free again when its owner goes
        assert site.vm("there", state="absent").status == "ok"
        made = site.vm("a", state="present", **{**shared, "networks": mine})
        assert made.status == "ok" and made["vms"][0]["mac_address"] == mac


DAMAGES = {
    "cut": "head -c 40 {path} > {path}.x; mv {path}.x {path}",
    "other name": "sed -i s/web1/web9/ {path}",
    "other JSON": "echo \"{{\\\"name\\\": \\\"web1\\\", \\\"phase\\\": \\\"ready\\\", \\\"attributes\\\": 7}}\" > {path}",
}


def test_a_damaged_record(site: Site) -> None:
    """Its VM is unknown and is not touched, other VMs are; when the record is back, all is as it was."""
    options = {"image": site.image, "networks": [{"name": "lab"}], "cpus": 1, "memory": "192M", "state": "present"}
    if site.kind == "linux":
        options["disk_size"] = "64M"
    assert site.vm("web1", "web2", **options).status == "ok"
    path = f"{site.root}/vms/web1/record.json"
    wished: dict[str, dict[str, Any]] = {"keep": {"raw": f"cp {path} {site.root}/kept"}}
    for name, damage in DAMAGES.items():
        wished[f"{name}: damage"] = {"raw": damage.format(path=path)}
        wished[f"{name}: info"] = {"cocoon_vm_info": {}}
        wished[f"{name}: start"] = {"cocoon_vm": {"name": "web1", **options, "state": "started"}}
        wished[f"{name}: remove"] = {"cocoon_vm": {"vms": [{"name": "web1"}, {"name": "web2"}], "state": "absent", "force": True, "adopt": True}}
        wished[f"{name}: back"] = {"raw": f"cp {site.root}/kept {path}"}
        if name == "cut":
            wished["other"] = {"cocoon_vm": {"name": "web2", **options, "labels": {"damage": name}}}
    wished["again"] = {"cocoon_vm": {"name": "web1", **options}}
    wished["forget"] = {"raw": f"rm {site.root}/kept"}
    results = tasks(site, wished)
    for name in DAMAGES:
        shown = {vm["name"]: vm for vm in results[f"{name}: info"]["vms"]}
        assert shown["web1"]["state"] == "unknown" and path in shown["web1"]["msg"] and shown["web2"]["state"] == "stopped", name
        told(results[f"{name}: start"], "web1", path, "damaged", "backup")
        told(results[f"{name}: remove"], "web1", path, "damaged")
    assert results["other"].changed
    assert results["again"].status == "ok" and not results["again"].changed


def test_damaged_networks(site: Site) -> None:
    """A network's file that is broken keeps nobody from other networks, and is named when it is asked for."""
    path = "/etc/cni/net.d/50-cocoon-lab.conflist" if site.kind == "linux" else f"{site.root}/networks/lab/record.json"
    lines = {"cut": f"head -c 20 {path} > {path}.x; mv {path}.x {path}", "other": f"echo \"{{\\\"name\\\": \\\"lab\\\"}}\" > {path}"}
    wished: dict[str, dict[str, Any]] = {"keep": {"raw": f"cp {path} /tmp/kept-network"}}
    for name, damage in lines.items():
        wished[f"{name}: damage"] = {"raw": damage}
        wished[f"{name}: vm"] = _vm(site)
        wished[f"{name}: back"] = {"raw": f"cp /tmp/kept-network {path}"}
    wished["again"] = {"cocoon_net": {"name": "lab"}}
    results = tasks(site, wished)
    for name in lines:
        told(results[f"{name}: vm"], path)
    assert results["again"].status == "ok" and not results["again"].changed
    assert site.info() == {} and site.leftovers() == []


def test_networks_that_would_harm_the_host(linux_site: Site) -> None:
    """An interface or a subnet that the host itself lives on is not taken for a network, and not removed with one."""
    site = linux_site
    site.shell("ip link add br-own type bridge")
    before = state_of(site)
    own = ".".join(site.host.address.split(".")[:3]) + ".0/24"
    cases = {
        "bridge": ({"interface": "br-own"}, ["interface: br-own is on this host already"]),
        "uplink": ({"interface": "eth0"}, ["interface: eth0 is on this host already"]),
        "path": ({"interface": "../x"}, ["interface: '../x' is no name"]),
        "long": ({"interface": "a" * 16}, ["15 at most"]),
        "subnet": ({"subnet": own}, [own, "which this host reaches by eth0"]),
        "no subnet": ({"subnet": "10.88.9.0/33"}, ["subnet: '10.88.9.0/33' is no IPv4 network"]),
        "small": ({"subnet": "10.88.9.0/30"}, ["no room"]),
        "gateway": ({"subnet": "10.88.9.0/24", "gateway": "10.88.8.1"}, ["gateway: 10.88.8.1"]),
        "mtu": ({"mtu": -1}, ["mtu: -1"]),
        "dns": ({"dns": ["8.8.8.8 init=/bin/sh"]}, ["dns: '8.8.8.8 init=/bin/sh' is no IP address"]),
        "mode": ({"mode": "bridged"}, ["mode: bridged", "shared"]),
    }
    wished = {name: {"cocoon_net": {"name": "other", **options}} for name, (options, _words) in cases.items()}
    wished["in check mode"] = {**wished["bridge"], "check_mode": True}
    results = tasks(site, wished)
    for name, (_options, words) in cases.items():
        told(results[name], *words)
    assert results["in check mode"]["msg"] == results["bridge"]["msg"]
    assert state_of(site) == before
    site.shell("ip link delete br-own")


def test_networks_of_somebody_else_are_refused_in_check_mode_too(linux_site: Site) -> None:
    """What the real run refuses, check mode does not announce."""
    conflist = json.dumps({"cniVersion": "0.4.0", "name": "theirs", "plugins": [{"type": "bridge", "bridge": "cni9"}]})
    path = linux_site.host.path("/etc/cni/net.d/10-theirs.conflist")
    path.write_text(conflist, encoding="utf-8")
    for check in (True, False):
        results = tasks(linux_site, {state: {"cocoon_net": {"name": "theirs", "state": state}} for state in ("present", "absent")}, check=check)
        told(results["present"], "10-theirs.conflist", "did not make it")
        told(results["absent"], "10-theirs.conflist", "not made by this collection")
    assert path.read_text(encoding="utf-8") == conflist
    path.unlink()
