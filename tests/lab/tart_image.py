# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tart VM folder (config.json, disk.img, nvram.bin) as an OCI layout with tart's media types (tart contract 8.5)."""
from __future__ import annotations

import datetime
import hashlib
import json
import pathlib
import shutil
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

_CONFIG = "application/vnd.cirruslabs.tart.config.v1"
_DISK = "application/vnd.cirruslabs.tart.disk.v2"
_NVRAM = "application/vnd.cirruslabs.tart.nvram.v1"
_OCI = "application/vnd.oci.image.{}.v1+json"
_SLICE = 512 << 20
_BLOCK = 64 << 10
_ZERO = bytes(_BLOCK)


def zero_block(size: int) -> bytes:
    """An LZ4 block that unpacks to zeros: one literal, one long match at distance 1, five literals as LZ4 demands."""
    rest = size - 1 - 5 - 4 - 15
    return b"\x1f\x00\x01\x00" + b"\xff" * (rest // 255) + bytes([rest % 255]) + b"\x50" + bytes(5)


def compressed(file: BinaryIO, size: int) -> Iterator[tuple[bytes, bytes]]:
    """(plain, packed) blocks of Apple's LZ4 frame: runs of zeros are packed, all else is stored as it is."""
    packed_zero = zero_block(_BLOCK)
    packed_zero = b"bv41" + struct.pack("<II", _BLOCK, len(packed_zero)) + packed_zero
    while size:
        plain = file.read(min(_BLOCK, size))
        if not plain:
            break
        size -= len(plain)
        yield plain, packed_zero if plain == _ZERO else b"bv4-" + struct.pack("<I", len(plain)) + plain
    yield b"", b"bv4$"


class Layout:
    """An OCI layout folder while it is written."""

    def __init__(self, place: pathlib.Path) -> None:
        self.place = place
        shutil.rmtree(place, ignore_errors=True)
        self.blobs = place / "blobs" / "sha256"
        self.blobs.mkdir(parents=True)
        (place / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}', encoding="ascii")

    def add(self, media_type: str, data: bytes, annotations: dict[str, str] | None = None) -> dict[str, Any]:
        """A blob from memory; returns its descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        (self.blobs / digest).write_bytes(data)
        return _descriptor(media_type, len(data), digest, annotations)

    def add_json(self, media_type: str, value: Any) -> dict[str, Any]:
        """Compact, with sorted keys: its digest is the image's identity."""
        return self.add(media_type, json.dumps(value, sort_keys=True, separators=(",", ":")).encode())

    def add_disk(self, disk: pathlib.Path) -> list[dict[str, Any]]:
        """One blob for each slice of the disk."""
        layers = []
        with open(disk, "rb") as file:
            for _start in range(0, disk.stat().st_size, _SLICE):
                layers.append(self._add_slice(file))
        return layers

    def _add_slice(self, file: BinaryIO) -> dict[str, Any]:
        outer, inner, outer_size, inner_size = hashlib.sha256(), hashlib.sha256(), 0, 0
        partial = self.blobs / "partial"
        with open(partial, "wb") as out:
            for plain, packed in compressed(file, _SLICE):
                out.write(packed)
                outer.update(packed)
                inner.update(plain)
                outer_size += len(packed)
                inner_size += len(plain)
        partial.rename(self.blobs / outer.hexdigest())
        return _descriptor(_DISK, outer_size, outer.hexdigest(), {
            "org.cirruslabs.tart.uncompressed-size": str(inner_size),
            "org.cirruslabs.tart.uncompressed-content-digest": f"sha256:{inner.hexdigest()}",
        })


def _descriptor(media_type: str, size: int, digest: str, annotations: dict[str, str] | None) -> dict[str, Any]:
    found: dict[str, Any] = {"mediaType": media_type, "size": size, "digest": f"sha256:{digest}"}
    return found if annotations is None else {**found, "annotations": annotations}


def build(source: pathlib.Path, place: pathlib.Path, tag: str) -> None:
    """Write the layout of the VM folder `source`."""
    layout = Layout(place.with_suffix(".partial"))
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    disk = source / "disk.img"
    upload_time = datetime.datetime.fromtimestamp(int(disk.stat().st_mtime), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    manifest = {
        "schemaVersion": 2,
        "mediaType": _OCI.format("manifest"),
        "config": layout.add_json(_OCI.format("config"), {
            "architecture": config.get("arch", "arm64"), "os": config.get("os", "linux"),
            "config": {"Labels": {"org.cirruslabs.tart.disk.format": "raw"}}}),
        "layers": [layout.add(_CONFIG, (source / "config.json").read_bytes(), {}), *layout.add_disk(disk),
                   layout.add(_NVRAM, (source / "nvram.bin").read_bytes(), {})],
        "annotations": {"org.cirruslabs.tart.uncompressed-disk-size": str(disk.stat().st_size),
                        "org.cirruslabs.tart.upload-time": upload_time},
    }
    entry = {**layout.add_json(_OCI.format("manifest"), manifest), "annotations": {"org.opencontainers.image.ref.name": tag}}
    (layout.place / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}), encoding="utf-8")
    shutil.rmtree(place, ignore_errors=True)
    layout.place.rename(place)


def ensure(source: pathlib.Path, place: pathlib.Path, tag: str = "1") -> None:
    """Build it when it is absent or older than the VM folder."""
    index = place / "index.json"
    newest = max((source / name).stat().st_mtime for name in ("config.json", "disk.img", "nvram.bin"))
    if not index.exists() or index.stat().st_mtime < newest:
        build(source, place, tag)
