# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Process tracking with real processes: spawn, identity, signals, zombies, logs (design decisions 4 and 5)."""

from __future__ import annotations

import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import threading
import time
import typing as t

import pytest
from hypothesis import example, given, strategies as st

from ansible_collections.cocoonstack.cocoon.plugins.module_utils import _process
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._process import (
    LinuxProcesses,
    Process,
    reap,
    read_pid_file,
    rotate,
    spawn,
    tail,
)

SLEEP = "import time; print('ready', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
# Tells what it was born with, then sleeps.
CURIOUS = """
import json, os, sys, time
print(json.dumps({
    "session": os.getsid(0), "pid": os.getpid(), "arguments": sys.argv[1:], "environment": sorted(os.environ),
    "descriptors": {fd: os.readlink("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd)},
}), flush=True)
time.sleep(60)
"""
Spawner = t.Callable[..., Process]


@pytest.fixture(name="processes")
def fixture_processes() -> LinuxProcesses:
    """The processes of this machine."""
    return LinuxProcesses()


@pytest.fixture(name="start")
def fixture_start(processes: LinuxProcesses, tmp_path: pathlib.Path) -> t.Iterator[Spawner]:
    """start("code", *arguments): a Python program started as VMs are; it ends with the test."""
    started: list[Process] = []

    def start(code: str, *arguments: str, environment: dict[str, str] | None = None) -> Process:
        argv = [sys.executable, "-c", code, *arguments]
        process = spawn(processes, argv, environment or dict(os.environ), str(tmp_path / "vm.log"), str(tmp_path / "pid"))
        started.append(process)
        return process

    yield start
    for process in started:
        processes.send(process, signal.SIGKILL)
        processes.wait_end(process, 10)


def logged(path: pathlib.Path, text: str, seconds: float = 20) -> str:
    """Wait until a text is in a log; return the log."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists() and text in path.read_text(encoding="utf-8"):
            return path.read_text(encoding="utf-8")
        time.sleep(0.01)
    raise AssertionError(f"{text!r} is not in {path}")


def children() -> set[str]:
    """The children of this process, dead ones too."""
    return set(pathlib.Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text(encoding="ascii").split())


def test_what_a_spawned_program_is_born_with(start: Spawner, tmp_path: pathlib.Path) -> None:
    """Its own session, the log, no descriptor and no ignored signal of ours, exactly the environment and arguments that were given."""
    secret = os.open(__file__, os.O_RDONLY)
    high = os.dup2(secret, min(2000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1), inheritable=True)
    os.set_inheritable(secret, True)
    environment = {"PATH": os.environ["PATH"], "GREETING": "hello world"}
    process = start(CURIOUS, "two words", "$HOME", "*", environment=environment)
    os.close(secret)
    os.close(high)
    told = json.loads(logged(tmp_path / "vm.log", "}\n"))
    assert told["pid"] == process.pid == told["session"] != os.getsid(0)
    assert told["arguments"] == ["two words", "$HOME", "*"]
    assert "GREETING" in told["environment"] and "HOME" not in told["environment"]
    log = str(tmp_path / "vm.log")
    assert told["descriptors"] == {"0": "/dev/null", "1": log, "2": log}


def test_signals_are_as_new(processes: LinuxProcesses, tmp_path: pathlib.Path) -> None:
    """Python ignores SIGPIPE, and a task may ignore others: the program does not."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    try:
        process = spawn(processes, ["/bin/grep", "SigIgn", "/proc/self/status"], {}, str(tmp_path / "vm.log"), str(tmp_path / "pid"))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    ignored = int(logged(tmp_path / "vm.log", "\n").split()[1], 16)
    assert processes.wait_end(process, 20)
    assert not [number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM) if ignored >> (number - 1) & 1]


def test_the_pid_file_tells_who_it_is(processes: LinuxProcesses, start: Spawner, tmp_path: pathlib.Path) -> None:
    """Number, start time and boot; found by it, by its command line and in the list of all."""
    process = start(SLEEP, "needle-4711")
    logged(tmp_path / "vm.log", "ready")
    recorded = read_pid_file(str(tmp_path / "pid"))
    assert recorded is not None and (recorded.pid, recorded.start, recorded.boot) == (process.pid, process.start, processes.boot)
    ours = processes.ours(str(tmp_path / "pid"), ("needle-4711", SLEEP))
    assert ours is not None and (ours.pid, ours.start) == (process.pid, process.start)
    assert process.pid in [other.pid for other in processes.all() if "needle-4711" in other.command]
    assert processes.alive(process)


def test_the_pid_file_is_there_before_the_program(
    processes: LinuxProcesses, tmp_path: pathlib.Path, program: t.Callable[[str, str], str]
) -> None:
    """A program that reads it at once finds itself in it."""
    pid_path = tmp_path / "pid"
    path = program("reader", f'read -r pid <"{pid_path}"; [ "$pid" = $$ ] && echo "it is me"')
    process = spawn(processes, [path], {"PATH": "/bin:/usr/bin"}, str(tmp_path / "vm.log"), str(pid_path))
    logged(tmp_path / "vm.log", "it is me")
    assert processes.wait_end(process, 10)


def test_a_spawned_program_outlives_its_parent(
    tmp_path: pathlib.Path, child: t.Callable[..., subprocess.Popen[str]], processes: LinuxProcesses
) -> None:
    """Also when the whole process group of the task is killed, as an SSH server does with a lost session."""
    code = f"""
import os, sys, time
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._process import LinuxProcesses, spawn
os.setpgid(0, 0)
process = spawn(LinuxProcesses(), [sys.executable, "-c", {SLEEP!r}, "orphan"], dict(os.environ), sys.argv[1], sys.argv[2])
print(process.pid, flush=True)
time.sleep(60)
"""
    task = child(code, str(tmp_path / "vm.log"), str(tmp_path / "pid"))
    os.killpg(task.pid, signal.SIGKILL)
    task.wait()
    logged(tmp_path / "vm.log", "ready")
    ours = processes.ours(str(tmp_path / "pid"), ("orphan",))
    assert ours is not None and ours.pid == int(task.first_line)
    processes.terminate(ours)


@pytest.mark.parametrize(
    ("content", "change"),
    [
        ("{pid}\n{start}\n{boot}\n", True),
        ("{pid}\n{start}1\n{boot}\n", False),
        ("{pid}\n{start}\n11111111-2222-3333-4444-555555555555\n", False),
        ("{pid}\n{start}\n", False),
        ("1\n{start}\n{boot}\n", False),
        ("{pid}\n", False),
        ("{pid}", False),
        ("", False),
        ("web\n1\n{boot}\n", False),
        ("-1\n{start}\n{boot}\n", False),
        ("99999999\n{start}\n{boot}\n", False),
        ("{pid}\n{start}\n{boot}", True),
        ("\xff\xfe", False),
    ],
)
def test_whose_process_it_is(processes: LinuxProcesses, start: Spawner, tmp_path: pathlib.Path, content: str, change: bool) -> None:
    """Another start time, another boot, or half a PID file: not ours."""
    process = start(SLEEP, "needle-4711")
    logged(tmp_path / "vm.log", "ready")
    path = tmp_path / "other"
    path.write_text(content.format(pid=process.pid, start=process.start, boot=processes.boot), encoding="latin-1")
    assert (processes.ours(str(path), ("needle-4711",)) is not None) is change


def test_another_command_is_not_ours(processes: LinuxProcesses, start: Spawner, tmp_path: pathlib.Path) -> None:
    """All words have to be in the command line."""
    start(SLEEP, "needle-4711")
    logged(tmp_path / "vm.log", "ready")
    assert processes.ours(str(tmp_path / "pid"), ("needle-4711", "needle-4712")) is None
    assert processes.ours(str(tmp_path / "none"), ()) is None


@given(st.binary(max_size=60))
@example(b"1\n2\n\xc3\xa9\n")
def test_damaged_pid_files(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever stands in one: it names a process, or none; it never raises."""
    path = tmp_path_factory.getbasetemp() / "pid"
    path.write_bytes(content)
    found = read_pid_file(str(path))
    assert found is None or content.split(b"\n")[2].decode("ascii").startswith(found.boot)


def test_a_pid_file_that_is_a_folder(tmp_path: pathlib.Path) -> None:
    """It names nobody."""
    assert read_pid_file(str(tmp_path)) is None


def test_zombies_are_dead(processes: LinuxProcesses) -> None:
    """A process that has ended but was not collected is neither found nor alive."""
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    with open(f"/proc/{zombie.pid}/stat", encoding="ascii") as file:
        assert file.read().split()[2] == "Z"
    assert processes.find(zombie.pid) is None
    assert zombie.pid not in [process.pid for process in processes.all()]
    assert not processes.send(Process(zombie.pid, 1, ""), signal.SIGTERM)
    zombie.wait()


def test_names_with_brackets_do_not_confuse(
    processes: LinuxProcesses, tmp_path: pathlib.Path, program: t.Callable[[str, str], str]
) -> None:
    """The second field of /proc/PID/stat may hold anything."""
    path = program(") Z 1 (x", "exec 3<&0; read -r nothing <&3 || sleep 60")
    process = spawn(processes, [path], dict(os.environ), str(tmp_path / "vm.log"), str(tmp_path / "pid"))
    found = processes.find(process.pid)
    assert found is not None and found.start == process.start
    processes.terminate(process)


def test_a_gentle_end(processes: LinuxProcesses, start: Spawner, tmp_path: pathlib.Path) -> None:
    """SIGTERM is enough for most."""
    process = start(SLEEP)
    logged(tmp_path / "vm.log", "ready")
    assert processes.terminate(process) == "SIGTERM"
    assert not processes.alive(process)


def test_a_stubborn_process_is_killed(processes: LinuxProcesses, start: Spawner, tmp_path: pathlib.Path) -> None:
    """After the grace comes SIGKILL, and the grace is kept."""
    process = start(STUBBORN)
    logged(tmp_path / "vm.log", "ready")
    began = time.monotonic()
    assert processes.terminate(process, grace=0.3) == "SIGKILL"
    assert 0.3 <= time.monotonic() - began < 10
    assert not processes.alive(process)


def test_a_stopped_process_is_killed_too(processes: LinuxProcesses, start: Spawner, tmp_path: pathlib.Path) -> None:
    """SIGSTOP keeps SIGTERM waiting, not SIGKILL."""
    process = start(SLEEP)
    logged(tmp_path / "vm.log", "ready")
    processes.send(process, signal.SIGSTOP)
    deadline = time.monotonic() + 20
    while pathlib.Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert processes.terminate(process, grace=0.2) == "SIGKILL"


def test_a_process_that_cannot_be_killed_is_told(processes: LinuxProcesses, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uninterruptible sleep: the kernel keeps the process, and nobody says that it ended."""
    monkeypatch.setattr(processes, "send", lambda process, number: True)
    me = processes.find(os.getpid())
    assert me is not None
    with pytest.raises(CocoonError, match=f"Process {me.pid} does not end, not even by SIGKILL"):
        processes.terminate(me, grace=0.01)


def test_a_signal_never_hits_another_process(processes: LinuxProcesses, start: Spawner, tmp_path: pathlib.Path) -> None:
    """The number was given to somebody else: nothing is sent, and the process that was meant counts as gone."""
    process = start(SLEEP)
    logged(tmp_path / "vm.log", "ready")
    other = process._replace(start=process.start - 1)
    assert not processes.send(other, signal.SIGKILL)
    assert processes.terminate(other) == "SIGTERM"
    assert processes.alive(process)


def test_a_process_of_somebody_else(processes: LinuxProcesses) -> None:
    """Who may not signal a process sees that it lives, and gets an error instead of a wrong answer."""
    me = processes.find(os.getpid())
    assert me is not None
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setuid(65534)
            alive = processes.alive(me)
            try:
                processes.send(me, signal.SIGTERM)
                answer = "sent"
            except PermissionError:
                answer = "refused"
            os.write(writer, f"{alive} {answer}".encode("ascii"))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 100) == b"True refused"
    os.close(reader)
    os.close(writer)


def test_waiting_for_an_end(processes: LinuxProcesses, start: Spawner) -> None:
    """It returns when the process has ended, or when the time is over."""
    process = start("import time; time.sleep(0.2)")
    assert not processes.wait_end(process, 0.01)
    assert processes.wait_end(process, 20)
    assert processes.wait_end(process, 0)


def test_exit_codes(start: Spawner) -> None:
    """An exit status, or minus the signal; each is told once."""
    for code, status in (("import sys; sys.exit(7)", 7), ("import os; os.kill(os.getpid(), 9)", -9), ("", 0)):
        process = start(code)
        deadline = time.monotonic() + 20
        found = reap(process.pid)
        while found is None and time.monotonic() < deadline:
            time.sleep(0.01)
            found = reap(process.pid)
        assert found == status
        assert reap(process.pid) is None
    assert reap(1) is None


def test_a_program_that_is_not_there(processes: LinuxProcesses, tmp_path: pathlib.Path) -> None:
    """The error names the program, and no child is left behind."""
    before = children()
    with pytest.raises(CocoonError, match="/no/such/program cannot be executed: No such file or directory"):
        spawn(processes, ["/no/such/program"], {}, str(tmp_path / "vm.log"), str(tmp_path / "pid"))
    assert children() == before


def test_a_program_that_is_none(processes: LinuxProcesses, tmp_path: pathlib.Path) -> None:
    """A file without the right to be executed, and one that is no program."""
    path = tmp_path / "file"
    path.write_bytes(b"\x00\x01")
    for mode, why in ((0o644, "Permission denied"), (0o755, "Exec format error")):
        path.chmod(mode)
        with pytest.raises(CocoonError, match=f"file cannot be executed: {why}"):
            spawn(processes, [str(path)], {}, str(tmp_path / "vm.log"), str(tmp_path / "pid"))


@pytest.mark.parametrize("missing", ["log", "pid"])
def test_files_that_cannot_be_written(processes: LinuxProcesses, tmp_path: pathlib.Path, missing: str) -> None:
    """No program is started whose PID file or log cannot be kept; the true cause is told."""
    marker = tmp_path / "started"
    paths = {name: str(tmp_path / ("none" if name == missing else ".") / name) for name in ("log", "pid")}
    with pytest.raises(CocoonError, match=f"none/{missing} cannot be written: No such file or directory"):
        spawn(processes, ["/usr/bin/touch", str(marker)], dict(os.environ), paths["log"], paths["pid"])
    assert not marker.exists()


def test_logs_of_earlier_runs_are_kept(start: Spawner, tmp_path: pathlib.Path, processes: LinuxProcesses) -> None:
    """Each run has its own, of the last three runs before."""
    log = tmp_path / "vm.log"
    for number in range(6):
        process = start(f"print('run {number}', flush=True)")
        logged(log, f"run {number}")
        assert processes.wait_end(process, 20)
    assert sorted(path.name for path in tmp_path.glob("vm.log*")) == ["vm.log", "vm.log.1", "vm.log.2", "vm.log.3"]
    assert [(tmp_path / name).read_text(encoding="ascii") for name in ("vm.log", "vm.log.1", "vm.log.3")] == [
        "run 5\n",
        "run 4\n",
        "run 2\n",
    ]
    assert log.stat().st_mode & 0o077 == 0


def test_rotating_nothing(tmp_path: pathlib.Path) -> None:
    """Where there is no log there is nothing to keep."""
    rotate(str(tmp_path / "vm.log"))
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_a_log(tmp_path: pathlib.Path) -> None:
    """The last lines, without carriage returns, of a long or broken or absent log."""
    path = tmp_path / "vm.log"
    assert tail(str(path)) == ""
    path.write_bytes(b"one\r\ntwo\r\n\xff\n")
    assert tail(str(path)) == "one\ntwo\n\ufffd"
    path.write_bytes(b"".join(b"line %d\n" % number for number in range(5000)))
    assert tail(str(path), 3) == "line 4997\nline 4998\nline 4999"
    path.write_bytes(b"x" * 100000)
    assert len(tail(str(path))) == 4096


def test_this_process(processes: LinuxProcesses) -> None:
    """Who asks is alive and was started when it says."""
    me = processes.find(os.getpid())
    assert me is not None and me.start == processes.started_now() and "python" in me.command
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        assert processes.boot == file.read().strip()
    assert _process.LinuxProcesses().boot == processes.boot
