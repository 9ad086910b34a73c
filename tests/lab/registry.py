# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loading the guest images into the lab's registry."""
from __future__ import annotations

import pathlib
import socket
import subprocess
import time

from . import network, paths, tart_image
from .errors import LabError

PORT = 5000
# folder of the cached guest artefacts (an OCI layout) -> repository and tag in the registry
IMAGES = {"oci": "lab/guest:1", "tart-oci": "lab/tart-guest:1"}


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


def push_images(folder: pathlib.Path | None = None) -> list[str]:
    """Copy each layout that is there; returns the references."""
    folder = folder or paths.cache() / "guest"
    if (folder / "tart" / "config.json").is_file():
        tart_image.ensure(folder / "tart", folder / "tart-oci")
    present = [(name, reference) for name, reference in IMAGES.items() if (folder / name / "index.json").is_file()]
    if not present:
        raise LabError(f"no guest images in {folder}: build them with `python3 -m tests.lab.guest`")
    wait()
    return [_push(folder / name, reference) for name, reference in present]


def _push(layout: pathlib.Path, reference: str) -> str:
    target = f"{address()}/{reference}"
    command = ["skopeo", "copy", "--quiet", "--insecure-policy", "--preserve-digests", "--dest-tls-verify=false",
               f"oci:{layout}", f"docker://{target}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"skopeo could not push {layout} to {target}: {done.stderr.strip()}")
    return target
