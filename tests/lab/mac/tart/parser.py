# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines as Swift's argument parser takes them apart (tart contract 1.1 and corrections in 13)."""
from __future__ import annotations

from . import matrix
from .errors import ParseError

HELP = ("-h", "--help", "--help-hidden")
_LIMITS = {"uint16": (0, 2**16 - 1), "uint": (0, 2**64 - 1), "uint64": (0, 2**64 - 1), "int": (-2**63, 2**63 - 1),
           "int32": (-2**31, 2**31 - 1)}


class Token:  # pylint: disable=too-few-public-methods
    """One word: a value, an option (perhaps with =value, perhaps a pack of short ones), or the terminator."""

    __slots__ = ("kind", "text", "name", "value", "pack", "used")

    def __init__(self, kind: str, text: str, name: str = "", value: str | None = None) -> None:
        self.kind, self.text, self.name, self.value, self.used = kind, text, name, value, False
        self.pack = ["-" + letter for letter in name[1:]] if kind == "option" and value is None and name[1] != "-" and len(name) > 2 else []


class Parsed:
    """A command and its values, attribute by attribute."""

    def __init__(self, command: str | None, values: dict[str, object], asks: str = "") -> None:
        self.command = command
        self.values = values
        self.asks = asks

    def __getattr__(self, name: str) -> object:
        try:
            return self.__dict__["values"][name]
        except KeyError:
            raise AttributeError(name) from None


def split(words: list[str]) -> list[Token]:
    """Take the words apart; after -- everything is a value."""
    tokens: list[Token] = []
    for number, word in enumerate(words):
        if word == "--":
            tokens.append(Token("terminator", word))
            return tokens + [Token("value", rest) for rest in words[number + 1:]]
        tokens.append(_token(word))
    return tokens


def _token(word: str) -> Token:
    if not word.startswith("-") or word == "-":
        return Token("value", word)
    if word.startswith("---") or word.startswith("-="):
        raise ParseError(f"Invalid option: {word}", None)
    name, equals, value = word.partition("=")
    if name.startswith("--"):
        return Token("option", word, name, value if equals and value else None)
    return Token("option", word, name, value if equals else None)


class Parser:
    """One subcommand, or the root when command is None."""

    def __init__(self, command: str | None, version: matrix.Version) -> None:
        self.command = command
        self.entries = matrix.entries(command, version)
        self.by_name = {name: entry for entry in self.entries if entry.kind != "argument" for name in entry.names}
        self.values: dict[str, object] = {}
        self.passthrough = any(entry.type == "passthrough" for entry in self.entries)

    def parse(self, tokens: list[Token]) -> Parsed:
        """Options, then positionals; help and version; what is missing. Leftovers are for the caller to refuse."""
        tail: list[Token] = []
        options = tokens
        if self.passthrough:
            start = next((i for i, token in enumerate(tokens) if token.kind != "option" or not self._known(token)), len(tokens))
            options, tail = tokens[:start], tokens[start:]
        self._options(options)
        missing = self._positionals(tail if self.passthrough else tokens)
        asked = next((token.name for token in options if not token.used and (token.name in HELP or token.name == "--version")), "")
        if asked:
            return Parsed(self.command, self.values, "version" if asked == "--version" else "help")
        if missing:
            raise self._missing(missing)
        self._defaults()
        return Parsed(self.command, self.values)

    def _known(self, token: Token) -> bool:
        return token.name in self.by_name or token.name in HELP or token.name == "--version" or (
            bool(token.pack) and token.pack[0] in self.by_name)

    def _options(self, tokens: list[Token]) -> None:
        for number, token in enumerate(tokens):
            if token.kind == "terminator":
                return
            if token.kind != "option":
                continue
            if token.name in self.by_name:
                self._apply(token.name, token, tokens[number + 1:])
            elif any(short in self.by_name for short in token.pack):
                self._apply_pack(token, tokens[number + 1:])

    def _apply_pack(self, token: Token, following: list[Token]) -> None:
        for short in token.pack:
            if short not in self.by_name:
                raise ParseError(f"Unknown option '{short}'", self.command)
            self._apply(short, token, following if short == token.pack[-1] else [])

    def _apply(self, name: str, token: Token, following: list[Token]) -> None:
        entry = self.by_name[name]
        token.used = True
        if entry.kind == "flag":
            if token.value is not None:
                raise ParseError(f"The option '{name}' does not take any value, but '{token.value}' was specified.", self.command)
            self._flag(entry)
            return
        value = token.value
        if value is None:
            if not following or following[0].kind != "value" or following[0].used:
                raise ParseError(f"Missing value for '{name} <{entry.value}>'", self.command, f"{name} <{entry.value}>  {entry.abstract}")
            following[0].used = True
            value = following[0].text
        converted = self._convert(entry, name, value)
        if entry.repeats:
            self.values[entry.key] = list(self.values.get(entry.key, [])) + [converted]  # type: ignore[call-overload]
        else:
            self.values[entry.key] = converted

    def _flag(self, entry: matrix.Entry) -> None:
        if entry.key == "no_display_refit":
            self.values["display_refit"] = False
        else:
            self.values[entry.key] = True

    def _convert(self, entry: matrix.Entry, name: str, text: str) -> object:
        if entry.type in _LIMITS:
            low, high = _LIMITS[entry.type]
            digits = text[1:] if text[:1] in "+-" else text
            if digits.isascii() and digits.isdigit() and low <= int(text) <= high:
                return int(text)
            raise self._invalid(entry, name, text, "")
        if entry.type.startswith("enum"):
            kind, _colon, rest = entry.type.partition(":")
            allowed = rest.split(",")
            value = text.lower() if kind == "enum-nocase" else text
            if value in allowed:
                return value
            quoted = [f"'{one}'" for one in allowed]
            listed = " and ".join(quoted) if len(quoted) == 2 else ", ".join(quoted[:-1]) + " or " + quoted[-1]
            raise self._invalid(entry, name, text, f". Please provide one of {listed}.")
        return text

    def _invalid(self, entry: matrix.Entry, name: str, text: str, more: str) -> ParseError:
        label = f"{name} <{entry.value}>"
        return ParseError(f"The value '{text}' is invalid for '{label}'{more}", self.command, f"{label}  {entry.abstract}")

    def _positionals(self, tokens: list[Token]) -> matrix.Entry | None:
        """Fill them in order; the first one that got nothing although it has to."""
        for entry in (entry for entry in self.entries if entry.kind == "argument"):
            if entry.type == "passthrough":
                # Everything after the last argument that was taken, verbatim.
                last = max((number for number, token in enumerate(tokens) if token.used), default=-1)
                free = tokens[last + 1:]
            else:
                free = [token for token in tokens if token.kind == "value" and not token.used]
            taken = free if entry.repeats else free[:1]
            for token in taken:
                token.used = True
            if taken:
                self.values[entry.key] = [token.text for token in taken] if entry.repeats else taken[0].text
            elif entry.required:
                return entry
        return None

    def _missing(self, entry: matrix.Entry) -> ParseError:
        return ParseError(f"Missing expected argument '{entry.synopsis()}'", self.command, f"<{entry.value}>  {entry.abstract}")

    def _defaults(self) -> None:
        for entry in self.entries:
            default = list(entry.default) if isinstance(entry.default, list) else entry.default
            self.values.setdefault(entry.key, default)

    def refuse_leftovers(self, tokens: list[Token]) -> None:
        """Unknown options first, then words that nobody took."""
        left = [token for token in tokens if not token.used and token.kind != "terminator"]
        for token in left:
            if token.kind == "option":
                raise ParseError(self._unknown(token.name), self.command)
        if len(left) == 1:
            raise ParseError(f"Unexpected argument '{left[0].text}'", self.command)
        if left:
            words = "', '".join(token.text for token in left)
            raise ParseError(f"{len(left)} unexpected arguments: '{words}'", self.command)

    def _unknown(self, name: str) -> str:
        near = [(distance(known, name), number, known) for number, known in enumerate(self.by_name) if known.startswith("--")]
        near = [found for found in near if found[0] < 4]
        if len(name) > 2 and near:
            return f"Unknown option '{name}'. Did you mean '{min(near)[2]}'?"
        return f"Unknown option '{name}'"


def distance(left: str, right: str) -> int:
    """Levenshtein's."""
    row = list(range(len(right) + 1))
    for i, one in enumerate(left, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(right, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (one != other))
    return row[-1]
