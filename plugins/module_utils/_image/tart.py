# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""Images of Macs: tart pulls, lists and deletes them (the seed's images/tart)."""

from __future__ import annotations

import os
import typing as t

from .._errors import CocoonError
from .._spec import check_name
from .._tart import TartCommand
from .base import ImageStore, parse_reference

_PULL_PATIENCE = 12 * 3600.0  # an image of macOS with Xcode is 87 GB


class TartImages(ImageStore):
    """The images in tart's cache."""

    backend = "tart"

    def __init__(self, commands: t.Any, root: str, binary: str = "tart") -> None:
        self.tart = TartCommand(commands, binary)
        self.root = root

    def folder(self, name: str) -> str | None:
        """Return the folder of a cached image, None where it is not in the cache (tart contract 4.1)."""
        reference = parse_reference(name)
        host, _slash, path = reference.repository.partition("/")
        link = os.path.join(self.tart.home, "cache", "OCIs", host.replace(":", "%3A"), path, reference.digest or reference.tag)
        real = os.path.realpath(link)
        return real if os.path.exists(os.path.join(real, "config.json")) else None

    def inspect(self, name: str) -> dict[str, t.Any] | None:
        """Return an image as results show it."""
        folder = self.folder(name)
        if folder is None:
            return None
        return {
            "name": parse_reference(name).name,
            "backend": self.backend,
            "digest": os.path.basename(folder),
            "size": sum(os.stat(os.path.join(folder, file)).st_blocks * 512 for file in os.listdir(folder)),
            "layers": [],
        }

    def list(self) -> list[dict[str, t.Any]]:
        """Return the images by tag; those that were pulled by digest alone by digest."""
        names = sorted(row["Name"] for row in self.tart.list("oci"))
        images = [self.inspect(name) for name in names]
        found = [image for image in images if image is not None]
        tagged = {image["digest"] for image in found if "@" not in image["name"]}
        return [image for image in found if "@" not in image["name"] or image["digest"] not in tagged]

    def pull(self, name: str, insecure: bool) -> None:
        """Pull an image; tart itself does nothing when the tag still means what is cached."""
        options = ["--insecure"] if insecure else []
        self.tart.check(f"Pulling {name}", "pull", parse_reference(name).name, *options, timeout=_PULL_PATIENCE)

    def delete(self, name: str) -> None:
        """Delete an image from the cache; VMs cloned from it have disks of their own."""
        self._refuse_shared(name)
        output = self.tart.run("delete", parse_reference(name).name)
        if output.rc != 0 and "does not exist" not in output.err:
            raise CocoonError(f"Deleting {name} failed: {output.text}", "look at tart list on the host")

    def _refuse_shared(self, name: str) -> None:
        """Refuse to delete a digest that tags mean: tart would remove the files, and then the tags (tart contract 1.17, 4.6)."""
        reference = parse_reference(name)
        if not reference.digest:
            return
        rows = (row["Name"] for row in self.tart.list("oci"))
        tags = [tag for tag in rows if tag.startswith(f"{reference.repository}:") and self.folder(tag) == self.folder(name)]
        if tags:
            raise CocoonError(f"{name} is what {', '.join(sorted(tags))} means on this host.", "remove the tag instead")

    def users(self, name: str) -> list[str]:
        """No VM needs a cached image once it is cloned."""
        return []

    def need(self, name: str) -> tuple[str, dict[str, t.Any]]:
        """Return the folder and the config.json of what a VM can be cloned from: a cached image or a local VM."""
        from .._tart import read_config

        if "/" not in name:
            check_name(name, "image")
            folder = os.path.join(self.tart.home, "vms", name)
            config = read_config(folder)
            if not config:
                raise CocoonError(f"There is no local VM {name} to clone.", "name a VM of tart list, or an image in a registry as registry/repository:tag")
            return folder, config
        cached = self.folder(name)
        if cached is None:
            raise CocoonError(f"The image {name} is not in tart's cache on this host.", f"bring it there first with cocoon_image: name={name}")
        return cached, read_config(cached)
