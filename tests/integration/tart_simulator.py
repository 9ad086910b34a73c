# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated tart on the controller itself, with a TART_HOME of its own and without guests."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from tests.lab import paths
from tests.lab.mac import install

DARWIN = {"os": "darwin", "ecid": "YnBsaXN0MDDR", "hardwareModel": "YnBsaXN0MDDT", "cpuCountMin": 2}


class Simulator:
    """Run it, switch it, look at what it left."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.log = folder / "calls.jsonl"
        self.settings = folder / "tart.json"
        self.program = folder / "bin" / "tart"
        self.program.parent.mkdir()
        self.program.write_text(install.launcher("tart.main", "a test", python=sys.executable, code=str(paths.PACKAGE),
                                                 bytecode=str(folder.parent / "bytecode")), encoding="utf-8")
        self.program.chmod(0o755)
        self.switches: dict[str, Any] = {"log": str(self.log), "run_directory": str(folder / "run"), "guest": "none",
                                         "leases": str(folder / "leases"), "arp": str(folder / "arp"), "exec_patience": 0.3}
        self.configure()

    def configure(self, **switches: Any) -> None:
        """Change switches of the simulator."""
        self.switches.update(switches)
        self.settings.write_text(json.dumps(self.switches), encoding="utf-8")

    def environment(self, **more: str) -> dict[str, str]:
        """Nothing of the caller's but what has to be."""
        return {"PATH": f"{self.program.parent}:/usr/bin:/bin", "HOME": str(self.folder), "TART_HOME": str(self.home),
                "LAB_TART_SETTINGS": str(self.settings), "LANG": "C.UTF-8", **more}

    def __call__(self, *words: str, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """One call to its end."""
        return subprocess.run([str(self.program), *words], input=stdin, stdin=subprocess.DEVNULL if stdin is None else None,
                              capture_output=True, text=True, env=self.environment(**environment), cwd=self.folder, timeout=30, check=False)

    def ok(self, *words: str, **environment: str) -> str:
        """One call that has to succeed; its stdout."""
        done = self(*words, **environment)
        assert done.returncode == 0, done
        return done.stdout

    def json(self, *words: str) -> Any:
        """The result of list or get."""
        return json.loads(self.ok(*words, "--format", "json"))

    def vm(self, name: str) -> pathlib.Path:
        """A VM's folder."""
        return self.home / "vms" / name

    def config(self, name: str) -> dict[str, Any]:
        """Its configuration."""
        return json.loads((self.vm(name) / "config.json").read_text(encoding="utf-8"))

    def edit(self, name: str, **changes: Any) -> None:
        """Change its configuration behind tart's back."""
        (self.vm(name) / "config.json").write_text(json.dumps({**self.config(name), **changes}), encoding="utf-8")

    def create(self, *names: str) -> None:
        """Linux VMs with a disk of 1 GB."""
        for name in names:
            self.ok("create", "--linux", "--disk-size", "1", name)

    def state(self, name: str) -> str:
        """running, suspended or stopped."""
        return self.json("get", name)["State"]

    @contextlib.contextmanager
    def running(self, name: str, *options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """`tart run` until the end of the block."""
        process = self.start(name, *options, **environment)
        try:
            self.wait_for(name, "running", process)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.communicate()

    def start(self, name: str, *options: str, **environment: str) -> subprocess.Popen[str]:
        """`tart run` in the background."""
        return subprocess.Popen([str(self.program), "run", "--no-graphics", name, *options], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment(**environment),
                                cwd=self.folder)

    def wait_for(self, name: str, state: str, process: subprocess.Popen[str]) -> None:
        """The lock is taken a little after the process has started; its control socket comes last."""
        deadline = time.monotonic() + 10
        while self.state(name) != state or (state == "running" and not self._is_listening(name)):
            assert time.monotonic() < deadline, f"{name} is not {state}"
            assert state != "running" or process.poll() is None, process.communicate()
            time.sleep(0.02)

    def _is_listening(self, name: str) -> bool:
        return not self.switches.get("expect_socket", True) or (self.vm(name) / "control.sock").exists()

    def calls(self) -> list[dict[str, Any]]:
        """What was called, and how it ended."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def lease(self, name: str, address: str, expires: float | None = None) -> str:
        """A block for the lease file."""
        mac = ":".join(f"{int(part, 16):x}" for part in self.config(name)["macAddress"].split(":"))
        moment = int(time.time() + 600 if expires is None else expires)
        return f"{{\n\tname=guest\n\tip_address={address}\n\thw_address=1,{mac}\n\tidentifier=1,{mac}\n\tlease=0x{moment:x}\n}}\n"

    def arp(self, text: str, code: int = 0) -> None:
        """What arp -an says."""
        (self.folder / "arp.txt").write_text(text, encoding="utf-8")
        program = self.folder / "arp"
        program.write_text(f'#!/bin/sh\ncat "{self.folder}/arp.txt"\nexit {code}\n', encoding="utf-8")
        os.chmod(program, 0o755)


def usage(command: str) -> str:
    """The last line of an error that shows a usage."""
    return f"  See 'tart {command + ' ' if command else ''}--help' for more information."
