# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The boot of a lab Mac: limits, the console's owner, networks, byte code; then it stays as the parent of the DHCP servers."""
from __future__ import annotations

import compileall
import contextlib
import os
import resource
import stat
import sys

from . import vmnet

_PROC = "/opt/lab-proc"
_DESCRIPTORS = 256


def _limit_descriptors() -> None:
    """A Mac's soft limit. Without /proc, Python closes every number below it before it starts a program."""
    for name in os.listdir(_PROC):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                hard = resource.prlimit(int(name), resource.RLIMIT_NOFILE)[1]
                resource.prlimit(int(name), resource.RLIMIT_NOFILE, (min(_DESCRIPTORS, hard), hard))


def _console() -> None:
    """/dev/console belongs to who sits in front of the Mac. Ours is another /dev/null."""
    with contextlib.suppress(FileExistsError):
        os.mknod("/dev/console", stat.S_IFCHR | 0o620, os.makedev(1, 3))
    os.chown("/dev/console", 501, 20)


def main() -> None:
    """Never returns."""
    _limit_descriptors()
    _console()
    os.makedirs("/run/lab/tart", exist_ok=True)
    os.chmod("/run/lab/tart", 0o1777)
    servers = vmnet.start()
    # So that the first tart is as quick as the second; users may refresh what changes while the host is up.
    sys.pycache_prefix = "/var/cache/lab-bytecode"
    before = os.umask(0)
    compileall.compile_dir("/opt/lab/mac", quiet=2)
    os.umask(before)
    vmnet.serve(servers)
