# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""What an image store has to offer (the seed's Images interface)."""

from __future__ import annotations

import re
import typing as t

from .._errors import CocoonError

_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_DIGEST = r"sha256:[0-9a-f]{64}"
_REFERENCE = re.compile(rf"(?P<host>{_HOST})/(?P<path>{_PART}(?:/{_PART})*)(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?")


class Reference(t.NamedTuple):
    """A name of an image in a registry, with its tag or digest explicit."""

    repository: str
    tag: str
    digest: str

    @property
    def name(self) -> str:
        """The reference as it is shown and compared."""
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"


def parse_reference(text: str) -> Reference:
    """Return an image reference; raise CocoonError where *text* is none.

    The registry has to be named: a short name means another image on every host.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None or len(text) > 512 or not (match["host"] == "localhost" or "." in match["host"] or ":" in match["host"]):
        raise CocoonError(
            f"image: {text!r} is not an image reference.",
            "write registry/repository:tag or registry/repository@sha256:..., for example registry.example.com/images/debian:13",
        )
    return Reference(f"{match['host']}/{match['path']}", match["tag"] or "latest", match["digest"] or "")


class ImageStore:
    """The images of one host."""

    backend = ""
    asks_before_pulling = False  # whether a registry's digest can be had without pulling

    def inspect(self, name: str) -> dict[str, t.Any] | None:
        """Return an image as results show it, None where it is not on the host."""
        raise NotImplementedError

    def list(self) -> list[dict[str, t.Any]]:
        """Return all images of the host, sorted by name."""
        raise NotImplementedError

    def remote_digest(self, name: str, insecure: bool) -> str:
        """Return the digest that the registry has for a reference now."""
        raise NotImplementedError

    def pull(self, name: str, insecure: bool) -> None:
        """Bring an image to the host."""
        raise NotImplementedError

    def delete(self, name: str) -> None:
        """Remove an image from the host."""
        raise NotImplementedError

    def users(self, name: str) -> list[str]:
        """Return the VMs of this host that need the image's files."""
        raise NotImplementedError
