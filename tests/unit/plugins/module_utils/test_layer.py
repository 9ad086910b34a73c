# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers of OCI images: unpacked by the real tar, whiteouts as overlayfs wants them; as root, as on the hosts."""

from __future__ import annotations

import io
import os
import pathlib
import stat
import tarfile
import typing as t

import pytest

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._command import Commands
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._image.layer import boot_files, build, unpack

DIGEST = "sha256:" + "ab" * 32


def member(name: str, content: bytes | None = b"x", **fields: t.Any) -> tuple[tarfile.TarInfo, bytes | None]:
    """A member of an archive; without content a folder, unless *fields* say something else."""
    info = tarfile.TarInfo(name)
    info.type = tarfile.REGTYPE if content is not None else tarfile.DIRTYPE
    info.mode = 0o644 if content is not None else 0o755
    info.size = len(content or b"")
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def archive(path: pathlib.Path, *members: tuple[tarfile.TarInfo, bytes | None], mode: str = "w") -> str:
    """A layer as registries keep it."""
    with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
        for info, content in members:
            tar.addfile(info, None if content is None else io.BytesIO(content))
    return str(path)


@pytest.fixture(name="unpacked")
def fixture_unpacked(commands: Commands, tmp_path: pathlib.Path) -> t.Callable[..., pathlib.Path]:
    """unpacked(member, ...): the tree of a layer with these members."""
    def unpacked(*members: tuple[tarfile.TarInfo, bytes | None], mode: str = "w") -> pathlib.Path:
        tree = tmp_path / "tree"
        unpack(commands, archive(tmp_path / ("ab" * 32), *members, mode=mode), str(tree))
        return tree

    return unpacked


def is_whiteout(path: pathlib.Path) -> bool:
    """Whether overlayfs takes it for a deleted name: a character device 0:0."""
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_what_a_layer_holds(unpacked: t.Callable[..., pathlib.Path], mode: str) -> None:
    """Contents, owners, modes with set-user-id, links, and times, whatever it is packed with."""
    tree = unpacked(
        member("etc", None, uid=0, gid=0),
        member("etc/passwd", b"root\n", uid=12, gid=34, mode=0o4750, mtime=1000),
        member("etc/link", None, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("etc/hard", None, type=tarfile.LNKTYPE, linkname="etc/passwd"),
        mode=mode,
    )
    status = (tree / "etc/passwd").stat()
    assert (tree / "etc/passwd").read_bytes() == b"root\n"
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), status.st_mtime, status.st_nlink) == (12, 34, 0o4750, 1000, 2)
    assert os.readlink(tree / "etc/link") == "/etc/passwd"
    assert stat.S_IMODE(tree.stat().st_mode) == 0o755


def test_deleted_names(unpacked: t.Callable[..., pathlib.Path]) -> None:
    """A whiteout hides what is below; the file that says so is gone itself."""
    tree = unpacked(member("etc", None), member("etc/.wh.passwd", b""), member(".wh.usr", b""), member("etc/kept"))
    assert is_whiteout(tree / "etc/passwd") and is_whiteout(tree / "usr")
    assert sorted(os.listdir(tree / "etc")) == ["kept", "passwd"] and (tree / "etc/kept").read_bytes() == b"x"


def test_opaque_folders(unpacked: t.Callable[..., pathlib.Path]) -> None:
    """Nothing of the layers below shows through; what the layer itself puts there stays."""
    tree = unpacked(member("var", None), member("var/.wh..wh..opq", b""), member("var/new"))
    assert os.getxattr(tree / "var", "trusted.overlay.opaque") == b"y"
    assert os.listdir(tree / "var") == ["new"]
    with pytest.raises(OSError):
        os.getxattr(tree, "trusted.overlay.opaque")


def test_a_name_that_is_deleted_and_made_again(unpacked: t.Callable[..., pathlib.Path]) -> None:
    """What the layer has is what counts."""
    tree = unpacked(member("etc", None), member("etc/.wh.passwd", b""), member("etc/passwd", b"new"))
    assert (tree / "etc/passwd").read_bytes() == b"new" and os.listdir(tree / "etc") == ["passwd"]


def test_bookkeeping_of_aufs(unpacked: t.Callable[..., pathlib.Path]) -> None:
    """It means nothing to overlayfs."""
    tree = unpacked(member(".wh..wh.aufs", b""), member(".wh..wh.plnk", b""), member("a"))
    assert os.listdir(tree) == ["a"]


def test_names_with_odd_signs(unpacked: t.Callable[..., pathlib.Path]) -> None:
    """They go no way through a shell."""
    names = ["-rf", "a b", "$HOME", "é", "new\nline"]
    tree = unpacked(*(member(name) for name in names), member(".wh.-x y", b""))
    assert sorted(os.listdir(tree)) == sorted([*names, "-x y"]) and is_whiteout(tree / "-x y")


@pytest.mark.parametrize(
    "members",
    [
        [member("../outside/evil")],
        [member("a/../../outside/evil")],
        [member("way", None, type=tarfile.SYMTYPE, linkname="../outside"), member("way/evil")],
        [member("way", None, type=tarfile.SYMTYPE, linkname="{outside}"), member("way/evil")],
        [member("way", None, type=tarfile.SYMTYPE, linkname="../outside"), member("way/.wh.kept", b"")],
        [member("evil", None, type=tarfile.LNKTYPE, linkname="../outside/kept"), member("evil", b"changed")],
    ],
)
def test_nothing_is_written_outside(unpacked: t.Callable[..., pathlib.Path], tmp_path: pathlib.Path, members: list[t.Any]) -> None:
    """Whatever an archive says of where its members go: it is refused, or stays inside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"kept")
    for info, _content in members:
        info.linkname = info.linkname.replace("{outside}", str(outside))
    try:
        unpacked(*members)
    except CocoonError as error:
        assert "Unpacking layer abababababab failed" in error.msg
    assert os.listdir(outside) == ["kept"] and (outside / "kept").read_bytes() == b"kept"


def test_an_archive_that_is_cut_off(commands: Commands, tmp_path: pathlib.Path) -> None:
    """It is an error, not a smaller layer."""
    path = archive(tmp_path / "layer", member("a", b"x" * 100000))
    os.truncate(path, 50000)
    with pytest.raises(CocoonError, match="Unpacking layer layer failed: tar .*ended with 2"):
        unpack(commands, path, str(tmp_path / "tree"))


def test_boot_files(tmp_path: pathlib.Path) -> None:
    """From /boot before the root; old ones, links and folders do not count."""
    for name in (
        "vmlinuz",
        "boot/vmlinuz-6.1.0-9",
        "boot/initrd.img-6.1.0-9",
        "boot/vmlinuz-6.1.0-9.old",
        "boot/config-6.1",
        "etc/vmlinuz",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "boot/vmlinuz-zzz").symlink_to("/etc/shadow")
    (tmp_path / "boot/initrd.img-zzz").mkdir()
    assert boot_files(str(tmp_path)) == {
        "vmlinuz": str(tmp_path / "boot/vmlinuz-6.1.0-9"),
        "initrd.img": str(tmp_path / "boot/initrd.img-6.1.0-9"),
    }


def test_boot_files_are_not_looked_for_behind_a_link(tmp_path: pathlib.Path) -> None:
    """A layer could lead to the host's own /boot."""
    other = tmp_path / "host"
    other.mkdir()
    (other / "vmlinuz-6").write_bytes(b"x")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "boot").symlink_to(other)
    assert boot_files(str(tree)) == {}
    (tree / "initrd.img").write_bytes(b"x")
    assert boot_files(str(tree)) == {"initrd.img": str(tree / "initrd.img")}


def test_how_layers_are_packed(commands: Commands, program: t.Callable[[str, str], str], tmp_path: pathlib.Path) -> None:
    """Without times and with an identity that follows from the digest: the same layer gives the same file."""
    mkfs = program("mkfs.erofs", 'printf "%s\\n" "$@" >"$6"')
    lines = []
    for digest in (DIGEST, DIGEST, DIGEST.replace("a", "c")):
        target = str(tmp_path / "layer.erofs")
        build(mkfs, commands, "/tree", target, digest)
        lines.append(pathlib.Path(target).read_text(encoding="ascii").splitlines())
    assert lines[0] == lines[1] and lines[0][4] != lines[2][4]
    assert lines[0][:4] == ["--quiet", "-zlz4hc", "-T0", "-U"] and lines[0][-1] == "/tree"
