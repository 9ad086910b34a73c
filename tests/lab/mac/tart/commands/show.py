# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""list, get and fqn (tart contract 2.1, 2.2, 1.18)."""
from __future__ import annotations

import os
import time

from .. import console, names, oci, parser, plainjson, settings, text, vmdir
from ..errors import RuntimeFailure, ValidationError, no_such_vm
from ..vmdir import GIGABYTE


def validate_list(parsed: parser.Parsed, _switches: settings.Settings) -> None:
    """Only two sources."""
    if parsed.source not in (None, "local", "oci"):
        raise ValidationError(f"'{parsed.source}' is not a valid <source>")


def run_list(parsed: parser.Parsed, switches: settings.Settings, _fault: dict) -> None:
    """Local VMs by name, then images by name."""
    rows, folders = [], []
    if parsed.source in (None, "local"):
        for found in sorted(vmdir.all_local(), key=lambda one: one.name):
            rows.append(_row(found, "local", found.state(), switches))
            folders.append(found.folder)
    if parsed.source in (None, "oci"):
        for found in sorted(oci.everything(), key=lambda one: one.name):
            rows.append(_row(found, "OCI" if switches.since("2.11.0") else "oci", "stopped", switches))
            folders.append(found.folder)
    if parsed.quiet:
        if rows:
            console.document("\n".join(str(row["Name"]) for row in rows))
    elif parsed.values.get("format") == "json":
        console.document(plainjson.swift(rows))
    else:
        shown = [_for_people(row, folder, switches) for row, folder in zip(rows, folders)]
        console.document(text.table(shown))


def _row(found: vmdir.VMDir, source: str, state: str, switches: settings.Settings) -> dict:
    """The columns of this version, in the order of the table."""
    row: dict = {"Source": source, "Name": found.name}
    logical, disk, allocated = found.sizes()
    if switches.since("2.36.0"):
        row["Disk"] = disk // GIGABYTE
    elif switches.since("2.6.1"):
        row["Disk"] = logical // GIGABYTE
    row["Size"] = (allocated if switches.since("2.6.1") else logical) // GIGABYTE
    if switches.since("2.15.0") and not switches.since("2.31.0"):
        row["SizeOnDisk"] = allocated // GIGABYTE
    if switches.since("2.31.0"):
        row["Accessed"] = _iso(os.stat(found.folder).st_atime)
    if switches.since("1.2.0"):
        row["Running"] = state == "running"
    if switches.since("1.8.0"):
        row["State"] = state
    return row


def _iso(seconds: float) -> str:
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"


def _for_people(row: dict, folder: str, switches: settings.Settings) -> dict:
    shown = dict(row)
    if switches.since("1.8.0"):
        shown.pop("Running")
    if "Accessed" in shown:
        shown["Accessed"] = text.ago(os.stat(folder).st_atime)
    if switches.since("2.36.0"):
        for key in ("Disk", "Size"):
            shown[key] = text.byte_count(row[key] * GIGABYTE)
    return shown


def run_get(parsed: parser.Parsed, switches: settings.Settings, _fault: dict) -> None:
    """One local VM's configuration."""
    found = vmdir.open_local(str(parsed.name))
    config = found.config()
    state = found.state()
    row: dict = {}
    if switches.since("2.8.0"):
        row["OS"] = config["os"]
    row.update({"CPU": config["cpuCount"], "Memory": config["memorySize"] // 2**20})
    if switches.since("2.6.1") and not switches.since("2.36.0"):
        row["Disk"] = found.logical_size() // GIGABYTE
    else:
        row["Disk"] = found.disk_size() // GIGABYTE
    if switches.since("2.28.0"):
        row["DiskFormat"] = config["diskFormat"]
    if switches.since("2.6.1"):
        row["Size"] = f"{found.allocated_size() / GIGABYTE:.3f}"
    display = config["display"]
    unit = str(display.get("unit", "")) if switches.since("2.30.0") else ""
    row["Display"] = f"{display['width']}x{display['height']}{unit}"
    row["Running"] = state == "running"
    if switches.since("1.8.0"):
        row["State"] = state
    if parsed.values.get("format") == "json":
        console.document(plainjson.swift(row))
    else:
        shown = {key: str(value).lower() if value is True or value is False else value for key, value in row.items()}
        if switches.since("1.8.0"):
            shown.pop("Running")
        if switches.since("2.36.0"):
            shown.update({"Disk": text.byte_count(found.disk_size()), "Size": text.byte_count(found.allocated_size())})
        console.document(text.table([shown]))


def run_fqn(parsed: parser.Parsed, _switches: settings.Settings, _fault: dict) -> None:
    """A tag's digest; local names and digests come back as they went in."""
    name = str(parsed.name)
    remote = names.parse(name)
    if remote is None or remote.is_digest:
        console.out(name if remote is None else str(remote))
        return
    digest = oci.digest_of(remote)
    if digest is None:
        raise RuntimeFailure(f"OCI storage error: {remote} is not a digest and doesn't point to a digest")
    console.out(str(remote.at(digest)))


def open_any(name: str) -> vmdir.VMDir:
    """A local VM or a cached image, whatever the name says; the error names an image in full (contract 13.11)."""
    remote = names.parse(name)
    if remote is None:
        return vmdir.open_local(name)
    found = oci.find(remote)
    if found is None:
        raise no_such_vm(str(remote))
    vmdir.check_complete(found)
    found.touch()
    return found
