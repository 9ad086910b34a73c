# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the launcher of the simulator into a host's root filesystem."""
from __future__ import annotations

import pathlib

LAUNCHER = "usr/local/bin/cloud-hypervisor"
CODE = "/opt/lab"
CACHE = "/var/cache/lab-cloud-hypervisor"

TEXT = """#!{interpreter} -IS
# A simulator of the lab, not the real program: see tests/lab/cloud_hypervisor.
import sys
sys.pycache_prefix = {cache!r}
sys.path.insert(0, {code!r})
from cloud_hypervisor.program import main
sys.exit(main({program!r}))
"""


def launcher_text(interpreter: str, code: str, cache: str, program: str) -> str:
    """The launcher: `code` is the folder that holds the package, `cache` takes compiled files (the code may be read-only)."""
    return TEXT.format(interpreter=interpreter, code=code, cache=cache, program=program)


def write_launcher(path: pathlib.Path, text: str) -> None:
    """Write an executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def install(root: pathlib.Path) -> None:
    """Write /usr/local/bin/cloud-hypervisor into `root`; the code itself is bind-mounted at /opt/lab/cloud_hypervisor."""
    (root / CACHE.lstrip("/")).mkdir(parents=True, exist_ok=True)
    write_launcher(root / LAUNCHER, launcher_text("/usr/bin/python3", CODE, CACHE, "/" + LAUNCHER))
