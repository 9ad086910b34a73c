# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated tart's command line, files and outputs (tart contract 12.2): no guests, no lab."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import pwd
import re
import resource
import subprocess
import sys
import time

import pytest

from tests.integration import tart_options
from tests.integration.tart_simulator import DARWIN, Simulator, usage
from tests.lab import paths
from tests.lab.mac import vmnet
from tests.lab.mac.tart import matrix, parser
from tests.lab.mac.tart.errors import ParseError

ROOT_USAGE = ["Usage: tart <subcommand>", usage("")]


@pytest.fixture
def tart(tmp_path: pathlib.Path) -> Simulator:
    """A tart with an empty home."""
    return Simulator(tmp_path)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _before(text: str) -> tuple[int, ...]:
    """Just older than that."""
    major, minor, patch = _version(text)
    return (major, minor, patch - 1) if patch else (major, minor - 1, 999) if minor else (major - 1, 999, 999)


def _accepts(command: str, version: tuple[int, ...], words: list[str]) -> bool:
    """Does the parser know the option? Missing arguments do not matter."""
    reader = parser.Parser(command, version)
    tokens = parser.split(words)
    try:
        reader.parse(tokens)
    except ParseError as error:
        assert "Missing expected argument" in str(error), error
    return all(token.used for token in tokens)


# The matrix


@pytest.mark.parametrize("command,option,kind,since,removed", tart_options.OPTIONS)
def test_every_option_comes_and_goes_with_its_versions(command: str, option: str, kind: str, since: str, removed: str) -> None:
    """Accepted from one version on, unknown before it and after its removal."""
    words = tart_options.words(option, kind)
    assert _accepts(command, _version(since), words)
    assert not _accepts(command, _before(since), words)
    assert _accepts(command, (9998, 0, 0), words) is (removed == "-")
    if removed != "-":
        assert _accepts(command, _before(removed), words)
        assert not _accepts(command, _version(removed), words)


def test_there_are_no_other_options() -> None:
    """The simulator's table holds nothing that the list does not."""
    listed = {row[:2] for row in tart_options.OPTIONS}
    for command in tart_options.COMMANDS:
        for version in ((0, 36, 0), (2, 32, 1), (9998, 0, 0)):
            for entry in matrix.entries(command, version):
                if entry.kind != "argument":
                    assert (command, entry.names[0].replace("--no-display", "--display")) in listed


@pytest.mark.parametrize("command,since", tart_options.COMMANDS.items())
def test_every_command_comes_with_its_version(command: str, since: str) -> None:
    """Before it, the word is not known."""
    assert command in matrix.commands(_version(since), 26)
    assert command not in matrix.commands(_before(since), 26)


def test_suspend_needs_macos_14(tart: Simulator) -> None:
    """On 13 it is not even registered."""
    tart.configure(macos=13)
    done = tart("suspend", "x")
    assert (done.returncode, done.stderr.splitlines()) == (64, ["Error: 2 unexpected arguments: 'suspend', 'x'", *ROOT_USAGE])


def test_the_dump_tells_what_this_version_takes(tart: Simulator) -> None:
    """Sorted JSON with hidden options; it makes no files."""
    tart.configure(version="2.28.4")
    text = tart.ok("--experimental-dump-help")
    tree = json.loads(text)["command"]["subcommands"]
    options = {command["commandName"]: {name["name"] for one in command["arguments"] for name in one.get("names", [])} for command in tree}
    assert {"deduplicate", "insecure", "concurrency"} <= options["clone"]
    assert "prune-limit" not in options["clone"]
    assert "fqn" in options and not tart.home.exists()


# Shapes of errors


USAGES = {
    "create": "tart create <name> [--from-ipsw <path>] [--linux] [--disk-size <disk-size>] [--disk-format <disk-format>]",
    "clone": "tart clone <source-name> <new-name> [--insecure] [--concurrency <concurrency>] [--prune-limit <n>]",
    "run": "tart run [<options>] <name>",
    "set": "tart set <name> [--cpu <cpu>] [--memory <memory>] [--display <display>] [--display-refit] [--no-display-refit] [--random-mac] "
           "[--random-serial] [--disk <path>] [--disk-size <disk-size>]",
    "get": "tart get <name> [--format <format>]",
    "list": "tart list [--source <source>] [--format <format>] [--quiet]",
    "login": "tart login <host> [--username <username>] [--password-stdin] [--insecure] [--no-validate]",
    "logout": "tart logout <host>",
    "ip": "tart ip <name> [--wait <wait>] [--resolver <resolver>]",
    "exec": "tart exec [-i] [-t] <name> <command> ...",
    "pull": "tart pull <remote-name> [--insecure] [--concurrency <concurrency>]",
    "push": "tart push <local-name> <remote-names> ... [--insecure] [--concurrency <concurrency>] [--chunk-size <chunk-size>] "
            "[--label <label> ...] [--populate-cache]",
    "import": "tart import <path> <name>",
    "export": "tart export <name> [<path>]",
    "prune": "tart prune [--entries <entries>] [--older-than <n>] [--space-budget <n>]",
    "rename": "tart rename <name> <new-name>",
    "stop": "tart stop <name> [--timeout <timeout>]",
    "delete": "tart delete <name> ...",
    "fqn": "tart fqn <name>",
    "suspend": "tart suspend <name>",
}


@pytest.mark.parametrize("command,expected", USAGES.items())
def test_usage_lines(command: str, expected: str) -> None:
    """Verbatim, for 2.32.1."""
    assert matrix.usage(command, (2, 32, 1)) == expected


def test_usage_of_clone_in_the_newest() -> None:
    """One more option before the prune limit."""
    assert "[--stacked] [--prune-limit <n>]" in matrix.usage("clone", (2, 36, 0))


@pytest.mark.parametrize("words,message,help_line,command", [
    (["clone"], "Missing expected argument '<source-name>'", "<source-name>  source VM name", "clone"),
    (["delete"], "Missing expected argument '<name> ...'", "<name>  VM name", "delete"),
    (["exec", "x"], "Missing expected argument '<command> ...'", "<command>  command to execute", "exec"),
    (["set", "x", "--cpu"], "Missing value for '--cpu <cpu>'", "--cpu <cpu>  Number of VM CPUs", "set"),
    (["set", "x", "--cpu", "-3"], "Missing value for '--cpu <cpu>'", "--cpu <cpu>  Number of VM CPUs", "set"),
    (["set", "x", "--cpu", "abc"], "The value 'abc' is invalid for '--cpu <cpu>'", "--cpu <cpu>  Number of VM CPUs", "set"),
    (["set", "x", "--cpu=-3"], "The value '-3' is invalid for '--cpu <cpu>'", "--cpu <cpu>  Number of VM CPUs", "set"),
    (["set", "x", "--cpu", "65536"], "The value '65536' is invalid for '--cpu <cpu>'", "--cpu <cpu>  Number of VM CPUs", "set"),
    (["list", "--format", "xml"], "The value 'xml' is invalid for '--format <format>'. Please provide one of 'text' and 'json'.",
     "--format <format>  Output format: text or json", "list"),
    (["ip", "x", "--resolver", "dns"],
     "The value 'dns' is invalid for '--resolver <resolver>'. Please provide one of 'dhcp', 'arp' or 'agent'.",
     "--resolver <resolver>  how to find the address", "ip"),
    (["create", "x", "--linux=1"], "The option '--linux' does not take any value, but '1' was specified.", "", "create"),
    (["list", "--fromat", "json"], "Unknown option '--fromat'. Did you mean '--format'?", "", "list"),
    (["list", "--utterly-unknown"], "Unknown option '--utterly-unknown'", "", "list"),
    (["list", "-x"], "Unknown option '-x'", "", "list"),
    (["list", "more"], "Unexpected argument 'more'", "", "list"),
    (["list", "a", "b"], "2 unexpected arguments: 'a', 'b'", "", "list"),
    (["exec", "--interactive", "x", "ls"], "Unknown option '--interactive'", "", "exec"),
    (["bogus"], "Unexpected argument 'bogus'", "", ""),
    (["--quiet", "list"], "Unknown option '--quiet'", "", ""),
    (["exec", "x", "ls", "---all"], "Invalid option: ---all", "", ""),
    (["list", "-=x"], "Invalid option: -=x", "", ""),
    (["create", "x"], "Please specify either a --from-ipsw or --linux option!", "", "create"),
    (["create", "x", "--bogus"], "Please specify either a --from-ipsw or --linux option!", "", "create"),
    (["clone", "a", "b/c"], "<new-name> should be a local name", "", "clone"),
    (["rename", "a", "b/c"], "<new-name> should be a local name", "", "rename"),
    (["import", "a", "b/c"], "<name> should be a local name", "", "import"),
    (["clone", "a", "b", "--concurrency", "0"], "network concurrency cannot be less than 1", "", "clone"),
    (["list", "--source", "OCI"], "'OCI' is not a valid <source>", "", "list"),
    (["prune"], "at least one pruning criteria must be specified", "", "prune"),
    (["login", "h", "--username", "u"], "both --username and --password-stdin are required", "", "login"),
    (["run", "x", "--vnc", "--vnc-experimental"], "--vnc and --vnc-experimental are mutually exclusive", "", "run"),
    (["run", "x", "--net-host", "--net-softnet-allow=0.0.0.0/0"],
     "--net-bridged, --net-softnet and --net-host are mutually exclusive", "", "run"),
    (["run", "x", "--graphics", "--no-graphics"], "--graphics and --no-graphics are mutually exclusive", "", "run"),
    (["run", "x", "--no-graphics", "--capture-system-keys"],
     "--captures-system-keys can only be used with the default VM view", "", "run"),
])
def test_wrong_arguments(tart: Simulator, words: list[str], message: str, help_line: str, command: str) -> None:
    """64, the message, help where a value is at fault, the usage of the subcommand, and where to read on."""
    done = tart(*words)
    expected = [f"Error: {message}"] + ([f"Help:  {help_line}"] if help_line else [])
    expected += [f"Usage: {USAGES.get(command, 'tart <subcommand>')}", usage(command)]
    assert (done.returncode, done.stdout, done.stderr.splitlines()) == (64, "", expected)


@pytest.mark.parametrize("words,code,lines", [
    (["rename", "none", "x"], 64, ["Error: failed to rename a non-existent local VM: none", *ROOT_USAGE]),
    (["rename", "a", "b"], 64, ["Error: failed to rename VM a, target VM b already exists, delete it first!", *ROOT_USAGE]),
    (["prune", "--entries", "x", "--older-than", "1"], 64,
     ['Error: unsupported --entries value, please specify either "caches" or "vms"', *ROOT_USAGE]),
    (["run", "a", "--net-bridged=list"], 64,
     ['Error: no bridge interfaces matched "["list"]", available interfaces: ["en0 (or \\"Ethernet\\")", "en1 (or \\"Wi-Fi\\")"]',
      *ROOT_USAGE]),
    (["run", "a", "--dir", "/tmp", "--dir", "/usr"], 64,
     ["Error: invalid --dir syntax: for multiple directory shares each one of them should be named", *ROOT_USAGE]),
    (["get", "none"], 2, ['the specified VM "none" does not exist']),
    (["delete", "none"], 2, ['the specified VM "none" does not exist']),
    (["ip", "none"], 2, ['the specified VM "none" does not exist']),
    (["set", "none"], 2, ['the specified VM "none" does not exist']),
    (["export", "none", "f.tvm"], 2, ['the specified VM "none" does not exist']),
    (["clone", "none", "x"], 2, ['the specified VM "none" does not exist']),
    (["delete", "h.io/n"], 2, ['the specified VM "h.io/n" does not exist']),
    (["export", "h.io/n", "f.tvm"], 2, ['the specified VM "h.io/n:latest" does not exist']),
    (["run", "a", "--disk", "dir/file.img"], 2, ['the specified VM "dir/file.img:latest" does not exist']),
    (["stop", "a"], 2, ['VM "a" is not running']),
    (["exec", "a", "ls"], 2, ['VM "a" is not running']),
    (["suspend", "a"], 2, ['VM "VM "a" is not running" is not running']),
    (["run", "none"], 1, ['Error: the specified VM "none" does not exist']),
    (["get", "broken"], 1, ["VM is missing some of its files (config.json, disk.img or nvram.bin)"]),
    (["run", "broken"], 1, ["Error: VM is missing some of its files (config.json, disk.img or nvram.bin)"]),
    (["run", "a", "--disk", "/none.img"], 1, ['Error: Failed("failed to lock file:///none.img: Bad file descriptor")']),
    (["run", "a", "--root-disk-opts", "sync=x"], 1, ['unsupported disk image synchronization mode: "x"']),
    (["run", "a", "--root-disk-opts", "caching=x"], 1, ['unsupported disk image caching mode: "x"']),
    (["run", "a", "--serial-path", "/none"], 1, ["Failed to open PTY"]),
    (["run", "a", "--net-softnet"], 1, ['Error: InitializationFailed(why: "softnet not found in PATH")']),
    (["run", "a", "--suspendable"], 64, ["Error: You can only suspend macOS VMs", f"Usage: {USAGES['run']}", usage("run")]),
    (["run", "a", "--no-trackpad"], 64,
     ["Error: --no-trackpad can only be used with macOS VMs", f"Usage: {USAGES['run']}", usage("run")]),
    (["fqn", "h.io/n"], 1, ["OCI storage error: h.io/n:latest is not a digest and doesn't point to a digest"]),
    (["set", "a", "--cpu", "0"], 1, ["Error: LessThanMinimalResourcesError: VM should have 1 CPU cores at minimum (requested 0)"]),
    (["set", "a", "--memory", "1"], 1,
     ["Error: LessThanMinimalResourcesError: VM should have 134217728 bytes of memory at minimum (requested 1048576)"]),
    (["set", "b", "--disk-size", "1"], 1,
     ["new disk size of 1 GB should be larger than the current disk size of 2 GB"]),
    (["login", "http://h.io", "--username", "u", "--password-stdin"], 1,
     ['improperly formatted host "http://h.io" was provided, make sure that it doesn\'t start with http:// or https://']),
    (["import", "/none.tvm", "x"], 1, None),
])
def test_failures_while_running(tart: Simulator, words: list[str], code: int, lines: list[str] | None) -> None:
    """Usage of the root, bare text or a prefix: each where the contract has it."""
    tart.create("a", "b")
    tart.ok("set", "b", "--disk-size", "2")
    (tart.vm("broken")).mkdir()
    done = tart(*words)
    assert done.returncode == code
    if lines is None:
        assert done.stderr.startswith("VM import failed: ")
    else:
        assert done.stderr.splitlines() == lines


def test_pull_and_push_say_where_a_name_is_wrong(tart: Simulator) -> None:
    """With the place of the character."""
    tart.create("a")
    for words in (["pull", "a b"], ["pull", "h.io/n@md5:1"], ["push", "a", "noslash"]):
        done = tart(*words)
        assert done.returncode == 1
        assert re.fullmatch(r"failed to parse remote name: .* \(character \d+\)\n", done.stderr)
    done = tart("pull", "a")
    assert (done.returncode, done.stdout) == (0, '"a" is a local image, nothing to pull here!\n')


@pytest.mark.parametrize("words,cpus", [
    (["--cpu", "3"], 3), (["--cpu=3"], 3), (["--cpu", "+3"], 3), (["--cpu", "2", "--cpu", "3"], 3), (["--cpu=", "3"], 3),
])
def test_ways_to_give_a_value(tart: Simulator, words: list[str], cpus: int) -> None:
    """Also the empty one, that swallows the next word."""
    tart.create("a")
    tart.ok("set", *words, "a")
    assert tart.config("a")["cpuCount"] == cpus


def test_an_empty_short_value_is_empty(tart: Simulator) -> None:
    """Only long options swallow the next word."""
    done = tart("stop", "-t=", "5")
    assert done.stderr.startswith("Error: The value '' is invalid for '-t <timeout>'\nHelp:  -t <timeout>  ")


def test_two_dashes_end_the_options(tart: Simulator) -> None:
    """What follows is an argument, however it looks."""
    done = tart("get", "--", "--format")
    assert (done.returncode, done.stderr) == (2, 'the specified VM "--format" does not exist\n')


def test_help_and_version_win_over_what_is_missing(tart: Simulator) -> None:
    """But not over a wrong value; help collects garbage, the version touches nothing."""
    assert tart.ok("get", "--version") == tart.ok("--version") == "2.32.1\n"
    assert not tart.home.exists()
    assert "USAGE: tart get <name>" in tart.ok("get", "-h", "a", "b", "c")
    assert (tart.home / "tmp").is_dir() and (tart.home / "cache").is_dir()
    assert tart("list", "--format", "x", "--help").returncode == 64
    assert "SUBCOMMANDS" in tart.ok()
    tart.configure(version="SNAPSHOT")
    assert tart.ok("--version") == "SNAPSHOT\n"


# Outputs


def test_json_is_apples(tart: Simulator) -> None:
    """Pretty, with spaces around the colon and escaped slashes; the empty list has a blank line."""
    assert tart.ok("list", "--format", "json") == "[\n\n]\n"
    tart.create("a")
    text = tart.ok("list", "--format", "json")
    assert text.startswith("[\n  {\n    \"") and '"Name" : "a"' in text
    os.rename(tart.vm("a"), tart.vm("x"))
    digest = tart.home / "cache/OCIs/h.io/n/sha256:00"
    digest.parent.mkdir(parents=True)
    os.rename(tart.vm("x"), digest)
    assert '"Name" : "h.io\\/n@sha256:00"' in tart.ok("list", "--format", "json")


def test_the_order_of_keys_is_not_to_be_relied_on(tart: Simulator) -> None:
    """It changes from call to call."""
    tart.create("a")
    orders = {tuple(json.loads(tart.ok("get", "a", "--format", "json"))) for _call in range(12)}
    assert len(orders) > 1


def test_text_lists(tart: Simulator) -> None:
    """Padded columns one space apart; the last line is trimmed; nothing is an empty line, or nothing at all."""
    assert tart.ok("list") == "\n"
    assert tart.ok("list", "--quiet") == ""
    tart.create("a", "long-name")
    lines = tart.ok("list").splitlines()
    assert re.fullmatch(r"Source Name      Disk Size Accessed      State  ", lines[0])
    assert re.fullmatch(r"local  a         1    0    \d seconds? ago +stopped", lines[1])
    assert tart.ok("list", "-q", "--format", "json") == "a\nlong-name\n"


@pytest.mark.parametrize("version,listed,shown", [
    ("1.1.0", "Source Name Size", "CPU Memory Disk Display Running"),
    ("1.8.0", "Source Name Size Running State", "CPU Memory Disk Display Running State"),
    ("2.6.1", "Source Name Disk Size Running State", "CPU Memory Disk Size Display Running State"),
    ("2.15.0", "Source Name Disk Size SizeOnDisk Running State", "OS CPU Memory Disk Size Display Running State"),
    ("2.28.0", "Source Name Disk Size SizeOnDisk Running State", "OS CPU Memory Disk DiskFormat Size Display Running State"),
    ("2.30.6", "Source Name Disk Size SizeOnDisk Running State", "OS CPU Memory Disk DiskFormat Size Display Running State"),
    ("2.31.0", "Source Name Disk Size Accessed Running State", "OS CPU Memory Disk DiskFormat Size Display Running State"),
    ("SNAPSHOT", "Source Name Disk Size Accessed Running State", "OS CPU Memory Disk DiskFormat Size Display Running State"),
])
def test_fields_by_version(tart: Simulator, version: str, listed: str, shown: str) -> None:
    """list and get in JSON."""
    tart.create("a")
    tart.configure(version=version)
    assert set(tart.json("list")[0]) == set(listed.split())
    assert set(tart.json("get", "a")) == set(shown.split())


def test_the_values_of_get(tart: Simulator) -> None:
    """Types included: Size is a string."""
    tart.ok("create", "--linux", "a")
    assert tart.json("get", "a") == {"OS": "linux", "CPU": 4, "Memory": 4096, "Disk": 50, "DiskFormat": "raw", "Size": "0.000",
                                     "Display": "1024x768", "Running": False, "State": "stopped"}
    tart.ok("set", "a", "--display", "1920x1080px")
    assert tart.json("get", "a")["Display"] == "1920x1080px"
    tart.ok("set", "a", "--display", "0x9")
    assert tart.json("get", "a")["Display"] == "1920x9"


def test_sources_by_version(tart: Simulator) -> None:
    """oci became OCI in 2.11; a tag and its digest are two rows, and broken VMs are invisible."""
    tart.create("a", "b")
    (tart.vm("b") / "nvram.bin").unlink()
    place = tart.home / "cache/OCIs/127.0.0.1%3A5000/n/sha256:00"
    place.parent.mkdir(parents=True)
    tart.create("c")
    os.rename(tart.vm("c"), place)
    (place.parent / "latest").symlink_to(place)
    assert [(row["Source"], row["Name"], row["State"]) for row in tart.json("list")] == [
        ("local", "a", "stopped"), ("OCI", "127.0.0.1:5000/n:latest", "stopped"), ("OCI", "127.0.0.1:5000/n@sha256:00", "stopped")]
    assert len(tart.json("list", "--source", "oci")) == 2 and len(tart.json("list", "--source", "local")) == 1
    tart.configure(version="2.10.0")
    assert {row["Source"] for row in tart.json("list")} == {"local", "oci"}


# Files


def test_create_makes_a_linux_vm(tart: Simulator) -> None:
    """Silently, in place of whatever had that name."""
    assert tart.ok("create", "--linux", "a") == ""
    config = tart.config("a")
    first = config["macAddress"]
    assert (config["cpuCount"], config["memorySize"], config["display"], config["diskFormat"]) == (
        4, 4096 * 2**20, {"width": 1024, "height": 768}, "raw")
    assert re.fullmatch(r"[0-9a-f][26ae](:[0-9a-f]{2}){5}", first)
    assert (tart.vm("a") / "disk.img").stat().st_size == 50 * 10**9
    nvram = (tart.vm("a") / "nvram.bin").stat()
    assert (nvram.st_size, nvram.st_mode & 0o777) == (131072, 0o600)
    tart.ok("create", "--linux", "a")
    assert tart.config("a")["macAddress"] != first


def test_clone_overwrites_silently_and_changes_only_clashing_macs(tart: Simulator) -> None:
    """The first clone of an image keeps its address."""
    tart.create("a", "b")
    old = tart.config("b")["macAddress"]
    assert tart.ok("clone", "a", "b") == ""
    assert tart.config("b")["macAddress"] not in (old, tart.config("a")["macAddress"])
    place = tart.home / "cache/OCIs/h.io/n/sha256:00"
    place.parent.mkdir(parents=True)
    os.rename(tart.vm("a"), place)
    (place.parent / "latest").symlink_to(place)
    tart.ok("clone", "h.io/n", "c")
    assert tart.config("c")["macAddress"] == json.loads((place / "config.json").read_text(encoding="utf-8"))["macAddress"]


def test_clone_copies_a_saved_state_with_its_mac(tart: Simulator) -> None:
    """A suspended source keeps all of it."""
    tart.create("a")
    (tart.vm("a") / "state.vzvmsave").write_text("state", encoding="utf-8")
    tart.ok("clone", "a", "b")
    assert tart.state("b") == "suspended"
    assert tart.config("a")["macAddress"] == tart.config("b")["macAddress"]


def test_one_undecodable_configuration_breaks_clone(tart: Simulator) -> None:
    """It compares everybody's addresses."""
    tart.create("a", "bad")
    (tart.vm("bad") / "config.json").write_text("{", encoding="utf-8")
    done = tart("clone", "a", "b")
    assert done.returncode == 1 and done.stderr.startswith("Error: The data couldn\u2019t be read")
    assert len(tart.json("list")) == 2


def test_set_clears_display_refit_and_saves_in_place(tart: Simulator) -> None:
    """Every call without the flag does; unknown keys go, the inode stays."""
    tart.create("a")
    place = tart.vm("a") / "config.json"
    inode = place.stat().st_ino
    tart.ok("set", "a", "--display-refit")
    assert tart.config("a")["displayRefit"] is True
    tart.edit("a", surplus=1)
    tart.ok("set", "a", "--cpu", "2")
    assert "displayRefit" not in tart.config("a") and "surplus" not in tart.config("a")
    tart.ok("set", "a", "--no-display-refit")
    assert tart.config("a")["displayRefit"] is False
    assert place.stat().st_ino == inode and '" : ' in place.read_text(encoding="utf-8")


def test_set_applies_partly(tart: Simulator) -> None:
    """The configuration is saved although the disk cannot shrink."""
    tart.ok("create", "--linux", "--disk-size", "3", "a")
    assert tart("set", "a", "--cpu", "2", "--disk-size", "1").returncode == 1
    assert tart.config("a")["cpuCount"] == 2
    tart.ok("set", "a", "--disk-size", "3")
    tart.ok("set", "a", "--disk-size", "4")
    assert (tart.vm("a") / "disk.img").stat().st_size == 4 * 10**9
    tart.configure(version="2.4.3")
    assert tart("set", "a", "--disk-size", "4").returncode == 1


def test_set_of_mac_serial_disk_and_memory(tart: Simulator) -> None:
    """A serial number is macOS's; too much memory is a crash."""
    tart.create("a")
    before = tart.config("a")
    tart.ok("set", "a", "--random-mac", "--random-serial")
    assert tart.config("a")["macAddress"] != before["macAddress"] and "ecid" not in tart.config("a")
    tart.edit("a", **DARWIN)
    tart.ok("set", "a", "--random-serial")
    assert tart.config("a")["ecid"] != DARWIN["ecid"]
    assert tart("set", "a", "--cpu", "1").stderr.startswith("Error: LessThanMinimalResourcesError: VM should have 2 CPU cores")
    (tart.folder / "new.img").write_bytes(b"disk")
    tart.ok("set", "a", "--disk", str(tart.folder / "new.img"))
    assert (tart.vm("a") / "disk.img").read_bytes() == b"disk"
    assert tart("set", "a", "--memory", str(2**45)).returncode == -5


def test_rename_looks_at_complete_vms_only(tart: Simulator) -> None:
    """An incomplete target is replaced."""
    tart.create("a")
    tart.vm("b").mkdir()
    tart.ok("rename", "a", "b")
    assert tart.ok("list", "-q") == "b\n"


def test_delete_stops_at_the_first_failure(tart: Simulator) -> None:
    """What came before stays deleted; config.json is enough to be deleted, and needed."""
    tart.create("a", "b", "c")
    (tart.vm("a") / "disk.img").unlink()
    (tart.vm("c") / "config.json").unlink()
    done = tart("delete", "a", "c", "b")
    assert (done.returncode, done.stderr) == (2, 'the specified VM "c" does not exist\n')
    assert tart.ok("list", "-q") == "b\n" and not tart.vm("a").exists()
    tart.configure(version="2.18.4")
    assert tart("delete", "zz").returncode == 1


def test_access_times(tart: Simulator) -> None:
    """Opening counts, listing does not; the modification time becomes the access time before."""
    tart.create("a")
    os.utime(tart.vm("a"), (1000, 2000))
    tart.ok("list")
    assert tart.vm("a").stat().st_atime == 1000
    tart.ok("get", "a")
    found = tart.vm("a").stat()
    assert found.st_atime > 10**9 and found.st_mtime == 1000
    os.utime(tart.vm("a"), (1774000000, 0))
    assert tart.json("list")[0]["Accessed"] == "2026-03-20T09:46:40Z"


@pytest.mark.parametrize("words,collects", [
    (["list"], True), (["get", "none"], True), (["--help"], True), (["help", "run"], True), ([], True), (["clone", "none", "x"], False),
    (["pull", "a b"], False), (["--version"], False), (["list", "--bogus"], False), (["run", "none"], False),
])
def test_garbage_collection(tart: Simulator, words: list[str], collects: bool) -> None:
    """Before every command but pull and clone; errors of parsing and of run's check come earlier."""
    partial = tart.home / "tmp" / "0123456789abcdef"
    partial.mkdir(parents=True)
    tart(*words)
    assert partial.exists() is not collects


def test_garbage_collection_respects_locks_and_stops_at_trouble(tart: Simulator) -> None:
    """A dangling link ends it with a warning, the command goes on."""
    held = tart.home / "tmp" / "held"
    held.mkdir(parents=True)
    descriptor = os.open(held, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    tart.ok("list")
    assert held.exists()
    os.close(descriptor)
    (tart.home / "tmp" / "link").symlink_to("/none")
    done = tart("list")
    assert done.returncode == 0 and done.stderr.startswith("Failed to perform garbage collection: ")


def test_a_home_that_cannot_be_made(tart: Simulator) -> None:
    """Two lines for most, one for clone and pull, a prefix for run."""
    (tart.folder / "file").write_text("", encoding="utf-8")
    home = str(tart.folder / "file" / "home")
    text = f"TART_HOME is invalid: {tart.folder}/file"
    done = tart("list", TART_HOME=home)
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith("Failed to perform garbage collection: " + text) and second.startswith(text)
    assert tart("pull", "h.io/n", TART_HOME=home).stderr.startswith(text)
    assert tart("run", "a", TART_HOME=home).stderr.startswith("Error: " + text)


def test_the_home_of_the_account(tart: Simulator) -> None:
    """$HOME says nothing."""
    environment = tart.environment(HOME="/none")
    del environment["TART_HOME"]
    code = "import sys; sys.path.insert(0, sys.argv[1]); from mac.tart import home; print(home.path())"
    found = subprocess.run([sys.executable, "-c", code, str(paths.PACKAGE)], capture_output=True, text=True, check=True, env=environment)
    assert found.stdout.strip() == os.path.join(pwd.getpwuid(os.geteuid()).pw_dir, ".tart")


def test_prune(tart: Simulator) -> None:
    """By age and greedily by budget; suspended VMs go, running ones do not."""
    for number, (name, blocks) in enumerate((("old", 1), ("big", 3), ("new", 1))):
        tart.create(name)
        (tart.vm(name) / "disk.img").write_bytes(b"x" * blocks * 2**20)
        os.utime(tart.vm(name), (time.time() - (3 - number) * 86400, 0))
    tart.ok("prune", "--entries", "vms", "--older-than", "3")
    assert tart.ok("list", "-q").split() == ["big", "new"]
    done = tart("prune", "--entries", "vms", "--cache-budget", "0")
    assert (done.returncode, done.stderr) == (0, "--cache-budget is deprecated, please use --space-budget\n")
    assert tart.ok("list", "-q") == ""


def test_export_and_import(tart: Simulator) -> None:
    """Round trip, overwriting; without a path it asks, and dies without an answer."""
    tart.create("a")
    (tart.vm("a") / "disk.img").write_bytes(b"content")
    assert tart.ok("export", "a") == "exporting...\n"
    done = tart("export", "a", stdin="no\n")
    assert (done.returncode, done.stdout) == (0, "file a.tvm already exists, are you sure you want to overwrite it? (yes, [no])? ")
    assert tart("export", "a", stdin="").returncode == -5
    assert tart("export", "none").stdout == "exporting...\n"
    assert tart.ok("import", "a.tvm", "b") == "importing...\n"
    assert (tart.vm("b") / "disk.img").read_bytes() == b"content"
    assert tart.config("b")["macAddress"] != tart.config("a")["macAddress"]
    (tart.folder / "bad.tvm").write_bytes(b"nothing")
    done = tart("import", "bad.tvm", "b")
    assert done.returncode == 1 and done.stderr.startswith("VM import failed: ")
    assert tart.vm("b").exists()


# Faults and the journal


def test_every_call_is_written_down(tart: Simulator) -> None:
    """With its exit code; passwords are not."""
    tart("get", "none", TART_REGISTRY_PASSWORD="secret", CI="1")
    call, leave = tart.calls()
    assert call["argv"] == ["get", "none"] and call["env"]["CI"] == "1" and call["tty"] == [False, False, False]
    assert (call["uid"], call["sid"], leave["code"], leave["pid"]) == (os.getuid(), os.getsid(0), 2, call["pid"])
    assert "secret" not in tart.log.read_text(encoding="utf-8")


@pytest.mark.parametrize("fault,code,text", [
    ({"preset": "vz"}, 1, "Error Domain=VZErrorDomain Code=1"),
    ({"preset": "keychain"}, 1, "-25308"),
    ({"stderr": "boom", "exit": 7}, 7, "boom"),
])
def test_faults_at_the_start(tart: Simulator, fault: dict, code: int, text: str) -> None:
    """Only for the command and the VM that they name."""
    tart.create("a", "b")
    tart.configure(faults=[{"command": "get", "vm": "a", **fault}])
    done = tart("get", "a")
    assert done.returncode == code and text in done.stderr
    assert tart("get", "b").returncode == 0


def test_counted_cut_and_slow_faults(tart: Simulator) -> None:
    """Once, then it works; half an answer; a hanging call."""
    tart.create("a")
    tart.configure(faults=[{"command": "list", "times": 1, "exit": 1}])
    assert [tart("list").returncode for _call in range(3)] == [1, 0, 0]
    tart.configure(faults=[{"command": "list", "cut": 0.5}])
    with pytest.raises(json.JSONDecodeError):
        tart.json("list")
    tart.configure(faults=[{"command": "list", "hang": True}])
    with subprocess.Popen([str(tart.program), "list"], env=tart.environment()) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.kill()


def test_a_full_disk(tart: Simulator) -> None:
    """clone fails and leaves its work folder until the next collection."""
    tart.create("a")
    tart.configure(faults=[{"command": "clone", "preset": "disk-full"}])
    done = tart("clone", "a", "b")
    assert done.returncode == 1 and "enough space" in done.stderr
    assert len(os.listdir(tart.home / "tmp")) == 1
    tart.ok("list")
    assert not os.listdir(tart.home / "tmp")


def test_login_needs_an_open_keychain(tart: Simulator) -> None:
    """Over SSH it is closed; logging out of nothing is fine."""
    words = ("login", "h.io", "--username", "u", "--password-stdin", "--no-validate")
    assert tart(*words, stdin="secret\n").returncode == 0
    tart.ok("logout", "h.io")
    tart.configure(keychain="locked")
    done = tart(*words, stdin="secret\n")
    assert (done.returncode, done.stderr) == (
        1, 'Error: Failed(message: "Keychain failed to add item: User interaction is not allowed.")\n')
    tart.ok("logout", "h.io")


# Addresses


def test_dhcp_leases(tart: Simulator) -> None:
    """The one that ends last wins, ended ones do not count, octets have no leading zeros."""
    tart.create("a", "b")
    tart.edit("a", macAddress="02:00:0a:0b:00:01")
    leases = tart.folder / "leases"
    assert "hw_address=1,2:0:a:b:0:1\n" in tart.lease("a", "192.168.64.2")
    leases.write_text(tart.lease("a", "192.168.64.2", time.time() + 10) + "\n" + tart.lease("a", "192.168.64.3", time.time() + 20)
                      + tart.lease("b", "192.168.64.4", time.time() - 1), encoding="utf-8")
    assert tart.ok("ip", "a") == "192.168.64.3\n"
    began = time.monotonic()
    done = tart("ip", "b")
    assert (done.returncode, done.stderr) == (1, "no IP address found, is your VM running?\n")
    assert time.monotonic() - began >= 1
    tart.configure(version="2.3.1")
    assert tart.ok("ip", "b") == "192.168.64.4\n"


def test_waiting_for_a_lease(tart: Simulator) -> None:
    """Looked for again every second."""
    tart.create("a")
    words = [str(tart.program), "ip", "a", "--wait", "10"]
    with subprocess.Popen(words, env=tart.environment(), stdout=subprocess.PIPE, text=True) as process:
        time.sleep(0.3)
        (tart.folder / "leases").write_text(tart.lease("a", "192.168.64.9"), encoding="utf-8")
        assert process.communicate(timeout=10)[0] == "192.168.64.9\n"


def test_sigint_ends_the_waiting(tart: Simulator) -> None:
    """With an error of its own."""
    tart.create("a")
    words = [str(tart.program), "ip", "a", "--wait", "30"]
    with subprocess.Popen(words, env=tart.environment(), stderr=subprocess.PIPE, text=True) as process:
        time.sleep(0.4)
        process.send_signal(2)
        assert process.communicate(timeout=5)[1] == "Error: CancellationError()\n"
        assert process.returncode == 1


LEASES = 'name: "unexpected DHCPD leases file format"'


@pytest.mark.parametrize("text,code,message", [
    ("{\n\tname=\n}\n", 1, f'Error: UnexpectedFormat({LEASES}, message: "key-value pair with only a key", line: 2)'),
    ("\n\n{\n{\n", 1, f'Error: UnexpectedFormat({LEASES}, message: "unexpected {{", line: 2)'),
    ("{\n\tname=x\n", 1, 'Error: Truncated(name: "truncated DHCPD leases file")'),
    ("{\n\tip_address=1.2.3.4\n\thw_address=1,zz:0:0:0:0:1\n\tlease=0x1\n}\n", -5, None),
    ("{\n\tip_address=1.2.3.4\n\thw_address=ff,1:2:3\n\tlease=0xffffffff\n}\n", 1, "no IP address found, is your VM running?"),
])
def test_damaged_leases(tart: Simulator, text: str, code: int, message: str | None) -> None:
    """Some are an error, some a crash, client ids that are no addresses are passed over."""
    tart.create("a")
    (tart.folder / "leases").write_text(text, encoding="utf-8")
    done = tart("ip", "a")
    assert done.returncode == code
    if message:
        assert done.stderr == message + "\n"


def test_arp(tart: Simulator) -> None:
    """Lines up to the match have to make sense; empty output wins over the exit code."""
    tart.create("a")
    tart.edit("a", macAddress="02:00:0a:0b:00:01")
    good = "? (192.168.64.5) at 2:0:a:b:0:1 on bridge100 ifscope [bridge]\n"
    tart.arp("? (192.168.64.4) at (incomplete) on bridge100 ifscope [bridge]\n" + good + "rubbish\n")
    assert tart.ok("ip", "a", "--resolver", "arp") == "192.168.64.5\n"
    tart.arp("rubbish\n" + good)
    assert tart("ip", "a", "--resolver", "arp").stderr == 'Error: arp command yielded invalid output: unparseable entry "rubbish"\n'
    tart.arp("some\n", 3)
    assert tart("ip", "a", "--resolver", "arp").stderr == "Error: arp command failed: exit code 3\n"
    tart.arp("", 3)
    assert tart("ip", "a", "--resolver", "arp").stderr == (
        "no IP address found, is your VM running? (not all Linux distributions are compatible with the ARP resolver)\n")
    assert tart("ip", "a", "--resolver", "agent").stderr == (
        "no IP address found, is your VM running? (also make sure that Guest agent for Tart is running inside of a VM)\n")


def test_leases_are_written_as_apple_does(tart: Simulator) -> None:
    """From dnsmasq's file; a client id that is no address hides the guest."""
    tart.create("a", "b")
    tart.edit("a", macAddress="02:00:0a:0b:00:01")
    tart.edit("b", macAddress="02:00:0a:0b:00:02")
    moment = int(time.time()) + 100
    text = vmnet.apple_leases(f"{moment} 02:00:0a:0b:00:01 192.168.64.2 guest 01:02:00:0a:0b:00:01\n"
                              f"{moment} 02:00:0a:0b:00:02 192.168.64.3 * ff:00:11:22:33:00:01\n")
    (tart.folder / "leases").write_text(text, encoding="utf-8")
    assert text.startswith(tart.lease("a", "192.168.64.2", moment)) and "name" not in text.split("}")[1]
    assert tart.ok("ip", "a") == "192.168.64.2\n"
    assert tart("ip", "b").returncode == 1


# Speed


def test_listing_a_hundred_vms_is_quick(tart: Simulator) -> None:
    """The product's speed is measured against it."""
    for number in range(100):
        place = tart.vm(f"v{number}")
        if number:
            subprocess.run(["cp", "-r", str(tart.vm("v0")), str(place)], check=True)
        else:
            tart.create("v0")
    times = [_children()]
    for _call in range(15):
        assert len(tart.ok("list", "--format", "json")) > 1000
        times.append(_children())
    assert min(after - before for before, after in zip(times, times[1:])) < 0.05, times


def _children() -> float:
    """Processor time of all calls so far: the machine may be busy."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
