# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of the host code share: a real AnsibleModule, programs made for one test, and processes that end with it."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import typing as t

import pytest
from ansible.module_utils import basic

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._command import Commands


@pytest.fixture(name="commands")
def fixture_commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Commands on a real AnsibleModule, as a module on a host has them."""
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": {}}).encode("ascii"))
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    return Commands(basic.AnsibleModule(argument_spec={}))


@pytest.fixture(name="program")
def fixture_program(tmp_path: pathlib.Path) -> t.Callable[[str, str], str]:
    """program("tart", "echo hello"): the path of a shell script of that name."""
    folder = tmp_path / "bin"

    def program(name: str, text: str) -> str:
        folder.mkdir(exist_ok=True)
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    return program


@pytest.fixture(name="child")
def fixture_child() -> t.Iterator[t.Callable[..., subprocess.Popen[str]]]:
    """child("code", *arguments): a Python process that ends with the test; its first line is read when it is given back."""
    children: list[subprocess.Popen[str]] = []

    def child(code: str, *arguments: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True, env=environment)
        children.append(process)
        process.first_line = process.stdout.readline().strip()  # type: ignore[attr-defined,union-attr]
        return process

    yield child
    for process in children:
        process.send_signal(signal.SIGKILL)
        process.communicate()
