# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module does with hosts and wishes that cannot be: an error that says what, where and what to do, and nothing is left."""

from __future__ import annotations

import os
import pathlib
import platform
import typing as t

import pytest

Call = t.Callable[..., "dict[str, t.Any]"]
Program = t.Callable[[str, str], str]
ALL = [
    ("cocoon_vm", {"name": "web"}),
    ("cocoon_vm_info", {}),
    ("cocoon_image", {"name": "registry.test/a:1"}),
    ("cocoon_image_info", {}),
    ("cocoon_net", {"name": "lan"}),
    ("cocoon_net_info", {}),
]


@pytest.mark.parametrize(("module", "options"), ALL)
def test_a_system_without_backend(call: Call, monkeypatch: pytest.MonkeyPatch, module: str, options: dict[str, t.Any]) -> None:
    """Neither Linux nor a Mac."""
    monkeypatch.setattr(platform, "system", lambda: "FreeBSD")
    result = call(module, **options)
    assert result["msg"] == "This host runs FreeBSD, for which there is no backend. Use hosts that run Linux or macOS."
    assert result["remedy"] == "use hosts that run Linux or macOS"


@pytest.mark.parametrize(("module", "options"), ALL)
@pytest.mark.usefixtures("linux")
def test_a_backend_of_another_system(call: Call, module: str, options: dict[str, t.Any]) -> None:
    """The error names the one that fits."""
    result = call(module, backend="tart", **options)
    assert result["failed"] and "The backend tart does not run on Linux" in result["msg"] and "cloud-hypervisor" in result["remedy"]


@pytest.mark.parametrize(("module", "options"), ALL)
def test_the_wrong_user(call: Call, monkeypatch: pytest.MonkeyPatch, module: str, options: dict[str, t.Any]) -> None:
    """Root on Linux, nobody's root on Macs."""
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "need root. Set become: true." in call(module, **options)["msg"]
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "this task runs as root" in call(module, **options)["msg"]


@pytest.mark.parametrize(("module", "options"), ALL)
@pytest.mark.parametrize("root", ["/srv/a,b", "/srv/a b", "/srv/[x]", "/srv/new\nline"])
@pytest.mark.usefixtures("linux")
def test_a_root_that_options_cannot_take(call: Call, module: str, options: dict[str, t.Any], root: str) -> None:
    """Processes could not be told by such a path."""
    result = call(module, root_dir=root, **options)
    assert result["failed"] and "root_dir" in result["msg"] and "choose a directory without them" in result["remedy"]


@pytest.mark.parametrize(
    ("module", "key"), [("cocoon_vm_info", "vms"), ("cocoon_image_info", "images")]
)
@pytest.mark.usefixtures("linux")
def test_a_new_linux_host(call: Call, tmp_path: pathlib.Path, module: str, key: str) -> None:
    """Lists, always; looking makes no files."""
    assert call(module) == {"changed": False, key: []}
    assert not (tmp_path / "root").exists()


@pytest.mark.usefixtures("linux")
def test_networks_of_a_linux_host(call: Call) -> None:
    """A list, of whatever networks this machine has."""
    assert isinstance(call("cocoon_net_info")["networks"], list)
    assert call("cocoon_net_info", name="no-such-network") == {"changed": False, "networks": []}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "../etc"}, "name: '../etc' is not a name"),
        ({"name": "-rf"}, "name: '-rf' is not a name"),
        ({"name": "x" * 64}, "is not a name"),
        ({"name": "a b"}, "is not a name"),
        ({"name": "wéb"}, "is not a name"),
        ({"name": "web", "memory": "1"}, "memory: 1 is below the minimum"),
        ({"name": "web", "disk_size": "much"}, "disk_size: 'much' is not a size"),
        ({"name": "web", "cpus": 0}, "cpus: 0 is too few"),
        ({"name": "web", "backend": "xen"}, "value of backend must be one of: auto, tart, cloud-hypervisor"),
        ({"name": "web", "parallel": 0}, "parallel: 0 is too few"),
        ({"name": "web", "vms": []}, "mutually exclusive"),
        ({}, "one of the following is required: name, vms"),
        ({"vms": [{"name": "a"}, {"name": "a"}]}, "a and a have the name a in common"),
        ({"vms": [{"cpus": 1}]}, "missing required arguments: name found in vms"),
        ({"vms": [{"name": "a", "cpu": 1}]}, "Unsupported parameters"),
        ({"name": "web"}, "web does not exist, and no image is given to make it from"),
        ({"name": "web", "image": "debian"}, "image: 'debian' is not an image reference"),
        ({"name": "web", "image": "registry.test/a:1"}, r"The image registry.test/a:1 is not on this host (there is: none)"),
        ({"name": "web", "image": "registry.test/a:1", "cpus": 100000}, "cpus: 100000 is more than the"),
        ({"name": "web", "image": "registry.test/a:1", "memory": "30T"}, "of this host"),
    ],
)
@pytest.mark.usefixtures("linux")
def test_bad_vms(call: Call, tmp_path: pathlib.Path, options: dict[str, t.Any], message: str) -> None:
    """In check mode and for real; nothing is made."""
    for check_mode in (True, False):
        result = call("cocoon_vm", check_mode, **options)
        assert result["failed"] and message in result["msg"]
        assert not (tmp_path / "root" / "vms").exists()


@pytest.mark.usefixtures("linux")
def test_nothing_to_do(call: Call, tmp_path: pathlib.Path) -> None:
    """What is absent already, and no VMs at all."""
    result = call("cocoon_vm", name="web", state="absent")
    assert not result["changed"] and [vm["state"] for vm in result["vms"]] == ["absent"]
    assert call("cocoon_vm", vms=[]) == {"changed": False, "failed": False, "vms": []}
    assert not (tmp_path / "root").exists()


@pytest.mark.usefixtures("linux")
def test_secrets_are_not_told(call: Call) -> None:
    """Neither in the result nor in an error."""
    for options in ({"state": "absent"}, {"cpus": 0}, {"image": "registry.test/a:1"}):
        assert "hunter2" not in str(call("cocoon_vm", name="web", user_data="#!/bin/sh\nhunter2\n", **options))


@pytest.mark.parametrize("name", ["debian", "-rf", "registry.test/../x", "https://registry.test/a", ""])
@pytest.mark.usefixtures("linux")
def test_bad_images(call: Call, name: str) -> None:
    """What is no reference is asked of no registry."""
    for state in ("present", "latest", "absent"):
        assert "is not an image reference" in call("cocoon_image", name=name, state=state)["msg"]


@pytest.mark.usefixtures("linux")
def test_an_image_that_would_be_pulled(call: Call, tmp_path: pathlib.Path) -> None:
    """Check mode asks no registry for what is not there; what is absent stays absent."""
    result = call("cocoon_image", True, name="registry.test/a:1")
    assert result["changed"] and result["diff"]["before"] == {}
    assert not call("cocoon_image", name="registry.test/a:1", state="absent")["changed"]
    assert not (tmp_path / "root" / "images").exists()


@pytest.mark.parametrize(
    ("options", "message"), [({"name": "../x"}, "is not a name"), ({"name": "lan", "subnet": "10.0.0.1/24"}, "is no IPv4 network")]
)
@pytest.mark.usefixtures("linux")
def test_bad_networks(call: Call, options: dict[str, t.Any], message: str) -> None:
    """Before a file is written."""
    for check_mode in (True, False):
        assert message in call("cocoon_net", check_mode, **options)["msg"]


@pytest.mark.parametrize(
    ("module", "options"), [(name, options) for name, options in ALL if not name.startswith("cocoon_net") and name != "cocoon_image_info"]
)
@pytest.mark.usefixtures("mac")
def test_a_mac_without_tart(call: Call, monkeypatch: pytest.MonkeyPatch, module: str, options: dict[str, t.Any]) -> None:
    """How to get it."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    result = call(module, binary="no-such-tart", **options)
    assert result["failed"] and "The program no-such-tart is not on this host" in result["msg"] and "install tart" in result["remedy"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("printf '[{\"Name\": \"web\", '", "tart list gave no whole answer"),
        ("echo '{}'", "no list of VMs"),
        ("exit 0", "tart list gave no whole answer"),
        ("echo 'TART_HOME is invalid' >&2; exit 1", "TART_HOME is invalid"),
    ],
)
@pytest.mark.usefixtures("mac")
def test_a_tart_that_answers_badly(call: Call, program: Program, answer: str, message: str) -> None:
    """Nothing is changed while nothing can be seen."""
    tart = program("tart", f'[ "$1" = list ] || {{ echo "$*" >>"{os.devnull}"; exit 9; }}\n{answer}')
    for module, options in (("cocoon_vm", {"name": "web", "state": "absent"}), ("cocoon_vm_info", {})):
        result = call(module, binary=tart, **options)
        assert result["failed"] and message in result["msg"]


def test_a_vm_of_somebody_else_on_a_mac(call: Call, program: Program, mac: pathlib.Path) -> None:
    """It is listed, and not touched without adopt."""
    folder = mac / "vms" / "web"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(
        '{"os": "linux", "cpuCount": 2, "memorySize": 1073741824, "macAddress": "52:54:00:00:00:01"}', encoding="ascii"
    )
    (folder / "disk.img").write_bytes(b"")
    log = mac / "log"
    tart = program("tart", f'echo "$*" >>"{log}"\n[ "$1" = list ] && echo \'[{{"Name": "web", "State": "stopped", "Running": false}}]\'')
    (shown,) = call("cocoon_vm_info", binary=tart)["vms"]
    assert (shown["name"], shown["state"], shown["managed"], shown["cpus"], shown["mac_address"]) == (
        "web",
        "stopped",
        False,
        2,
        "52:54:00:00:00:01",
    )
    for state in ("absent", "started", "stopped", "present"):
        result = call("cocoon_vm", binary=tart, name="web", state=state)
        assert result["failed"] and "did not make it" in result["msg"] and "adopt: true" in result["remedy"]
    assert set(log.read_text(encoding="ascii").splitlines()) == {"list --source local --format json"}


@pytest.mark.usefixtures("mac")
def test_networks_of_a_mac(call: Call) -> None:
    """Names for modes; vmnet's own is always there."""
    assert [network["name"] for network in call("cocoon_net_info")["networks"]] == ["default"]
    assert call("cocoon_net", name="lan")["changed"] and not call("cocoon_net", name="lan")["changed"]
    assert [network["name"] for network in call("cocoon_net_info")["networks"]] == ["default", "lan"]
    assert "vmnet decides that on Macs" in call("cocoon_net", name="lan", subnet="10.0.0.0/24")["msg"]


@pytest.mark.usefixtures("linux")
def test_a_damaged_record(call: Call, tmp_path: pathlib.Path) -> None:
    """It is listed with its error; every wish about it is refused, the other VMs are seen."""
    for name, content in (("web", "{"), ("db", '{"name": "db"}'), ("odd", '{"name": "odd", "phase": "ready", "attributes": 1}')):
        (tmp_path / "root" / "vms" / name).mkdir(parents=True)
        (tmp_path / "root" / "vms" / name / "record.json").write_text(content, encoding="ascii")
    shown = call("cocoon_vm_info")["vms"]
    assert {vm["name"]: (vm["state"], "is damaged" in vm["msg"]) for vm in shown} == {
        name: ("unknown", True) for name in ("db", "odd", "web")
    }
    for name in ("web", "db", "odd"):
        for state in ("started", "absent"):
            result = call("cocoon_vm", name=name, state=state)
            assert result["failed"] and f"vms/{name}/record.json is damaged" in result["msg"] and "nothing of it runs" in result["remedy"]
        assert (tmp_path / "root" / "vms" / name / "record.json").exists()
