# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts are what they should be, seen through Ansible; and what the tests lean on works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.integration.controller import Ansible
from tests.lab import Host, Lab


def test_ansible_reaches_both_hosts(ansible: Ansible, linux: Host, mac: Host) -> None:
    """Over SSH, each with its own user."""
    run = ansible.adhoc(f"{linux.name},{mac.name}", "ansible.builtin.ping")
    assert run.code == 0, run.output
    assert {result.host: result["ping"] for result in run.results} == {linux.name: "pong", mac.name: "pong"}


def test_the_linux_host_is_linux(ansible: Ansible, linux: Host) -> None:
    """By Ansible's facts."""
    facts = ansible.adhoc(linux.name, "ansible.builtin.setup", {"gather_subset": ["!all", "min"]}).on(linux.name)["ansible_facts"]
    assert (facts["ansible_system"], facts["ansible_user_id"]) == ("Linux", "root")


def test_the_mac_looks_like_a_mac(ansible: Ansible, mac: Host) -> None:
    """Darwin, Python 3.9, and a user who is not root."""
    facts = ansible.adhoc(mac.name, "ansible.builtin.setup", {"gather_subset": ["!all", "min"]}).on(mac.name)["ansible_facts"]
    assert (facts["ansible_system"], facts["ansible_user_id"]) == ("Darwin", "admin")
    assert facts["ansible_python_version"].startswith("3.9.")


def test_every_task_of_a_playbook_is_recorded(ansible: Ansible, linux: Host) -> None:
    """Also the one that fails and the one that is skipped."""
    tasks = [
        {"name": "works", "ansible.builtin.ping": {}},
        {"name": "is left out", "ansible.builtin.ping": {}, "when": False},
        {"name": "fails", "ansible.builtin.fail": {"msg": "on purpose"}},
    ]
    run = ansible.playbook([{"hosts": linux.name, "gather_facts": False, "tasks": tasks}])
    assert run.code == 2
    assert [(result.task, result.status) for result in run.results] == [("works", "ok"), ("is left out", "skipped"), ("fails", "failed")]
    assert run.on(linux.name, "fails")["msg"] == "on purpose"


def test_pytest_ansible_reaches_a_host(ansible_adhoc: Callable[..., Any], lab: Lab, linux: Host) -> None:
    """Its host fixtures work beside our own way of running Ansible."""
    contacted = ansible_adhoc(inventory=str(lab.inventory), host_pattern=linux.name).all.ping()
    assert contacted[linux.name]["ping"] == "pong"
