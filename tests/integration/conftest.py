# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts that integration tests use, and Ansible to run against them."""

from __future__ import annotations

import pathlib
import signal
import sys
from collections.abc import Callable, Iterator

import pytest

# Started by nohup, we would hand an ignored SIGHUP to every program that the tests start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from tests.integration.controller import Ansible  # noqa: E402, pylint: disable=wrong-import-position
from tests.integration.site import Site  # noqa: E402, pylint: disable=wrong-import-position
from tests.lab import Host, Lab, registry as lab_registry  # noqa: E402, pylint: disable=wrong-import-position


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of our own."""
    group = parser.getgroup("cocoon")
    group.addoption("--cloud-hypervisor", metavar="PATH", help="a real cloud-hypervisor for Linux hosts instead of the lab's double")
    group.addoption("--keep-lab", action="store_true", help="leave the hosts up for the next run")


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The lab; hosts that were up before the tests stay up after them."""
    its = Lab(say=print)
    before = set(its.hosts)
    yield its
    if not request.config.getoption("--keep-lab"):
        its.down(*(set(its.hosts) - before))


@pytest.fixture(scope="session")
def make_linux(lab: Lab, request: pytest.FixtureRequest) -> Callable[..., Host]:
    """Makes one more Linux host: make_linux("linux-small", small_disk="64M")."""
    path = request.config.getoption("--cloud-hypervisor")
    return lambda name, **options: lab.up(name, cloud_hypervisor=path, **options)


@pytest.fixture(scope="session")
def linux(make_linux: Callable[..., Host]) -> Host:
    """A Linux host."""
    return make_linux("linux-test")


@pytest.fixture(scope="session")
def mac(lab: Lab) -> Host:
    """A Mac."""
    return lab.up("mac-test")


@pytest.fixture(scope="session")
def registry(lab: Lab) -> Host:
    """The registry with the guest images in it."""
    host = lab.up("registry")
    lab_registry.push_images(lab.say)
    return host


@pytest.fixture(scope="session")
def ansible(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ansible]:
    """Ansible's own programs, run against the hosts that are up."""
    its = Ansible(lab.inventory, tmp_path_factory.mktemp("ansible"))
    yield its
    its.close()


@pytest.fixture(scope="session")
def linux_site(lab: Lab, linux: Host, registry: Host, ansible: Ansible) -> Site:
    """The Linux host with image and network."""
    site = Site(lab, linux, ansible)
    site.prepare()
    return site


@pytest.fixture(scope="session")
def mac_site(lab: Lab, mac: Host, registry: Host, ansible: Ansible) -> Site:
    """The Mac with image and network."""
    site = Site(lab, mac, ansible)
    site.prepare()
    return site


@pytest.fixture(params=["linux", "mac"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Each kind of host in turn, with no VM before and none after the test."""
    its: Site = request.getfixturevalue(f"{request.param}_site")
    yield its
    names = list(its.info())
    if names:
        removed = its.vm(*names, state="absent", force=True, adopt=True)
        assert removed.status == "ok", removed.data
    assert its.leftovers() == []
