# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pull, push, login, logout, and the pull inside clone (tart contract 1.9, 1.10, 2.5, 8)."""
from __future__ import annotations

import hashlib
import os
import sys
import time

from .. import console, credentials, home, image, interrupt, names, oci, parser, plainjson, registry, settings, vmdir
from ..errors import Cancelled, OtherError, RuntimeFailure, ValidationError, no_such_vm
from . import prune

_ATTEMPTS = 5


def _check_concurrency(parsed: parser.Parsed) -> None:
    if int(parsed.values.get("concurrency", 4)) < 1:  # type: ignore[call-overload]
        raise ValidationError("network concurrency cannot be less than 1")


def validate_pull(parsed: parser.Parsed, _switches: settings.Settings) -> None:
    """At least one connection."""
    _check_concurrency(parsed)


def validate_push(parsed: parser.Parsed, _switches: settings.Settings) -> None:
    """At least one connection."""
    _check_concurrency(parsed)


def run_pull(parsed: parser.Parsed, switches: settings.Settings, fault: dict) -> None:
    """Always asks the registry; a local VM of exactly that name is no error."""
    name = str(parsed.remote_name)
    if os.path.isdir(vmdir.local(name).folder) and name:
        console.out(f'"{name}" is a local image, nothing to pull here!')
        return
    remote = names.parse_strictly(name)
    console.out(f"pulling {remote}...")
    _pull(remote, bool(parsed.insecure), switches, bool(fault.get("disk_full")))


def ensure(remote: names.RemoteName, parsed: parser.Parsed, switches: settings.Settings) -> vmdir.VMDir:
    """For clone: what is cached needs no network."""
    found = oci.find(remote)
    if found is None:
        _pull(remote, bool(parsed.insecure), switches, False)
        found = oci.find(remote)
    if found is None:
        raise no_such_vm(str(remote))
    vmdir.check_complete(found)
    found.touch()
    return found


def _pull(remote: names.RemoteName, insecure: bool, switches: settings.Settings, full: bool) -> None:
    with interrupt.allowed():
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                _pull_once(remote, registry.repository(remote, insecure, switches), switches, full)
                return
            except registry.Unreachable as error:
                if attempt == _ATTEMPTS:
                    raise
                console.out(f'Error pulling image: "{error}", attempting to re-try...')
                time.sleep(0.1)


def _pull_once(remote: names.RemoteName, source: registry.Registry, switches: settings.Settings, full: bool) -> None:
    console.out("pulling manifest...")
    data = source.manifest(remote.reference)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    exact = remote.at(digest)
    if oci.digest_of(remote) == digest and oci.find(exact):
        console.out(f"{exact} image is already cached and linked!")
        return
    os.makedirs(oci.host_folder(remote), exist_ok=True)
    lock = home.Flock(oci.host_folder(remote))
    if not lock.take_now():
        console.out("waiting for lock...")
    with lock:
        if oci.find(exact):
            console.out(f"{exact} image is already cached! creating a symlink...")
        else:
            _download(remote, exact, source, data, switches, full)
        if remote.is_digest:
            with open(os.path.join(oci.folder(exact), oci.MARKER), "wb"):
                pass
        else:
            oci.link(remote, digest)


def _download(remote: names.RemoteName, exact: names.RemoteName, source: registry.Registry, data: bytes, switches: settings.Settings,
              full: bool) -> None:
    """Into tmp/, under a name that the next attempt finds again."""
    folder = home.path("tmp", hashlib.md5(str(remote).encode()).hexdigest())
    os.makedirs(folder, exist_ok=True)
    lock = home.Flock(folder)
    lock.take_now()
    manifest = plainjson.loads(data.decode())
    prune.reclaim(int(manifest.get("annotations", {}).get("org.cirruslabs.tart.uncompressed-disk-size", 0)) + 128 * 2**20)
    try:
        image.fetch(source, manifest, vmdir.VMDir(folder, str(remote)), switches, full)
    except Cancelled:
        home.remove(folder)
        raise
    if switches.since("2.14.0"):
        with open(os.path.join(folder, "manifest.json"), "wb") as file:
            file.write(data)
    home.replace(folder, oci.folder(exact))
    lock.release()


def run_push(parsed: parser.Parsed, switches: settings.Settings, _fault: dict) -> None:
    """To every name of a host in one go; a remote source is only tagged again."""
    targets = [names.parse_strictly(name) for name in parsed.remote_names]  # type: ignore[attr-defined]
    from .show import open_any  # pylint: disable=import-outside-toplevel
    source = open_any(str(parsed.local_name))
    is_remote = names.parse(str(parsed.local_name)) is not None
    lock = -1 if is_remote else source.lock()
    if lock is None:
        raise RuntimeFailure(f'VM "{source.name}" is running')
    labels = dict(label.partition("=")[::2] for label in parsed.values.get("label") or [])  # type: ignore[attr-defined]
    labels.pop("", None)
    groups: dict[tuple[str, str], list[names.RemoteName]] = {}
    for target in targets:
        groups.setdefault((target.host, target.namespace), []).append(target)
    for (host, namespace), group in groups.items():
        listed = f":{group[0].reference}" if len(group) == 1 else "{" + ",".join(f":{one.reference}" for one in group) + "}"
        console.out(f"pushing {parsed.local_name} to {host}/{namespace}{listed}...")
        with interrupt.allowed():
            _push_group(parsed, switches, source, group, labels, is_remote)


def _push_group(parsed: parser.Parsed, switches: settings.Settings, source: vmdir.VMDir, group: list[names.RemoteName], labels: dict,
                is_remote: bool) -> None:
    target = registry.repository(group[0], bool(parsed.insecure), switches)
    if is_remote:
        with open(source.file("manifest.json"), "rb") as file:
            data = file.read()
    else:
        data = image.send(target, source, labels, int(parsed.values.get("chunk_size") or 0) * 10**6)  # type: ignore[call-overload]
    for remote in group:
        console.out(f"pushing manifest for {remote.reference}...")
        digest = target.push_manifest(remote.reference, data)
        if parsed.populate_cache:
            if not os.path.isdir(oci.folder(remote.at(digest))):
                image.populate(source, oci.folder(remote.at(digest)), data)
            oci.link(remote, digest)


def validate_login(parsed: parser.Parsed, _switches: settings.Settings) -> None:
    """Both or neither."""
    if (parsed.username is not None) != bool(parsed.password_stdin):
        raise ValidationError("both --username and --password-stdin are required")


def run_login(parsed: parser.Parsed, switches: settings.Settings, _fault: dict) -> None:
    """Tries the credentials, then keeps them in the keychain."""
    host = str(parsed.host)
    if "/" in host:
        hint = ", make sure that it doesn't start with http:// or https://" if host.startswith(("http://", "https://")) else ""
        raise RuntimeFailure(f'improperly formatted host "{host}" was provided{hint}')
    if parsed.username is not None:
        pair = (str(parsed.username), sys.stdin.read().rstrip("\n"))
    else:
        pair = (_ask("User: "), _ask("Password: "))
    if len(pair[1]) > (8192 if switches.since("2.31.0") else 1024):
        raise OtherError("CredentialTooLong(message: \"Credential is too long\")")
    if not parsed.values.get("no_validate"):
        target = registry.Registry(host, "", bool(parsed.insecure), switches)
        os.environ.update({"TART_REGISTRY_USERNAME": pair[0], "TART_REGISTRY_PASSWORD": pair[1], "TART_REGISTRY_HOSTNAME": host})
        try:
            target.ping()
        except OtherError as error:
            raise RuntimeFailure(f"invalid credentials: {error}") from None
    credentials.store(host, pair, switches)


def _ask(prompt: str) -> str:
    """Like readpassphrase: the terminal if there is one, else stderr and stdin."""
    os.write(2, prompt.encode())
    return sys.stdin.readline().rstrip("\n")


def run_logout(parsed: parser.Parsed, switches: settings.Settings, _fault: dict) -> None:
    """Nothing to remove is a success."""
    credentials.store(str(parsed.host), None, switches)
