# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Debian root filesystems: made once by mmdebstrap, kept in the cache, never written to again."""
from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable

from . import packages, paths
from .errors import LabError
from .files import locked

SUITES = {"linux": "bookworm", "registry": "bookworm", "mac": "bullseye"}
# Raise it when the way of building changes.
RECIPE = "1"
_OPTIONS = [
    "--variant=minbase", "--format=directory", "--quiet",
    "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=force-unsafe-io",
]


def flavour(kind: str) -> str:
    """Registry hosts share the Linux hosts' root filesystem."""
    return "mac" if kind == "mac" else "linux"


def contents(kind: str) -> list[str]:
    """The packages of a host of this kind."""
    return packages.MAC if kind == "mac" else sorted(packages.LINUX + packages.REGISTRY)


def location(kind: str, suite: str | None = None) -> pathlib.Path:
    """Where it is or will be; the name changes with the recipe."""
    suite = suite or SUITES[kind]
    recipe = hashlib.sha256("\n".join([RECIPE, suite, *_OPTIONS, *contents(kind)]).encode()).hexdigest()[:10]
    return paths.cache() / "rootfs" / f"{flavour(kind)}-{suite}-{recipe}"


def ensure(kind: str, suite: str | None = None, say: Callable[[str], None] = print) -> pathlib.Path:
    """The root filesystem, built when it is not there yet."""
    place = location(kind, suite)
    if place.is_dir():
        return place
    with locked(place.with_suffix(".lock")) as lock:
        if not place.is_dir():
            say(f"building the root filesystem {place.name} from {len(contents(kind))} Debian packages: about a minute, once")
            _build(place, suite or SUITES[kind], contents(kind), lock)
        place.with_suffix(".lock").unlink(missing_ok=True)
    return place


def _build(place: pathlib.Path, suite: str, wanted: list[str], lock: int) -> None:
    """mmdebstrap keeps the lock: when the lab is killed, nobody starts a second one beside it."""
    partial = place.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    scratch = place.with_suffix(".tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    # mmdebstrap reads the mirror from nowhere but its own default: Debian's.
    command = ["mmdebstrap", *_OPTIONS, "--include=" + ",".join(wanted), suite, str(partial)]
    done = subprocess.run(command, env={**os.environ, "TMPDIR": str(scratch)}, stdin=subprocess.DEVNULL, pass_fds=(lock,),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    shutil.rmtree(scratch, ignore_errors=True)
    if done.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        raise LabError(f"mmdebstrap could not build {place.name}; its last words:\n{done.stdout[-2000:]}\n"
                       "It needs root and a Debian mirror: try `apt-get update` first.")
    partial.rename(place)
