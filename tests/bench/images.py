# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images whose guests do nothing: a hundred of them run without being in each other's way."""

from __future__ import annotations

import json
import pathlib
import re

from tests.lab import registry
from tests.lab.cloud_hypervisor import tiny_payload
from tests.lab.guest import oci, tart, tart_push
from tests.lab.guest.tree import Tree

MEMORY = "128M"
_DISK_SIZE = 1 << 20
_HALT = b"\xfa\xf4\xeb\xfc"  # cli; hlt; jump back


def references() -> dict[str, str]:
    """The images by kind of host."""
    return {"linux": f"{registry.address()}/bench/idle:1", "mac": f"{registry.address()}/bench/idle-tart:1"}


def push(scratch: pathlib.Path) -> None:
    """Make both images and load them into the lab's registry."""
    registry.wait()
    _push_oci(scratch / "oci", references()["linux"])
    _push_tart(scratch / "tart", references()["mac"])


def _push_oci(layout: pathlib.Path, reference: str) -> None:
    """Two layers; the kernel halts the processor at once, the initramfs is never read."""
    root, boot = Tree(), Tree()
    root.file("etc/hostname", "idle\n")
    boot.file("boot/vmlinuz-idle", tiny_payload.build("halt"))
    boot.file("boot/initrd.img-idle", b"nothing reads this\n")
    oci.write(layout, [root], {"idle:1": boot})
    index = json.loads((layout / "index.json").read_text(encoding="utf-8"))
    manifest = (layout / "blobs/sha256" / index["manifests"][0]["digest"].partition(":")[2]).read_bytes()
    blobs = {f"sha256:{path.name}": path.read_bytes() for path in (layout / "blobs/sha256").iterdir()}
    del blobs[oci.digest(manifest)]
    _upload(reference, manifest, blobs)


def _push_tart(folder: pathlib.Path, reference: str) -> None:
    """A disk whose boot sector halts the processor."""
    folder.mkdir()
    tart.write_settings(folder)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**settings, "memorySize": 128 << 20}), encoding="utf-8")
    (folder / "disk.img").write_bytes((_HALT.ljust(510, b"\0") + b"\x55\xaa").ljust(_DISK_SIZE, b"\0"))
    _upload(reference, *tart.image(folder))


def _upload(reference: str, manifest: bytes, blobs: dict[str, bytes]) -> None:
    match = re.fullmatch(r"([^/]+)/(.+):(\w+)", reference)
    assert match, reference
    client = tart_push.Registry(match[1], match[2], insecure=True)
    for digest, data in blobs.items():
        client.blob(digest, data)
    client.expect(201, "PUT", f"/v2/{match[2]}/manifests/{match[3]}", manifest, tart.MANIFEST)
    client.connection.close()
