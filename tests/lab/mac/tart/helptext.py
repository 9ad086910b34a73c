# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Help, the machine-readable tree of --experimental-dump-help, completion scripts. Our own words."""
from __future__ import annotations

import sys

from . import console, matrix, plainjson, settings
from .errors import Finished, ParseError

_SHELLS = ("zsh", "bash", "fish")


def show(command: str | None, switches: settings.Settings) -> None:
    """On stdout, exit code 0."""
    if command is None:
        console.out("USAGE: tart <subcommand>\n\nOPTIONS:\n  --version               Show the version.\n"
                    "  -h, --help              Show help information.\n\nSUBCOMMANDS:")
        for name in matrix.commands(switches.version, int(str(switches["macos"]))):
            if not matrix.is_hidden(name):
                console.out(f"  {name:<23} {matrix.abstract(name)}")
        console.out("\n  See 'tart help <subcommand>' for detailed help.\n\n(a simulator of tart, made for the lab of cocoonstack.cocoon)")
        return
    console.out(f"OVERVIEW: {matrix.abstract(command)}\n\nUSAGE: {matrix.usage(command, switches.version)}\n")
    shown = [entry for entry in matrix.entries(command, switches.version) if not entry.hidden]
    for title, kinds in (("ARGUMENTS", ("argument",)), ("OPTIONS", ("option", "flag"))):
        rows = [entry for entry in shown if entry.kind in kinds]
        if rows or title == "OPTIONS":
            console.out(title + ":")
        for entry in rows:
            label = ", ".join(sorted(entry.names, key=len)) + (f" <{entry.value}>" if entry.kind == "option" else "")
            console.out(f"  {label:<23} {entry.abstract}")
        if title == "OPTIONS":
            console.out("  --version               Show the version.\n  -h, --help              Show help information.")
        console.out("")


def special(words: list[str], switches: settings.Settings) -> None:
    """These touch no files."""
    if "--generate-completion-script" in words:
        rest = words[words.index("--generate-completion-script") + 1:]
        shell = rest[0] if rest else ""
        if shell not in _SHELLS:
            listed = "\n".join(f"    {name}" for name in _SHELLS)
            raise ParseError(f"Can't generate completion scripts for '{shell}'.\n"
                             f"Please use --generate-completion-script=<shell> with one of:\n{listed}", None)
        console.out(f"# no completions for {shell} in the lab's tart")
        raise Finished(0)
    sys.stdout.write(plainjson.swift(tree(switches), ordered=True) + "\n")
    sys.stdout.flush()
    raise Finished(0)


def tree(switches: settings.Settings) -> dict:
    """All commands and options of this version on this macOS, hidden ones too."""
    names = matrix.commands(switches.version, int(str(switches["macos"])))
    subcommands = [{"commandName": name, "abstract": matrix.abstract(name), "superCommands": ["tart"],
                    "shouldDisplay": not matrix.is_hidden(name),
                    "arguments": [_described(entry) for entry in matrix.entries(name, switches.version)] + _built_in()} for name in names]
    subcommands.append({"commandName": "help", "abstract": "Show subcommand help information.", "superCommands": ["tart"],
                        "shouldDisplay": True, "arguments": []})
    return {"command": {"commandName": "tart", "arguments": _built_in(), "shouldDisplay": True, "subcommands": subcommands},
            "serializationVersion": 0}


def _name(text: str) -> dict:
    return {"kind": "long" if text.startswith("--") else "short", "name": text.lstrip("-")}


def _described(entry: matrix.Entry) -> dict:
    made: dict = {"abstract": entry.abstract, "isOptional": not entry.required, "isRepeating": entry.repeats,
                  "kind": "positional" if entry.kind == "argument" else entry.kind, "parsingStrategy": "default",
                  "shouldDisplay": not entry.hidden, "valueName": entry.value or entry.key.replace("_", "-")}
    if entry.kind != "argument":
        made["names"] = [_name(name) for name in entry.names]
        made["preferredName"] = _name(entry.names[0])
    if entry.type.startswith("enum"):
        made["allValues"] = entry.type.partition(":")[2].split(",")
    if entry.default not in (None, False, []):
        made["defaultValue"] = str(entry.default)
    return made


def _built_in() -> list[dict]:
    return [{"abstract": "Show the version.", "isOptional": True, "isRepeating": False, "kind": "flag", "names": [_name("--version")],
             "parsingStrategy": "default", "preferredName": _name("--version"), "shouldDisplay": True, "valueName": "version"},
            {"abstract": "Show help information.", "isOptional": True, "isRepeating": False, "kind": "flag",
             "names": [_name("-h"), _name("--help")], "parsingStrategy": "default", "preferredName": _name("--help"), "shouldDisplay": True,
             "valueName": "help"}]
