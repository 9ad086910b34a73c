# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A place to run cloud-hypervisor in: the simulator on the controller itself, or the real program."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

from tests.lab.cloud_hypervisor import install, tiny_payload
from tests.lab.cloud_hypervisor.client import Running, until

MAJORS = (51, 52, 53)


class Place:
    """A folder with kernels and images; starts processes in it and ends them all."""

    def __init__(self, folder: pathlib.Path, program: str | None, major: int) -> None:
        self.folder = folder
        self.major = major
        self.is_real = program is not None
        self.wishes: dict = {"version": major, "kvm": str(folder / "kvm")}
        self.started: list[Running] = []
        (folder / "kvm").touch()
        self.program = program or self._launcher()
        self.kernel = self.payload("halt")

    def _launcher(self) -> str:
        path = self.folder / "bin" / "cloud-hypervisor"
        code = str(pathlib.Path(install.__file__).parents[1])
        cache = str(pathlib.Path(os.environ.get("COCOON_LAB_CACHE", "/var/cache/cocoon-lab")) / "pyc-cloud-hypervisor")
        install.write_launcher(path, install.launcher_text(sys.executable, code, cache, str(path)))
        return str(path)

    def payload(self, action: str, greeting: str = "") -> str:
        """A kernel that does `action`."""
        return str(tiny_payload.write(self.folder / f"tiny-{action}", action, greeting))

    def image(self, name: str = "disk.raw", size: int = 1 << 20) -> str:
        """A raw image."""
        path = self.folder / name
        with open(path, "wb") as file:
            file.truncate(size)
        return str(path)

    def environment(self, **wishes) -> dict:
        """The environment; settings of the simulator stand in a file."""
        path = self.folder / "settings.json"
        path.write_text(json.dumps({**self.wishes, **wishes}), encoding="utf-8")
        return {**os.environ, "FAKE_CH_CONFIG": str(path)}

    def run(self, *args: str, timeout: float = 30, **wishes) -> subprocess.CompletedProcess:
        """Run to the end."""
        command = [self.program, *args]
        return subprocess.run(command, cwd=self.folder, env=self.environment(**wishes), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout, check=False)

    def start(self, *args: str, socket_name: str = "api.sock", ready: bool = True, **wishes) -> Running:
        """Start with an API socket."""
        command = [self.program, "--api-socket", str(self.folder / socket_name), *args]
        process = Running(command, self.folder, self.environment(**wishes), socket_name)
        self.started.append(process)
        return process.wait_ready() if ready else process

    def boot(self, *args: str, **options) -> Running:
        """Start with a guest that halts."""
        return self.start("--kernel", self.kernel, "--console", "off", "--memory", "size=128M", *args, **options)

    def config(self, **changes) -> dict:
        """A configuration for vm.create."""
        return {"payload": {"kernel": self.kernel}, "console": {"mode": "Off"}, "memory": {"size": 128 << 20}, **changes}

    def end(self) -> None:
        """Kill what still runs."""
        for process in self.started:
            process.end()


def major_of(program: str) -> int:
    """The release of a real program."""
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return int(re.match(r"cloud-hypervisor v?(\d+)\.", text).group(1))


def chain(text: str) -> list[str]:
    """The numbered chain of errors in a program's output."""
    block = text.rpartition("exited with the following chain of errors:")[2]
    return [line.split(": ", 1)[1] for line in block.splitlines() if re.match(r"  \d+: ", line)]


def children(pid: int) -> list[int]:
    """The processes that have `pid` as parent."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(encoding="latin-1").rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def gone(pids: list[int]) -> bool:
    """Wait until none of the processes is there."""
    return until(lambda: not any(pathlib.Path(f"/proc/{pid}/cmdline").exists() and pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
                                 for pid in pids), 5, "the end of the children")
