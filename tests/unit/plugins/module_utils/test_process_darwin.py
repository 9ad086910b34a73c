# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Process tracking on Macs: what ps says, and what is done with it; ps itself is a text here, the processes are real."""

from __future__ import annotations

import calendar
import os
import signal
import subprocess
import sys
import time
import typing as t

import pytest
from hypothesis import given, strategies as st

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._process import DarwinProcesses, Process, _epoch
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._store import write_atomically
from ansible_collections.cocoonstack.cocoon.tests.unit.plugins.module_utils.mac import BOOT, Mac, real_ps, row


@given(st.integers(0, 2**33))
def test_times_are_those_of_the_calendar(seconds: int) -> None:
    """Our own arithmetic and Python's calendar agree, leap years included."""
    parts = time.gmtime(seconds)
    assert _epoch(*parts[:6]) == calendar.timegm(parts) == seconds


@given(
    st.lists(
        st.tuples(
            st.integers(2, 99999),
            st.integers(0, 2**32),
            st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=("Zs", "Zl", "Zp", "Cc")), min_size=1),
            st.sampled_from(["S", "R+", "Ss", "U"]),
        ),
        unique_by=lambda process: process[0],
        max_size=6,
    )
)
def test_what_ps_says(rows: list[tuple[int, int, str, str]]) -> None:
    """Every process is found with its start and its whole command line."""
    processes = DarwinProcesses(Mac(lambda: "".join(row(*process[:3], state=process[3]) for process in rows)))
    assert {process.pid: (process.start, process.command) for process in processes.all()} == {
        pid: (start, command) for pid, start, command, _state in rows
    }
    for pid, start, command, _state in rows:
        assert processes.find(pid) == Process(pid, start, command)


def test_odd_lines() -> None:
    """Zombies are dead, a command may be empty, and what is no row of ps hides no other row."""
    text = (
        row(10, 1000, "tart run web")
        + row(11, 1000, "(sleep)", "Z")
        + row(12, 1000, "").rstrip()
        + "\n\nps: something odd happened to be told here now\n"
    )
    text += "and a second part of a command line that had a new line in it\n" + row(13, 1000, "last")
    processes = DarwinProcesses(Mac(lambda: text))
    assert [(process.pid, process.command) for process in processes.all()] == [(10, "tart run web"), (12, ""), (13, "last")]


def test_one_ps_serves_all_questions() -> None:
    """The number of programs does not grow with the number of VMs; the clock of ps is UTC and its words are English."""
    mac = Mac(lambda: row(10, 1000, "a") + row(11, 1000, "b"))
    processes = DarwinProcesses(mac)
    for pid in (10, 11, 12, 10):
        processes.find(pid)
    assert len(mac.calls) == 1 and mac.calls[0][1] == {"LC_ALL": "C", "TZ": "UTC"}
    assert processes.boot == processes.boot == BOOT
    assert len(mac.calls) == 2


def test_nothing_is_asked_before_somebody_wants_to_know() -> None:
    """Making it runs no program."""
    mac = Mac(lambda: "")
    DarwinProcesses(mac)
    assert mac.calls == []


@pytest.mark.parametrize(("late", "ours"), [(0, True), (1, True), (2, True), (-2, True), (3, False), (-3, False), (3600, False)])
def test_start_times_are_whole_seconds(tmp_path: t.Any, late: int, ours: bool) -> None:
    """ps rounds, and a start takes its time; what differs by more is another process."""
    path = str(tmp_path / "pid")
    write_atomically(path, f"10\n1000000\n{BOOT}\n".encode("ascii"))
    processes = DarwinProcesses(Mac(lambda: row(10, 1000000 + late, "/opt/homebrew/bin/tart run --no-graphics web")))
    assert (processes.ours(path, ("tart", " run ", " web")) is not None) is ours
    assert processes.ours(path, ("tart", " run ", " db")) is None


def test_a_pid_file_of_before_a_reboot(tmp_path: t.Any) -> None:
    """The boot session is another one; not even ps is asked."""
    path = str(tmp_path / "pid")
    write_atomically(path, b"10\n1000000\nAN-OLDER-SESSION\n")
    mac = Mac(lambda: row(10, 1000000, "tart run web"))
    assert DarwinProcesses(mac).ours(path, ()) is None
    assert [argv[0] for argv, _env in mac.calls] == ["/usr/sbin/sysctl"]


def test_a_real_process_is_ended() -> None:
    """Gently, and what is gone is gone without an error."""
    mac = Mac(real_ps)
    processes = DarwinProcesses(mac)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process = processes.find(child.pid)
    assert process is not None and processes.alive(process)
    assert processes.terminate(process) == "SIGTERM"
    assert not processes.alive(process) and not processes.send(process, signal.SIGTERM)
    child.wait()


def test_a_stubborn_process_is_killed(child: t.Callable[..., subprocess.Popen[str]]) -> None:
    """SIGKILL follows after the grace."""
    process = child("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)")
    processes = DarwinProcesses(Mac(real_ps))
    found = processes.find(process.pid)
    assert found is not None
    assert processes.terminate(found, grace=0.3) == "SIGKILL"


def test_a_number_that_was_given_to_another_process() -> None:
    """Nothing is sent to it."""
    me = os.getpid()
    processes = DarwinProcesses(Mac(real_ps))
    assert not processes.alive(Process(me, 1000, "tart run web"))
    assert not processes.send(Process(me, 1000, "tart run web"), signal.SIGKILL)


def test_a_process_of_somebody_else() -> None:
    """EPERM means that it is there."""
    mac = Mac(lambda: row(1, 1000, "/sbin/launchd"))
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setuid(65534)
            os.write(writer, str(DarwinProcesses(mac).alive(Process(1, 1000, ""))).encode("ascii"))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 20) == b"True"
    os.close(reader)
    os.close(writer)


def test_ps_that_fails_is_an_error() -> None:
    """Nobody takes it for a host without processes."""
    def broken() -> str:
        raise CocoonError("Listing processes failed.")

    with pytest.raises(CocoonError, match="Listing processes failed"):
        DarwinProcesses(Mac(broken)).find(1)


def test_the_start_of_this_process() -> None:
    """Seconds since the epoch, as ps has them."""
    assert abs(DarwinProcesses(Mac(lambda: "")).started_now() - time.time()) < 2
