# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules as hosts run them: real arguments in, the JSON that they print out."""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import platform
import typing as t

import pytest
from ansible.module_utils import basic

COLLECTION = "ansible_collections.cocoonstack.cocoon.plugins.modules."
Call = t.Callable[..., "dict[str, t.Any]"]


@pytest.fixture(name="call")
def fixture_call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> Call:
    """call("cocoon_vm", name="web"): what the module prints; its files are below a folder of the test."""
    def call(module: str, check_mode: bool = False, /, **options: t.Any) -> dict[str, t.Any]:
        options.setdefault("root_dir", str(tmp_path / "root"))
        arguments = {"ANSIBLE_MODULE_ARGS": {**options, "_ansible_check_mode": check_mode}}
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps(arguments).encode("utf-8"))
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        with pytest.raises(SystemExit) as caught:
            importlib.import_module(COLLECTION + module).main()
        result = json.loads(capsys.readouterr().out)
        assert bool(result.get("failed")) is (caught.value.code != 0)
        return {key: value for key, value in result.items() if key != "invocation" and not key.startswith("_ansible_")}

    return call


@pytest.fixture(name="program")
def fixture_program(tmp_path: pathlib.Path) -> t.Callable[[str, str], str]:
    """program("tart", "echo hello"): the path of a shell script of that name."""
    def program(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    return program


@pytest.fixture(name="linux")
def fixture_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Linux host on which the task has become root."""
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture(name="mac")
def fixture_mac(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> pathlib.Path:
    """A Mac on which the task is an ordinary user; the folder where tart keeps its VMs."""
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(os, "geteuid", lambda: 501)
    monkeypatch.setenv("TART_HOME", str(tmp_path / "tart-home"))
    return tmp_path / "tart-home"
