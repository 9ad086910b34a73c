# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: options, groups and usage errors (contract 1.1 and 1.4)."""
from __future__ import annotations

import sys

ONE, MANY, FLAG, MAYBE = "one", "many", "flag", "maybe"
SHAPE, MONITOR, LOGGING, PAYLOAD, NONE = "vm-config", "vmm-config", "logging", "vm-payload", ""
SECCOMP = ("true", "false", "log", "errno")

# name: (kind, group, default, since)
OPTIONS: dict = {
    "api-socket": (ONE, MONITOR, None, 0), "balloon": (ONE, SHAPE, None, 0), "cmdline": (ONE, SHAPE, None, 0),
    "console": (ONE, SHAPE, "tty", 0), "cpus": (ONE, SHAPE, "boot=1,max_phys_bits=46", 0),
    "debug-console": (ONE, SHAPE, "off,iobase=0xe9", 0), "device": (MANY, SHAPE, None, 0), "disk": (MANY, SHAPE, None, 0),
    "event-monitor": (ONE, MONITOR, None, 0), "firmware": (ONE, PAYLOAD, None, 0), "fs": (MANY, SHAPE, None, 0),
    "generic-vhost-user": (MANY, SHAPE, None, 52), "initramfs": (ONE, SHAPE, None, 0), "kernel": (ONE, PAYLOAD, None, 0),
    "landlock": (FLAG, SHAPE, None, 0), "landlock-rules": (MANY, SHAPE, None, 0), "log-file": (ONE, LOGGING, None, 0),
    "log-format": (ONE, LOGGING, "", 52), "memory": (ONE, SHAPE, "size=512M", 0), "memory-zone": (MANY, SHAPE, None, 0),
    "net": (MANY, SHAPE, None, 0), "no-shutdown": (FLAG, MONITOR, None, 52), "numa": (MANY, SHAPE, None, 0),
    "pci-segment": (MANY, SHAPE, None, 0), "platform": (ONE, SHAPE, None, 0), "pmem": (MANY, SHAPE, None, 0),
    "pvpanic": (FLAG, SHAPE, None, 0), "rate-limit-group": (MANY, SHAPE, None, 0), "restore": (ONE, MONITOR, None, 0),
    "rng": (ONE, SHAPE, "src=/dev/urandom", 0), "rtc": (MAYBE, SHAPE, None, 53), "seccomp": (ONE, NONE, "true", 0),
    "serial": (ONE, SHAPE, "null", 0), "tpm": (ONE, SHAPE, None, 0), "user-device": (MANY, SHAPE, None, 0),
    "v": (FLAG, LOGGING, None, 0), "vdpa": (MANY, SHAPE, None, 0), "version": (FLAG, NONE, None, 0),
    "vsock": (ONE, SHAPE, None, 0), "watchdog": (FLAG, SHAPE, None, 0),
}
SHORT = {"v": "v", "V": "version", "h": "help"}
PAYLOAD_USAGE = "<--firmware <firmware>|--kernel <kernel>>"


class UsageError(Exception):
    """Text for stderr; exit code 2."""


class Arguments:
    """The options that were given; `get` falls back to the default."""

    def __init__(self) -> None:
        self.given: dict = {}
        self.verbosity = 0

    def get(self, name: str):
        """The value, the list of values, or the default of an option."""
        return self.given.get(name, OPTIONS[name][2])

    def has(self, name: str) -> bool:
        """Whether the option was on the command line."""
        return name in self.given


def _error(text: str, usage: str = "[OPTIONS]") -> UsageError:
    middle = f"Usage: cloud-hypervisor {usage}\n\n" if usage else ""
    return UsageError(f"error: {text}\n\n{middle}For more information, try '--help'.\n")


def _show(name: str) -> str:
    kind = OPTIONS[name][0]
    if kind == FLAG:
        return f"--{name}"
    return f"--{name} [<{name}>]" if kind == MAYBE else f"--{name} <{name}>" + ("..." if kind == MANY else "")


def _unexpected(token: str) -> UsageError:
    return _error(f"unexpected argument '{token}' found")


class Parser:
    """Reads the arguments of one release's command line."""

    def __init__(self, major: int) -> None:
        self.major = major
        self.found = Arguments()

    def parse(self, argv: list[str]) -> Arguments:
        """Return the arguments or raise UsageError."""
        rest = list(argv)
        while rest:
            token = rest.pop(0)
            if token.startswith("--") and len(token) > 2:
                self._long(token, rest)
            elif token.startswith("-") and len(token) > 1 and token != "--":
                self._short(token)
            else:
                raise _unexpected(token)
        self._check_groups()
        return self.found

    def _short(self, token: str) -> None:
        for letter in token[1:]:
            name = SHORT.get(letter)
            if name is None:
                raise _unexpected(f"-{letter}")
            if name == "v":
                self.found.verbosity += 1
            self.found.given[name] = True

    def _long(self, token: str, rest: list[str]) -> None:
        name, equals, value = token[2:].partition("=")
        if name == "help":
            self.found.given["help"] = True
            return
        if name not in OPTIONS or name == "v" or OPTIONS[name][3] > self.major:
            raise _unexpected(f"--{name}")
        kind = OPTIONS[name][0]
        if kind == FLAG:
            if equals:
                text = f"unexpected value '{value}' for '--{name}' found; no more were expected"
                raise _error(text, f"--{name}")
            self._store(name, True)
            return
        values = [value] if equals else self._take(rest, kind)
        if not values and kind != MAYBE:
            raise _error(f"a value is required for '{_show(name)}' but none was supplied", "")
        self._store(name, values if kind == MANY else (values or [""])[0])

    @staticmethod
    def _take(rest: list[str], kind: str) -> list[str]:
        values: list[str] = []
        while rest and (not rest[0].startswith("-") or rest[0] == "-"):
            values.append(rest.pop(0))
            if kind != MANY:
                break
        return values

    def _store(self, name: str, value) -> None:
        if name in self.found.given:
            if OPTIONS[name][0] == MANY and self.major >= 52:
                self.found.given[name] += value
                return
            raise _error(f"the argument '{_show(name)}' cannot be used multiple times")
        if name == "seccomp":
            allowed = SECCOMP if self.major >= 53 else SECCOMP[:3]
            if value not in allowed:
                text = f"invalid value '{value}' for '--seccomp <seccomp>'\n  [possible values: {', '.join(allowed)}]"
                raise _error(text, "")
        self.found.given[name] = value

    def _check_groups(self) -> None:
        given = self.found.given
        if "help" in given or any(OPTIONS[name][1] == PAYLOAD for name in given):
            return
        if any(OPTIONS[name][1] == SHAPE for name in given):
            usage = " ".join(_show(name) for name in given if name not in ("v", "version"))
            text = f"the following required arguments were not provided:\n  {PAYLOAD_USAGE}"
            raise _error(text, f"{usage} {PAYLOAD_USAGE}")


def help_text(major: int) -> str:
    """The list of options, headed by what this program is."""
    lines = [
        "Launch a cloud-hypervisor VMM.", "",
        "This is a simulator of the lab (tests/lab/cloud_hypervisor): QEMU runs the guest, in software.", "",
        "Usage: cloud-hypervisor [OPTIONS]", "", "Options:",
    ]
    for name, (_kind, _group, default, since) in OPTIONS.items():
        if since <= major and name not in ("v", "version"):
            lines.append(f"      {_show(name)}" + (f" [default: {default}]" if default else ""))
    return "\n".join(lines + ["  -v...", "  -V, --version", "  -h, --help"]) + "\n"


def parse(argv: list[str], major: int) -> Arguments:
    """Parse, or print the usage error or the help and exit as the real program does."""
    if not argv:
        sys.stderr.write(help_text(major))
        sys.exit(2)
    try:
        found = Parser(major).parse(argv)
    except UsageError as error:
        sys.stderr.write(str(error))
        sys.exit(2)
    if found.has("help"):
        sys.stdout.write(help_text(major))
        sys.exit(0)
    return found
