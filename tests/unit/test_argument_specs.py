# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options are described once, in the modules' documentation; what the modules check is made from it."""

from __future__ import annotations

import importlib.util
import pathlib
import typing as t

import pytest

from ansible_collections.cocoonstack.cocoon.plugins.module_utils import _argument_specs
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._spec import Nic, VmSpec

TOP = pathlib.Path(__file__).resolve().parents[2]
SPECS = {name: value for name, value in vars(_argument_specs).items() if name.startswith("COCOON_")}


def options(spec: dict[str, t.Any], path: str = "") -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    """Every option of a spec, those inside others too."""
    for name, option in spec.items():
        yield f"{path}{name}", option
        yield from options(option.get("options", {}), f"{path}{name}.")


def test_the_file_is_what_the_documentation_says() -> None:
    """script/generate was run after the last change."""
    spec = importlib.util.spec_from_file_location("argument_specs", TOP / "script/argument_specs.py")
    assert spec is not None and spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert generator.TARGET.read_text(encoding="utf-8") == generator.render(), "run script/generate"


def test_every_module_has_a_spec() -> None:
    """And no spec is left of a module that is gone."""
    assert {name.lower() for name in SPECS} == {path.stem for path in (TOP / "plugins/modules").glob("*.py") if path.stem != "__init__"}


@pytest.mark.parametrize("name", sorted(SPECS))
def test_what_may_be_secret_says_whether_it_is(name: str) -> None:
    """Else Ansible guesses by the name, and warns."""
    for path, option in options(SPECS[name]):
        if any(word in path.rpartition(".")[2] for word in ("key", "token", "password", "secret", "user_data")):
            assert "no_log" in option, path


@pytest.mark.parametrize("name", sorted(SPECS))
def test_lists_say_what_is_in_them(name: str) -> None:
    """A list of anything is checked by nobody."""
    assert not [path for path, option in options(SPECS[name]) if option["type"] == "list" and "elements" not in option]


def test_what_a_vm_can_be_wished_with() -> None:
    """Once for all and for each VM the same options; those for each have no defaults, so that nothing said is nothing wished."""
    outside, inside = _argument_specs.COCOON_VM, _argument_specs.COCOON_VM["vms"]["options"]
    assert set(inside) == set(VmSpec._fields)
    assert set(VmSpec._fields) <= set(outside)
    for name, option in inside.items():
        plain = {key: value for key, value in outside[name].items() if key not in ("default", "required")}
        assert {key: value for key, value in option.items() if key != "required"} == plain, name
    assert set(inside["networks"]["options"]) == set(Nic._fields)


def test_defaults_are_those_of_the_specs() -> None:
    """The documentation and the code that runs without it agree."""
    for name, default in VmSpec._field_defaults.items():
        assert _argument_specs.COCOON_VM[name].get("default") == default, name


def test_states_are_adjectives_of_the_result() -> None:
    """Nothing is asked by a state, and nothing is ordered."""
    assert _argument_specs.COCOON_VM["state"]["choices"] == ["present", "started", "stopped", "restarted", "absent"]
    assert not [name for name, spec in SPECS.items() if name.endswith("_INFO") and "state" in spec]
