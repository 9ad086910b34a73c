# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""set: in place, partly applied when its disk step fails (tart contract 1.5)."""
from __future__ import annotations

import base64
import os

from .. import files, home, parser, settings, text, vmdir
from ..errors import OtherError, RuntimeFailure, Trap
from ..vmdir import GIGABYTE

_MINIMUM_MEMORY = 128 * 2**20


def run_set(parsed: parser.Parsed, switches: settings.Settings, _fault: dict) -> None:
    """The configuration first, then the disk."""
    found = vmdir.open_local(str(parsed.name))
    config = found.config()
    _resources(config, parsed)
    if parsed.display is not None:
        _display(config, str(parsed.display), switches)
    if switches.since("2.21.0"):
        # Whoever does not say it again loses it.
        config.pop("displayRefit", None)
        if parsed.display_refit is not None:
            config["displayRefit"] = parsed.display_refit
    if parsed.values.get("random_mac"):
        config["macAddress"] = vmdir.random_mac()
    if parsed.values.get("random_serial") and config["os"] == "darwin":
        config["ecid"] = base64.b64encode(b"bplist00" + os.urandom(24)).decode()
    found.save(config)
    if parsed.values.get("disk") is not None:
        _replace_disk(found, str(parsed.disk))
    if parsed.disk_size is not None:
        _grow(found, int(str(parsed.disk_size)) * GIGABYTE, config["diskFormat"], switches)


def _resources(config: dict, parsed: parser.Parsed) -> None:
    darwin = config["os"] == "darwin"
    if parsed.cpu is not None:
        least = config["cpuCountMin"] if darwin else 1
        if int(str(parsed.cpu)) < least:
            raise OtherError(f"LessThanMinimalResourcesError: VM should have {least} CPU cores at minimum (requested {parsed.cpu})")
        config["cpuCount"] = parsed.cpu
    if parsed.memory is not None:
        wanted = int(str(parsed.memory)) * 2**20
        if wanted >= 2**64:
            raise Trap("arithmetic overflow")
        least = max(config["memorySizeMin"], _MINIMUM_MEMORY) if darwin else _MINIMUM_MEMORY
        if wanted < least:
            raise OtherError(f"LessThanMinimalResourcesError: VM should have {least} bytes of memory at minimum (requested {wanted})")
        config["memorySize"] = wanted


def _display(config: dict, wanted: str, switches: settings.Settings) -> None:
    """Parts that are no positive number are ignored; the unit is always overwritten."""
    unit = None
    if switches.since("2.30.0") and wanted[-2:] in ("pt", "px"):
        wanted, unit = wanted[:-2], wanted[-2:]
    display = dict(config["display"])
    display.pop("unit", None)
    for key, part in zip(("width", "height"), wanted.split("x")):
        if part.isdigit() and int(part) > 0:
            display[key] = int(part)
    if unit:
        display["unit"] = unit
    config["display"] = display


def _replace_disk(found: vmdir.VMDir, source: str) -> None:
    copy = home.path("tmp", "set-disk-" + home.unique())
    files.copy(os.path.expanduser(source), copy)
    os.replace(copy, found.file("disk.img"))


def _grow(found: vmdir.VMDir, wanted: int, disk_format: str, switches: settings.Settings) -> None:
    current = found.disk_size()
    if wanted == current and switches.since("2.4.4"):
        return
    if wanted <= current:
        new = "New" if disk_format == "asif" else "new"
        raise RuntimeFailure(f"{new} disk size of {text.byte_count(wanted)} should be larger than the current disk size of "
                             f"{text.byte_count(current)}")
    os.truncate(found.file("disk.img"), wanted)
