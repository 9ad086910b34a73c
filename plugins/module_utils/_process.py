# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""Process tracking by PID file, never by PID alone (design decision 4).

A process is ours only if its boot, its start time and its command line agree with the PID file.  On Linux the facts come
from /proc and signals go through a pidfd; on Macs they come from one ``ps`` for all processes of the host.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
import typing as t

from ._errors import CocoonError
from ._store import storage_error, write_atomically


class Process(t.NamedTuple):
    """A live process: its number, when it started, and its command line.

    ``start`` is the kernel's tick count since boot on Linux, seconds since the epoch on Macs.
    """

    pid: int
    start: int
    command: str


class PidFile(t.NamedTuple):
    """The content of a PID file: number, start time, boot, one a line."""

    pid: int
    start: int
    boot: str


def read_pid_file(path: str) -> PidFile | None:
    """Return what a PID file says, None where it is absent, cut short or no PID file at all."""
    try:
        with open(path, "r", encoding="ascii") as file:
            lines = file.read(256).split("\n")
        return PidFile(int(lines[0]), int(lines[1]), lines[2])
    except (OSError, ValueError, IndexError):
        return None


class Processes:
    """The processes of the host: who runs, and is it ours?  Each platform says how it knows."""

    boot = ""

    def find(self, pid: int) -> Process | None:
        """Return the live process *pid*; None for none, and for one that has died but was not collected."""
        raise NotImplementedError

    def all(self) -> t.Iterable[Process]:
        """Return all live processes that can be seen."""
        raise NotImplementedError

    def started_now(self) -> int:
        """Return the start time of the calling process in the unit of Process.start."""
        raise NotImplementedError

    def same_start(self, recorded: int, actual: int) -> bool:
        """Tell whether two start times mean the same process."""
        return recorded == actual

    def send(self, process: Process, number: int) -> bool:
        """Send a signal to exactly this process; False when it is gone."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Forget what was seen, so that the next question looks again."""

    def ours(self, pid_file: str, needles: tuple[str, ...]) -> Process | None:
        """Return the process that a PID file names, if it is still the same one and its command line has all *needles*."""
        recorded = read_pid_file(pid_file)
        if recorded is None or recorded.boot != self.boot:
            return None
        process = self.find(recorded.pid)
        if process is None or not self.same_start(recorded.start, process.start):
            return None
        return process if all(needle in process.command for needle in needles) else None

    def alive(self, process: Process) -> bool:
        """Tell whether exactly this process still lives."""
        reap(process.pid)
        self.refresh()
        now = self.find(process.pid)
        return now is not None and self.same_start(process.start, now.start)

    def wait_end(self, process: Process, timeout: float) -> bool:
        """Wait until *process* has ended, at most *timeout* seconds; tell whether it has."""
        deadline = time.monotonic() + timeout
        pause = 0.002
        while self.alive(process):
            if time.monotonic() >= deadline:
                return False
            time.sleep(pause)
            pause = min(pause * 2, 0.25)
        return True

    def terminate(self, process: Process, grace: float = 5.0) -> str:
        """End a process with SIGTERM, after *grace* seconds with SIGKILL; return the signal that did it.

        Raises CocoonError if it lives on.
        """
        for name in ("SIGTERM", "SIGKILL"):
            if not self.send(process, getattr(signal, name)) or self.wait_end(process, grace):
                return name
        raise CocoonError(f"Process {process.pid} does not end, not even by SIGKILL.", "look for a device or file system that hangs on the host")


class LinuxProcesses(Processes):
    """Processes seen through /proc; signals through pidfds, so that a recycled number is never hit."""

    def __init__(self) -> None:
        with open("/proc/sys/kernel/random/boot_id", "r", encoding="ascii") as file:
            self.boot = file.read().strip()

    def find(self, pid: int) -> Process | None:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            if fields[0] in (b"Z", b"X"):
                return None
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read().replace(b"\0", b" ").decode("utf-8", "replace")
        except (OSError, IndexError):
            return None
        return Process(pid, int(fields[19]), command)

    def all(self) -> t.Iterable[Process]:
        for entry in os.listdir("/proc"):
            process = self.find(int(entry)) if entry.isdigit() else None
            if process is not None:
                yield process

    def started_now(self) -> int:
        process = self.find(os.getpid())
        return process.start if process else 0

    def send(self, process: Process, number: int) -> bool:
        try:
            handle = os.pidfd_open(process.pid)
        except OSError as error:
            if error.errno == errno.ESRCH:
                return False
            raise
        try:
            if not self.alive(process):
                return False
            signal.pidfd_send_signal(handle, number)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)


class DarwinProcesses(Processes):
    """Processes seen through one ``ps`` and one ``sysctl``, run only when somebody asks."""

    _MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"
    _FRESH = 1.0  # seconds in which no number is given to another process

    def __init__(self, commands: t.Any) -> None:
        self._commands = commands
        self._table: dict[int, Process] | None = None
        self._looked = 0.0
        self._boot = ""

    @property
    def boot(self) -> str:  # type: ignore[override]
        """The boot session, by which a PID file of before a reboot is known."""
        if not self._boot:
            self._boot = self._commands.check(["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"], "Reading the boot session").strip()
        return self._boot

    def refresh(self) -> None:
        self._table = None

    def _processes(self) -> dict[int, Process]:
        table = self._table  # other threads may forget it meanwhile
        if table is None:
            out = self._commands.check(["/bin/ps", "-axww", "-o", "pid=,state=,lstart=,command="], "Listing processes", env={"LC_ALL": "C", "TZ": "UTC"})
            found = (self._parse(line) for line in out.splitlines())
            table = self._table = {process.pid: process for process in found if process is not None}
            self._looked = time.monotonic()
        return table

    def _parse(self, line: str) -> Process | None:
        fields = line.split(None, 7)
        if len(fields) < 7 or fields[1].startswith("Z"):
            return None
        try:
            month = self._MONTHS.index(fields[3]) // 3 + 1
            hours, minutes, seconds = (int(part) for part in fields[5].split(":"))
            start = _epoch(int(fields[6]), month, int(fields[4]), hours, minutes, seconds)
            return Process(int(fields[0]), start, fields[7] if len(fields) > 7 else "")
        except ValueError:
            return None  # no row, but the rest of a command line that has line ends in it

    def find(self, pid: int) -> Process | None:
        return self._processes().get(pid)

    def all(self) -> t.Iterable[Process]:
        return self._processes().values()

    def alive(self, process: Process) -> bool:
        reap(process.pid)
        try:
            os.kill(process.pid, 0)  # cheap: most calls end here, ps settles only what is left
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        seen = (self._table or {}).get(process.pid)
        if seen is not None and self.same_start(process.start, seen.start) and time.monotonic() - self._looked < self._FRESH:
            return True  # waiting for many ends at once is not worth a ps for each look
        return super().alive(process)

    def started_now(self) -> int:
        return int(time.time())

    def same_start(self, recorded: int, actual: int) -> bool:
        return abs(recorded - actual) <= 2  # ps tells whole seconds, and a start takes some of one

    def send(self, process: Process, number: int) -> bool:
        if not super().alive(process):
            return False
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            return False
        return True


def _epoch(year: int, month: int, day: int, hours: int, minutes: int, seconds: int) -> int:
    """Return seconds since the epoch of a UTC time, without the cost of importing calendar or datetime."""
    year, month = (year - 1, month + 12) if month <= 2 else (year, month)
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 719469
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def reap(pid: int) -> int | None:
    """Collect a child that has ended and return its exit status (minus the signal's number if one killed it), else None."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    if not found:
        return None
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def lock_holder(path: str) -> int:
    """Return the PID that holds a POSIX record lock on *path*, 0 for none (tart contract 4.3: such a VM runs)."""
    import struct
    import sys

    # struct flock: Darwin is off_t, off_t, pid_t, short, short; Linux is short, short, off_t, off_t, pid_t.
    darwin = sys.platform == "darwin"
    layout = "=qqihh" if darwin else "=hhxxxxqqixxxx"
    query = struct.pack(layout, *((0, 0, 0, fcntl.F_WRLCK, 0) if darwin else (fcntl.F_WRLCK, 0, 0, 0, 0)))
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return 0
    try:
        answer = struct.unpack(layout, fcntl.fcntl(handle, fcntl.F_GETLK, query))
    finally:
        os.close(handle)
    kind, pid = (answer[3], answer[2]) if darwin else (answer[0], answer[4])
    return 0 if kind == fcntl.F_UNLCK else pid


def spawn(processes: Processes, argv: list[str], env: dict[str, str], log_path: str, pid_path: str) -> Process:
    """Start a program that outlives this task: own session, no descriptor of ours, output appended to a log.

    The child writes its PID file before it becomes the program, so that no crash of ours can lose it.
    Raises CocoonError when the program cannot be executed or the PID file cannot be written.
    """
    boot = processes.boot
    rotate(log_path)
    report, tell = os.pipe()
    os.set_inheritable(tell, False)
    pid = os.fork()
    if pid == 0:
        _become(processes, argv, env, log_path, pid_path, boot, tell)
    os.close(tell)
    with os.fdopen(report, "rb") as file:
        trouble = file.read()
    if trouble:
        os.waitpid(pid, 0)
        number, path = trouble.decode("utf-8", "replace").split(" ", 1)
        reason = OSError(int(number), os.strerror(int(number)))
        if path == argv[0]:
            raise CocoonError(f"{path} cannot be executed: {reason.strerror}.", "install a program for this host there, or make the file executable")
        raise storage_error(reason, path)
    written = read_pid_file(pid_path)
    return Process(pid, written.start if written else 0, " ".join(argv))


def _become(processes: Processes, argv: list[str], env: dict[str, str], log_path: str, pid_path: str, boot: str, tell: int) -> t.NoReturn:
    """Turn the forked child into the program; never return."""
    path = pid_path
    try:
        os.setsid()
        content = f"{os.getpid()}\n{processes.started_now()}\n{boot}\n"
        write_atomically(pid_path, content.encode("ascii"), durable=False)  # after a power cut it means nothing
        path = log_path
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.closerange(3, tell)
        os.closerange(tell + 1, 4096)
        for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        path = argv[0]
        os.execve(argv[0], argv, env)
    except BaseException as error:  # pylint: disable=broad-except  # the child may only report and end
        reason = error if isinstance(error, OSError) else error.__cause__
        number = reason.errno if isinstance(reason, OSError) else 0
        os.write(tell, f"{number or errno.EIO} {path}".encode("utf-8"))
    finally:
        os._exit(127)


def rotate(log_path: str, keep: int = 3) -> None:
    """Keep the logs of the last *keep* runs beside the current one: log, log.1, log.2, ..."""
    if not os.path.exists(log_path):
        return
    for number in range(keep, 0, -1):
        older = log_path if number == 1 else f"{log_path}.{number - 1}"
        if os.path.exists(older):
            os.replace(older, f"{log_path}.{number}")


def tail(path: str, lines: int = 15) -> str:
    """Return the last lines of a log, at most 4 KiB, '' where there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 4096))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.replace("\r", "").splitlines()[-lines:])
