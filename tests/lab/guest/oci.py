# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The OCI layout: blobs, two images that share all layers but the top one."""
from __future__ import annotations

import hashlib
import json
import pathlib
from typing import Any

from . import archive
from .tree import Tree

_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_CREATED = "2023-11-14T22:13:20Z"


def digest(data: bytes) -> str:
    """The OCI digest."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def canonical(value: Any) -> bytes:
    """Compact JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


class Layout:
    """An OCI layout directory being written."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.manifests: list[dict[str, Any]] = []
        (root / "blobs" / "sha256").mkdir(parents=True)
        (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}', encoding="utf-8")

    def blob(self, media_type: str, data: bytes) -> dict[str, Any]:
        """Store the bytes and return their descriptor."""
        name = digest(data)
        (self.root / "blobs" / "sha256" / name.removeprefix("sha256:")).write_bytes(data)
        return {"mediaType": media_type, "digest": name, "size": len(data)}

    def layer(self, tree: Tree) -> tuple[dict[str, Any], str]:
        """Store a layer; returns its descriptor and its diff id."""
        data = archive.tar(tree)
        return self.blob(_LAYER, archive.compress(data)), digest(data)

    def image(self, name: str, layers: list[tuple[dict[str, Any], str]]) -> None:
        """Add an image made of stored layers, bottom first."""
        config = {"architecture": "amd64", "os": "linux", "created": _CREATED,
                  "config": {"Labels": {"org.opencontainers.image.title": "cocoon lab guest"}},
                  "rootfs": {"type": "layers", "diff_ids": [diff for _descriptor, diff in layers]},
                  "history": [{"created": _CREATED, "created_by": "lab guest"} for _layer in layers]}
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": self.blob(_CONFIG, canonical(config)),
                    "layers": [descriptor for descriptor, _diff in layers]}
        entry = self.blob(_MANIFEST, canonical(manifest))
        entry["platform"] = {"architecture": "amd64", "os": "linux"}
        entry["annotations"] = {"org.opencontainers.image.ref.name": name}
        self.manifests.append(entry)

    def finish(self) -> None:
        """Write the index."""
        index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": self.manifests}
        (self.root / "index.json").write_bytes(canonical(index))


def write(root: pathlib.Path, shared: list[Tree], tops: dict[str, Tree]) -> None:
    """The layout of the images ``name -> its own top layer`` over the shared layers."""
    layout = Layout(root)
    below = [layout.layer(tree) for tree in shared]
    for name, tree in tops.items():
        layout.image(name, [*below, layout.layer(tree)])
    layout.finish()
