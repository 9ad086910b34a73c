# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of cloud-hypervisor, read back by the rules of its option parser (cloud-hypervisor contract 1.3, 1.5)."""

from __future__ import annotations

import ipaddress
import typing as t

import pytest
from hypothesis import example, given, strategies as st

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._hypervisor.cloud_hypervisor_args import (
    OLDEST_VERSION,
    Machine,
    arguments,
    kernel_command_line,
    netmask,
)

NIC: dict[str, t.Any] = {
    "name": "lan", "interface": "eth0", "tap": "tap0", "mac_address": "52:54:00:00:00:01", "ip_address": "10.88.0.2", "prefix": 24,
    "gateway": "10.88.0.1", "mtu": 1500, "dns": ["1.1.1.1", "8.8.8.8", "9.9.9.9"],
}
MACHINE = Machine(
    "web",
    "/r/vms/web/api.sock",
    "/r/boot/k",
    "/r/boot/i",
    ["/r/a.erofs", "/r/b.erofs"],
    "/r/cow.raw",
    None,
    2,
    2**30,
    [NIC],
    "web",
    "/r/log",
)
PLAIN = [
    "--api-socket",
    "/r/vms/web/api.sock",
    "--kernel",
    "/r/boot/k",
    "--initramfs",
    "/r/boot/i",
    "--cmdline",
    "console=ttyS0 console=hvc0 loglevel=3 boot=cocoon-overlay cocoon.layers=cocoon-layer1,cocoon-layer0 cocoon.cow=cocoon-cow "
    "clocksource=kvm-clock rw net.ifnames=0 cocoon.hostname=web ip=10.88.0.2::10.88.0.1:255.255.255.0:web:eth0:off:1.1.1.1:8.8.8.8",
    "--cpus",
    "boot=2",
    "--memory",
    "size=1073741824",
    "--disk",
    "path=/r/a.erofs,readonly=on,image_type=raw,serial=cocoon-layer0",
    "path=/r/b.erofs,readonly=on,image_type=raw,serial=cocoon-layer1",
    "path=/r/cow.raw,image_type=raw,sparse=on,serial=cocoon-cow",
    "--net",
    "tap=tap0,mac=52:54:00:00:00:01,id=net0,num_queues=2,queue_size=256",
    "--balloon",
    "size=0,deflate_on_oom=on,free_page_reporting=on",
    "--serial",
    "file=/r/log",
    "--console",
    "pty",
]


def pairs(text: str) -> dict[str, str]:
    """A value as cloud-hypervisor reads it: commas separate, but not in quotes or brackets; a doubled quote is one."""
    found, word, quoted, depth = [], "", False, 0
    index = 0
    while index < len(text):
        sign = text[index]
        if sign == '"' and quoted and text[index + 1:index + 2] == '"':
            word, index = word + '"', index + 1
        elif sign == '"':
            quoted = not quoted
        elif sign == "," and not quoted and depth == 0:
            found.append(word)
            word = ""
        else:
            depth += 0 if quoted else {"[": 1, "]": -1}.get(sign, 0)
            word += sign
        index += 1
    assert not quoted and depth == 0, "Invalid syntax"
    return {key: value.strip() for key, _sep, value in (part.partition("=") for part in [*found, word])}


def values(argv: list[str], flag: str) -> list[str]:
    """The values after a flag."""
    rest = argv[argv.index(flag) + 1:]
    end = next((number for number, word in enumerate(rest) if word.startswith("--")), len(rest))
    return rest[:end]


def test_a_plain_machine() -> None:
    """The whole command line of a VM as people meet it."""
    assert arguments(MACHINE) == PLAIN


@pytest.mark.parametrize(
    ("change", "flag", "expected"),
    [
        ({"seed": "/r/seed.img"}, "--disk", ["path=/r/seed.img,readonly=on,image_type=raw,serial=cocoon-cidata"]),
        ({"cpus": 8}, "--cpus", ["boot=8"]),
        ({"memory": 2**40}, "--memory", ["size=1099511627776"]),
        (
            {"nics": [NIC, {**NIC, "tap": "tap1", "mac_address": "52:54:00:00:00:02"}]},
            "--net",
            ["tap=tap1,mac=52:54:00:00:00:02,id=net1,num_queues=2,queue_size=256"],
        ),
    ],
)
def test_what_differs(change: dict[str, t.Any], flag: str, expected: list[str]) -> None:
    """Each wish in its option."""
    assert values(arguments(MACHINE._replace(**change)), flag)[-1:] == expected


def test_no_network() -> None:
    """A flag without values would be an error."""
    argv = arguments(MACHINE._replace(nics=[]))
    assert "--net" not in argv and "ip=" not in argv[argv.index("--cmdline") + 1]


def test_each_flag_stands_once() -> None:
    """Versions before 52 refuse a repeated flag; all are options of the oldest version that we take."""
    argv = arguments(MACHINE._replace(nics=[NIC, NIC], seed="/r/seed.img"))
    flags = [word for word in argv if word.startswith("--")]
    assert len(flags) == len(set(flags))
    assert OLDEST_VERSION == (51, 0)


PATHS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20).map("/r/".__add__)


@given(PATHS)
@example("/r/a,readonly=off")
@example('/r/a"b')
@example("/r/a[b")
@example("/r/a=b")
@example("/r/$HOME;x")
def test_paths_go_through_the_option_parser(path: str) -> None:
    """Whatever is in a path, the program opens that path and no option is added."""
    argv = arguments(MACHINE._replace(layers=[path], cow=path, seed=path, console_log=path))
    for disk in values(argv, "--disk"):
        found = pairs(disk)
        assert found["path"] == path
        assert found.keys() - {"sparse"} in ({"path", "readonly", "image_type", "serial"}, {"path", "image_type", "serial"})
    assert pairs(values(argv, "--serial")[0]) == {"file": path}


@given(PATHS.filter(lambda path: not set(path) & set(",:[]\"'\\")))
def test_a_process_is_known_by_its_socket(path: str) -> None:
    """The command line has the words by which the backend looks for the VM's process; other paths are refused as root_dir."""
    command = " ".join(arguments(MACHINE._replace(api_socket=path))) + " "
    assert f"--api-socket {path} " in command


def test_layers_are_stacked_from_the_top() -> None:
    """The kernel's parameter names the uppermost first; disks stand bottom first."""
    machine = MACHINE._replace(layers=[f"/r/{number}" for number in range(12)])
    words = kernel_command_line(machine).split()
    assert f"cocoon.layers={','.join(f'cocoon-layer{number}' for number in reversed(range(12)))}" in words
    assert [pairs(disk)["serial"] for disk in values(arguments(machine), "--disk")] == [
        *(f"cocoon-layer{number}" for number in range(12)),
        "cocoon-cow",
    ]


def test_addresses_on_the_kernels_command_line() -> None:
    """One parameter for each card that has an address, with its number; two name servers are all that the kernel takes."""
    nics = [
        {**NIC, "dns": []},
        {**NIC, "ip_address": None},
        {**NIC, "ip_address": "10.0.0.9", "prefix": 8, "gateway": None, "dns": ["1.1.1.1"]},
    ]
    words = kernel_command_line(MACHINE._replace(nics=nics, hostname="web.example.com")).split()
    assert [word for word in words if word.startswith("ip=")] == [
        "ip=10.88.0.2::10.88.0.1:255.255.255.0:web.example.com:eth0:off",
        "ip=10.0.0.9:::255.0.0.0:web.example.com:eth2:off:1.1.1.1",
    ]
    assert "cocoon.hostname=web.example.com" in words


@given(st.integers(0, 32))
def test_netmasks(prefix: int) -> None:
    """As Python's own library has them."""
    assert netmask(prefix) == str(ipaddress.IPv4Network((0, prefix)).netmask)
