# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tart form of the guest: the VM directory beside the disk, and the image as a registry holds it (tart contract 4.2, 8.5).

The simulated Mac says that it is arm64, and tart wants the image's architecture to match its host; so config.json says arm64 while the
guest inside is the same x86-64 one that the simulator boots with QEMU.
"""
from __future__ import annotations

import json
import pathlib
from typing import Any

from . import apple_lz4
from .oci import canonical, digest

NVRAM_SIZE = 131072
CHUNK_SIZE = 16 << 20
UPLOAD_TIME = "2023-11-14T22:13:20Z"  # fixed, so that a push of the same content has the same digest
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_OBJECT = "application/vnd.oci.image.config.v1+json"
_CONFIG = "application/vnd.cirruslabs.tart.config.v1"
_DISK = "application/vnd.cirruslabs.tart.disk.v2"
_NVRAM = "application/vnd.cirruslabs.tart.nvram.v1"
_PREFIX = "org.cirruslabs.tart."
_SETTINGS = {"version": 1, "os": "linux", "arch": "arm64", "cpuCountMin": 1, "cpuCount": 1, "memorySizeMin": 128 << 20,
             "memorySize": 192 << 20, "macAddress": "7e:1c:f2:4a:78:30", "display": {"width": 1024, "height": 768}, "diskFormat": "raw"}


def write_settings(directory: pathlib.Path) -> None:
    """config.json and nvram.bin."""
    (directory / "config.json").write_text(json.dumps(_SETTINGS, indent=2) + "\n", encoding="utf-8")
    (directory / "nvram.bin").write_bytes(b"\xff" * NVRAM_SIZE)
    (directory / "nvram.bin").chmod(0o600)


def image(directory: pathlib.Path) -> tuple[bytes, dict[str, bytes]]:
    """The manifest and the blobs by digest."""
    blobs: dict[str, bytes] = {}

    def blob(media_type: str, data: bytes, annotations: dict[str, str]) -> dict[str, Any]:
        blobs[digest(data)] = data
        return {"mediaType": media_type, "digest": digest(data), "size": len(data), "annotations": annotations}

    disk = (directory / "disk.img").read_bytes()
    layers = [blob(_CONFIG, canonical(json.loads((directory / "config.json").read_text(encoding="utf-8"))), {})]
    for start in range(0, len(disk), CHUNK_SIZE):
        chunk = disk[start:start + CHUNK_SIZE]
        layers.append(blob(_DISK, apple_lz4.encode(chunk), {
            _PREFIX + "uncompressed-size": str(len(chunk)), _PREFIX + "uncompressed-content-digest": digest(chunk)}))
    layers.append(blob(_NVRAM, (directory / "nvram.bin").read_bytes(), {}))
    config = blob(_CONFIG_OBJECT, canonical({
        "architecture": "arm64", "os": "linux", "config": {"Labels": {_PREFIX + "disk.format": "raw"}}}), {})
    del config["annotations"]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, "annotations": {
        _PREFIX + "uncompressed-disk-size": str(len(disk)), _PREFIX + "upload-time": UPLOAD_TIME}}
    return canonical(manifest), blobs
