# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""Images of Linux hosts: OCI images in cocoon's layout, one EROFS file for each layer (cocoon contract 2.2, 2.6).

Below ``<root>/images``: ``<sha256 of the reference>/record.json`` (what a reference means), ``blobs/<hex of the layer>.erofs`` and
``boot/<hex of the layer>/{vmlinuz,initrd.img}``, which images share; ``.work`` holds pulls that are under way.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import typing as t

from .._errors import CocoonError
from .._store import Lock, Store, make_directory, storage_error
from .base import ImageStore, parse_reference

_PULL_PATIENCE = 6 * 3600.0
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")


class Files(t.NamedTuple):
    """What a VM boots from: paths on the host, layers bottom first."""

    kernel: str
    initramfs: str
    layers: list[str]


class Image(t.NamedTuple):
    """An image on the host: its reference, digests, and which layers hold the kernel and the initramfs."""

    name: str
    digest: str
    layers: list[str]
    kernel: str
    initramfs: str
    size: int

    def as_record(self) -> dict[str, t.Any]:
        """Return what a VM's record keeps of its image."""
        return self._asdict()


class OciImages(ImageStore):
    """OCI images, pulled by skopeo, made into EROFS files by mkfs.erofs."""

    backend = "cloud-hypervisor"
    asks_before_pulling = True

    def __init__(self, commands: t.Any, root: str, _binary: str = "") -> None:
        self.commands = commands
        self.store = Store(root, "images")
        self.work = os.path.join(root, "images.work")
        self.blobs = os.path.join(root, "blobs")
        self.boot = os.path.join(root, "boot")

    # What there is.

    def _record(self, name: str) -> Image | None:
        key = _key(name)
        record = self.store.read(key)
        return None if record is None else Image(**{field: record[field] if field != "name" else record["reference"] for field in Image._fields})

    def inspect(self, name: str) -> dict[str, t.Any] | None:
        """Return an image as results show it; one whose files are not all there does not count."""
        image = self._record(parse_reference(name).name)
        return self._shown(image) if image is not None and self._intact(image) else None

    def list(self) -> list[dict[str, t.Any]]:
        """Return all images of the host."""
        records = [self.store.read(key) for key in self.store.names()]
        images = [self._record(record["reference"]) for record in records if record is not None]
        return sorted((self._shown(image) for image in images if image is not None and self._intact(image)), key=lambda image: str(image["name"]))

    def _intact(self, image: Image) -> bool:
        try:
            self.files(image.as_record())
        except CocoonError:
            return False
        return True

    def _shown(self, image: Image) -> dict[str, t.Any]:
        return {"name": image.name, "backend": self.backend, "digest": image.digest, "size": image.size, "layers": image.layers}

    def need(self, name: str) -> Image:
        """Return an image that a VM can be made from; raise CocoonError where it is not whole on this host."""
        image = self._record(parse_reference(name).name)
        if image is None:
            names = ", ".join(shown["name"] for shown in self.list()) or "none"
            raise CocoonError(f"The image {name} is not on this host (there is: {names}).", f"bring it there first with cocoon_image: name={name}")
        self.files(image.as_record())
        return image

    def files(self, image: dict[str, t.Any]) -> Files:
        """Return the files of an image that a record names; raise CocoonError for one that is lost."""
        files = Files(
            os.path.join(self.boot, _hex(image["kernel"]), "vmlinuz"),
            os.path.join(self.boot, _hex(image["initramfs"]), "initrd.img"),
            [os.path.join(self.blobs, f"{_hex(layer)}.erofs") for layer in image["layers"]],
        )
        for path in (files.kernel, files.initramfs, *files.layers):
            if not _whole(path):
                raise CocoonError(f"{path} of the image {image['name']} is missing or empty.", "pull the image again with cocoon_image")
        return files

    def users(self, name: str) -> list[str]:
        """Return the VMs whose records name the image."""
        vms = Store(self.store.root, "vms")
        wanted = parse_reference(name).name
        return [vm for vm in vms.names() if ((vms.read(vm) or {}).get("image") or {}).get("name") == wanted]

    # Pulling.

    def _skopeo(self) -> str:
        return self.commands.need("skopeo", "install skopeo (Debian, Ubuntu, Fedora: package skopeo)")

    def _manifest(self, name: str, insecure: bool) -> bytes:
        argv = [self._skopeo(), "inspect", "--raw", f"--tls-verify={'false' if insecure else 'true'}", f"docker://{name}"]
        return self.commands.check(argv, f"Asking the registry for {name}", timeout=120).encode("utf-8")

    def remote_digest(self, name: str, insecure: bool) -> str:
        """Return the digest of what the registry has under the reference now."""
        return "sha256:" + hashlib.sha256(self._manifest(name, insecure)).hexdigest()

    def pull(self, name: str, insecure: bool) -> None:
        """Bring an image to the host: blobs that are there already are kept, the record is written last."""
        reference = parse_reference(name)
        self._mkfs()
        work = os.path.join(self.work, f"{os.getpid()}-{time.monotonic_ns()}")
        lock = Lock(os.path.join(work, "lock"), name)
        everybody = self._lock()  # a folder whose lock is not taken yet must not be swept away
        everybody.acquire(60)
        try:
            make_directory(work)
            lock.acquire(1)  # tells others that this folder is in use, as long as this process lives
            self._sweep(work)
        finally:
            everybody.release()
        try:
            digest = reference.digest or self.remote_digest(name, insecure)
            self._copy(f"{reference.repository}@{digest}", work, insecure)
            image = self._convert(reference.name, digest, os.path.join(work, "image"))
            self._commit(image)
        except OSError as error:
            raise storage_error(error, str(error.filename or work)) from error
        finally:
            lock.release()
            shutil.rmtree(work, ignore_errors=True)

    def _sweep(self, mine: str) -> None:
        """Remove the work folders of pulls that were killed: their locks are free."""
        for entry in os.listdir(self.work):
            path = os.path.join(self.work, entry)
            if path == mine:
                continue
            other = Lock(os.path.join(path, "lock"), entry)
            try:
                other.acquire(0)
            except CocoonError:
                continue
            shutil.rmtree(path, ignore_errors=True)
            other.release()

    def _copy(self, source: str, work: str, insecure: bool) -> None:
        argv = [self._skopeo(), "copy", "--quiet", f"--src-tls-verify={'false' if insecure else 'true'}", f"docker://{source}", f"dir:{work}/image"]
        self.commands.check(argv, f"Pulling {source}", timeout=_PULL_PATIENCE)

    def _convert(self, name: str, digest: str, folder: str) -> Image:
        """Make an EROFS file of each layer and find kernel and initramfs: the last layer that has one gives it."""
        with open(os.path.join(folder, "manifest.json"), "r", encoding="utf-8") as file:
            manifest = json.load(file)
        if manifest.get("mediaType", _MANIFESTS[0]) not in _MANIFESTS or not manifest.get("layers"):
            raise CocoonError(f"{name} is no OCI image with layers ({manifest.get('mediaType')}).", "use an image in cocoon's layout")
        layers = [layer["digest"] for layer in manifest["layers"]]
        for layer in layers:
            self._layer(layer, os.path.join(folder, _hex(layer)))
        found = {}
        for file in ("vmlinuz", "initrd.img"):
            holders = [layer for layer in layers if _whole(os.path.join(self.boot, _hex(layer), file))]
            if not holders:
                raise CocoonError(f"{name} has no {file} in /boot or at its root.", "use an image in cocoon's layout, with kernel and initramfs in its layers")
            found[file] = holders[-1]
        paths = {os.path.join(self.blobs, f"{_hex(layer)}.erofs") for layer in layers}
        paths |= {os.path.join(self.boot, _hex(layer), file) for file, layer in found.items()}
        return Image(name, digest, layers, found["vmlinuz"], found["initrd.img"], sum(os.path.getsize(path) for path in paths))

    def _layer(self, digest: str, archive: str) -> None:
        """Make the EROFS file of one layer, and keep its boot files; a layer that is there already is not made again."""
        blob = os.path.join(self.blobs, f"{_hex(digest)}.erofs")
        if _whole(blob):
            return
        from .layer import boot_files, build, unpack

        tree = archive + ".tree"
        unpack(self.commands, archive, tree)
        kept = os.path.join(self.boot, _hex(digest))
        for target, source in boot_files(tree).items():
            make_directory(kept)
            shutil.copyfile(source, f"{archive}.{target}")
            _publish(f"{archive}.{target}", os.path.join(kept, target))
        build(self._mkfs(), self.commands, tree, archive + ".erofs", digest)
        make_directory(self.blobs)
        _publish(archive + ".erofs", blob)  # last: a layer whose blob is there has its boot files too
        shutil.rmtree(tree, ignore_errors=True)

    def _mkfs(self) -> str:
        return self.commands.need("mkfs.erofs", "install erofs-utils")

    def _commit(self, image: Image) -> None:
        key = _key(image.name)
        record = image.as_record()
        lock = self._lock()
        lock.acquire(60)
        try:
            self.files(record)  # a removal of another image may have come between
            self.store.write(key, {**record, "name": key, "reference": image.name})
        finally:
            lock.release()

    def delete(self, name: str) -> None:
        """Remove a reference, and those blobs that no other image and no VM needs."""
        key = _key(parse_reference(name).name)
        lock = self._lock()
        lock.acquire(60)
        try:
            self.store.delete(key)
            needed = self._pinned()
            for path in self._all_files():
                if _hex_of(path) not in needed:
                    shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        except OSError as error:
            raise storage_error(error, str(error.filename)) from error
        finally:
            lock.release()

    def _lock(self) -> Lock:
        """Return the lock under which references come and go; never held while something is pulled or converted."""
        return Lock(os.path.join(self.store.root, "locks", "images"), "the images of this host")

    def _all_files(self) -> list[str]:
        found = []
        for folder in (self.blobs, self.boot):
            if os.path.isdir(folder):
                found += [os.path.join(folder, entry) for entry in os.listdir(folder)]
        return found

    def _pinned(self) -> set[str]:
        """Return the layers that images and VMs need; a record that cannot be read stops the removal (fail closed)."""
        needed: set[str] = set()
        vms = Store(self.store.root, "vms")
        records = [self.store.read(key) for key in self.store.names()]
        records += [(vms.read(vm) or {}).get("image") for vm in vms.names()]
        for record in records:
            if record:
                needed.update(_hex(layer) for layer in record["layers"])
        return needed


def _key(reference: str) -> str:
    return hashlib.sha256(reference.encode("utf-8")).hexdigest()


def _hex(digest: str) -> str:
    return digest.rpartition(":")[2]


def _hex_of(path: str) -> str:
    return os.path.basename(path).partition(".")[0]


def _whole(path: str) -> bool:
    try:
        return os.path.getsize(path) > 0
    except OSError:
        return False


def _publish(source: str, target: str) -> None:
    """Move a finished file to its place so that it is there whole or not at all."""
    with open(source, "rb") as file:
        os.fsync(file.fileno())
    os.replace(source, target)
