# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's own programs, with every result as data."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
PROGRAMS = pathlib.Path(sys.executable).parent


@dataclasses.dataclass(frozen=True)
class Result:
    """What one task gave on one host; status is ok, failed, unreachable or skipped."""

    host: str
    task: str
    status: str
    data: dict[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def get(self, key: str, default: Any = None) -> Any:
        """Like a dictionary's."""
        return self.data.get(key, default)

    @property
    def changed(self) -> bool:
        """Did the task change something, or would it?"""
        return bool(self.data.get("changed"))


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a program: its results in their order, its exit code and what it printed."""

    code: int
    output: str
    results: list[Result]

    def on(self, host: str, task: str | None = None) -> Result:
        """The last result of a host, or of one of its tasks."""
        for result in reversed(self.results):
            if result.host == host and task in (None, result.task):
                return result
        raise LookupError(f"no result of {task or 'any task'} on {host}; the program said:\n{self.output}")


class Ansible:
    """`ansible` and `ansible-playbook` with the lab's inventory, as a user would run them."""

    def __init__(self, inventory: pathlib.Path, scratch: pathlib.Path) -> None:
        self.inventory = inventory
        self.scratch = scratch
        # Paths of sockets may have no more than 107 bytes.
        self.sockets = pathlib.Path(tempfile.mkdtemp(prefix="cp", dir="/tmp"))

    def adhoc(self, pattern: str, module: str, arguments: dict[str, Any] | None = None, check: bool = False, diff: bool = False,
              **variables: Any) -> Run:
        """ansible PATTERN -m MODULE: a short name gets the collection's, as README's ansible.cfg does."""
        words = ["ansible", pattern, "-m", module, "-a", json.dumps(arguments) if arguments else ""]
        return self.run(words + _options(check, diff, variables))

    def playbook(self, play: list[dict[str, Any]] | str | pathlib.Path, check: bool = False, diff: bool = False, **variables: Any) -> Run:
        """ansible-playbook with a file, or with plays as text or data."""
        path = play if isinstance(play, pathlib.Path) else self.scratch / "playbook.yml"
        if not isinstance(play, pathlib.Path):
            path.write_text(play if isinstance(play, str) else json.dumps(play), encoding="utf-8")
        return self.run(["ansible-playbook", str(path)] + _options(check, diff, variables))

    def run(self, words: list[str], timeout: float = 600, **environment: str) -> Run:
        """One program with the inventory; every result of every task is recorded by the callback beside this file."""
        record = self.scratch / "results.jsonl"
        record.write_text("", encoding="utf-8")
        command = [str(PROGRAMS / words[0]), "-i", str(self.inventory), *words[1:]]
        done = subprocess.run(command, env={**self.environment(), "COCOON_RESULTS": str(record), **environment}, timeout=timeout,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        lines = record.read_text(encoding="utf-8").splitlines()
        return Run(done.returncode, done.stdout, [Result(**json.loads(line)) for line in lines])

    def begin(self, words: list[str]) -> subprocess.Popen[str]:
        """One program in the background, without a record of its results."""
        command = [str(PROGRAMS / words[0]), "-i", str(self.inventory), *words[1:]]
        environment = {key: value for key, value in self.environment().items() if key != "ANSIBLE_CALLBACKS_ENABLED"}
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def environment(self) -> dict[str, str]:
        """The caller's, less its Ansible settings, with what README's ansible.cfg says."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        collections = os.environ["ANSIBLE_COLLECTIONS_PATH"].split(os.pathsep)[0]
        return {
            **kept,
            "ANSIBLE_CONFIG": str(self._config()),
            "ANSIBLE_COLLECTIONS_PATH": collections,
            "ANSIBLE_LIBRARY": f"{collections}/ansible_collections/cocoonstack/cocoon/plugins/modules",
            "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback"),
            "ANSIBLE_CALLBACKS_ENABLED": "record",
            "ANSIBLE_LOAD_CALLBACK_PLUGINS": "true",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=20s",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.sockets),
        }

    def _config(self) -> pathlib.Path:
        """An empty file: without one Ansible would take the configuration of the user or of the current folder."""
        path = self.scratch / "ansible.cfg"
        path.touch()
        return path

    def close_connections(self) -> None:
        """End the SSH connections that are kept for the next task."""
        for socket in self.sockets.iterdir():
            subprocess.run(["ssh", "-S", str(socket), "-O", "exit", "any"], capture_output=True, check=False)

    def close(self) -> None:
        """End the connections and remove their folder."""
        self.close_connections()
        for left in self.sockets.iterdir():
            left.unlink(missing_ok=True)
        self.sockets.rmdir()


def _options(check: bool, diff: bool, variables: dict[str, Any]) -> list[str]:
    return (["--check"] if check else []) + (["--diff"] if diff else []) + (["-e", json.dumps(variables)] if variables else [])
