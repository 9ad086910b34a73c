# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated tart and registries: pull, clone from one, push, the cache, credentials (tart contract 2.5, 8). A registry in a thread."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.tart_simulator import Simulator
from tests.lab.guest import apple_lz4

_TYPE = "application/vnd.cirruslabs.tart."


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Registry

    def _answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refused(self) -> bool:
        self.server.seen.append(f"{self.command} {self.path}")
        wanted = self.server.authorization
        if wanted and self.headers.get("Authorization") != wanted:
            self._answer(401, WWW_Authenticate=self.server.challenge)
            return True
        return False

    def do_GET(self) -> None:  # pylint: disable=invalid-name
        """Manifests, layers and tokens."""
        if self.path.startswith("/token"):
            good = self.headers.get("Authorization") == "Basic " + base64.b64encode(b"user:pass").decode()
            self._answer(200, json.dumps({"token": "good" if good else "bad"}).encode())
            return
        if self._refused():
            return
        if self.path == "/v2/":
            self._answer(200)
            return
        if self.server.hold in self.path and self.server.hold:
            self.server.holding.set()
            time.sleep(3)
        data = self.server.content.get(self.path.rpartition("/")[2])
        self._answer(404, b'{"errors":[]}') if data is None else self._answer(200, data)

    do_HEAD = do_GET

    def do_POST(self) -> None:  # pylint: disable=invalid-name
        """The begin of an upload."""
        if not self._refused():
            self._answer(202, Location="/upload?x=1")

    def do_PUT(self) -> None:  # pylint: disable=invalid-name
        """A layer or a manifest."""
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self._refused():
            return
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.server.content[digest] = data
        if "/manifests/" in self.path:
            self.server.content[self.path.rpartition("/")[2]] = data
        self._answer(201)

    def log_message(self, *_words: Any) -> None:  # pylint: disable=arguments-differ
        """Silence."""


class Registry(http.server.ThreadingHTTPServer):
    """Images by digest, manifests by tag as well."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content: dict[str, bytes] = {}
        self.seen: list[str] = []
        self.authorization = self.challenge = self.hold = ""
        self.holding = threading.Event()
        self.name = f"127.0.0.1:{self.server_port}/lab/image"

    def blob(self, data: bytes, kind: str, **notes: str) -> dict[str, Any]:
        """Add a layer; its descriptor."""
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.content[digest] = data
        annotations = {f"org.cirruslabs.tart.{key.replace('_', '-')}": value for key, value in notes.items()}
        return {"mediaType": kind, "size": len(data), "digest": digest, "annotations": annotations}

    def add(self, tag: str, parts: list[bytes], disk: str = "disk.v2") -> str:
        """An image whose disk has these parts; its digest."""
        config = {"version": 1, "os": "linux", "arch": "arm64", "cpuCountMin": 1, "cpuCount": 1, "memorySizeMin": 1, "memorySize": 2**27,
                  "macAddress": "7e:1c:f2:4a:78:30"}
        layers = [self.blob(json.dumps(config).encode(), _TYPE + "config.v1")]
        for part in parts:
            layers.append(self.blob(apple_lz4.encode(part), _TYPE + disk, uncompressed_size=str(len(part)),
                                    uncompressed_content_digest="sha256:" + hashlib.sha256(part).hexdigest()))
        layers.append(self.blob(b"\0" * 100, _TYPE + "nvram.v1"))
        manifest = json.dumps({"schemaVersion": 2, "layers": layers, "config": self.blob(b"{}", "x")}).encode()
        digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
        self.content[digest] = self.content[tag] = manifest
        return digest


PARTS = [b"a" * 70000 + os.urandom(1000), bytes(200000) + b"end"]


@pytest.fixture
def registry() -> Iterator[Registry]:
    """With one image."""
    with Registry() as its:
        thread = threading.Thread(target=its.serve_forever, args=(0.02,))
        thread.start()
        its.add("latest", PARTS)
        yield its
        its.shutdown()
        thread.join()


@pytest.fixture
def tart(tmp_path: pathlib.Path) -> Simulator:
    """A tart with an empty home."""
    return Simulator(tmp_path)


def _cache(tart: Simulator, registry: Registry) -> pathlib.Path:
    return tart.home / "cache/OCIs" / registry.name.split("/")[0].replace(":", "%3A") / "lab/image"


def test_pull(tart: Simulator, registry: Registry) -> None:
    """All lines with CI set; the files; a tag that is an absolute link; the second time nothing changes."""
    digest = registry.add("latest", PARTS)
    lines = tart.ok("pull", "--insecure", registry.name, CI="").splitlines()
    assert lines[:2] == [f"pulling {registry.name}:latest...", "pulling manifest..."]
    assert re.fullmatch(r"pulling disk \([\d.]+ [KM]B compressed\)\.\.\.", lines[2])
    assert lines[3] == "0%" and lines[-2:] == ["100%", "pulling NVRAM..."]
    place = _cache(tart, registry)
    assert os.readlink(place / "latest") == str(place / digest)
    assert (place / digest / "disk.img").read_bytes() == b"".join(PARTS)
    assert json.loads((place / digest / "config.json").read_text(encoding="utf-8"))["macAddress"] == "7e:1c:f2:4a:78:30"
    assert (place / digest / "manifest.json").read_bytes() == registry.content["latest"]
    assert not (place / digest / ".explicitly-pulled").exists()
    assert tart.ok("pull", "--insecure", registry.name).splitlines()[2:] == [
        f"{registry.name}@{digest} image is already cached and linked!"]
    assert tart.ok("fqn", registry.name) == f"{registry.name}@{digest}\n"
    assert tart.ok("fqn", f"{registry.name}@sha256:ab") == f"{registry.name}@sha256:ab\n"
    assert tart.ok("fqn", "local") == "local\n"


def test_progress_has_escape_codes_without_ci(tart: Simulator, registry: Registry) -> None:
    """Into a pipe too."""
    assert "\x1b[1A\r\x1b[J100%\n" in subprocess.run([str(tart.program), "pull", "--insecure", registry.name], env=tart.environment(),
                                                     capture_output=True, check=True).stdout.decode()


def test_another_tag_of_the_same_image(tart: Simulator, registry: Registry) -> None:
    """Only a link more; deleting the links one by one deletes the image at last."""
    digest = registry.add("two", PARTS)
    tart.ok("pull", "--insecure", registry.name)
    assert tart.ok("pull", "--insecure", registry.name + ":two").splitlines()[2:] == [
        f"{registry.name}@{digest} image is already cached! creating a symlink..."]
    tart.ok("delete", registry.name)
    assert (_cache(tart, registry) / digest).is_dir()
    tart.ok("delete", registry.name + ":two")
    assert not os.listdir(_cache(tart, registry))


def test_a_moved_tag(tart: Simulator, registry: Registry) -> None:
    """The old image goes, unless it was pulled by its digest."""
    old = registry.add("latest", PARTS)
    tart.ok("pull", "--insecure", registry.name)
    new = registry.add("latest", PARTS[:1])
    tart.ok("pull", "--insecure", registry.name)
    assert sorted(os.listdir(_cache(tart, registry))) == sorted(["latest", new])
    tart.ok("pull", "--insecure", f"{registry.name}@{old}")
    registry.add("latest", PARTS[1:])
    tart.ok("pull", "--insecure", registry.name)
    assert (_cache(tart, registry) / old / ".explicitly-pulled").exists()
    assert not (_cache(tart, registry) / new).exists()


def test_clone_pulls_what_is_not_cached(tart: Simulator, registry: Registry) -> None:
    """Without the first line; afterwards it needs no registry."""
    lines = tart.ok("clone", "--insecure", registry.name, "a", CI="1").splitlines()
    assert lines[0] == "pulling manifest..." and lines[-1] == "pulling NVRAM..."
    asked = len(registry.seen)
    assert tart.ok("clone", registry.name, "b") == ""
    assert len(registry.seen) == asked
    assert tart.config("a")["macAddress"] == "7e:1c:f2:4a:78:30" != tart.config("b")["macAddress"]


def test_what_cannot_be_pulled(tart: Simulator, registry: Registry) -> None:
    """Not there, no image of tart's, an old format, no TLS, nobody listens, a digest that is wrong."""
    done = tart("pull", "--insecure", registry.name + ":none")
    assert (done.returncode, done.stderr) == (
        1, 'Error: UnexpectedHTTPStatusCode(when: "pulling manifest", code: 404, details: "{\\"errors\\":[]}")\n')
    registry.add("old", PARTS, "disk.v1")
    assert tart("pull", "--insecure", registry.name + ":old").stderr == (
        "Pulling OCI images with legacy disk media type application/vnd.cirruslabs.tart.disk.v1 is no longer supported, please re-push "
        "the image using a current Tart version\n")
    registry.content["docker"] = b'{"layers":[]}'
    assert tart("pull", "--insecure", registry.name + ":docker").returncode == 1
    done = tart("pull", registry.name)
    assert done.stdout.count("attempting to re-try...") == 4 and "NSURLErrorDomain Code=-1200" in done.stderr
    assert "Code=-1004" in tart("pull", "--insecure", "127.0.0.1:1/x").stderr
    manifest = json.loads(registry.content["latest"])
    manifest["layers"][1]["annotations"]["org.cirruslabs.tart.uncompressed-content-digest"] = "sha256:00"
    registry.content["wrong"] = json.dumps(manifest).encode()
    assert tart("pull", "--insecure", registry.name + ":wrong").stderr.startswith("failed to decompress disk: ")
    del manifest["layers"][1]["annotations"]["org.cirruslabs.tart.uncompressed-size"]
    registry.content["wrong"] = json.dumps(manifest).encode()
    assert tart("pull", "--insecure", registry.name + ":wrong").returncode == 1


def test_an_interrupted_pull_resumes_unless_something_collects(tart: Simulator, registry: Registry) -> None:
    """What is right on disk is not fetched again; SIGINT removes it, and so does any other command."""
    second = json.loads(registry.content["latest"])["layers"][2]["digest"]
    first = json.loads(registry.content["latest"])["layers"][1]["digest"]
    partial = tart.home / "tmp" / hashlib.md5((registry.name + ":latest").encode()).hexdigest()
    for number in (signal.SIGKILL, signal.SIGINT):
        registry.hold, registry.seen = second, []
        registry.holding.clear()
        with subprocess.Popen([str(tart.program), "pull", "--insecure", registry.name], env=tart.environment(), stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True) as process:
            assert registry.holding.wait(10)
            assert tart.ok("--version") and partial.is_dir()
            tart.ok("list")
            assert partial.is_dir(), "its owner is alive"
            process.send_signal(number)
            assert process.wait(5) == (1 if number == signal.SIGINT else -number)
            assert number == signal.SIGKILL or process.communicate()[1] == "Error: CancellationError()\n"
        assert partial.is_dir() is (number == signal.SIGKILL)
        assert any(first in line for line in registry.seen) is (number == signal.SIGKILL)
    registry.hold = ""
    partial.mkdir()
    tart.ok("list")
    assert not partial.exists()
    tart.ok("pull", "--insecure", registry.name)


def test_one_pull_per_host(tart: Simulator, registry: Registry) -> None:
    """The second says that it waits."""
    registry.hold = json.loads(registry.content["latest"])["layers"][2]["digest"]
    words = [str(tart.program), "pull", "--insecure", registry.name]
    with subprocess.Popen(words, env=tart.environment(), stdout=subprocess.DEVNULL) as first:
        assert registry.holding.wait(10)
        lines = tart.ok("pull", "--insecure", registry.name).splitlines()
        assert first.wait(10) == 0
    assert lines[2] == "waiting for lock..." and lines[3].endswith("image is already cached! creating a symlink...")


@pytest.mark.parametrize("kind", ["Basic", "Bearer"])
def test_credentials(tart: Simulator, registry: Registry, kind: str) -> None:
    """Only after a 401: environment, docker's file, keychain."""
    pair = base64.b64encode(b"user:pass").decode()
    registry.authorization = f"Basic {pair}" if kind == "Basic" else "Bearer good"
    registry.challenge = 'Basic realm="x"' if kind == "Basic" else (
        f'Bearer realm="http://{registry.name.split("/")[0]}/token",service="s",scope="repository:lab/image:pull"')
    good = {"TART_REGISTRY_USERNAME": "user", "TART_REGISTRY_PASSWORD": "pass"}
    done = tart("pull", "--insecure", registry.name)
    assert done.returncode == 1 and done.stderr.startswith('Error: AuthFailed(why: "')
    assert tart("pull", "--insecure", registry.name, TART_REGISTRY_HOSTNAME="other", **good).returncode == 1
    assert tart("pull", "--insecure", registry.name, TART_REGISTRY_USERNAME="user").returncode == 1
    tart.ok("pull", "--insecure", registry.name, TART_REGISTRY_HOSTNAME=registry.name.split("/")[0], **good)
    tart.ok("pull", "--insecure", registry.name, **good)
    (tart.folder / ".docker").mkdir()
    (tart.folder / ".docker/config.json").write_text(json.dumps({"auths": {registry.name.split("/")[0]: {"auth": pair}}}), encoding="utf-8")
    tart.ok("pull", "--insecure", registry.name)
    (tart.folder / ".docker/config.json").unlink()
    host = registry.name.split("/")[0]
    done = tart("login", "--insecure", host, "--username", "user", "--password-stdin", stdin="wrong\n")
    assert done.returncode == 1 and done.stderr.startswith("invalid credentials: AuthFailed(")
    assert tart("login", "--insecure", host, "--username", "user", "--password-stdin", stdin="pass\n").returncode == 0
    tart.ok("pull", "--insecure", registry.name)
    tart.configure(keychain="locked")
    done = tart("pull", "--insecure", registry.name)
    assert done.returncode == 1
    assert "Failed to retrieve credentials using Keychain credentials provider, authentication may fail: " in done.stdout
    tart.configure(version="2.28.5")
    assert tart("pull", "--insecure", registry.name).stderr == (
        'Error: Failed(message: "Keychain returned unsuccessful status -25308")\n')


def test_push(tart: Simulator, registry: Registry) -> None:
    """To several tags at once; what comes back is the same disk, and the cache may have it already."""
    tart.create("a")
    (tart.vm("a") / "disk.img").write_bytes(b"".join(PARTS))
    words = ("push", "--insecure", "--populate-cache", "--label", "k=v", "a", registry.name + ":x", registry.name + ":y")
    lines = tart.ok(*words, CI="1").splitlines()
    assert lines[:3] == [f"pushing a to {registry.name}{{:x,:y}}...", "pushing config...", "pushing disk... this will take a while..."]
    assert lines[-3:] == ["pushing NVRAM...", "pushing manifest for x...", "pushing manifest for y..."]
    manifest = json.loads(registry.content["x"])
    assert registry.content["x"] == registry.content["y"] == json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    assert [layer["mediaType"].rpartition("tart.")[2] for layer in manifest["layers"]] == ["config.v1", "disk.v2", "nvram.v1"]
    assert json.loads(registry.content[manifest["config"]["digest"]])["config"]["Labels"] == {
        "k": "v", "org.cirruslabs.tart.disk.format": "raw"}
    assert tart.ok("pull", "--insecure", registry.name + ":x").endswith("image is already cached and linked!\n")
    tart.ok("prune", "--space-budget", "0")
    tart.ok("clone", "--insecure", registry.name + ":x", "b")
    assert (tart.vm("b") / "disk.img").read_bytes() == b"".join(PARTS)
    with tart.running("a"):
        assert tart("push", "--insecure", "a", registry.name + ":z").stderr == 'VM "a" is running\n'


def test_pushing_an_image_again_only_tags_it(tart: Simulator, registry: Registry) -> None:
    """A remote source."""
    tart.ok("pull", "--insecure", registry.name)
    registry.seen.clear()
    tart.ok("push", "--insecure", registry.name, registry.name + ":again")
    assert registry.content["again"] == registry.content["latest"]
    assert registry.seen == ["PUT /v2/lab/image/manifests/again"]


def test_a_full_disk_during_a_pull(tart: Simulator, registry: Registry) -> None:
    """An error of the system, and a partial folder for the next attempt."""
    tart.configure(faults=[{"command": "pull", "preset": "disk-full", "times": 1}])
    done = tart("pull", "--insecure", registry.name)
    assert done.returncode == 1 and "enough space" in done.stderr
    assert len(os.listdir(tart.home / "tmp")) == 1
    tart.ok("pull", "--insecure", registry.name)
