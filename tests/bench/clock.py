# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's programs with a clock: whole plays from outside, and each task of a play."""

from __future__ import annotations

import json
import pathlib
import resource
import subprocess
import time
from typing import Any

from tests.integration.controller import PROGRAMS, Ansible

HERE = pathlib.Path(__file__).resolve().parent


class Clock(Ansible):
    """The lab's Ansible; connections are kept for the whole benchmark."""

    collections: pathlib.Path | None = None  # more of them, for references

    def environment(self) -> dict[str, str]:
        """The tests' environment."""
        kept = super().environment()
        if self.collections:
            kept["ANSIBLE_COLLECTIONS_PATH"] += f":{self.collections}"
        return {**kept, "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=600s"}

    def play(self, host: str, task: dict[str, Any], times: int) -> tuple[float, float]:
        """Seconds of a play with the task so many times, and the processor's seconds in it on the controller."""
        began, used = time.perf_counter(), _children()
        self._play(host, [{"name": f"Task {number}", **task} for number in range(times)], {})
        return time.perf_counter() - began, _children() - used

    def tasks(self, host: str, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Run a play; for each task its name, seconds, standard output, and whether it changed something."""
        times = self.scratch / "times.jsonl"
        times.write_text("", encoding="utf-8")
        places = {"ANSIBLE_CALLBACKS_ENABLED": "times", "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback"), "COCOON_TIMES": str(times)}
        self._play(host, tasks, places)
        return [json.loads(line) for line in times.read_text(encoding="utf-8").splitlines()]

    def _play(self, host: str, tasks: list[dict[str, Any]], environment: dict[str, str]) -> None:
        play = self.scratch / "bench.yml"
        play.write_text(json.dumps([{"name": "Bench", "hosts": host, "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
        command = [str(PROGRAMS / "ansible-playbook"), "-i", str(self.inventory), str(play)]
        surroundings = {**self.environment(), **environment}
        if not environment:
            del surroundings["ANSIBLE_CALLBACKS_ENABLED"]
        done = subprocess.run(command, env=surroundings, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=600, check=False)
        if done.returncode:
            raise RuntimeError(f"a play on {host} failed:\n{done.stdout[-3000:]}")


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
