# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of Linux hosts: a pull by a skopeo of paper, layers shared and removed, kills and damage; tar is real, mkfs only copies."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pathlib
import tarfile
import typing as t

import pytest

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._command import Commands
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._image.converge import converge
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._image.oci import OciImages
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._store import Store

NAME, OTHER = "registry.test/lab/a:1", "registry.test/lab/b:1"
BOOT = {"boot/vmlinuz-6.1": b"kernel", "boot/initrd.img-6.1": b"initramfs"}
# Only "inspect --raw" and "copy" of a registry that is a folder: a name's file has its manifest, blobs have theirs.
SKOPEO = """
echo "$*" >>"$REGISTRY/calls"
for last; do :; done
case $1 in
    inspect) source=${last#docker://}; cat "$REGISTRY/$(echo "$source" | tr / _)" || { echo "manifest unknown" >&2; exit 1; } ;;
    copy)
        source=$(echo "$*" | sed 's/.*docker:\\/\\/\\([^ ]*\\).*/\\1/')
        mkdir "${last#dir:}"
        cp "$REGISTRY/manifests/${source#*@sha256:}" "${last#dir:}/manifest.json" || exit 1
        cp "$REGISTRY"/blobs/* "${last#dir:}/" 2>/dev/null || : ;;
    *) exit 9 ;;
esac
"""


class Registry:
    """A registry that is a folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        for name in ("blobs", "manifests"):
            (folder / name).mkdir(parents=True)

    def layer(self, content: dict[str, bytes]) -> str:
        """Put a layer with these files; return its digest."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, text in content.items():
                info = tarfile.TarInfo(name)
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text))
        data = gzip.compress(buffer.getvalue(), mtime=0)
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / "blobs" / digest).write_bytes(data)
        return f"sha256:{digest}"

    def push(self, name: str, *layers: str, **others: t.Any) -> str:
        """Give a name to an image of these layers; return its digest."""
        manifest = {"schemaVersion": 2, "layers": [{"digest": layer} for layer in layers], **others}
        data = json.dumps(manifest).encode("ascii")
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / name.replace("/", "_")).write_bytes(data)
        (self.folder / "manifests" / digest).write_bytes(data)
        return f"sha256:{digest}"

    def calls(self) -> list[str]:
        """What skopeo was told since the last question: its first words."""
        path = self.folder / "calls"
        found = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        path.write_text("", encoding="utf-8")
        return [line.split()[0] for line in found]


@pytest.fixture(name="registry")
def fixture_registry(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """An empty registry."""
    monkeypatch.setenv("REGISTRY", str(tmp_path / "registry"))
    return Registry(tmp_path / "registry")


@pytest.fixture(name="images")
def fixture_images(commands: Commands, tmp_path: pathlib.Path, program: t.Callable[[str, str], str], registry: Registry) -> OciImages:
    """The images of an empty host."""
    assert registry.calls() == []
    commands._found.update({"skopeo": program("skopeo", SKOPEO), "mkfs.erofs": program("mkfs.erofs", 'tar -cf "$6" -C "$7" .')})
    return OciImages(commands, str(tmp_path / "root"))


def files(images: OciImages) -> set[str]:
    """All that is kept: blobs and boot files by the first signs of their layers."""
    found = [os.path.join(folder, name)[:8] for folder in ("blobs", "boot") for name in os.listdir(os.path.join(images.store.root, folder))]
    return set(found)


def test_a_pull(images: OciImages, registry: Registry) -> None:
    """Layers bottom first, the last kernel wins, the digest is that of the manifest, and no work folder is left."""
    layers = [registry.layer({**BOOT, "etc/a": b"1"}), registry.layer({"etc/b": b"2"}), registry.layer({"boot/vmlinuz-6.2": b"newer"})]
    digest = registry.push(NAME, *layers)
    images.pull(NAME, False)
    shown = images.inspect(NAME)
    assert shown is not None and (shown["name"], shown["digest"], shown["layers"]) == (NAME, digest, layers) and shown["size"] > 0
    found = images.files(images.need(NAME).as_record())
    assert pathlib.Path(found.kernel).read_bytes() == b"newer" and pathlib.Path(found.initramfs).read_bytes() == b"initramfs"
    assert [os.path.basename(path) for path in found.layers] == [f"{layer[7:]}.erofs" for layer in layers]
    assert os.listdir(images.work) == [] and images.list() == [shown]
    assert images.inspect(NAME[:-2]) is None and images.inspect(f"{NAME[:-2]}@{digest}") is None


def test_by_digest(images: OciImages, registry: Registry) -> None:
    """What the digest says is what is had; the registry's tag is not asked."""
    digest = registry.push(NAME, registry.layer(BOOT))
    registry.push(NAME, registry.layer({**BOOT, "new": b""}))
    images.pull(f"{NAME}@{digest}", False)
    shown = images.inspect(f"registry.test/lab/a@{digest}")
    assert shown is not None and shown["digest"] == digest and registry.calls() == ["copy"]


def test_states(images: OciImages, registry: Registry) -> None:
    """Present asks nobody when it is there; latest asks and pulls what is newer; check mode announces that."""
    first = registry.push(NAME, registry.layer(BOOT))

    def image(state: str, check_mode: bool = False) -> tuple[bool, str | None, list[str]]:
        outcome = converge(images, NAME, state, False, check_mode)
        return outcome["changed"], (outcome["image"] or {}).get("digest"), registry.calls()

    assert image("present", True) == (True, None, [])
    assert image("present") == (True, first, ["inspect", "copy"])
    assert image("present") == (False, first, [])
    assert image("latest") == (False, first, ["inspect"])
    second = registry.push(NAME, registry.layer({**BOOT, "new": b""}))
    assert image("present") == (False, first, [])
    assert image("latest", True) == (True, first, ["inspect"])
    assert image("latest")[:2] == (True, second) and image("latest")[0] is False
    registry.calls()
    assert image("absent", True)[0] is True and image("absent") == (True, None, []) and image("absent") == (False, None, [])


def test_layers_are_shared(images: OciImages, registry: Registry) -> None:
    """They are made once, and stay as long as an image or a VM needs them."""
    base, one, two = registry.layer(BOOT), registry.layer({"one": b""}), registry.layer({"two": b""})
    registry.push(NAME, base, one)
    registry.push(OTHER, base, two)
    images.pull(NAME, False)
    made = os.stat(os.path.join(images.blobs, f"{base[7:]}.erofs")).st_ino
    images.pull(OTHER, False)
    assert os.stat(os.path.join(images.blobs, f"{base[7:]}.erofs")).st_ino == made
    Store(images.store.root, "vms").write(
        "web", {"name": "web", "phase": "ready", "attributes": {}, "image": images.need(OTHER).as_record()}
    )
    assert images.users(OTHER) == ["web"] and images.users(NAME) == []
    images.delete(NAME)
    assert files(images) == {f"blobs/{base[7:9]}", f"blobs/{two[7:9]}", f"boot/{base[7:10]}"}
    images.delete(OTHER)
    assert images.list() == [] and files(images) == {f"blobs/{base[7:9]}", f"blobs/{two[7:9]}", f"boot/{base[7:10]}"}, "the VM needs them"
    Store(images.store.root, "vms").delete("web")
    images.delete(OTHER)
    assert files(images) == set()


def test_a_damaged_record_stops_a_removal(images: OciImages, registry: Registry) -> None:
    """Whatever it needed: nothing that may be needed is removed."""
    registry.push(NAME, registry.layer(BOOT))
    images.pull(NAME, False)
    before = files(images)
    path = pathlib.Path(images.store.root, "vms", "web")
    path.mkdir(parents=True)
    (path / "record.json").write_text("{", encoding="ascii")
    with pytest.raises(CocoonError, match="vms/web/record.json is damaged"):
        images.delete(NAME)
    assert files(images) == before


@pytest.mark.parametrize(
    ("layers", "others", "message"),
    [
        ([{"etc/a": b""}], {}, "has no vmlinuz in /boot or at its root"),
        ([{"boot/vmlinuz": b"x"}], {}, "has no initrd.img in /boot or at its root"),
        ([{"boot/vmlinuz": b"", "boot/initrd.img": b"x"}], {}, "has no vmlinuz"),
        ([], {}, "is no OCI image with layers"),
        ([BOOT], {"mediaType": "application/vnd.oci.image.index.v1+json"}, "is no OCI image with layers .application/vnd.oci.image.index"),
        ([BOOT], {"layers": []}, "is no OCI image with layers"),
    ],
)
def test_images_that_no_vm_can_boot(
    images: OciImages, registry: Registry, layers: list[dict[str, bytes]], others: dict[str, t.Any], message: str
) -> None:
    """Told at the pull, and no reference to it is kept."""
    registry.push(NAME, *(registry.layer(layer) for layer in layers), **others)
    with pytest.raises(CocoonError, match=message):
        images.pull(NAME, False)
    assert images.list() == [] and os.listdir(images.work) == []


def test_an_image_that_is_in_no_registry(images: OciImages) -> None:
    """The registry's words and what they mean."""
    with pytest.raises(
        CocoonError, match="Asking the registry for registry.test/lab/a:1 failed(.|\n)*Likely cause: the registry has no such image"
    ) as caught:
        images.pull(NAME, False)
    assert "typing errors" in caught.value.remedy and os.listdir(images.work) == []


@pytest.mark.parametrize("broken", ["skopeo", "mkfs.erofs"])
def test_a_pull_that_fails(images: OciImages, registry: Registry, program: t.Callable[[str, str], str], broken: str) -> None:
    """Nothing but whole layers is kept, and the next pull succeeds."""
    registry.push(NAME, registry.layer(BOOT))
    good = images.commands._found[broken]
    images.commands._found[broken] = program("broken", "echo no space left on device >&2; exit 1")
    with pytest.raises(CocoonError, match="Likely cause: the host's disk is full"):
        images.pull(NAME, False)
    assert images.list() == [] and os.listdir(images.work) == []
    images.commands._found[broken] = good
    images.pull(NAME, False)
    assert images.inspect(NAME)


def test_what_a_killed_pull_left(images: OciImages, registry: Registry, child: t.Callable[..., t.Any]) -> None:
    """It is removed by the next pull; a pull that is under way is not."""
    registry.push(NAME, registry.layer(BOOT))
    killed, busy = os.path.join(images.work, "1-1"), os.path.join(images.work, "2-2")
    for folder in (killed, busy):
        os.makedirs(os.path.join(folder, "image"))
    code = "import fcntl, sys, time; file = open(sys.argv[1], 'w'); fcntl.flock(file, 2); print('held', flush=True); time.sleep(60)"
    child(code, os.path.join(busy, "lock"))
    images.pull(NAME, False)
    assert os.listdir(images.work) == ["2-2"] and os.path.isdir(os.path.join(busy, "image"))


def test_an_image_that_lost_a_file(images: OciImages, registry: Registry) -> None:
    """It does not count as present, so that the next task brings it back."""
    layer = registry.layer(BOOT)
    registry.push(NAME, layer)
    images.pull(NAME, False)
    os.truncate(os.path.join(images.blobs, f"{layer[7:]}.erofs"), 0)
    assert images.inspect(NAME) is None and images.list() == []
    with pytest.raises(CocoonError, match="is missing or empty"):
        images.need(NAME)
    assert converge(images, NAME, "present", False, False)["changed"] and images.inspect(NAME)


def test_programs_that_are_missing(images: OciImages, registry: Registry) -> None:
    """Both are told before anything is downloaded."""
    registry.push(NAME, registry.layer(BOOT))
    for name, remedy in (("skopeo", "package skopeo"), ("mkfs.erofs", "erofs-utils")):
        kept, images.commands._found[name] = images.commands._found[name], None
        with pytest.raises(CocoonError, match=f"The program {name} is not on this host") as caught:
            images.pull(NAME, False)
        assert remedy in caught.value.remedy and registry.calls() == []
        images.commands._found[name] = kept


def test_registries_without_tls(images: OciImages, registry: Registry) -> None:
    """Only where it was allowed."""
    registry.push(NAME, registry.layer(BOOT))
    for insecure, word in ((False, "true"), (True, "false")):
        images.pull(NAME, insecure)
        lines = (registry.folder / "calls").read_text(encoding="utf-8").splitlines()
        assert f"--tls-verify={word}" in lines[0] and f"--src-tls-verify={word}" in lines[1]
        registry.calls()
