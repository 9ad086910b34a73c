# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules in Ansible's own programs on this machine, as README's ansible.cfg lets them be called."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (TOP / "plugins/modules").glob("*.py") if path.stem != "__init__")
PROGRAMS = pathlib.Path(sys.executable).parent


def run(folder: pathlib.Path, *words: str) -> str:
    """One program where that ansible.cfg is; what it printed."""
    readme = (TOP / "README.md").read_text(encoding="utf-8")
    config = re.search(r"^```ini\n(\[defaults\]\n.*?)^```", readme, re.DOTALL | re.MULTILINE)
    assert config, "the README has no ansible.cfg"
    assert "~/.ansible/collections" in config[1]
    (folder / "ansible.cfg").write_text(config[1].replace("~/.ansible/collections", str(TOP.parents[2])), encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "PYTHON"))}
    environment |= {"ANSIBLE_PYTHON_INTERPRETER": sys.executable, "ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false"}
    done = subprocess.run([str(PROGRAMS / words[0]), *words[1:]], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
    return done.stdout


def test_ad_hoc_by_short_name(tmp_path: pathlib.Path) -> None:
    """ansible -m cocoon_vm finds the module, sends it, and the module reads its arguments."""
    said = run(tmp_path, "ansible", "localhost", "-m", "cocoon_vm", "-a", "name=web1 no_such_option=1")
    assert "Unsupported parameters for" in said and "no_such_option" in said, said


@pytest.mark.parametrize("prefix", ["", "cocoonstack.cocoon."])
def test_every_module_starts(tmp_path: pathlib.Path, prefix: str) -> None:
    """By its short and its full name: all that it imports is there on this ansible-core."""
    tasks = [{"name": name, prefix + name: {"name": "web1", "no_such_option": 1}, "ignore_errors": True} for name in MODULES]
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    said = run(tmp_path, "ansible-playbook", "play.yml")
    assert said.count("Unsupported parameters for") >= len(MODULES) > 0, said
    assert f"failed=0    skipped=0    rescued=0    ignored={len(MODULES)}" in said, said
