# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loading the guest images into the lab's registry."""
from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable

from . import network
from .errors import LabError
from .guest import build, tart_push

PORT = 5000


def address() -> str:
    """host:port, plain HTTP."""
    return f"{network.address(network.REGISTRY_NUMBER)}:{PORT}"


def wait(timeout: float = 15.0) -> None:
    """Until the registry answers."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((network.address(network.REGISTRY_NUMBER), PORT), timeout=2).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise LabError(f"no registry at {address()}: {error}; start it with `python3 -m tests.lab up registry`") from error
            time.sleep(0.05)


def push_images(say: Callable[[str], None] = print) -> list[str]:
    """Make what is missing or out of date, then push every image; returns the references."""
    wait()
    paths = build(say)
    index = json.loads((paths.oci / "index.json").read_text(encoding="utf-8"))
    names = [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]]
    pushed = [_push_oci(f"oci:{paths.oci}:{name}", f"{address()}/lab/{name}") for name in names]
    for version in (1, 2):
        reference = f"{address()}/lab/tart-guest:{version}"
        tart_push.push(paths, reference, insecure=True, version=version)
        pushed.append(reference)
    return pushed


def _push_oci(source: str, reference: str) -> str:
    command = ["skopeo", "copy", "--quiet", "--insecure-policy", "--preserve-digests", "--dest-tls-verify=false",
               source, f"docker://{reference}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"skopeo could not push {source} to {reference}: {done.stderr.strip()}")
    return reference
