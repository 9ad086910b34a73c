# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same steps by a shell script on the host: its files, and tasks that run it or a module's payload with a stopwatch there."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

from tests.bench.site import Bench

FOLDER = "/root/by-hand"
SCRIPT = pathlib.Path(__file__).resolve().parent / "files" / "by_hand.sh"
CREATED = "hand1"  # the VM that the script makes
_STOPWATCH = (
    "import subprocess, sys, time; began = time.perf_counter();"
    " subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); print(time.perf_counter() - began)"
)


def prepare(bench: Bench, vms: list[str]) -> None:
    """Give the script what running VMs were started with; it makes one more from the template of the first."""
    files = {"by_hand.sh": SCRIPT.read_text(encoding="utf-8"), "stopwatch.py": _STOPWATCH + "\n", "network.json": _network(bench)}
    for name in vms:
        files[f"{name}.argv"] = "\n".join(_command_line(bench, name)) + "\n"
    files[f"{CREATED}.template"] = _template(files[f"{vms[0]}.argv"], vms[0])
    bench.put(files, FOLDER)


def _command_line(bench: Bench, name: str) -> list[str]:
    """As the running process shows it; the program's own name is padded by the lab's double."""
    shown = bench.host.run(f"head -n 1 /var/lib/cocoon/vms/{name}/pid | xargs -I PID cat /proc/PID/cmdline", check=True).stdout
    words = shown.rstrip("\0").split("\0")
    if "--api-socket" not in words:
        raise RuntimeError(f"{name} does not run on {bench.host.name}: {shown!r}")
    return ["/usr/local/bin/cloud-hypervisor", *words[1:]]


def _template(argv: str, name: str) -> str:
    argv = re.sub(r"mac=[0-9a-f:]+", "mac=@mac@", argv)
    return re.sub(r"\bip=[0-9.]+", "ip=@address@", argv).replace(name, CREATED)


def _network(bench: Bench) -> str:
    """The configuration that the CNI plugin gets on its standard input."""
    conflist = json.loads(bench.host.run("cat /etc/cni/net.d/50-cocoon-bench.conflist", check=True).stdout)
    return json.dumps({**conflist["plugins"][0], "name": conflist["name"], "cniVersion": conflist["cniVersion"]}) + "\n"


def script(name: str, action: str, vms: list[str]) -> dict[str, Any]:
    """A task that runs the script; its standard output is the seconds that it took on the host."""
    return _timed(name, f"bash {FOLDER}/by_hand.sh {action} {' '.join(vms)}")


def payload(name: str, path: str) -> dict[str, Any]:
    """A task that runs a payload which Ansible left on the host, with the same stopwatch."""
    return _timed(name, f"/usr/bin/python3 {path}")


def _timed(name: str, command: str) -> dict[str, Any]:
    return {"name": name, "ansible.builtin.raw": f"python3 -IS {FOLDER}/stopwatch.py {command}", "changed_when": False}


def keep_payload(bench: Bench, task: dict[str, Any]) -> str:
    """Let Ansible leave the file that it would run for a task on the host; the task is run once."""
    (module, options), = task.items()
    folder = f"{FOLDER}/payload-{module.rpartition('.')[2]}-{len(json.dumps(options))}"
    words = ["ansible", bench.host.name, "-m", module, "-a", json.dumps(options) if options else ""]
    run = bench.ansible.run(words, ANSIBLE_KEEP_REMOTE_FILES="1", ANSIBLE_PIPELINING="0", ANSIBLE_REMOTE_TMP=folder)
    if run.on(bench.host.name).status != "ok":
        raise RuntimeError(run.output)
    return bench.host.run(f"find {folder} -name 'AnsiballZ_*.py'", check=True).stdout.split()[-1]
