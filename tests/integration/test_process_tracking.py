# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose process is it?  Killed, lost, recycled and rebooted: design decisions 4, 5 and 6 on both kinds of hosts."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.integration.site import Site


def test_vms_outlive_the_connection_and_leave_no_helper_behind(site: Site) -> None:
    vm = site.started("web1")["vms"][0]
    site.ansible.close_connections()
    rows = site.host.run("/bin/ps -axww -o pid=,ppid=,command=").stdout.splitlines()
    processes = {int(row.split()[0]): row.split(None, 2)[1:] for row in rows if len(row.split()) > 2}
    parent, command = processes[vm["pid"]]
    assert int(parent) == 1, "the VM's process belongs to nobody's session"
    assert ("cloud-hypervisor" if site.kind == "linux" else "tart run") in command
    assert not [row for row in rows if "AnsiballZ" in row or "ansible" in row]
    assert site.info()["web1"]["pid"] == vm["pid"]


@pytest.mark.guest
def test_a_killed_vm_is_seen_as_stopped_and_started_again(site: Site) -> None:
    before = site.started("web1")["vms"][0]
    site.shell(f"kill -9 {before['pid']}")
    _wait_gone(site, before["pid"])
    assert site.info()["web1"]["state"] == "stopped"
    after = site.started("web1", wait_for="ssh")["vms"][0]
    assert after["actions"] == ["start"] and after["pid"] != before["pid"]
    assert after["mac_address"] == before["mac_address"]


def test_a_pid_file_that_is_lost_loses_nothing(site: Site) -> None:
    pid = site.started("web1")["vms"][0]["pid"]
    site.shell(f"rm {site.root}/vms/web1/pid")
    again = site.started("web1")
    assert not again.changed and again["vms"][0]["pid"] == pid
    gone = site.vm("web1", state="absent", force=True)
    assert gone.status == "ok" and site.leftovers() == []


def test_a_recycled_pid_is_not_taken_for_the_vm(site: Site) -> None:
    vm = site.started("web1")["vms"][0]
    path = f"{site.root}/vms/web1/pid"
    lines = site.shell(f"cat {path}").split("\n")
    site.shell(f"kill -9 {vm['pid']}")
    _wait_gone(site, vm["pid"])
    # The number, start time and boot of a process that lives, but that is no VM.
    stranger = site.host.run("nohup sleep 600 >/dev/null 2>&1 & echo $!").stdout.strip()
    start = site.shell(f"cut -d\" \" -f22 /proc/{stranger}/stat").strip() if site.kind == "linux" else str(int(time.time()))
    content = f"{stranger}\\n{start}\\n{lines[2]}\\n"
    site.host.run(f"printf '{content}' > {path}")
    assert site.info()["web1"]["state"] == "stopped"
    assert site.vm("web1", state="absent", force=True).status == "ok"
    assert site.host.run(f"kill -0 {stranger} && kill {stranger}").returncode == 0, "the stranger was killed"


@pytest.mark.parametrize("state", ["running", "stopped"])
@pytest.mark.guest
def test_after_a_reboot_of_the_host(site: Site, state: str) -> None:
    before = site.started("web1", wait_for="ssh")["vms"][0]
    if state == "stopped":
        site.vm("web1", state="stopped", force=True)
    else:
        site.guest(before["ip_address"], "echo kept > /root/kept && sync")
    site.host.reboot()
    assert site.info()["web1"]["state"] == "stopped"
    after = site.started("web1", wait_for="ssh")["vms"][0]
    assert after["actions"] == ["start"]
    assert (after["mac_address"], after["ip_address"] if site.kind == "linux" else "") == (
        before["mac_address"],
        before["ip_address"] if site.kind == "linux" else "",
    )
    if state == "running":
        assert site.guest(after["ip_address"], "cat /root/kept").strip() == "kept"


def test_a_module_killed_anywhere_is_completed_by_the_next_run(site: Site) -> None:
    """SIGKILL to the module at many moments of create and start; whatever it left, the same task then converges."""
    options = {"wait_for": "process"}
    for number in range(6):
        words = ["ansible", site.host.name, "-m", "cocoon_vm", "-a", _arguments(site)]
        running = site.ansible.begin(words)
        killed = _kill_module(site, 0.05 + number * 0.16)
        running.wait(60)
        again = site.started("k1", "k2", **options)
        assert again.status == "ok", f"{number} {killed} {again['msg']}"
        assert {vm["state"] for vm in again["vms"]} == {"running"}
        assert not site.started("k1", "k2", **options).changed
        assert site.vm("k1", "k2", state="absent", force=True).status == "ok"
        assert site.leftovers() == [], (number, killed)


def _arguments(site: Site) -> str:
    wished = {"vms": [{"name": "k1"}, {"name": "k2"}], "state": "started", "image": site.image, "networks": [{"name": "lab"}], "cpus": 1, "memory": "192M"}
    wished["ssh_authorized_keys"] = [site.key]
    if site.kind == "linux":
        wished["disk_size"] = "64M"
    return json.dumps(wished)


def _kill_module(site: Site, delay: float) -> str:
    """Kill the module's Python on the host *delay* seconds after it has appeared; return what was found."""
    # With pipelining the module is an interpreter without arguments that reads its standard input.
    script = (
        "n=0; while [ $n -lt 400 ]; do p=$(/bin/ps -axww -o pid=,command= | awk 'NF == 2 && $2 ~ /python3$/ {print $1; exit}');"
        f" if [ -n \"$p\" ]; then sleep {delay:.2f}; kill -9 $p; echo $p; exit; fi; n=$((n+1)); sleep 0.02; done"
    )
    found = str(site.host.run(script).stdout)
    assert re.match(r"\s*\d+", found), "no module was seen on the host"
    return found


def _wait_gone(site: Site, pid: int) -> None:
    deadline = time.monotonic() + 10
    while site.host.run(f"kill -0 {pid}").returncode == 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_two_plays_on_one_vm_at_once(site: Site) -> None:
    words = ["ansible", site.host.name, "-m", "cocoon_vm", "-a", _arguments(site)]
    both = [site.ansible.begin(words) for _number in range(2)]
    outputs = [one.communicate(timeout=120)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0], outputs
    assert sum("create from image" in output for output in outputs) == 1, "one of them made the VMs, the other found them"
