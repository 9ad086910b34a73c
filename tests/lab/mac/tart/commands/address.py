# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ip: three ways to a guest's address (tart contract 6 and corrections in 13.7)."""
from __future__ import annotations

import os
import time

from .. import console, interrupt, parser, settings, vmdir
from ..errors import OtherError, RuntimeFailure, Trap

_FORMAT = "unexpected DHCPD leases file format"


def run_ip(parsed: parser.Parsed, switches: settings.Settings, fault: dict) -> None:
    """Once, then every second up to the limit; a miss costs a second at least."""
    found = vmdir.open_local(str(parsed.name))
    config = found.config()
    resolver = str(parsed.values.get("resolver", "dhcp"))
    if not switches.since("1.4.2") and not found.running():
        raise RuntimeFailure(f'VM "{found.name}" is not running', 2)
    end = time.monotonic() + int(str(parsed.wait))
    with interrupt.allowed():
        while True:
            address = None if fault.get("no_lease") else _resolve(resolver, found, config, switches)
            if address:
                console.out(address)
                return
            time.sleep(1)
            if time.monotonic() >= end:
                break
    hint = "" if found.running() else ", is your VM running?"
    if resolver == "agent":
        hint += " (also make sure that Guest agent for Tart is running inside of a VM)"
    elif resolver == "arp" and config["os"] == "linux":
        hint += " (not all Linux distributions are compatible with the ARP resolver)"
    raise RuntimeFailure("no IP address found" + hint)


def _resolve(resolver: str, found: vmdir.VMDir, config: dict, switches: settings.Settings) -> str | None:
    if resolver == "dhcp":
        return dhcp(config["macAddress"], switches)
    if resolver == "arp":
        return arp(config["macAddress"], switches)
    return _agent(found)


def anywhere(mac: str, switches: settings.Settings) -> str | None:
    """For the agent's stand-in: the guest knows its own address."""
    return dhcp(mac, switches) or _neighbour(mac, switches)


def _neighbour(mac: str, switches: settings.Settings) -> str | None:
    try:
        return arp(mac, switches)
    except (OtherError, Trap):
        return None


def _octets(text: str) -> tuple[int, ...]:
    """A byte that is none crashes the original."""
    parts = text.split(":")
    try:
        numbers = tuple(int(part, 16) for part in parts)
    except ValueError:
        raise Trap("Unexpectedly found nil while unwrapping an Optional value") from None
    if any(not 0 <= number <= 255 for number in numbers):
        raise Trap("Unexpectedly found nil while unwrapping an Optional value")
    return numbers


def dhcp(mac: str, switches: settings.Settings) -> str | None:
    """The lease of that address that ends last and has not ended."""
    try:
        with open(str(switches["leases"]), encoding="utf-8", errors="replace") as file:
            blocks = parse_leases(file.read())
    except FileNotFoundError:
        return None
    wanted, best, address = _octets(mac), -1, None
    for block in blocks:
        lease = _lease(block)
        if lease is None or lease[0] != wanted:
            continue
        if switches.since("2.4.0") and lease[1] < time.time():
            continue
        if lease[1] > best:
            best, address = lease[1], lease[2]
    return address


def _lease(block: dict[str, str]) -> tuple[tuple[int, ...], int, str] | None:
    """(octets, expiry, address); only a *number* other than 1 disqualifies the type."""
    if "hw_address" not in block or "ip_address" not in block:
        return None
    kind, _comma, text = block["hw_address"].partition(",")
    if kind.isdigit() and int(kind) != 1 or text.count(":") != 5:
        return None
    try:
        expiry = int(block.get("lease", "0x0"), 16)
    except ValueError:
        expiry = 0
    return _octets(text), expiry, block["ip_address"]


def parse_leases(text: str) -> list[dict[str, str]]:
    """Blocks of key=value between braces; line numbers do not count empty lines."""
    blocks: list[dict[str, str]] = []
    current: dict[str, str] | None = None
    for number, line in enumerate([line.strip() for line in text.splitlines() if line.strip()], 1):
        if line == "{":
            if current is not None:
                raise _unexpected("unexpected {", number)
            current = {}
        elif line == "}":
            if current is None:
                raise _unexpected("unexpected }", number)
            blocks.append(current)
            current = None
        else:
            key, equals, value = line.partition("=")
            if current is None or not equals or not value:
                raise _unexpected("key-value pair with only a key" if current is not None else "key-value pair outside of a block", number)
            current[key] = value
    if current is not None:
        raise OtherError('Truncated(name: "truncated DHCPD leases file")')
    return blocks


def _unexpected(message: str, line: int) -> OtherError:
    return OtherError(f'UnexpectedFormat(name: "{_FORMAT}", message: "{message}", line: {line})')


def arp(mac: str, switches: settings.Settings) -> str | None:
    """The first matching line of `arp -an`; lines before it have to make sense, lines after it need not."""
    import subprocess  # pylint: disable=import-outside-toplevel
    try:
        done = subprocess.run([str(switches["arp"]), "-an"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    except FileNotFoundError:
        raise OtherError(f"The file \u201c{os.path.basename(str(switches['arp']))}\u201d doesn\u2019t exist.") from None
    output = done.stdout.decode(errors="replace")
    if not output.strip():
        return None
    if done.returncode:
        raise OtherError(f"arp command failed: exit code {done.returncode}")
    wanted = _octets(mac)
    for line in output.splitlines():
        entry = _arp_entry(line)
        if entry and entry[1] != "(incomplete)" and _octets(entry[1]) == wanted:
            return entry[0]
    return None


def _arp_entry(line: str) -> tuple[str, str]:
    """... (IP) at MAC on INTERFACE ..."""
    before, at, after = line.partition(") at ")
    _start, parenthesis, address = before.rpartition("(")
    words = after.split()
    if not at or not parenthesis or len(words) < 3 or words[1] != "on":
        raise OtherError(f'arp command yielded invalid output: unparseable entry "{line}"')
    return address, words[0]


def _agent(found: vmdir.VMDir) -> str | None:
    """Trouble with the connection means "not yet"; an error that the agent reports ends the waiting."""
    answer = ask_agent(found, "address", 1.0)
    if answer is None:
        return None
    if "error" in answer:
        raise OtherError(f"unknown (2): {answer['error']}")
    return answer.get("address")


def ask_agent(found: vmdir.VMDir, question: str, patience: float) -> dict | None:
    """One question over control.sock, by its relative name: long paths do not fit."""
    import socket  # pylint: disable=import-outside-toplevel
    from .. import plainjson  # pylint: disable=import-outside-toplevel
    before = os.getcwd()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(patience)
        try:
            os.chdir(found.folder)
            client.connect("control.sock")
            client.sendall(plainjson.compact({"ask": question}).encode() + b"\n")
            answer = client.recv(65536)
        except OSError:
            return None
        finally:
            os.chdir(before)
    return plainjson.loads(answer.decode()) if answer else None
