# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is it the name of a local VM or of an image in a registry? (tart contract 1.1, last paragraph)"""
from __future__ import annotations

from .errors import RuntimeFailure

_HEX = set("0123456789abcdef")
_ALNUM = set("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class RemoteName:  # pylint: disable=too-few-public-methods
    """host[:port]/namespace with a tag or a digest."""

    def __init__(self, host: str, namespace: str, reference: str) -> None:
        self.host, self.namespace, self.reference = host, namespace, reference

    @property
    def is_digest(self) -> bool:
        """Named by content."""
        return self.reference.startswith("sha256:")

    def __str__(self) -> str:
        return f"{self.host}/{self.namespace}" + ("@" if self.is_digest else ":") + self.reference

    def at(self, digest: str) -> RemoteName:
        """The same repository, another reference."""
        return RemoteName(self.host, self.namespace, digest)


def _labels(text: str, separators: str) -> bool:
    """Letters and digits, joined by single separators."""
    word = False
    for letter in text:
        if letter in _ALNUM:
            word = True
        elif letter in separators and word:
            word = False
        else:
            return False
    return word


def parse(text: str) -> RemoteName | None:
    """None for what can only be a local name."""
    try:
        return parse_strictly(text)
    except RuntimeFailure:
        return None


def parse_strictly(text: str) -> RemoteName:
    """pull and push say where it went wrong."""
    host, slash, rest = text.partition("/")
    name, colon, port = host.partition(":")
    if not text.isascii() or not _labels(name, ".-") or (colon and not port.isdigit()):
        raise _wrong("no viable alternative at input", 0)
    if not slash:
        raise _wrong("mismatched input '<EOF>' expecting '/'", len(text))
    if "@" in rest:
        namespace, _at, digest = rest.partition("@")
        if not digest.startswith("sha256:") or not digest[7:] or set(digest[7:].lower()) - _HEX:
            raise _wrong("digest should be sha256", text.index("@"))
        reference = digest
    else:
        namespace, colon, reference = rest.partition(":")
        reference = reference if colon else "latest"
        if not _labels(reference, ".-_"):
            raise _wrong(f"mismatched input '{reference or '<EOF>'}'", len(text))
    if not all(_labels(part, ".-_") for part in namespace.split("/")):
        raise _wrong(f"mismatched input '{namespace or '<EOF>'}'", len(host) + 1)
    return RemoteName(host, namespace, reference)


def _wrong(text: str, position: int) -> RuntimeFailure:
    return RuntimeFailure(f"failed to parse remote name: {text} (character {position})")
