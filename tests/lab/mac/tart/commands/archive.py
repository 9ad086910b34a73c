# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""import and export (tart contract 1.11). Ours is a sparse tar, gzipped; Apple's archive format means nothing on Linux."""
from __future__ import annotations

import os
import subprocess
import sys

from .. import console, home, interrupt, parser, settings, vmdir
from ..errors import Finished, RuntimeFailure, Trap, ValidationError


def validate_import(parsed: parser.Parsed, _switches: settings.Settings) -> None:
    """The target is local."""
    if "/" in str(parsed.name):
        raise ValidationError("<name> should be a local name")


def run_import(parsed: parser.Parsed, switches: settings.Settings, _fault: dict) -> None:
    """Overwrites a VM of that name; a new MAC address if a local VM has that one."""
    console.out("importing...")
    folder, _lock = home.temporary()
    made = vmdir.VMDir(folder, str(parsed.name))
    with home.global_lock():
        with interrupt.allowed():
            done = subprocess.run(["tar", "-xzf", str(parsed.path), "-C", folder], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, check=False)
            if done.returncode:
                raise RuntimeFailure(f"VM import failed: {done.stdout.decode(errors='replace').strip().splitlines()[0]}")
            if not made.initialized():
                if switches.since("2.36.0"):
                    home.remove(folder)
                raise RuntimeFailure("VM import failed: archive does not contain a runnable VM")
            config = made.config()
            if any(other.config()["macAddress"] == config["macAddress"] for other in vmdir.all_local()):
                config["macAddress"] = vmdir.random_mac()
                made.save(config)
        home.replace(folder, vmdir.local(made.name).folder)


def run_export(parsed: parser.Parsed, _switches: settings.Settings, _fault: dict) -> None:
    """Asks before it looks for the VM (contract 13); end of input instead of an answer crashes it."""
    target = str(parsed.path) if parsed.path is not None else f"{parsed.name}.tvm"
    if parsed.path is None and os.path.exists(target):
        os.write(1, f"file {target} already exists, are you sure you want to overwrite it? (yes, [no])? ".encode())
        answer = sys.stdin.readline()
        if not answer:
            raise Trap("Unexpectedly found nil while unwrapping an Optional value")
        if answer.rstrip("\n") != "yes":
            raise Finished(0)
    console.out("exporting...")
    from .show import open_any  # pylint: disable=import-outside-toplevel
    found = open_any(str(parsed.name))
    partial = target + ".partial"
    with interrupt.allowed():
        done = subprocess.run(["tar", "-S", "-czf", partial, "-C", found.folder, *vmdir.FILES], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise RuntimeFailure(f"VM export failed: {done.stdout.decode(errors='replace').strip().splitlines()[0]}")
    os.replace(partial, target)
