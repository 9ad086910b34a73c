# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of OCI registries, as far as tart needs it (tart contract 8)."""
from __future__ import annotations

import base64
import hashlib
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request

from . import credentials, names, settings
from .errors import OtherError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Answer:  # pylint: disable=too-few-public-methods
    """Status, headers, body."""

    def __init__(self, status: int, headers: object, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body


class Unreachable(OtherError):
    """What Foundation calls a URLError; pull tries again."""


class Registry:
    """One repository on one host."""

    def __init__(self, host: str, namespace: str, insecure: bool, switches: settings.Settings) -> None:
        self.base = f"{'http' if insecure else 'https'}://{host}"
        self.host, self.namespace, self.switches = host, namespace, switches
        self.authorization = ""
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def manifest(self, reference: str) -> bytes:
        """The bytes, whose hash is the digest."""
        answer = self.request("GET", f"/v2/{self.namespace}/manifests/{reference}", {"Accept": MANIFEST})
        return self._expect(answer, "pulling manifest", 200).body

    def blob(self, digest: str) -> bytes:
        """A layer; its digest is checked."""
        answer = self._expect(self.request("GET", f"/v2/{self.namespace}/blobs/{digest}"), "pulling blob", 200)
        if "sha256:" + hashlib.sha256(answer.body).hexdigest() != digest:
            raise Unreachable("digest mismatch")
        return answer.body

    def push_blob(self, data: bytes, chunk: int = 0) -> str:
        """Upload unless it is there; the digest."""
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if self.request("HEAD", f"/v2/{self.namespace}/blobs/{digest}").status == 200:
            return digest
        answer = self.request("POST", f"/v2/{self.namespace}/blobs/uploads/", {"Content-Length": "0"})
        self._expect(answer, "pushing blob (POST)", 202)
        where = self._location(answer)
        if chunk:
            for start in range(0, len(data), chunk):
                part = data[start:start + chunk]
                headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{start}-{start + len(part) - 1}"}
                where = self._location(self._expect(self.request("PATCH", where, headers, part), "streaming blob chunk", 202))
            data = b""
        where += ("&" if "?" in where else "?") + "digest=" + urllib.parse.quote(digest)
        self._expect(self.request("PUT", where, {"Content-Type": "application/octet-stream"}, data), "pushing blob (PUT)", 201)
        return digest

    def push_manifest(self, reference: str, data: bytes) -> str:
        """The digest."""
        answer = self.request("PUT", f"/v2/{self.namespace}/manifests/{reference}", {"Content-Type": MANIFEST}, data)
        self._expect(answer, "pushing manifest", 201)
        return "sha256:" + hashlib.sha256(data).hexdigest()

    def ping(self) -> None:
        """Are the credentials good?"""
        self._expect(self.request("GET", "/v2/"), "doing ping", 200)

    def _location(self, answer: Answer) -> str:
        where = answer.headers.get("Location")  # type: ignore[attr-defined]
        if not where:
            raise OtherError("MissingLocationHeader")
        return where

    def _expect(self, answer: Answer, when: str, status: int) -> Answer:
        if answer.status == status:
            return answer
        details = json.dumps(answer.body.decode(errors="replace"), ensure_ascii=False)
        if answer.status == 401:
            raise OtherError(f'AuthFailed(why: "received unexpected HTTP status code 401 while {when}", details: {details})')
        raise OtherError(f'UnexpectedHTTPStatusCode(when: "{when}", code: {answer.status}, details: {details})')

    def request(self, method: str, where: str, headers: dict | None = None, data: bytes | None = None) -> Answer:
        """Once, and once more with credentials after a 401."""
        answer = self._send(method, where, dict(headers or {}), data)
        if answer.status == 401 and not self.authorization:
            self._authorize(answer.headers.get("WWW-Authenticate", ""))  # type: ignore[attr-defined]
            if self.authorization:
                answer = self._send(method, where, dict(headers or {}), data)
        return answer

    def _send(self, method: str, where: str, headers: dict, data: bytes | None) -> Answer:
        url = where if "://" in where else self.base + where
        headers["User-Agent"] = f"Tart/{self.switches['version']} (macOS {self.switches['macos']}.1.0; Mac16,10)"
        if self.authorization and url.startswith(self.base):
            headers["Authorization"] = self.authorization
        request = urllib.request.Request(url, data=data, headers=headers, method=method)
        try:
            with self.opener.open(request, timeout=60) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read())
        except (OSError, urllib.error.URLError) as error:
            raise Unreachable(_foundation(error, url)) from None

    def _authorize(self, challenge: str) -> None:
        """Basic, or a bearer token from the named realm."""
        found = credentials.find(self.host, self.switches)
        scheme, _space, rest = challenge.partition(" ")
        basic = "Basic " + base64.b64encode(":".join(found).encode()).decode() if found else ""
        if scheme.lower() == "basic":
            self.authorization = basic
        elif scheme.lower() == "bearer":
            values = {}
            for part in rest.split('",'):
                key, _equals, value = part.partition("=")
                values[key.strip()] = value.strip().strip('"')
            query = urllib.parse.urlencode({key: values[key] for key in ("service", "scope") if key in values})
            url = values.get("realm", "") + "?" + query
            request = urllib.request.Request(url, headers={"Authorization": basic} if basic else {})
            try:
                with self.opener.open(request, timeout=60) as answer:
                    body = json.loads(answer.read())
            except (OSError, ValueError):
                return
            self.authorization = "Bearer " + str(body.get("token") or body.get("access_token") or "")
        elif challenge:
            raise OtherError(f'AuthFailed(why: "received unsupported WWW-Authenticate header", details: {json.dumps(challenge)})')


def _foundation(error: Exception, url: str) -> str:
    """The text of a failed URL task."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLError):
        number, text = -1200, "An SSL error has occurred and a secure connection to the server cannot be made."
    elif isinstance(reason, ConnectionRefusedError):
        number, text = -1004, "Could not connect to the server."
    elif isinstance(reason, TimeoutError) or "timed out" in str(reason):
        number, text = -1001, "The request timed out."
    elif "not known" in str(reason) or "No address" in str(reason):
        number, text = -1003, "A server with the specified hostname could not be found."
    else:
        number, text = -1005, "The network connection was lost."
    details = f"NSErrorFailingURLStringKey={url}, NSLocalizedDescription={text}"
    return f'Error Domain=NSURLErrorDomain Code={number} "{text}" UserInfo={{{details}}}'


def repository(remote: names.RemoteName, insecure: bool, switches: settings.Settings) -> Registry:
    """The one that the name points to."""
    return Registry(remote.host, remote.namespace, insecure, switches)
