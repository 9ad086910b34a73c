# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks of Linux hosts: files, names and subnets; plugins and links are the lab's to test."""

from __future__ import annotations

import ipaddress
import json
import pathlib
import re
import typing as t

import pytest
from hypothesis import given, strategies as st

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._command import Commands, Output
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._network import cni
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._network.base import Network
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._network.cni import Cni, bridge_name, conflist, namespace
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._network.converge import converge
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._network.subnets import (
    POOL,
    check_address,
    check_subnet,
    choose_subnet,
    first_address,
    host_routes,
)
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._store import Store

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)
SUBNETS = st.tuples(st.integers(0, 2**32 - 1), st.integers(8, 29)).map(lambda parts: str(ipaddress.IPv4Network(parts, strict=False)))
PARAMS = {field: None for field in Network._fields}


@pytest.fixture(name="config")
def fixture_config(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The folder for conflists, with plugins beside it."""
    folder = tmp_path / "net.d"
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    for name in ("bridge", "host-local"):
        (plugins / name).write_text("#!/bin/sh\n", encoding="ascii")
        (plugins / name).chmod(0o755)
    monkeypatch.setattr(cni, "CONFIG_DIRECTORY", str(folder))
    monkeypatch.setattr(cni, "PLUGIN_DIRECTORIES", [str(tmp_path / "none"), str(plugins)])
    return folder


@pytest.fixture(name="provider")
def fixture_provider(commands: Commands, tmp_path: pathlib.Path, config: pathlib.Path) -> Cni:
    """The provider of an empty host."""
    assert not config.exists()
    return Cni(commands, str(tmp_path / "root"))


def net(provider: Cni, check_mode: bool = False, **params: t.Any) -> dict[str, t.Any]:
    """What cocoon_net does with a network named lan."""
    return converge(provider, {**PARAMS, "name": "lan", "state": "present", **params}, check_mode)


def foreign(config: pathlib.Path, name: str, content: t.Any) -> None:
    """A conflist that somebody else wrote."""
    config.mkdir(exist_ok=True)
    (config / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


# Names.


@given(NAMES)
def test_bridge_names(network: str) -> None:
    """The kernel takes them: 15 characters, no path, no white space; the same network has the same one always."""
    name = bridge_name(network)
    assert re.fullmatch(r"cn-[A-Za-z0-9._-]{1,12}", name)
    assert bridge_name(network) == name
    assert len(network) > 12 or name == f"cn-{network}"


@given(NAMES, NAMES)
def test_two_networks_have_two_bridges(one: str, other: str) -> None:
    """Also where names are too long to be readable."""
    assert (bridge_name(one) == bridge_name(other)) is (one == other)


def test_namespaces() -> None:
    """One for each VM."""
    assert namespace("web") == "cocoon-web"


# Subnets.


@given(st.lists(SUBNETS, max_size=5))
def test_a_chosen_subnet_is_free(taken: list[str]) -> None:
    """It overlaps nothing that is taken, nor a route of the host."""
    busy = [ipaddress.IPv4Network(subnet) for subnet in taken] + host_routes()
    try:
        chosen = ipaddress.IPv4Network(choose_subnet(taken))
    except CocoonError:
        assert any(subnet.supernet_of(POOL) for subnet in busy)
        return
    assert chosen.prefixlen == 24 and chosen.subnet_of(POOL) and not any(chosen.overlaps(other) for other in busy)


def test_foreign_subnets_of_any_kind() -> None:
    """Other programs' networks may have IPv6 or nonsense; it is no reason to fail."""
    assert choose_subnet(["fd00::/64", "nonsense", "10.88.0.5/24"]) != "10.88.0.0/24"
    check_subnet("10.90.0.0/24", None, [("six", "fd00::/64"), ("odd", "nonsense")])


def test_no_subnet_is_free() -> None:
    """The error says what to set."""
    with pytest.raises(CocoonError, match="All of 10.88.0.0/16 is in use") as caught:
        choose_subnet(["10.88.0.0/17", "10.88.128.0/17"])
    assert caught.value.remedy == "set subnet"


def test_routes_of_the_host(tmp_path: pathlib.Path) -> None:
    """The kernel writes them in hexadecimal, bytes turned round; the default route is none."""
    path = tmp_path / "route"
    path.write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "br0\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FEFFFF\t0\t0\t0\n",
        encoding="ascii",
    )
    assert [str(network) for network in host_routes(str(path))] == ["10.0.0.0/24", "192.168.2.0/23"]


@given(SUBNETS)
def test_the_gateway_is_the_first_address(subnet: str) -> None:
    """And a member of the subnet."""
    gateway = first_address(subnet)
    check_subnet(subnet, gateway, [])
    assert ipaddress.IPv4Address(gateway) == ipaddress.IPv4Network(subnet).network_address + 1


@pytest.mark.parametrize(
    ("subnet", "gateway", "message"),
    [
        ("10.0.0.5/24", None, "is no IPv4 network"),
        ("10.0.0.0/33", None, "is no IPv4 network"),
        ("fd00::/64", None, "is no IPv4 network"),
        ("lan", None, "is no IPv4 network"),
        ("10.0.0.0/30", None, "has no room for VMs"),
        ("10.0.0.0", None, "has no room for VMs"),
        ("10.1.0.0/24", None, "overlaps 10.1.0.0/16 of network other"),
        ("10.0.0.0/24", "10.0.1.1", "gateway: 10.0.1.1 is no free member"),
        ("10.0.0.0/24", "10.0.0.0", "gateway: 10.0.0.0 is no free member"),
        ("10.0.0.0/24", "10.0.0.255", "gateway: 10.0.0.255 is no free member"),
        ("10.0.0.0/24", "first", "gateway: 'first' is no IPv4 address"),
    ],
)
def test_bad_subnets(subnet: str, gateway: str | None, message: str) -> None:
    """Each mistake before anything is written."""
    with pytest.raises(CocoonError, match=message):
        check_subnet(subnet, gateway, [("other", "10.1.0.0/16")])


@given(SUBNETS, st.integers(0, 2**32 - 1).map(lambda number: str(ipaddress.IPv4Address(number))), st.integers(0, 300))
def test_addresses_of_members(subnet: str, stranger: str, number: int) -> None:
    """An address is free for a VM if it is in the subnet, but not its first, its last or the gateway."""
    network = ipaddress.IPv4Network(subnet)
    for address in (stranger, str(network[number % network.num_addresses])):
        inside = ipaddress.IPv4Address(address) in network
        usable = inside and address not in (str(network.network_address), str(network.broadcast_address), first_address(subnet))
        try:
            check_address(address, {"name": "lan", "subnet": subnet, "gateway": first_address(subnet)})
            accepted = True
        except CocoonError:
            accepted = False
        assert accepted is usable


def test_an_address_in_a_network_without_addresses() -> None:
    """A network of somebody else whose addresses come from elsewhere."""
    with pytest.raises(CocoonError, match="network lan gives no addresses"):
        check_address("10.0.0.2", {"name": "lan", "subnet": None})


# Files.


def test_the_conflist(provider: Cni, config: pathlib.Path) -> None:
    """A bridge with NAT and addresses by host-local, as the CNI specification has it."""
    net(provider, subnet="10.90.0.0/24", mtu=1400, dns=["10.90.0.1"])
    path = config / "50-cocoon-lan.conflist"
    assert path.stat().st_mode & 0o777 == 0o644
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "cniVersion": "0.4.0",
        "name": "lan",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cn-lan",
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": "10.90.0.0/24", "gateway": "10.90.0.1"}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
                "mtu": 1400,
                "dns": {"nameservers": ["10.90.0.1"]},
            }
        ],
    }
    shown = {"name": "lan", "interface": "cn-x", "subnet": "10.0.0.0/24", "gateway": "10.0.0.1", "mtu": None, "dns": []}
    assert not {"mtu", "dns"} & conflist(shown)["plugins"][0].keys()


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"subnet": "10.90.0.0/24"},
        {"gateway": "10.88.0.9", "subnet": "10.88.0.0/24"},
        {"mtu": 9000, "dns": ["1.1.1.1"]},
        {"interface": "br-mine"},
    ],
)
def test_a_network_is_made_once(provider: Cni, wish: dict[str, t.Any]) -> None:
    """Check mode announces what is then done; the second run changes nothing; it goes without a trace, and once."""
    announced = net(provider, True, **wish)
    assert provider.list() == [] and announced["changed"]
    made = net(provider, **wish)
    assert made == announced
    assert net(provider, **wish) == {"changed": False, "network": made["network"]}
    assert net(provider) == {"changed": False, "network": made["network"]}
    assert provider.list() == [made["network"]]
    assert net(provider, True, state="absent")["changed"] and provider.list() == [made["network"]]
    gone = net(provider, state="absent")
    assert gone["changed"] and gone["network"] is None and gone["diff"] == {"before": made["network"], "after": {}}
    assert provider.list() == [] and not net(provider, state="absent")["changed"]


def test_two_networks_get_two_subnets(provider: Cni) -> None:
    """The second one is another /24."""
    subnets = {net(provider, name=name)["network"]["subnet"] for name in ("a", "b", "c")}
    assert len(subnets) == 3


def test_a_change_keeps_the_rest(provider: Cni) -> None:
    """A new subnet gets a new gateway, the rest stays."""
    net(provider, subnet="10.90.0.0/24", mtu=1400)
    changed = net(provider, subnet="10.91.0.0/24")
    assert changed["changed"]
    assert {key: changed["network"][key] for key in ("subnet", "gateway", "mtu", "interface")} == {
        "subnet": "10.91.0.0/24",
        "gateway": "10.91.0.1",
        "mtu": 1400,
        "interface": "cn-lan",
    }


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"mode": "bridged"}, "mode: bridged is not to be had on Linux hosts"),
        ({"subnet": "10.0.0.0/31"}, "no room for VMs"),
        ({"interface": "-rf"}, "interface"),
        ({"interface": "a/../b"}, "interface"),
        ({"interface": "sixteen-letters-"}, "interface"),
        ({"interface": "a b"}, "interface"),
        ({"name": "../lan"}, "is not a name"),
        ({"mtu": 10}, "mtu"),
        ({"dns": ["first"]}, "dns"),
    ],
)
def test_wishes_that_cannot_be(provider: Cni, config: pathlib.Path, wish: dict[str, t.Any], message: str) -> None:
    """Refused in check mode and for real; nothing is written."""
    for check_mode in (True, False):
        with pytest.raises(CocoonError, match=message):
            net(provider, check_mode, **wish)
    assert not config.exists()


def test_networks_of_others(provider: Cni, config: pathlib.Path) -> None:
    """They are shown, not changed and not removed; their files may be anything."""
    foreign(
        config,
        "10-other.conflist",
        {"name": "other", "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "subnet": "10.5.0.0/24"}}]},
    )
    foreign(config, "11-none.conflist", {"name": "none", "plugins": [{"type": "macvlan"}]})
    foreign(config, "12-broken.conflist", "{")
    foreign(config, "13-odd.conflist", {"name": "odd", "plugins": []})
    foreign(config, "14-list.conflist", [])
    foreign(config, "15-not-a-list.conf", {"name": "conf", "type": "bridge"})
    foreign(config, "16-six.conflist", {"name": "six", "plugins": [{"type": "bridge", "ipam": {"ranges": [[{"subnet": "fd00::/64"}]]}}]})
    shown = {network["name"]: (network["managed"], network["subnet"]) for network in provider.list()}
    assert shown == {"other": (False, "10.5.0.0/24"), "none": (False, None), "six": (False, "fd00::/64")}
    for state in ("present", "absent"):
        with pytest.raises(CocoonError, match="not made by this collection|did not make it"):
            net(provider, name="other", state=state)
    with pytest.raises(CocoonError, match="overlaps 10.5.0.0/24 of network other"):
        net(provider, subnet="10.5.0.0/16")
    assert net(provider)["changed"]


def test_an_odd_conflist_is_left_out(provider: Cni, config: pathlib.Path) -> None:
    """Its shape is somebody else's mistake; the network that is asked for is told with the files that are broken."""
    foreign(config, "10-odd.conflist", {"name": "odd", "plugins": [{"type": "bridge", "ipam": {"ranges": []}}]})
    foreign(config, "11-odd.conflist", {"name": "odd2", "plugins": [{"type": "bridge", "ipam": {"ranges": [[]]}}]})
    foreign(config, "12-broken.conflist", "{")
    assert [network["name"] for network in provider.list()] == ["odd", "odd2"]
    with pytest.raises(CocoonError, match="There is no network lan on this host .there is: odd, odd2") as caught:
        provider.check([{"name": "lan"}])
    assert re.search("These files are broken: .*12-broken.conflist: JSONDecodeError", caught.value.msg)
    assert "cocoon_net" in caught.value.remedy


def test_a_network_that_is_used(provider: Cni) -> None:
    """It is neither changed nor removed under its VMs; to say the same again is no change."""
    net(provider, subnet="10.90.0.0/24")
    vms = Store(provider.store.root, "vms")
    vms.write("web", {"name": "web", "phase": "ready", "attributes": {"networks": [{"name": "lan"}]}})
    for check_mode in (True, False):
        for wish in ({"state": "absent"}, {"subnet": "10.91.0.0/24"}):
            with pytest.raises(CocoonError, match="The network lan cannot be (removed|changed): these VMs are in it: web"):
                net(provider, check_mode, **wish)
    assert not net(provider, subnet="10.90.0.0/24")["changed"]


def test_a_host_without_plugins(provider: Cni, tmp_path: pathlib.Path, config: pathlib.Path) -> None:
    """Nothing is written where no VM could be attached."""
    (tmp_path / "plugins" / "host-local").unlink()
    with pytest.raises(CocoonError, match="The CNI plugin host-local is in none of") as caught:
        net(provider)
    assert "containernetworking-plugins" in caught.value.remedy
    assert not config.exists()


def test_wished_addresses(provider: Cni, monkeypatch: pytest.MonkeyPatch, program: t.Callable[[str, str], str]) -> None:
    """They are checked before anything is touched."""
    monkeypatch.setitem(provider.commands._found, "tc", program("tc", ""))
    net(provider, subnet="10.90.0.0/24")
    provider.check([{"name": "lan", "ip_address": "10.90.0.9"}])
    with pytest.raises(CocoonError, match="10.91.0.9 is no free member of 10.90.0.0/24"):
        provider.check([{"name": "lan", "ip_address": "10.91.0.9"}])
    with pytest.raises(CocoonError, match="10.90.0.1 is no free member"):
        provider.check([{"name": "lan", "ip_address": "10.90.0.1"}])


@pytest.mark.parametrize(
    ("out", "err", "message", "remedy"),
    [
        (
            '{"code": 999, "msg": "failed to allocate for range 0", "details": "no IP addresses available in range set"}',
            "",
            "range 0: no IP",
            "larger subnet",
        ),
        ('{"code": 7, "msg": "bad"}', "", "network lan: bad", "check network lan"),
        ("", "segmentation fault", "segmentation fault", "check network lan"),
        ("", "", "no reason given", "check network lan"),
        ("[1]", "", r"\[1\]", "check network lan"),
    ],
)
def test_plugins_that_fail(out: str, err: str, message: str, remedy: str) -> None:
    """They tell why on standard output, as JSON, or die without a word."""
    error = cni._plugin_failed("ADD", "web", "bridge", "lan", Output(1, out, err))
    assert re.search(message, error.msg) and "CNI plugin bridge failed to ADD web in network lan" in error.msg and remedy in error.remedy
