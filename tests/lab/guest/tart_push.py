# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pushes the tart image to a registry with the OCI distribution calls that every registry has."""
from __future__ import annotations

import http.client
import re
import urllib.parse

from . import tart
from .paths import Paths

_REFERENCE = re.compile(r"^(?P<host>[^/]+)/(?P<name>[^:@]+):(?P<tag>[\w][\w.-]{0,127})$")


class PushError(Exception):
    """The registry did not take it."""


class Registry:
    """One repository of one registry."""

    def __init__(self, host: str, name: str, insecure: bool) -> None:
        self.name = name
        kind = http.client.HTTPConnection if insecure else http.client.HTTPSConnection
        self.connection = kind(host, timeout=60)

    def call(self, method: str, path: str, body: bytes = b"", media_type: str = "application/octet-stream") -> http.client.HTTPResponse:
        """One request; the body of the answer is read and attached as ``text``."""
        headers = {"Content-Type": media_type, "Content-Length": str(len(body))}
        self.connection.request(method, path, body=body, headers=headers)
        answer = self.connection.getresponse()
        answer.text = answer.read().decode(errors="replace")
        return answer

    def blob(self, digest: str, data: bytes) -> bool:
        """Upload the blob; False when the registry has it already."""
        if self.call("HEAD", f"/v2/{self.name}/blobs/{digest}").status == 200:
            return False
        started = self.expect(202, "POST", f"/v2/{self.name}/blobs/uploads/")
        parts = urllib.parse.urlsplit(started.getheader("Location", ""))
        query = parts.query + ("&" if parts.query else "") + urllib.parse.urlencode({"digest": digest})
        self.expect(201, "PUT", f"{parts.path}?{query}", data)
        return True

    def expect(self, status: int, method: str, path: str, body: bytes = b"", media_type: str = "application/octet-stream"):
        """A call that has to give this status."""
        answer = self.call(method, path, body, media_type)
        if answer.status != status:
            raise PushError(f"{method} {path}: {answer.status} instead of {status}: {answer.text[:300]}")
        return answer


def push(paths: Paths, reference: str, insecure: bool = False, version: int = 1) -> str:
    """Push version 1 or 2 of the tart guest; returns the manifest's digest."""
    match = _REFERENCE.match(reference)
    if match is None:
        raise PushError(f"{reference!r} is not HOST/NAME:TAG")
    manifest, blobs = tart.image(paths.tart_version(version))
    registry = Registry(match["host"], match["name"], insecure)
    try:
        for digest, data in blobs.items():
            registry.blob(digest, data)
        path = f"/v2/{match['name']}/manifests/{match['tag']}"
        registry.expect(201, "PUT", path, manifest, tart.MANIFEST)
    except (OSError, http.client.HTTPException) as error:
        raise PushError(f"{match['host']}: {error}") from error
    finally:
        registry.connection.close()
    return tart.digest(manifest)
