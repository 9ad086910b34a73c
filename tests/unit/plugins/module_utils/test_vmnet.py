# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks of Macs: names for tart's modes, checked against the Mac's interfaces (tart contract 7)."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._network.base import Network
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._network.converge import converge
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._network.vmnet import Vmnet

PORTS = """
Hardware Port: Wi-Fi
Device: en0
Ethernet Address: aa:bb:cc:dd:ee:ff

Hardware Port: Thunderbolt 1
Device: en1
Ethernet Address: aa:bb:cc:dd:ee:00

VLAN Configurations
===================
"""
PARAMS = {field: None for field in Network._fields}


class Mac:
    """Commands on a Mac: networksetup, and softnet where a test puts it."""

    softnet: str | None = None
    count = 0

    def check(self, argv: list[str], _what: str, timeout: float = 60) -> str:
        """Answer as the program does."""
        assert argv == ["/usr/sbin/networksetup", "-listallhardwareports"]
        self.count += 1
        return PORTS

    def need(self, name: str, remedy: str) -> str:
        """Only softnet is asked for."""
        assert name == "softnet"
        if self.softnet is None:
            raise CocoonError("The program softnet is not on this host.", remedy)
        return self.softnet


@pytest.fixture(name="mac")
def fixture_mac() -> Mac:
    """A Mac without softnet."""
    return Mac()


@pytest.fixture(name="provider")
def fixture_provider(mac: Mac, tmp_path: pathlib.Path) -> Vmnet:
    """The provider of a new Mac."""
    return Vmnet(mac, str(tmp_path))


def net(provider: Vmnet, check_mode: bool = False, **params: t.Any) -> dict[str, t.Any]:
    """What cocoon_net does with a network named lan."""
    return converge(provider, {**PARAMS, "name": "lan", "state": "present", **params}, check_mode)


def softnet(mac: Mac, tmp_path: pathlib.Path, mode: int, owner: int = 0) -> None:
    """Install softnet as Homebrew does: a link to the real file."""
    real = tmp_path / "Cellar-softnet"
    real.write_text("", encoding="ascii")
    os.chown(real, owner, 0)
    real.chmod(mode)
    (tmp_path / "softnet").symlink_to(real)
    mac.softnet = str(tmp_path / "softnet")


@pytest.mark.parametrize(
    ("wish", "arguments"),
    [
        ({}, []),
        ({"mode": "shared"}, []),
        ({"mode": "bridged", "interface": "en0"}, ["--net-bridged=en0"]),
        ({"mode": "bridged", "interface": "Wi-Fi"}, ["--net-bridged=Wi-Fi"]),
    ],
)
def test_a_network_is_made_once(provider: Vmnet, wish: dict[str, t.Any], arguments: list[str]) -> None:
    """Check mode announces what is then done; the second run changes nothing; nothing on the host is changed by its end."""
    announced = net(provider, True, **wish)
    assert announced["changed"] and [network["name"] for network in provider.list()] == ["default"]
    made = net(provider, **wish)
    assert made == announced and not net(provider, **wish)["changed"] and not net(provider)["changed"]
    provider.check([{"name": "lan"}])
    assert provider.run_arguments([{"name": "lan"}]) == arguments
    assert provider.mode([{"name": "lan"}]) == wish.get("mode", "shared")
    assert net(provider, state="absent")["changed"] and not net(provider, state="absent")["changed"]


@pytest.mark.parametrize("mode", ["softnet", "host"])
def test_softnet(provider: Vmnet, mac: Mac, tmp_path: pathlib.Path, mode: str) -> None:
    """Installed, and with the right to run as root: else VMs would die right after their start."""
    with pytest.raises(CocoonError, match="softnet is not on this host"):
        net(provider, mode=mode)
    softnet(mac, tmp_path, 0o755)
    with pytest.raises(CocoonError, match="Cellar-softnet. may not run as root") as caught:
        net(provider, mode=mode)
    assert "chmod u+s" in caught.value.remedy
    (tmp_path / "Cellar-softnet").chmod(0o4755)
    os.chown(tmp_path / "Cellar-softnet", 501, 0)
    (tmp_path / "Cellar-softnet").chmod(0o4755)
    with pytest.raises(CocoonError, match="may not run as root"):
        net(provider, mode=mode)
    os.chown(tmp_path / "Cellar-softnet", 0, 0)
    (tmp_path / "Cellar-softnet").chmod(0o4755)
    assert net(provider, mode=mode)["network"]["mode"] == mode
    assert provider.run_arguments([{"name": "lan"}]) == [f"--net-{mode}"]


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"mode": "bridged"}, r"mode: bridged needs an interface"),
        ({"mode": "bridged", "interface": "en7"}, "this Mac has no en7"),
        ({"mode": "bridged", "interface": "--dir=/"}, "this Mac has no --dir=/"),
        ({"mode": "shared", "interface": "en0"}, "interface: mode shared has none"),
        ({"interface": "en0"}, "interface: mode shared has none"),
        ({"subnet": "10.0.0.0/24", "mtu": 1400}, "subnet, mtu: vmnet decides that on Macs"),
        ({"name": "a b"}, "is not a name"),
    ],
)
def test_wishes_that_cannot_be(provider: Vmnet, wish: dict[str, t.Any], message: str) -> None:
    """Refused in check mode and for real, with the interfaces that there are."""
    for check_mode in (True, False):
        with pytest.raises(CocoonError, match=message) as caught:
            net(provider, check_mode, **wish)
        assert (
            "en" not in str(wish.get("interface"))
            or "bridged" not in wish.values()
            or "en0 (Wi-Fi), en1 (Thunderbolt 1)" in caught.value.remedy
        )
    assert [network["name"] for network in provider.list()] == ["default"]


def test_another_mode_forgets_the_interface(provider: Vmnet) -> None:
    """And back it has to be said again."""
    net(provider, mode="bridged", interface="en0")
    assert net(provider, mode="shared")["network"]["interface"] is None
    with pytest.raises(CocoonError, match="needs an interface"):
        net(provider, mode="bridged")


def test_the_default_network(provider: Vmnet) -> None:
    """It is always there, is vmnet's own, and to remove it changes nothing."""
    assert provider.inspect("default") == {
        "name": "default", "backend": "tart", "mode": "shared", "managed": False, "interface": None,
        "subnet": None, "gateway": None, "mtu": None, "dns": [], "path": None,
    }
    assert net(provider, name="default", state="absent")["changed"] is False
    assert provider.run_arguments([]) == [] and provider.mode([]) == "shared"


def test_cards_that_tart_cannot_give(provider: Vmnet) -> None:
    """One card, or several bridged ones; addresses are tart's own."""
    net(provider, name="one", mode="bridged", interface="en0")
    net(provider, name="two", mode="bridged", interface="en1")
    provider.check([{"name": "one"}, {"name": "two"}])
    assert provider.run_arguments([{"name": "one"}, {"name": "two"}]) == ["--net-bridged=en0", "--net-bridged=en1"]
    for nics, message in (
        ([], "one network card"),
        ([{"name": "one"}, {"name": "default"}], "one network card"),
        ([{"name": "default"}, {"name": "default"}], "one network card"),
        ([{"name": "none"}], "There is no network none on this host .there is: default, one, two"),
        ([{"name": "default", "mac_address": "52:54:00:00:00:01"}], "mac_address cannot be chosen on Macs"),
        ([{"name": "default", "ip_address": "10.0.0.2"}], "ip_address cannot be chosen on Macs"),
    ):
        with pytest.raises(CocoonError, match=message):
            provider.check(nics)


def test_looking_runs_no_program(provider: Vmnet, mac: Mac) -> None:
    """Names and modes are in our own files."""
    provider.list()
    provider.run_arguments([{"name": "default"}])
    assert mac.count == 0
