# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds a POSIX record lock: how tart's running VMs are known (tart contract 4.3, 4.4)."""

from __future__ import annotations

import fcntl
import os
import pathlib
import signal
import struct
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._process import lock_holder

LOCKER = """
import fcntl, struct, sys, time
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, getattr(fcntl, sys.argv[2]))
print("locked", flush=True)
time.sleep(60)
"""
FLOCKER = LOCKER.replace("lockf", "flock")
Child = t.Callable[..., subprocess.Popen[str]]


@pytest.fixture(name="path")
def fixture_path(tmp_path: pathlib.Path) -> str:
    """A config.json."""
    path = tmp_path / "config.json"
    path.write_text("{}", encoding="ascii")
    return str(path)


def test_nobody(path: str) -> None:
    """A file without a lock, and one that is not there."""
    assert lock_holder(path) == 0
    assert lock_holder(path + ".none") == 0


def test_the_holder_is_told_until_it_dies(path: str, child: Child) -> None:
    """Asking again and again does not free the lock."""
    holder = child(LOCKER, path, "LOCK_EX")
    for _turn in range(3):
        assert lock_holder(path) == holder.pid
    with open(path, "r+", encoding="ascii") as file:  # tart's own settings are written in place
        file.write("{ }")
    assert lock_holder(path) == holder.pid
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert lock_holder(path) == 0


def test_a_lock_of_another_kind_is_none(path: str, child: Child) -> None:
    """flock is what tart uses elsewhere; it says nothing of a VM."""
    child(FLOCKER, path, "LOCK_EX")
    assert lock_holder(path) == 0


def test_a_file_that_may_not_be_written(path: str, child: Child) -> None:
    """Who may not open it for writing sees no lock, as tart itself (tart contract 5.3)."""
    holder = child(LOCKER, path, "LOCK_EX")
    os.chmod(os.path.dirname(os.path.dirname(path)), 0o755)
    os.chmod(os.path.dirname(path), 0o755)
    os.chmod(path, 0o444)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setuid(65534)
            os.write(writer, str(lock_holder(path)).encode("ascii"))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 20) == b"0"
    assert lock_holder(path) == holder.pid
    os.close(reader)
    os.close(writer)


def test_the_question_as_macos_wants_it(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its struct flock is start, length, process, kind, whence: 24 bytes."""
    asked: list[bytes] = []

    def answer(_handle: int, command: int, query: bytes) -> bytes:
        assert command == fcntl.F_GETLK
        asked.append(query)
        return struct.pack("=qqihh", 0, 0, 4242, fcntl.F_WRLCK, 0)

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "fcntl", answer)
    assert lock_holder(path) == 4242
    assert asked == [struct.pack("=qqihh", 0, 0, 0, fcntl.F_WRLCK, 0)] and len(asked[0]) == 24
    monkeypatch.setattr(fcntl, "fcntl", lambda *_arguments: struct.pack("=qqihh", 0, 0, 4242, fcntl.F_UNLCK, 0))
    assert lock_holder(path) == 0
