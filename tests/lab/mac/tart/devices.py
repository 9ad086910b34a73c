# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `run` attaches: disks, shares, networks (tart contract 1.4 and 7)."""
from __future__ import annotations

import os

from . import files, home, names, parser, plainjson, settings, vmdir
from .errors import OtherError, RuntimeFailure, ValidationError

_SYNC = ("none", "fsync", "full")
_CACHING = ("automatic", "cached", "uncached")


class Plan:  # pylint: disable=too-few-public-methods
    """The devices of one run."""

    def __init__(self) -> None:
        self.disks: list[tuple[str, bool]] = []
        self.shares: list[tuple[str, str, bool]] = []
        self.bridges: list[str] = []
        self.bridged = False
        self.softnet: list[str] | None = None
        self.vnc = ""
        self.quiet = False
        self.serial = ""
        self.suspendable = False


def plan(parsed: parser.Parsed, found: vmdir.VMDir, config: dict, switches: settings.Settings, softnet: bool) -> Plan:
    """Check and resolve everything that needs no running machine."""
    values = parsed.values
    made = Plan()
    _check_host(config, values, switches)
    _root_options(str(values.get("root_disk_opts") or ""))
    made.disks = [(found.file("disk.img"), False)] + [_disk(text) for text in values.get("disk") or []]  # type: ignore[attr-defined]
    made.shares = _shares(list(values.get("dir") or []))  # type: ignore[call-overload]
    _network(made, values, config, switches, softnet)
    made.vnc = "guest" if values.get("vnc") else "host" if values.get("vnc_experimental") else ""
    made.quiet = bool(values.get("no_graphics"))
    made.serial = "new" if values.get("serial") else str(values.get("serial_path") or "")
    if made.serial not in ("", "new") and not os.path.exists(made.serial):
        raise RuntimeFailure("Failed to open PTY")
    made.suspendable = bool(values.get("suspendable")) or found.state() == "suspended"
    return made


def _check_host(config: dict, values: dict, switches: settings.Settings) -> None:
    if config["arch"] != ("arm64" if switches["arch"] == "arm64" else "amd64"):
        raise OtherError("UnsupportedArchitectureError()")
    if values.get("nested") and config["os"] == "darwin":
        raise RuntimeFailure("macOS virtual machines do not support nested virtualization")
    for key, limit, what in (("cpuCount", int(str(switches["cpus"])), "CPU count"),
                             ("memorySize", int(str(switches["memory_gb"])) * 2**30, "memory size")):
        if config[key] > limit:
            raise OtherError('Error Domain=VZErrorDomain Code=2 "Invalid virtual machine configuration. '
                             f'The {what} is above the maximum." UserInfo={{NSLocalizedFailure=Invalid virtual machine configuration.}}')


def _root_options(text: str) -> None:
    for word in filter(None, text.split(",")):
        if word != "ro":
            _check_option(word)


def _check_option(word: str) -> None:
    key, _equals, value = word.partition("=")
    if key == "sync" and value not in _SYNC:
        raise RuntimeFailure(f'unsupported disk image synchronization mode: "{value}"')
    if key == "caching" and value not in _CACHING:
        raise RuntimeFailure(f'unsupported disk image caching mode: "{value}"')


def _is_option(word: str) -> bool:
    return word == "ro" or word.startswith("sync=") or word.startswith("caching=")


def _disk(text: str) -> tuple[str, bool]:
    """Path (or URL) and whether it is read-only; only known words after the last colon are options."""
    path, colon, last = text.rpartition(":")
    words = last.split(",") if colon and any(_is_option(word) for word in last.split(",")) else []
    if not words:
        path = text
    for word in words:
        _check_option(word)
    if path.split(":")[0] in ("nbd", "nbds", "nbd+unix", "nbds+unix"):
        return path, "ro" in words
    path = os.path.expanduser(path)
    if not path.startswith(("/", ".")) and not os.path.exists(path) or names.parse(path):
        return _remote_disk(path), "ro" in words
    if not os.path.exists(path):
        if "ro" in words:
            name = os.path.basename(path)
            raise OtherError(f"The file \u201c{name}\u201d couldn\u2019t be opened because there is no such file.")
        raise OtherError(f'Failed("failed to lock file://{os.path.abspath(path)}: Bad file descriptor")')
    return os.path.abspath(path), "ro" in words


def _remote_disk(path: str) -> str:
    """A cached image's disk, copied to tmp/; like tart we do not protect the copy (contract 13.3)."""
    from .commands.show import open_any  # pylint: disable=import-outside-toplevel
    if names.parse(path) is None:
        raise OtherError(f'Failed("failed to lock file://{os.path.abspath(path)}: Bad file descriptor")')
    copy = home.path("tmp", "run-disk-" + home.unique())
    files.copy(open_any(path).file("disk.img"), copy)
    return copy


def _shares(texts: list[str]) -> list[tuple[str, str, bool]]:
    """(tag or tag/name, path, read-only) of each --dir."""
    parsed = [_share(text) for text in texts]
    found: dict[str, tuple[str, str, bool]] = {}
    for tag, name, path, read_only in parsed:
        same = [other for other in parsed if other[0] == tag]
        if len(same) > 1 and not all(other[1] for other in same):
            raise ValidationError("invalid --dir syntax: for multiple directory shares each one of them should be named")
        label = f"{tag}/{name}" if len(same) > 1 else tag
        found[label] = (label, path, read_only)
    return list(found.values())


def _share(text: str) -> tuple[str, str, str, bool]:
    """[name:]path[:options]."""
    parts = [part for part in text.split(":") if part]
    options: list[str] = []
    if parts and any(word == "ro" or word.startswith("tag=") for word in parts[-1].split(",")):
        options = parts.pop().split(",")
    name = ""
    if len(parts) > 1 and not text.startswith(("http:", "https:")):
        name = parts[0]
    path = os.path.expanduser(":".join(parts[1:] if name else parts))
    if not os.path.isdir(path) and not path.startswith(("http:", "https:")):
        raise OtherError('Error Domain=VZErrorDomain Code=2 "Invalid virtual machine configuration. The shared directory '
                         f"\u201c{path}\u201d does not exist.\" UserInfo={{NSLocalizedFailure=Invalid virtual machine configuration.}}")
    tags = [word[4:] for word in options if word.startswith("tag=")]
    return tags[-1] if tags else "com.apple.virtio-fs.automount", name, path, "ro" in options


def _network(made: Plan, values: dict, config: dict, switches: settings.Settings, softnet: bool) -> None:
    bridges = switches["bridges"]
    assert isinstance(bridges, dict)
    if values.get("net_bridged"):
        made.bridged = True
        made.bridges = [str(bridges.get(_interface(name, values["net_bridged"], switches), "")) for name in values["net_bridged"]]
    elif softnet or values.get("net_host"):
        made.bridges = [str(bridges["host" if values.get("net_host") else "shared"])]
        made.softnet = _softnet(values, config, switches)
    else:
        made.bridges = [str(bridges["shared"])]


def _interface(name: str, wanted: list[str], switches: settings.Settings) -> str:
    """By identifier or display name; the text shows Swift's arrays."""
    known = switches["interfaces"]
    assert isinstance(known, list)
    for identifier, title in known:
        if name in (identifier, title):
            return str(identifier)
    listed = ", ".join(_swift(f'{identifier} (or "{title}")') for identifier, title in known)
    asked = ", ".join(_swift(one) for one in wanted)
    raise ValidationError(f'no bridge interfaces matched "[{asked}]", available interfaces: [{listed}]')


def _swift(text: str) -> str:
    return plainjson.quote(text)


def _softnet(values: dict, config: dict, switches: settings.Settings) -> list[str]:
    """The command line of Softnet, which is only looked for in PATH."""
    control = values.get("net_softnet_control_fd")
    if control is not None and control <= 2:
        raise OtherError('InitializationFailed(why: "Softnet control file descriptor must be greater than 2")')
    program = None if switches["softnet"] == "missing" else _which("softnet")
    if program is None:
        raise OtherError('InitializationFailed(why: "softnet not found in PATH")')
    words = [program, "--vm-fd", "0", "--vm-mac-address", config["macAddress"]]
    if values.get("net_host"):
        words += ["--vm-net-type", "host"]
    for option in ("allow", "block", "expose"):
        if values.get("net_softnet_" + option) is not None:
            words += ["--" + option, values["net_softnet_" + option]]
    return words


def _which(program: str) -> str | None:
    for folder in os.environ.get("PATH", "").split(":"):
        place = os.path.join(folder, program)
        if folder and os.access(place, os.X_OK) and os.path.isfile(place):
            return place
    return None
