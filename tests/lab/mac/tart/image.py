# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images in registries: a manifest, its layers, and the files that they become (tart contract 8.5)."""
from __future__ import annotations

import hashlib
import os
import time

import apple_lz4  # the lab's, from tests/lab/guest: the launcher's path has it

from . import console, files, plainjson, registry, settings, text, vmdir
from .errors import OtherError, RuntimeFailure

CONFIG = "application/vnd.cirruslabs.tart.config.v1"
DISK = "application/vnd.cirruslabs.tart.disk.v2"
OLD_DISK = "application/vnd.cirruslabs.tart.disk.v1"
NVRAM = "application/vnd.cirruslabs.tart.nvram.v1"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
SLICE = 512 * 2**20
_OURS = "org.cirruslabs.tart."
_BLOCK = 4096


def fetch(source: registry.Registry, manifest: dict, target: vmdir.VMDir, switches: settings.Settings, full: bool) -> None:
    """Every file of the image; parts of the disk that are right already are kept."""
    listed = manifest.get("layers", [])
    layers = {kind: [layer for layer in listed if layer.get("mediaType") == kind] for kind in (CONFIG, DISK, OLD_DISK, NVRAM)}
    if layers[OLD_DISK] and switches.since("2.32.0"):
        raise RuntimeFailure(f"Pulling OCI images with legacy disk media type {OLD_DISK} is no longer supported, please re-push the image "
                             "using a current Tart version")
    if len(layers[CONFIG]) != 1 or len(layers[NVRAM]) != 1 or not layers[DISK]:
        raise OtherError("ShouldBeExactlyOneLayer")
    with open(target.file("config.json"), "wb") as file:
        file.write(source.blob(layers[CONFIG][0]["digest"]))
    compressed = sum(layer["size"] for layer in layers[DISK])
    console.out(f"pulling disk ({text.byte_count(compressed)} compressed)...")
    _fetch_disk(source, layers[DISK], compressed, target.file("disk.img"), full)
    console.out("pulling NVRAM...")
    with open(target.file("nvram.bin"), "wb") as file:
        file.write(source.blob(layers[NVRAM][0]["digest"]))


def _fetch_disk(source: registry.Registry, layers: list[dict], compressed: int, path: str, full: bool) -> None:
    console.progress("0%", first=True)
    done, offset = 0, 0
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    sizes = [_annotation(layer, "uncompressed-size") for layer in layers]
    os.ftruncate(descriptor, sum(int(size) for size in sizes))
    for layer, size in zip(layers, sizes):
        wanted = _annotation(layer, "uncompressed-content-digest")
        if _digest(descriptor, offset, int(size)) != wanted:
            if full:
                raise OSError(28, os.strerror(28), path)
            _write(descriptor, offset, source.blob(layer["digest"]))
            if _digest(descriptor, offset, int(size)) != wanted:
                raise RuntimeFailure("failed to decompress disk: the content digest does not match")
        offset += int(size)
        done += layer["size"]
        console.progress(f"{done * 100 // max(1, compressed)}%", last=done == compressed)
    os.close(descriptor)


def _annotation(layer: dict, key: str) -> str:
    try:
        return layer["annotations"][_OURS + key]
    except KeyError:
        raise OtherError("LayerMissing" + "".join(part.capitalize() for part in key.split("-")) + "Annotation") from None


def _digest(descriptor: int, offset: int, size: int) -> str:
    found = hashlib.sha256()
    for start in range(offset, offset + size, 1 << 20):
        found.update(os.pread(descriptor, min(1 << 20, offset + size - start), start))
    return "sha256:" + found.hexdigest()


def _write(descriptor: int, offset: int, packed: bytes) -> None:
    """Decompress to its place; what is zero stays a hole."""
    try:
        for block in apple_lz4.blocks(packed):
            for start in range(0, len(block), _BLOCK):
                part = block[start:start + _BLOCK]
                if part.strip(b"\0"):
                    os.pwrite(descriptor, part, offset + start)
            offset += len(block)
    except apple_lz4.FramingError as error:
        raise RuntimeFailure(f"failed to decompress disk: {error}") from None


def send(target: registry.Registry, source: vmdir.VMDir, labels: dict, chunk: int) -> bytes:
    """Upload the parts; the manifest's bytes, compact with sorted keys."""
    config = source.config()
    console.out("pushing config...")
    with open(source.file("config.json"), "rb") as file:
        layers = [_layer(target, CONFIG, file.read(), {}, chunk)]
    console.out("pushing disk... this will take a while...")
    console.progress("0%", first=True)
    size = source.disk_size()
    with open(source.file("disk.img"), "rb") as file:
        while True:
            data = file.read(SLICE)
            if not data:
                break
            notes = {_OURS + "uncompressed-size": str(len(data)),
                     _OURS + "uncompressed-content-digest": "sha256:" + hashlib.sha256(data).hexdigest()}
            layers.append(_layer(target, DISK, apple_lz4.encode(data), notes, chunk))
            console.progress(f"{file.tell() * 100 // size}%", last=file.tell() == size)
    console.out("pushing NVRAM...")
    with open(source.file("nvram.bin"), "rb") as file:
        layers.append(_layer(target, NVRAM, file.read(), {}, chunk))
    labels = {_OURS + "disk.format": config["diskFormat"], **labels}
    image = plainjson.compact({"architecture": config["arch"], "config": {"Labels": labels}, "os": config["os"]}).encode()
    digest = target.push_blob(image, chunk)
    return plainjson.compact({
        "annotations": {_OURS + "uncompressed-disk-size": str(size),
                        _OURS + "upload-time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())},
        "config": {"digest": digest, "mediaType": IMAGE_CONFIG, "size": len(image)},
        "layers": layers, "mediaType": registry.MANIFEST, "schemaVersion": 2}).encode()


def _layer(target: registry.Registry, kind: str, data: bytes, notes: dict, chunk: int) -> dict:
    return {"annotations": notes, "digest": target.push_blob(data, chunk), "mediaType": kind, "size": len(data)}


def populate(source: vmdir.VMDir, folder: str, manifest: bytes) -> None:
    """Keep what was pushed in the cache."""
    place = vmdir.VMDir(folder, source.name)
    if place.initialized():
        raise RuntimeFailure("VM directory is already initialized, preventing overwrite")
    os.makedirs(folder, exist_ok=True)
    for name in vmdir.FILES:
        files.copy(source.file(name), place.file(name))
    with open(place.file("manifest.json"), "wb") as file:
        file.write(manifest)
