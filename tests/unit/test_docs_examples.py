# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation tells users to write is what the modules take: every example is held against the argument spec."""

from __future__ import annotations

import importlib
import json
import pathlib
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from ansible.module_utils import basic
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.splitter import parse_kv
from ansible.playbook.play import Play
from ansible.playbook.task import Task

TOP = pathlib.Path(__file__).resolve().parents[2]
COLLECTION = "cocoonstack.cocoon."
MODULES = sorted(path.stem for path in (TOP / "plugins/modules").glob("*.py") if path.stem != "__init__")
PAGES = [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))]
SECTIONS = ("tasks", "pre_tasks", "post_tasks", "handlers")
BLOCKS = ("block", "rescue", "always")
VALIDATED = ("mutually_exclusive", "required_together", "required_one_of", "required_if", "required_by")
STAND_INS = {"bool": True, "dict": {}, "float": 1.0, "int": 1, "list": [], "path": "/x"}


class _Stopped(BaseException):
    """Ends a module where it would begin to work; nothing catches it."""


@pytest.fixture(name="spec_of")
def fixture_spec_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """spec_of("cocoon_vm"): what the module hands to AnsibleModule."""
    seen: dict[str, Any] = {}

    def stop(_self: Any, argument_spec: dict[str, Any], **others: Any) -> None:
        seen.update(others, argument_spec=argument_spec)
        raise _Stopped

    def spec_of(name: str) -> dict[str, Any]:
        seen.clear()
        module = importlib.import_module(f"ansible_collections.{COLLECTION}plugins.modules.{name}")
        with monkeypatch.context() as patch:
            patch.setattr(basic.AnsibleModule, "__init__", stop)
            with pytest.raises(_Stopped):
                module.main()
        return dict(seen)

    return spec_of


def tasks_of(content: Any) -> Iterator[dict[str, Any]]:
    """Every task in a list of plays, tasks and blocks; their keywords are checked on the way."""
    assert isinstance(content, list), "an example is a list of tasks or plays"
    for item in content:
        inner = BLOCKS if "block" in item else SECTIONS if "hosts" in item else ()
        if not inner:
            yield item
        elif inner is SECTIONS:
            unknown = set(item) - set(Play.fattributes)
            assert not unknown, f"a play has no {unknown}"
        for key in inner:
            yield from tasks_of(item.get(key, []))


def action_of(task: dict[str, Any]) -> tuple[str, Any]:
    """The module of a task and its arguments; short names are refused."""
    others = {key for key in task if key not in Task.fattributes and not key.startswith("with_")}
    assert len(others) == 1, f"one module is wanted, and keywords that tasks have: {sorted(others)}"
    action = others.pop()
    assert action.count(".") >= 2, f"{action} is not a fully qualified name"
    return action, task[action]


def fill(value: Any, option: dict[str, Any]) -> Any:
    """Templates give way to a value of the option's type."""
    if isinstance(value, str) and "{{" in value:
        return option["choices"][0] if option.get("choices") else STAND_INS.get(option.get("type", "str"), "x")
    suboptions = option.get("options", {})
    if isinstance(value, list):
        return [fill(item, {**option, "type": option.get("elements", "str")}) for item in value]
    if isinstance(value, dict):
        return {key: fill(item, suboptions.get(key, {})) for key, item in value.items()}
    return value


def complaints(spec: dict[str, Any], arguments: dict[str, Any]) -> list[str]:
    """What Ansible would say about these arguments."""
    validator = ArgumentSpecValidator(spec["argument_spec"], **{key: spec.get(key) for key in VALIDATED})
    return validator.validate(fill(arguments, {"options": spec["argument_spec"]})).error_messages


def blocks_of(text: str, *languages: str) -> list[str]:
    """The code blocks of a Markdown page in these languages."""
    return [code for language, code in re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE) if language in languages]


def commands_of(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The module and the arguments of every `ansible ... -m` on a Markdown page."""
    for code in blocks_of(text, "shell", "console", "bash", "sh"):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line.strip().removeprefix("$ "), comments=True)
            if words[:1] == ["ansible"] and "-m" in words:
                given = words[words.index("-a") + 1] if "-a" in words else ""
                yield words[words.index("-m") + 1], json.loads(given) if given.startswith("{") else parse_kv(given)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module(name: str, spec_of: Any) -> None:
    """They parse, they use the module that they belong to, and the module takes what they give it."""
    module = importlib.import_module(f"ansible_collections.{COLLECTION}plugins.modules.{name}")
    actions = [action_of(task) for task in tasks_of(yaml.safe_load(module.EXAMPLES))]
    assert COLLECTION + name in {action for action, _arguments in actions}
    for action, arguments in actions:
        if action.startswith(COLLECTION):
            assert complaints(spec_of(action.removeprefix(COLLECTION)), arguments or {}) == [], f"{action}: {arguments}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_of_a_page(page: pathlib.Path, spec_of: Any) -> None:
    """Playbooks and ad hoc commands on the README and the pages of docs."""
    text = page.read_text(encoding="utf-8")
    used = [item for code in blocks_of(text, "yaml") if isinstance(content := yaml.safe_load(code), list)
            for item in map(action_of, tasks_of(content))]
    used += [(module if "." in module else COLLECTION + module, arguments) for module, arguments in commands_of(text)]
    for action, arguments in used:
        if action.startswith(COLLECTION):
            assert complaints(spec_of(action.removeprefix(COLLECTION)), arguments or {}) == [], f"{action}: {arguments}"


def test_complaints_are_found() -> None:
    """An option that is not there, a choice that is not one, and a template that may be anything."""
    option = {"name": {"type": "str", "required": True}, "state": {"type": "str", "choices": ["present", "absent"]},
              "vms": {"type": "list", "elements": "dict", "options": {"cpus": {"type": "int"}}}}
    spec = {"argument_spec": option}
    assert complaints(spec, {"name": "web", "state": "{{ wanted }}", "vms": [{"cpus": "{{ cpus }}"}]}) == []
    assert complaints(spec, {"name": "web", "vms": "{{ all_of_them }}"}) == []
    assert "memroy" in complaints(spec, {"name": "web", "memroy": 1})[0]
    assert "must be one of" in complaints(spec, {"name": "web", "state": "gone"})[0]
    assert "int" in complaints(spec, {"name": "web", "vms": [{"cpus": "many"}]})[0]
    assert "missing" in complaints(spec, {"state": "present"})[0]


def test_short_names_and_unknown_keywords_are_found() -> None:
    """In tasks, in blocks, and in plays."""
    with pytest.raises(AssertionError, match="not a fully qualified name"):
        action_of({"name": "Start", "cocoon_vm": {"name": "web"}})
    with pytest.raises(AssertionError, match="one module"):
        action_of({"cocoonstack.cocoon.cocoon_vm": {}, "whenn": True})
    with pytest.raises(AssertionError, match="a play has no"):
        list(tasks_of([{"hosts": "all", "taks": []}]))
    assert [task["name"] for task in tasks_of([{"hosts": "all", "tasks": [{"block": [{"name": "a"}], "always": [{"name": "b"}]}]}])] == ["a", "b"]


def test_commands_are_found() -> None:
    """In blocks of shell code, with the arguments in both forms."""
    page = "```shell\n# first\n$ ansible macs -m cocoon_vm -a 'name=web state=started'\nansible all \\\n  -m cocoon_vm_info -a '{\"names\": [\"web\"]}'\n```\n"
    assert list(commands_of(page)) == [("cocoon_vm", {"name": "web", "state": "started"}), ("cocoon_vm_info", {"names": ["web"]})]
