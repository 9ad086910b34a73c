# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options to specs: names, sizes, addresses, batches."""

from __future__ import annotations

import ipaddress
import os
import re
import string
import typing as t

import pytest
from hypothesis import example, given, strategies as st

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._spec import Nic, VmSpec, check_name, parse_size, show_size, vm_specs

LETTERS = string.ascii_letters + string.digits
BAD_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "/etc/passwd",
    "-rf",
    "--force",
    "_x",
    " web",
    "web ",
    "web 1",
    "web\n",
    "web\t",
    "a\0b",
    "wéb",
    "вм",
    "ｗｅｂ",
    "x" * 64,
    "~",
    "$HOME",
    "a;b",
    "a|b",
    "*",
    "a:b",
    "a@b",
    "a,b",
    "a=b",
    "web١",
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names(name: str) -> None:
    """Paths, options, white space, unicode, shell signs and names that are too long are no names."""
    with pytest.raises(CocoonError, match="is not a name") as caught:
        vm_specs({"name": name})
    assert "63 characters at most" in caught.value.msg


@given(st.text())
@example("a" * 63)
@example("a" * 64)
@example("web\n")
def test_names_are_safe(name: str) -> None:
    """A name that is accepted is one plain path component, no option and no word that a shell would read differently."""
    try:
        check_name(name, "name")
    except CocoonError:
        return
    assert os.path.basename(name) == name and os.path.normpath(f"/x/{name}") == f"/x/{name}"
    assert name[0] in LETTERS and set(name) <= set(LETTERS + "._-") and len(name) <= 63


@given(st.text(LETTERS + "._-", max_size=62), st.sampled_from(LETTERS))
def test_good_names(rest: str, first: str) -> None:
    """Every name of these letters is one."""
    assert check_name(first + rest, "name") == first + rest


@given(st.integers(0, 2**60), st.sampled_from(["", "K", "M", "G", "T", "KB", "MiB", "g", "tib", " G"]))
def test_sizes(number: int, unit: str) -> None:
    """Units are powers of 1024."""
    power = " KMGT".index(unit.strip().upper()[:1] or " ")
    assert parse_size(f"{number}{unit}", "memory") == number * 1024**power


@given(st.text(max_size=12))
@example("-1G")
@example("1.5G")
@example("1e9")
@example("0x10")
@example("1 000")
@example("G")
@example("٣G")
@example("1GG")
def test_what_is_no_size(text: str) -> None:
    """Whatever is not a plain number with one of the units is refused, in every script."""
    if re.fullmatch(r"[0-9]+\s*([KMGTkmgt]?)([iI]?[bB])?", text.strip()):
        return
    with pytest.raises(CocoonError, match="is not a size"):
        parse_size(text, "memory")


@given(st.integers(0, 2**60))
def test_sizes_are_shown_as_they_are_read(size: int) -> None:
    """What errors and descriptions say can be given back as an option."""
    assert parse_size(show_size(size), "memory") == size


def one(**options: t.Any) -> VmSpec:
    """The spec of one VM."""
    return vm_specs({"name": "web", **options})[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": "63M"}, "memory: 63M is below the minimum of 64M"),
        ({"memory": "512"}, r"below the minimum of 64M\. Did you mean 512M\?"),
        ({"memory": "67108865"}, "no whole number of MiB"),
        ({"memory": "much"}, "memory: 'much' is not a size"),
        ({"disk_size": "15M"}, "disk_size: 15M is below the minimum of 16M"),
        ({"disk_size": "-5G"}, "disk_size: '-5G' is not a size"),
        ({"cpus": 0}, "cpus: 0 is too few"),
        ({"cpus": -1}, "cpus: -1 is too few"),
        ({"stop_timeout": -1.0}, "stop_timeout: -1.0 is negative"),
        ({"wait_timeout": -0.5}, "wait_timeout: -0.5 is negative"),
        ({"hostname": "a b"}, "hostname: 'a b' is not a host name"),
        ({"hostname": "-a"}, "not a host name"),
        ({"hostname": "a-"}, "not a host name"),
        ({"hostname": "a..b"}, "not a host name"),
        ({"hostname": ""}, "not a host name"),
        ({"hostname": "a" * 64}, "not a host name"),
        ({"hostname": ".".join(["a" * 50] * 6)}, "not a host name"),
        ({"hostname": "web console=ttyS1"}, "not a host name"),
        ({"hostname": "wéb"}, "not a host name"),
        ({"networks": [{"name": "../x"}]}, r"networks\[0\]\.name: '\.\./x' is not a name"),
        (
            {"networks": [{"name": "a"}, {"name": "b", "mac_address": "01:00:00:00:00:01"}]},
            r"networks\[1\]\.mac_address: .* no unicast MAC",
        ),
        ({"networks": [{"name": "a", "mac_address": "52:54:00:00:00"}]}, "no unicast MAC address"),
        ({"networks": [{"name": "a", "mac_address": "52:54:00:00:00:0g"}]}, "no unicast MAC address"),
        ({"networks": [{"name": "a", "ip_address": "10.0.0.1/24"}]}, "is no IPv4 address"),
        ({"networks": [{"name": "a", "ip_address": "::1"}]}, "is no IPv4 address"),
        ({"ssh_authorized_keys": ["ssh-ed25519"]}, "no public key"),
        ({"ssh_authorized_keys": ["-----BEGIN OPENSSH PRIVATE KEY-----"]}, "no public key"),
        ({"ssh_authorized_keys": ["ssh-ed25519 A a\nssh-ed25519 B b"]}, "no public key"),
        ({"memory": "33T"}, "memory: 33T is above the maximum of 32T"),
        ({"disk_size": "9" * 18 + "T"}, "is above the maximum of 32T"),
        ({"disk_size": "9" * 5000}, "is not a size"),
        ({"stop_timeout": float("nan")}, "stop_timeout: nan is negative"),
        ({"parallel": 0}, "parallel: 0 is too few; give at least 1"),
        ({"parallel": -8}, "parallel: -8 is too few"),
        ({"user_data": "runcmd: [ls]"}, "user_data.* cloud-init does not know"),
        ({"user_data": " #cloud-config"}, "user_data.* cloud-init does not know"),
        ({"user_data": "x" * (512 * 1024 + 1)}, "longer than 512 KiB"),
        ({"user_data": "é" * (256 * 1024 + 1)}, "longer than 512 KiB"),
    ],
)
def test_bad_options(options: dict[str, t.Any], message: str) -> None:
    """Each mistake is told with the option that has it."""
    with pytest.raises(CocoonError, match=message) as caught:
        one(**options)
    assert "nothing was changed" in caught.value.remedy


def test_good_options() -> None:
    """Everything that can be said, typed."""
    spec = one(
        state="started",
        image="registry.test/a:1",
        cpus=2,
        memory="512M",
        disk_size="20GiB",
        networks=[
            {"name": "lan", "mac_address": "52-54-00-AB-CD-EF", "ip_address": "10.0.0.2"},
            {"name": "b", "mac_address": None, "ip_address": None},
        ],
        hostname="web.example.com",
        ssh_authorized_keys=[" ssh-ed25519 AAAA me \n"],
        user_data="#!/bin/sh\n",
        labels={"a": 1},
        stop_timeout=0,
    )
    assert spec.memory == 512 * 2**20 and spec.disk_size == 20 * 2**30
    assert spec.networks == (Nic("lan", "52:54:00:ab:cd:ef", "10.0.0.2"), Nic("b"))
    assert spec.ssh_authorized_keys == ("ssh-ed25519 AAAA me",)
    assert spec.labels == {"a": "1"}
    assert spec.stop_timeout == 0 and spec.wait_timeout == 120 and spec.restart == "never"


@pytest.mark.parametrize(
    "smallest",
    [
        {"memory": "64M"},
        {"disk_size": "16M"},
        {"cpus": 1},
        {"hostname": "a" * 63},
        {"user_data": "#!" + "x" * (512 * 1024 - 2)},
        {"user_data": ""},
    ],
)
def test_the_limits_themselves_are_allowed(smallest: dict[str, t.Any]) -> None:
    """The smallest size, the longest name."""
    assert one(**smallest)


def test_secrets_are_in_no_error() -> None:
    """Whatever is wrong with them."""
    for secret in ("hunter2 is my password", "hunter2" * 100000):
        with pytest.raises(CocoonError) as caught:
            one(user_data=secret)
        assert "hunter2" not in caught.value.sentence


def test_nothing_said_is_nothing_wished() -> None:
    """None means: leave as it is; nothing is another wish."""
    assert one() == VmSpec("web")
    assert one(networks=[], labels={}, ssh_authorized_keys=[]) == VmSpec("web", networks=(), labels={}, ssh_authorized_keys=())


@given(st.one_of(st.text("0123456789.", max_size=15), st.tuples(*[st.integers(0, 300)] * 4).map(lambda parts: ".".join(map(str, parts)))))
@example("010.0.0.1")
@example("1٣.0.0.1")
@example("10.0.0")
@example("255.255.255.255")
def test_addresses(text: str) -> None:
    """What is an IPv4 address is what Python's own library takes for one."""
    try:
        valid = bool(ipaddress.IPv4Address(text))
    except ValueError:
        valid = False
    try:
        one(networks=[{"name": "lan", "ip_address": text}])
        accepted = True
    except CocoonError:
        accepted = False
    assert accepted is valid


def batch(*items: dict[str, t.Any], **shared: t.Any) -> list[VmSpec]:
    """The specs of a task with vms."""
    return vm_specs({"name": None, "vms": [dict(item) for item in items], **shared})


def test_what_is_said_once_is_a_default_for_all() -> None:
    """A VM's own options come first, in the order of the list."""
    specs = batch({"name": "a"}, {"name": "b", "cpus": 4, "state": None, "memory": "1G"}, state="started", cpus=2, memory="512M")
    assert [(spec.name, spec.state, spec.cpus, spec.memory) for spec in specs] == [("a", "started", 2, 2**29), ("b", "started", 4, 2**30)]


def test_an_empty_batch_is_none() -> None:
    """No VMs are no mistake: a list may be computed."""
    assert batch() == []


def test_all_mistakes_are_told_at_once() -> None:
    """Each with its place in the list; names that are none are not repeated as names."""
    with pytest.raises(CocoonError) as caught:
        batch({"name": "a", "cpus": 0}, {"name": "b"}, {"name": "-rf"}, {"name": "b"})
    lines = caught.value.msg.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("- vms[0] (a): cpus: 0 is too few.")
    assert lines[1].startswith("- vms[2]: name: '-rf' is not a name.")
    assert "b and b have the name b in common" in lines[2]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"name": "web"}, {"name": "web"}, "web and web have the name web in common"),
        ({"name": "web"}, {"name": "WEB"}, "WEB and web have the name web in common"),
        (
            {"name": "a", "networks": [{"name": "x", "mac_address": "52:54:00:00:00:01"}]},
            {"name": "b", "networks": [{"name": "y", "mac_address": "52-54-00-00-00-01"}]},
            "b and a have MAC address 52:54:00:00:00:01 in common",
        ),
        (
            {"name": "a", "networks": [{"name": "x", "ip_address": "10.0.0.2"}]},
            {"name": "b", "networks": [{"name": "x", "ip_address": "10.0.0.2"}]},
            "b and a have in network x the address 10.0.0.2 in common",
        ),
    ],
)
def test_clashes(first: dict[str, t.Any], second: dict[str, t.Any], message: str) -> None:
    """What two VMs of one batch may not share."""
    with pytest.raises(CocoonError, match=message):
        batch(first, second)


def test_one_address_in_two_networks_is_no_clash() -> None:
    """Networks are apart."""
    items = [{"name": name, "networks": [{"name": name, "ip_address": "10.0.0.2"}]} for name in ("a", "b")]
    assert len(batch(*items)) == 2


@given(st.lists(st.sampled_from(["a", "b", "c", "d", "A"]), max_size=5))
def test_a_batch_is_refused_exactly_when_names_clash(names: list[str]) -> None:
    """Names that differ only in case are one VM on a Mac's disk."""
    clash = len({name.lower() for name in names}) < len(names)
    try:
        assert [spec.name for spec in batch(*({"name": name} for name in names))] == names
        assert not clash
    except CocoonError:
        assert clash
