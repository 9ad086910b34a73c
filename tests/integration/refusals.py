# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many tasks that have to fail, in one run of Ansible, and what the host was like before and after them."""

from __future__ import annotations

from typing import Any

from tests.integration.controller import Result
from tests.integration.site import Site

_LISTINGS = {
    "linux": "cd /var/lib/cocoon && find . -path ./locks -prune -o -type f ! -name \"*-version.json\" -printf \"%p %s %T@\\n\" | sort;"
    " find /etc/cni/net.d -type f -printf \"%p %s\\n\" | sort; ip netns list; ip -o link | cut -d: -f2; find /var/lib/cni -type f | sort",
    "mac": "find /Users/admin/.cocoon -path \"*/locks\" -prune -o -type f ! -name \"*-version.json\" -printf \"%p %s %T@\\n\" | sort;"
    " find /Users/admin/.tart/vms /Users/admin/.tart/tmp -mindepth 1 -printf \"%p %s\\n\" | sort",
}
_PROCESSES = "/bin/ps -axww -o pid=,command= | grep -E \"cloud-hypervisor|qemu|tart run\" | grep -v grep"


def state_of(site: Site) -> list[str]:
    """Everything on the host that a task of ours could have changed: records, disks, networks, VMs, processes."""
    return [*site.host.run(_LISTINGS[site.kind]).stdout.splitlines(), *site.host.run(_PROCESSES).stdout.splitlines()]


def tasks(site: Site, wished: dict[str, dict[str, Any]], check: bool = False, **play: Any) -> dict[str, Result]:
    """Run tasks by name ({name: {module: options}}), each whatever the others did; return their results by name."""
    made = [{"name": name, "ignore_errors": True, **_qualified(task)} for name, task in wished.items()]
    run = site.ansible.playbook([{"hosts": site.host.name, "gather_facts": False, "tasks": made, **play}], check=check)
    return {name: run.on(site.host.name, name) for name in wished}


def _qualified(task: dict[str, Any]) -> dict[str, Any]:
    return {f"cocoonstack.cocoon.{key}" if key.startswith("cocoon_") else key: value for key, value in task.items()}


def told(result: Result, *words: str) -> str:
    """Return the message of a task that has failed as it should, and not by an error in our code, with all these words in it."""
    message = str(result.get("msg"))
    assert result.status == "failed", (result.task, message)
    assert "Traceback" not in message + str(result.get("exception")) + str(result.get("module_stderr")), (result.task, result.data)
    for word in words:
        assert word in message, (result.task, word, message)
    return message
