# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of guests: Apple's lease file, arp, the kernel's table (tart contract 6)."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from hypothesis import given, strategies as st

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._guest.address import (
    Lease,
    arp_table_linux,
    leases,
    normal_mac,
    parse_arp,
    parse_leases,
    resolvers,
)

NOW = 1_800_000_000
MACS = st.lists(st.integers(0, 255), min_size=6, max_size=6)
ADDRESSES = st.tuples(*[st.integers(0, 255)] * 4).map(lambda parts: ".".join(map(str, parts)))


def short(mac: t.Iterable[int]) -> str:
    """A MAC address as macOS writes it."""
    return ":".join(f"{byte:x}" for byte in mac)


def long(mac: t.Iterable[int]) -> str:
    """A MAC address as tart's config.json has it."""
    return ":".join(f"{byte:02x}" for byte in mac)


def block(address: str, hardware: str, lease: int) -> str:
    """One lease of the file."""
    return f"{{\n\tname=guest\n\tip_address={address}\n\thw_address={hardware}\n\tidentifier={hardware}\n\tlease={lease:#x}\n}}\n"


@given(
    st.lists(
        st.tuples(
            st.one_of(MACS, st.sampled_from([[0, 1, 2, 3, 4, 5], [10, 11, 12, 13, 14, 255]])),
            ADDRESSES,
            st.integers(NOW - 1000, NOW + 1000),
        ),
        max_size=8,
    )
)
def test_leases(rows: list[tuple[list[int], str, int]]) -> None:
    """Of each MAC the lease that ends last, if it has not ended."""
    text = "".join(block(address, f"1,{short(mac)}", expires) for mac, address, expires in rows)
    expected: dict[str, Lease] = {}
    for mac, address, expires in sorted(rows, key=lambda row: row[2]):
        if expires > NOW and (long(mac) not in expected or expected[long(mac)].expires < expires):
            expected[long(mac)] = Lease(address, expires)
    found = parse_leases(text, NOW)
    assert {mac: lease.expires for mac, lease in found.items()} == {mac: lease.expires for mac, lease in expected.items()}
    assert all((lease.address, lease.expires) in [(row[1], row[2]) for row in rows if long(row[0]) == mac] for mac, lease in found.items())


@given(st.text(max_size=200), st.integers(0, 300))
def test_a_lease_file_that_is_being_written(noise: str, length: int) -> None:
    """What is cut off or odd is left out; a whole lease after it counts."""
    whole = block("192.168.64.9", "1,aa:b:c:d:e:f", NOW + 10)
    parse_leases(noise, NOW)
    parse_leases((whole * 3)[:length], NOW)
    assert parse_leases(whole + whole[: length % len(whole)], NOW)["aa:0b:0c:0d:0e:0f"].address == "192.168.64.9"


@pytest.mark.parametrize(
    "text",
    [
        block("192.168.64.2", "ff,aa:b:c:d:e:f:1:2", NOW + 10),
        block("192.168.64.2", "1,aa:b:c", NOW + 10),
        block("192.168.64.2", "1,aa:b:c:d:e:xyz", NOW + 10),
        block("192.168.64.2", "1,aa:b:c:d:e:f", NOW),
        block("192.168.64.2", "1,aa:b:c:d:e:f", NOW + 10).replace("lease=0x", "lease=never"),
        block("192.168.64.2", "1,aa:b:c:d:e:f", NOW + 10).replace("lease=", "release="),
        block("192.168.64.2", "1,aa:b:c:d:e:f", NOW + 10).replace("\tip_address=192.168.64.2\n", ""),
        "",
        "{}{}",
    ],
)
def test_leases_that_say_nothing(text: str) -> None:
    """Guests that identify themselves by DUID, leases that are over, blocks without an address."""
    assert parse_leases(text, NOW) == {}


def test_no_lease_file(tmp_path: pathlib.Path) -> None:
    """No DHCP server has run yet; odd bytes are no reason to stop."""
    assert leases(str(tmp_path / "none")) == {}
    path = tmp_path / "dhcpd_leases"
    path.write_bytes(b"\xff\xfe" + block("10.0.0.1", "1,1:2:3:4:5:6", 2**31).encode("ascii"))
    assert leases(str(path))["01:02:03:04:05:06"].address == "10.0.0.1"


@given(MACS)
def test_macs(mac: list[int]) -> None:
    """Both ways to write one are the same."""
    assert normal_mac(short(mac)) == normal_mac(long(mac)) == normal_mac(long(mac).upper()) == long(mac)


@pytest.mark.parametrize(
    "text", ["", "(incomplete)", "a:b:c:d:e", "a:b:c:d:e:f:1", "aaa:b:c:d:e:f", "a:b:c:d:e:g", "a::c:d:e:f", "a:b:c:d:e:é"]
)
def test_what_is_no_mac(text: str) -> None:
    """Nothing is made of it."""
    assert normal_mac(text) is None


def test_arp_on_a_mac() -> None:
    """Incomplete entries and other lines are left out."""
    text = """? (192.168.64.2) at ee:a7:85:9:92:39 on bridge100 ifscope [bridge]
? (192.168.64.3) at (incomplete) on bridge100 ifscope [bridge]
host.local (192.168.1.7) at 0:1:2:3:4:5 on en0 ifscope permanent [ethernet]
? (224.0.0.251) at 1:0:5e:0:0:fb on en0 ifscope permanent [ethernet]
arp: odd
"""
    assert parse_arp(text) == {"ee:a7:85:09:92:39": "192.168.64.2", "00:01:02:03:04:05": "192.168.1.7", "01:00:5e:00:00:fb": "224.0.0.251"}
    assert parse_arp("") == {}


def test_arp_on_linux(tmp_path: pathlib.Path) -> None:
    """The kernel's table; entries without the flag for complete are left out."""
    path = tmp_path / "arp"
    path.write_text(
        "IP address       HW type     Flags       HW address            Mask     Device\n"
        "10.88.0.2        0x1         0x2         52:54:00:00:00:01     *        cn-default\n"
        "10.88.0.3        0x1         0x0         00:00:00:00:00:00     *        cn-default\n"
        "10.88.0.4        0x1         0x6         52:54:00:00:00:04     *        cn-default\n",
        encoding="ascii",
    )
    assert arp_table_linux(str(path)) == {"52:54:00:00:00:01": "10.88.0.2", "52:54:00:00:00:04": "10.88.0.4"}
    assert isinstance(arp_table_linux(), dict)


@pytest.mark.parametrize(
    ("mode", "order"),
    [
        ("shared", ("dhcp", "agent", "arp")),
        ("softnet", ("dhcp", "agent", "arp")),
        ("host", ("dhcp", "agent", "arp")),
        ("bridged", ("agent", "arp")),
    ],
)
def test_resolvers(mode: str, order: tuple[str, ...]) -> None:
    """A bridged guest has its lease from somebody else."""
    assert resolvers(mode) == order
