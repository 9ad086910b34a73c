# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records: atomic writes under kill -9 and on a full disk, damaged records, locks between processes."""

from __future__ import annotations

import errno
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

from ansible_collections.cocoonstack.cocoon.plugins.module_utils import _store
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._store import (
    Lock,
    Store,
    make_directory,
    remove,
    storage_error,
    write_atomically,
)

IMPORTS = "import os, sys\nfrom ansible_collections.cocoonstack.cocoon.plugins.module_utils._store import Lock, Store, write_atomically\n"
Child = t.Callable[..., "subprocess.Popen[str]"]

# Writes A and B in turn; each has its letter 100 kB long.
WRITER = IMPORTS + """
print("ready", flush=True)
while True:
    for letter in (b"A", b"B"):
        write_atomically(sys.argv[1], letter * 100000)
"""
# Stops for good at one of the steps of a write: argv[2] names the function of os.
STOPPER = IMPORTS + """
import time
def stop(*arguments):
    print("there", flush=True)
    time.sleep(60)
setattr(os, sys.argv[2], stop)
write_atomically(sys.argv[1], b"new" * 40000)
"""
HOLDER = IMPORTS + """
import time
lock = Lock(sys.argv[1], "VM web")
lock.acquire(5)
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


def test_a_write_replaces_the_file(tmp_path: pathlib.Path) -> None:
    """The content is new, only the owner may read it, and nothing else is left."""
    path = tmp_path / "file"
    for content in (b"", b"old", b"x" * 200000):
        write_atomically(str(path), content)
        assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o600
    write_atomically(str(path), b"", 0o644)
    assert os.listdir(tmp_path) == ["file"]


def test_a_writer_that_is_killed_leaves_the_old_or_the_new_bytes(tmp_path: pathlib.Path, child: Child) -> None:
    """kill -9 at random instants."""
    path = tmp_path / "file"
    path.write_bytes(b"A" * 100000)
    for pause in (0.001, 0.004, 0.009, 0.013, 0.02):
        writer = child(WRITER, str(path))
        time.sleep(pause)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        content = path.read_bytes()
        assert content in (b"A" * 100000, b"B" * 100000)


@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
def test_a_writer_that_is_killed_between_two_steps(tmp_path: pathlib.Path, child: Child, step: str) -> None:
    """Before the rename the file is the old one."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    writer = child(STOPPER, str(path), step)
    assert writer.first_line == "there"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert path.read_bytes() == b"old"
    write_atomically(str(path), b"next")  # what the killed one left does not stand in the way
    assert path.read_bytes() == b"next"


def limited(size: int) -> t.Callable[[], None]:
    """Make a child whose files cannot grow beyond a size, which is how a full disk looks to it."""
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.parametrize(("size", "room"), [(200, 0), (200, 100), (5000, 4096), (100000, 65536)])
def test_a_full_disk_keeps_the_old_file(tmp_path: pathlib.Path, size: int, room: int) -> None:
    """Also where a part of the new bytes would still fit: half a record is none."""
    path = tmp_path / "record.json"
    path.write_bytes(b"old")
    code = IMPORTS + f"""
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
try:
    write_atomically(sys.argv[1], b"n" * {size})
except CocoonError as error:
    print(error.msg)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        preexec_fn=limited(room),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert path.read_bytes() == b"old"
    assert f"{path} cannot be written: File too large." in done.stdout
    assert os.listdir(tmp_path) == ["record.json"]


def test_a_device_that_is_full() -> None:
    """The kernel's own full disk: the error is the one of a full disk."""
    with pytest.raises(OSError) as caught, open("/dev/full", "wb", buffering=0) as file:
        file.write(b"x")
    error = storage_error(caught.value, "/srv/x")
    assert error.msg == "/srv/x cannot be written: No space left on device."
    assert "free space" in error.remedy and "nothing was lost" in error.remedy


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "become: true"),
        (errno.EPERM, "become: true"),
        (errno.EROFS, "root_dir"),
        (errno.EDQUOT, "quota"),
        (errno.EIO, "look at the path"),
    ],
)
def test_remedies(number: int, remedy: str) -> None:
    """Each cause that users meet has its remedy."""
    assert remedy in storage_error(OSError(number, os.strerror(number)), "/x").remedy


def test_a_folder_that_is_a_file(tmp_path: pathlib.Path) -> None:
    """What cannot be made is told with its path."""
    (tmp_path / "file").write_text("", encoding="ascii")
    with pytest.raises(CocoonError, match="file.* cannot be written"):
        make_directory(str(tmp_path / "file" / "x"))
    with pytest.raises(CocoonError, match="cannot be written"):
        write_atomically(str(tmp_path / "none" / "x"), b"")


def test_removing_what_is_not_there(tmp_path: pathlib.Path) -> None:
    """Nothing to remove is fine; what cannot be removed is not hidden."""
    remove(str(tmp_path / "none"))
    with pytest.raises(OSError):
        remove(str(tmp_path))


# Records.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_a_record_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, record: dict[str, t.Any]) -> None:
    """Any JSON."""
    store = Store(str(tmp_path_factory.getbasetemp() / "records"), "things")
    record["name"] = "web"
    store.write("web", record)
    assert store.read("web") == record


@given(st.binary(max_size=40))
@example(b"")
@example(b"[]")
@example(b"null")
@example(b'{"name": "other"}')
@example(b'{"name": "web"')
@example(b"\xff\xfe")
def test_a_damaged_record_is_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever stands in the file: it is no record, and nobody takes it for an absent VM."""
    store = Store(str(tmp_path_factory.getbasetemp() / "damaged"), "vms")
    make_directory(store.directory("web"))
    path = pathlib.Path(store.path("web", "record.json"))
    path.write_bytes(content)
    with pytest.raises(CocoonError, match="is damaged") as caught:
        store.read("web")
    assert str(path) in caught.value.msg and "nothing of it runs" in caught.value.remedy
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("vms", {}),
        ("vms", {"phase": "ready"}),
        ("vms", {"phase": 1, "attributes": {}}),
        ("vms", {"phase": "ready", "attributes": []}),
        ("vms", {"phase": "ready", "attributes": {}, "nics": {}}),
        ("vms", {"phase": "ready", "attributes": {}, "image": "debian"}),
        ("images", {"reference": "r/i:1", "digest": "sha256:0", "layers": "x", "kernel": "k", "initramfs": "i", "size": 1}),
    ],
)
def test_a_record_of_another_shape_is_an_error(tmp_path: pathlib.Path, kind: str, record: dict[str, t.Any]) -> None:
    """JSON that names the right thing but is no record of it must not be taken for one."""
    store = Store(str(tmp_path), kind)
    store.write("web", {"name": "web", **record})
    with pytest.raises(CocoonError, match="damaged: .* is missing or makes no sense"):
        store.read("web")


def test_a_record_that_is_too_deep(tmp_path: pathlib.Path) -> None:
    """JSON that no parser takes is damage too."""
    store = Store(str(tmp_path), "vms")
    make_directory(store.directory("web"))
    pathlib.Path(store.path("web", "record.json")).write_bytes(b"[" * 100000)
    with pytest.raises(CocoonError, match="is damaged"):
        store.read("web")


@pytest.mark.parametrize("length", [0, 1, 20, 60])
def test_a_record_that_was_cut_off(tmp_path: pathlib.Path, length: int) -> None:
    """Every beginning of a record that is not all of it."""
    store = Store(str(tmp_path), "vms")
    store.write("web", {"name": "web", "phase": "ready", "attributes": {"cpus": 2}})
    path = pathlib.Path(store.path("web", "record.json"))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CocoonError, match="is damaged"):
        store.read("web")


def test_records_that_are_not_there(tmp_path: pathlib.Path) -> None:
    """No directory, no file, and a stray file in their place."""
    store = Store(str(tmp_path), "vms")
    assert store.names() == [] and store.read("web") is None
    store.delete("web")
    make_directory(store.directory("web"))
    assert store.names() == ["web"] and store.read("web") is None
    (tmp_path / "vms" / "notes.txt").write_text("", encoding="ascii")
    (tmp_path / "vms" / ".hidden").write_text("", encoding="ascii")
    assert store.names() == ["notes.txt", "web"] and store.read("notes.txt") is None


def test_the_record_goes_last(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A removal that fails half-way can be tried again: the record still says whose the rest is."""
    store = Store(str(tmp_path), "things")
    store.write("web", {"name": "web"})
    for file in ("a", "vm.log", "zzz"):
        pathlib.Path(store.path("web", file)).write_text("", encoding="ascii")
    removed: list[str] = []
    unlink = os.unlink

    def failing(path: str) -> None:
        if len(removed) == 3:
            raise OSError(errno.EIO, "Input/output error")
        removed.append(os.path.basename(path))
        unlink(path)

    monkeypatch.setattr(_store.os, "unlink", failing)
    with pytest.raises(CocoonError, match="cannot be written: Input/output error"):
        store.delete("web")
    assert "record.json" not in removed and store.read("web") == {"name": "web"}
    monkeypatch.undo()
    store.delete("web")
    assert store.names() == []


def test_directories_are_closed_to_others(tmp_path: pathlib.Path) -> None:
    """Logs and seeds are below them."""
    store = Store(str(tmp_path / "root"), "vms")
    store.write("web", {"name": "web"})
    assert os.stat(store.directory("web")).st_mode & 0o007 == 0
    assert json.loads(pathlib.Path(store.path("web", "record.json")).read_bytes()) == {"name": "web"}


# Locks.


def test_a_lock_keeps_another_process_out(tmp_path: pathlib.Path, child: Child) -> None:
    """The error names the holder; when it is killed, the lock is free."""
    path = str(tmp_path / "locks" / "vms-web")
    holder = child(HOLDER, path, "60")
    assert holder.first_line == "held"
    lock = Lock(path, "VM web")
    began = time.monotonic()
    with pytest.raises(
        CocoonError, match=f"Another task works on VM web .process {holder.pid} holds {path}. and did not finish within 0.2 seconds"
    ):
        lock.acquire(0.2)
    assert 0.2 <= time.monotonic() - began < 5
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    lock.acquire(5)
    lock.release()


def test_a_lock_is_waited_for(tmp_path: pathlib.Path, child: Child) -> None:
    """Who waits long enough gets it when the other process ends."""
    path = str(tmp_path / "lock")
    child(HOLDER, path, "0.3")
    lock = Lock(path, "x")
    lock.acquire(30)
    assert pathlib.Path(path).read_text(encoding="ascii") == str(os.getpid())
    lock.release()
    lock.release()


def test_a_lock_holds_inside_one_process_too(tmp_path: pathlib.Path) -> None:
    """Two threads of a batch are two holders."""
    path = str(tmp_path / "lock")
    first, second = Lock(path, "x"), Lock(path, "x")
    first.acquire(0)
    with pytest.raises(CocoonError):
        second.acquire(0)
    first.release()
    second.acquire(0)
    second.release()


def test_a_lock_lets_one_in_at_a_time(tmp_path: pathlib.Path) -> None:
    """Many threads, one counter that is read, held for a moment and written."""
    path = str(tmp_path / "lock")
    count = [0]

    def work() -> None:
        for _turn in range(3):
            lock = Lock(path, "x")
            lock.acquire(60)
            seen = count[0]
            time.sleep(0.001)
            count[0] = seen + 1
            lock.release()

    threads = [threading.Thread(target=work) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count[0] == 12


def test_locks_do_not_go_with_the_record(tmp_path: pathlib.Path) -> None:
    """Else two tasks could hold the lock of one name: one the file that is gone, one the new file."""
    store = Store(str(tmp_path), "vms")
    store.write("web", {"name": "web"})
    lock = store.lock("web")
    lock.acquire(0)
    store.delete("web")
    with pytest.raises(CocoonError, match="vm web"):
        store.lock("web").acquire(0)
    lock.release()
