# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command and option of tart with the version that brought or removed it.

Source: tart contract sections 1 and 9.3; the abstracts are ours but for the two that the contract quotes.
An entry is (kind, names, value name, type, since, removed, hidden, default, abstract); kind is "argument", "option" or "flag".
"""
from __future__ import annotations

Version = tuple
NEWEST = (9999, 0, 0)
MAIN = (2, 36, 0)


def _v(text: str) -> Version:
    return MAIN if text == "main" else tuple(int(part) for part in text.split("."))


def _argument(name: str, abstract: str, since: str = "0.1.0", kind: str = "string", default: object = None) -> tuple:
    return ("argument", ("<" + name + ">",), name, kind, _v(since), NEWEST, False, default, abstract)


def _option(name: str, kind: str, since: str, default: object, abstract: str, value: str = "", **more: object) -> tuple:
    names = ("--" + name,) + tuple(more.get("short", ()))
    removed = _v(str(more["removed"])) if "removed" in more else NEWEST
    return ("option", names, value or name, kind, _v(since), removed, bool(more.get("hidden")), default, abstract)


def _flag(name: str, since: str, abstract: str, **more: object) -> tuple:
    names = (name if name.startswith("-") else "--" + name,) + tuple(more.get("short", ()))
    removed = _v(str(more["removed"])) if "removed" in more else NEWEST
    return ("flag", names, "", "bool", _v(since), removed, bool(more.get("hidden")), more.get("default", False), abstract)


_FORMAT = "enum:text,json"
_LOCAL = "VM name"
_LAYERS = "how many layers to transfer at once"
_PLAIN = "talk to the registry over plain HTTP"

# name -> (since, hidden, abstract, entries in the order of the usage line)
_TABLE = {
    "create": ("0.1.0", False, "Create a VM", lambda: [
        _argument("name", _LOCAL),
        _option("from-ipsw", "string", "0.1.0", None, "restore image of a macOS guest: a path, a URL or \"latest\"", "path"),
        _flag("linux", "0.22.0", "create a Linux VM"),
        _option("disk-size", "uint16", "0.1.0", 50, "Disk size in GB"),
        _option("disk-format", "enum-nocase:raw,asif", "2.28.0", "raw", "Disk image format")]),
    "clone": ("0.1.0", False, "Clone a VM", lambda: [
        _argument("source-name", "source VM name"),
        _argument("new-name", "new VM name"),
        _flag("insecure", "0.20.0", _PLAIN),
        _option("concurrency", "uint", "2.0.0", 4, _LAYERS),
        _flag("deduplicate", "2.19.0", "share blocks with images that are there already", hidden=True),
        _flag("stacked", "main", "put a writable layer on top of a remote image"),
        _option("prune-limit", "uint", "2.28.5", 100, "GB that may be freed automatically", "n")]),
    "run": ("0.1.0", False, "Run a VM", lambda: [
        _argument("name", _LOCAL),
        _flag("no-graphics", "0.1.0", "no window"),
        _flag("graphics", "0.29.0", "a window even with VNC", hidden=True),
        _flag("serial", "1.1.0", "open a serial console on a new PTY"),
        _option("serial-path", "string", "1.1.0", None, "serial console on this PTY"),
        _flag("no-audio", "2.6.0", "no audio device"),
        _flag("no-clipboard", "2.10.0", "no clipboard sharing"),
        _flag("recovery", "0.5.0", "boot into recovery"),
        _flag("vnc", "0.6.0", "use screen sharing of the guest"),
        _flag("with-softnet", "0.10.0", "use Softnet", hidden=True, removed="0.37.1"),
        _flag("vnc-experimental", "0.15.0", "use the VNC server of the framework"),
        _option("disk", "strings", "0.16.0", [], "an additional disk", "path[:options]"),
        _option("rosetta", "string", "0.35.0", None, "share Rosetta with this tag", "tag"),
        _option("dir", "strings", "0.24.0", [], "share a directory", "[name:]path[:options]"),
        _flag("nested", "2.20.0", "nested virtualization"),
        _option("net-bridged", "strings", "0.28.0", [], "bridged networking", "interface name"),
        _flag("net-softnet", "0.31.0", "networking by Softnet"),
        _option("net-softnet-allow", "string", "2.7.1", None, "networks that the guest may reach", "comma-separated CIDRs"),
        _option("net-softnet-block", "string", "2.30.0", None, "networks that the guest may not reach", "comma-separated CIDRs"),
        _option("net-softnet-expose", "string", "2.23.0", None, "ports to forward", "comma-separated port specifications"),
        _option("net-softnet-control-fd", "int32", "2.34.0", None, "descriptor of Softnet's control socket", "fd"),
        _flag("net-host", "2.7.0", "host-only networking"),
        _option("root-disk-opts", "string", "2.16.0", "", "options of the root disk", "options"),
        _flag("suspendable", "1.8.0", "only devices that allow suspending"),
        _flag("capture-system-keys", "2.3.0", "send system keys to the guest"),
        _flag("no-trackpad", "2.25.0", "no trackpad"),
        _flag("no-pointer", "2.29.0", "no pointer device"),
        _flag("no-keyboard", "2.29.0", "no keyboard"),
        _option("provisioning-opts", "string", "2.33.0", None, "first boot of a macOS guest", "key=value,...")]),
    "set": ("0.1.0", False, "Change a VM's configuration", lambda: [
        _argument("name", _LOCAL),
        _option("cpu", "uint16", "0.1.0", None, "Number of VM CPUs"),
        _option("memory", "uint64", "0.1.0", None, "VM memory in MB"),
        _option("display", "display", "0.1.0", None, "VM display, such as 1200x800"),
        _flag("display-refit", "2.21.0", "let the display follow the window", default=None),
        _flag("no-display-refit", "2.21.0", "let the display follow the window", default=None),
        _flag("random-mac", "2.10.0", "a new MAC address"),
        _flag("random-serial", "2.10.0", "a new serial number (macOS)"),
        _option("disk", "string", "2.13.0", None, "replace the disk by a copy of this file", "path"),
        _option("disk-size", "uint16", "0.1.0", None, "grow the disk to this size in GB")]),
    "get": ("0.34.0", False, "Show a VM's configuration", lambda: [
        _argument("name", _LOCAL),
        _flag("cpu", "0.36.0", "only CPUs", removed="0.37.0"),
        _flag("memory", "0.36.0", "only memory", removed="0.37.0"),
        _flag("disk-size", "0.36.0", "only the disk's size", removed="0.37.0"),
        _flag("display", "0.36.0", "only the display", removed="0.37.0"),
        _option("format", _FORMAT, "0.37.0", "text", "Output format: text or json")]),
    "list": ("0.1.0", False, "List VMs", lambda: [
        _option("source", "string", "0.36.0", None, "only local or only oci"),
        _option("format", _FORMAT, "0.37.0", "text", "Output format: text or json"),
        _flag("quiet", "0.33.0", "only names", short=("-q",))]),
    "login": ("0.2.0", False, "Log in to a registry", lambda: [
        _argument("host", "host of the registry"),
        _option("username", "string", "0.12.0", None, "user name"),
        _flag("password-stdin", "0.12.0", "read the password from stdin"),
        _flag("insecure", "0.19.0", _PLAIN),
        _flag("no-validate", "1.10.0", "do not try the credentials")]),
    "logout": ("1.10.0", False, "Log out of a registry", lambda: [
        _argument("host", "host of the registry")]),
    "ip": ("0.1.0", False, "Show a VM's IP address", lambda: [
        _argument("name", _LOCAL),
        _option("wait", "uint16", "0.2.0", 0, "seconds to wait for an address"),
        _option("resolver", "enum:dhcp,arp,agent", "1.1.0", "dhcp", "how to find the address")]),
    "exec": ("2.27.0", False, "Execute a command in a running VM", lambda: [
        _flag("-i", "2.27.0", "pass stdin on"),
        _flag("-t", "2.27.0", "allocate a terminal"),
        _argument("name", _LOCAL),
        _argument("command", "command to execute", kind="passthrough")]),
    "pull": ("0.2.0", False, "Pull a VM from a registry", lambda: [
        _argument("remote-name", "remote VM name"),
        _flag("insecure", "0.20.0", _PLAIN),
        _option("concurrency", "uint", "2.0.0", 4, _LAYERS),
        _flag("deduplicate", "2.19.0", "share blocks with images that are there already", hidden=True)]),
    "push": ("0.2.0", False, "Push a VM to a registry", lambda: [
        _argument("local-name", "local or remote VM name"),
        _argument("remote-names", "remote VM names", kind="strings"),
        _flag("insecure", "0.19.0", _PLAIN),
        _option("concurrency", "uint", "2.15.0", 4, _LAYERS),
        _option("chunk-size", "int", "0.18.0", 0, "size of a chunk in MB, 0 for none"),
        _option("disk-format", "string", "2.0.0", "v2", "format of the layers", hidden=True, removed="2.32.0"),
        _option("label", "strings", "2.25.0", [], "label for the image: key=value"),
        _flag("populate-cache", "0.7.0", "keep the image in the cache as well")]),
    "import": ("0.37.0", False, "Import a VM from a file", lambda: [
        _argument("path", "path of the file"),
        _argument("name", "name of the new VM")]),
    "export": ("0.37.0", False, "Export a VM to a file", lambda: [
        _argument("name", _LOCAL),
        _argument("path", "path of the file", kind="optional")]),
    "prune": ("0.20.0", False, "Prune caches or VMs", lambda: [
        _option("entries", "string", "1.9.2", "caches", "what to prune: caches or vms"),
        _option("older-than", "uint", "0.20.0", None, "not accessed for n days", "n"),
        _option("cache-budget", "uint", "0.20.0", None, "old name of the budget", "n", hidden=True),
        _option("space-budget", "uint", "1.9.2", None, "GB to keep", "n"),
        _flag("gc", "0.21.0", "collect garbage", hidden=True)]),
    "rename": ("0.28.0", False, "Rename a local VM", lambda: [
        _argument("name", _LOCAL),
        _argument("new-name", "new VM name")]),
    "stop": ("0.34.0", False, "Stop a VM", lambda: [
        _argument("name", _LOCAL),
        _option("timeout", "uint64", "0.34.0", 30, "seconds before the VM is killed", short=("-t",))]),
    "delete": ("0.1.0", False, "Delete a VM", lambda: [
        _argument("name", _LOCAL, kind="strings")]),
    "fqn": ("2.6.0", True, "Show the full name of a VM", lambda: [
        _argument("name", _LOCAL)]),
    "suspend": ("1.8.0", False, "Suspend a VM", lambda: [
        _argument("name", _LOCAL)]),
}


class Entry:  # pylint: disable=too-few-public-methods
    """One argument, option or flag."""

    __slots__ = ("kind", "names", "value", "type", "since", "removed", "hidden", "default", "abstract", "key")

    def __init__(self, row: tuple) -> None:
        (self.kind, self.names, self.value, self.type, self.since, self.removed, self.hidden, self.default, self.abstract) = row
        self.key = self.names[0].strip("-<>").replace("-", "_")

    @property
    def repeats(self) -> bool:
        """Takes several values."""
        return self.type in ("strings", "passthrough")

    @property
    def required(self) -> bool:
        """Only arguments are ever required."""
        return self.kind == "argument" and self.type != "optional"

    def synopsis(self) -> str:
        """As it stands in a usage line."""
        text = self.names[0] + (f" <{self.value}>" if self.kind == "option" else "") + (" ..." if self.repeats else "")
        return text if self.required else f"[{text}]"


def commands(version: Version, macos: int) -> list[str]:
    """The subcommands of this version on this macOS, in the order of the help."""
    return [name for name, row in _TABLE.items()
            if _v(row[0]) <= version and not (name == "suspend" and macos < 14)]


def is_hidden(command: str) -> bool:
    """Registered, but not shown in the help."""
    return _TABLE[command][1]


def abstract(command: str) -> str:
    """One line about the command."""
    return _TABLE[command][2]


def entries(command: str | None, version: Version) -> list[Entry]:
    """What this version of the command accepts."""
    if command is None:
        return []
    found = [Entry(row) for row in _TABLE[command][3]() if row[4] <= version < row[5]]
    for entry in found:
        if entry.key == "resolver" and version < (2, 28, 0):
            entry.type = "enum:dhcp,arp"
    return found


def usage(command: str | None, version: Version) -> str:
    """What follows "Usage: " (contract 1.1): more than twelve visible entries shrink to the required ones."""
    if command is None:
        return "tart <subcommand>"
    shown = [entry for entry in entries(command, version) if not entry.hidden]
    if len(shown) > 12:
        return " ".join(["tart", command, "[<options>]"] + [entry.synopsis() for entry in shown if entry.kind == "argument"])
    return " ".join(["tart", command] + [entry.synopsis() for entry in shown])
