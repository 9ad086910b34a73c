# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab by hand: `python3 -m tests.lab --help`."""
from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable

from . import Host, Lab, LabError, faults, packages, rootfs


def _say(line: str) -> None:
    print(line, flush=True)


def _up(lab: Lab, arguments: argparse.Namespace) -> int:
    hosts = lab.up_all(arguments.names, kind=arguments.kind, suite=arguments.suite, cloud_hypervisor=arguments.cloud_hypervisor,
                       small_disk=arguments.small_disk)
    _say(f"log in with `ssh -F {lab.ssh_config} {hosts[0].name}`; Ansible's inventory is {lab.inventory}")
    return 0


def _down(lab: Lab, arguments: argparse.Namespace) -> int:
    if arguments.all or not arguments.names:
        lab.down_all()
    else:
        lab.down(*arguments.names)
    return 0


def _status(lab: Lab, _arguments: argparse.Namespace) -> int:
    if not lab.hosts:
        _say("no host is up")
    for host in lab.hosts.values():
        _say(f"{host.name:<20} {host.kind:<9} {host.address:<14} {host.state()}")
    return 0


def _shell(lab: Lab, arguments: argparse.Namespace) -> int:
    return lab.host(arguments.name).shell(*arguments.command)


def _each(lab: Lab, arguments: argparse.Namespace) -> int:
    """freeze, thaw, cut, join and reboot are methods of the same name."""
    for name in arguments.names:
        host = lab.host(name)
        if arguments.what == "reboot":
            host.reboot(hard=arguments.hard)
        else:
            getattr(host, arguments.what)()
        _say(f"{name} is {host.state()}")
    return 0


def _slow(lab: Lab, arguments: argparse.Namespace) -> int:
    host = lab.host(arguments.name)
    if arguments.off:
        host.slow()
    else:
        host.slow(_number(arguments.delay, {"ms": 1, "s": 1000}), _number(arguments.loss, {"%": 1}),
                  _number(arguments.rate, {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9, "bit": 1}))
    _say(f"{host.name} is {host.state()}")
    return 0


def _number(text: str, units: dict[str, float]) -> float:
    match = re.fullmatch(r"([0-9.]+)([a-z%]*)", text)
    if not match or match[2] and match[2] not in units:
        raise LabError(f"{text!r} is not understood: a number and one of {', '.join(units)}")
    return float(match[1]) * (units[match[2]] if match[2] else 1)


def _full_disk(lab: Lab, arguments: argparse.Namespace) -> int:
    host: Host = lab.host(arguments.name)
    if arguments.off:
        faults.free_disk(host, arguments.path)
    else:
        faults.full_disk(host, arguments.path)
    _say(f"{host.name}: the small disk is {'free again' if arguments.off else 'full'}")
    return 0


def _push_images(_lab: Lab, _arguments: argparse.Namespace) -> int:
    from . import registry
    for reference in registry.push_images(_say):
        _say(f"pushed {reference}")
    return 0


def _install(_lab: Lab, _arguments: argparse.Namespace) -> int:
    done = packages.install()
    _say("installed " + " ".join(done) if done else "everything that the lab needs is installed")
    return 0


def _build(_lab: Lab, arguments: argparse.Namespace) -> int:
    for kind in arguments.kinds or ["linux", "mac"]:
        if kind not in rootfs.SUITES:
            raise LabError(f"{kind!r} is no kind of host: " + ", ".join(sorted(rootfs.SUITES)))
        _say(f"{kind}: {rootfs.ensure(kind, arguments.suite, _say)}")
    return 0


class _Commands:
    """The sub-commands of the parser."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._made = parser.add_subparsers(dest="what", required=True, metavar="COMMAND")

    def add(self, name: str, function: Callable[[Lab, argparse.Namespace], int], text: str,
            names: str | None = None) -> argparse.ArgumentParser:
        """One of them; names is "+" or "*" where it takes hosts, "1" where it takes just one."""
        sub = self._made.add_parser(name, help=text, description=text)
        sub.set_defaults(function=function)
        if names == "1":
            sub.add_argument("name", metavar="NAME")
        elif names:
            sub.add_argument("names", nargs=names, metavar="NAME")
        return sub


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description="Real Debian hosts in namespaces, reached by SSH, for tests and the demo.")
    commands = _Commands(parser)
    sub = commands.add("up", _up, "make and start hosts; mac* are Macs, registry is the registry, all others Linux", "+")
    sub.add_argument("--kind", choices=sorted(rootfs.SUITES), help="instead of what the name says")
    sub.add_argument("--suite", help="another Debian release for the host")
    sub.add_argument("--cloud-hypervisor", metavar="PATH", help="a real binary instead of the double")
    sub.add_argument("--small-disk", metavar="SIZE[:PATH]", help="a disk of its own of this size, such as 64M, at PATH")
    sub = commands.add("down", _down, "remove hosts without a trace; all of them when none is named", "*")
    sub.add_argument("--all", action="store_true")
    commands.add("status", _status, "list the hosts")
    commands.add("shell", _shell, "log in, or run one command", "1").add_argument("command", nargs=argparse.REMAINDER)
    commands.add("freeze", _each, "stop every process of a host", "+")
    commands.add("thaw", _each, "let it go on", "+")
    commands.add("cut", _each, "pull its network cable", "+")
    commands.add("join", _each, "put its network cable back", "+")
    commands.add("reboot", _each, "reboot it", "+").add_argument("--hard", action="store_true", help="press the reset button")
    _add_faults(commands)
    commands.add("push-images", _push_images, "load the guest images into the registry")
    commands.add("install", _install, "install the Debian packages that the lab needs on this machine")
    sub = commands.add("build", _build, "build the root filesystems that are not in the cache yet")
    sub.add_argument("kinds", nargs="*", metavar="KIND", help="linux, mac (default: both)")
    sub.add_argument("--suite")
    return parser


def _add_faults(commands: _Commands) -> None:
    sub = commands.add("slow", _slow, "make its cable bad, in each direction", "1")
    for option, text in (("--delay", "such as 100ms"), ("--loss", "such as 1%%"), ("--rate", "such as 10mbit")):
        sub.add_argument(option, default="0", help=text)
    sub.add_argument("--off", action="store_true", help="make it good again")
    sub = commands.add("full-disk", _full_disk, "fill the small disk of a host", "1")
    sub.add_argument("--path", help="where it is mounted")
    sub.add_argument("--off", action="store_true", help="make room again")


def main() -> int:
    """Exit code 1 and one message when something is wrong."""
    arguments = _parser().parse_args()
    if os.geteuid() != 0:
        print("lab: it makes namespaces and mounts: run it as root", file=sys.stderr)
        return 1
    try:
        return arguments.function(Lab(_say), arguments)
    except KeyboardInterrupt:
        print("lab: interrupted; `python3 -m tests.lab down --all` removes everything", file=sys.stderr)
        return 130
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
