# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ps: `-axww -o pid=,lstart=,command=`, `-p PID -o ...` and the like, read from the hidden proc."""
from __future__ import annotations

import os
import pwd
import sys
import time

from . import common

_TICKS = os.sysconf("SC_CLK_TCK")
# keyword -> (heading, width, right-aligned)
_COLUMNS = {
    "pid": ("PID", 5, True), "ppid": ("PPID", 5, True), "pgid": ("PGID", 5, True), "sess": ("SESS", 6, False), "uid": ("UID", 5, True),
    "user": ("USER", 16, False), "ruser": ("RUSER", 16, False), "state": ("STAT", 4, False), "stat": ("STAT", 4, False),
    "lstart": ("STARTED", 28, False), "etime": ("ELAPSED", 11, True), "command": ("COMMAND", 0, False), "args": ("ARGS", 0, False),
    "comm": ("COMM", 0, False), "ucomm": ("UCOMM", 16, False), "rss": ("RSS", 6, True), "vsz": ("VSZ", 8, True), "tty": ("TTY", 8, False),
    "tt": ("TT", 8, False), "%cpu": ("%CPU", 5, True), "time": ("TIME", 9, True),
}
_VIRTUAL_MACHINE = ("/System/Library/Frameworks/Virtualization.framework/Versions/A/XPCServices/"
                    "com.apple.Virtualization.VirtualMachine.xpc/Contents/MacOS/com.apple.Virtualization.VirtualMachine")


class Process:
    """One entry of proc."""

    def __init__(self, pid: int) -> None:
        text = common.read(f"{common.PROC}/{pid}/stat")
        if not text:
            raise LookupError(pid)
        self.pid = pid
        self.name = text[text.index("(") + 1:text.rindex(")")]
        fields = text[text.rindex(")") + 2:].split()
        self.letter = fields[0]
        self.ppid, self.pgid, self.session, self.terminal = (int(field) for field in fields[1:5])
        self.ticks = int(fields[11]) + int(fields[12])
        self.start = common.kernel_boot_time() + int(fields[19]) / _TICKS
        self.vsize, self.rss = int(fields[20]) // 1024, int(fields[21]) * 4
        try:
            self.uid = os.stat(f"{common.PROC}/{pid}").st_uid
        except OSError:
            raise LookupError(pid) from None

    def words(self) -> list[str]:
        """The command line as a Mac would have it."""
        words = common.read(f"{common.PROC}/{self.pid}/cmdline").split("\0")[:-1]
        if words and os.path.basename(words[0]).startswith("qemu-system"):
            return [_VIRTUAL_MACHINE]
        if len(words) > 1 and words[0] == "/bin/sh" and words[1].startswith("/opt/homebrew/bin/"):
            return words[1:]
        for number, word in enumerate(words[:3]):
            # Scripts show their interpreter on Linux; on a Mac tart is a binary that a wrapper has executed.
            if word.endswith("/bin/tart") and number:
                return ["/opt/homebrew/Cellar/tart/lab/libexec/tart.app/Contents/MacOS/tart"] + words[number + 1:]
            if word.startswith("/") and number == 2 and words[1] == "-IS":
                return [os.path.basename(word)] + words[3:]
        return words

    def value(self, key: str) -> str:
        """One column."""
        if key in ("command", "args"):
            return " ".join(self.words()) or f"({self.name})"
        if key in ("comm", "ucomm"):
            words = self.words()
            name = words[0] if words else f"({self.name})"
            return name if key == "comm" else os.path.basename(name)[:16]
        if key == "lstart":
            return time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(self.start))
        if key in ("user", "ruser"):
            return _user(self.uid)
        if key in ("state", "stat"):
            return _state(self)
        if key in ("tty", "tt"):
            return "??" if not self.terminal else f"ttys{self.terminal & 0xff:03}"
        return str({"pid": self.pid, "ppid": self.ppid, "pgid": self.pgid, "sess": 0, "uid": self.uid, "rss": self.rss, "vsz": self.vsize,
                    "%cpu": "0.0", "etime": _elapsed(time.time() - self.start), "time": _cpu(self.ticks / _TICKS)}[key])


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _state(found: Process) -> str:
    letter = {"D": "U", "t": "T", "X": "Z", "I": "I"}.get(found.letter, found.letter)
    return letter + ("s" if found.session == found.pid else "") + ("+" if found.terminal and found.session != found.pid else "")


def _elapsed(seconds: float) -> str:
    whole = max(0, int(seconds))
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    text = f"{minutes:02}:{whole % 60:02}"
    return f"{days}-{hours:02}:{text}" if days else f"{hours:02}:{text}" if hours else text


def _cpu(seconds: float) -> str:
    return f"{int(seconds) // 60}:{seconds % 60:05.2f}"


def _options(words: list[str]) -> tuple[set[str], list[tuple[str, str | None]], list[int] | None]:
    """Single letters, the columns with their headings, and the wanted PIDs."""
    letters: set[str] = set()
    columns: list[tuple[str, str | None]] = []
    pids: list[int] | None = None
    rest = list(words)
    while rest:
        word = rest.pop(0).lstrip("-")
        while word:
            letter, word = word[0], word[1:]
            if letter in "opGUtuO":
                value, word = word or (rest.pop(0) if rest else ""), ""
                if letter == "o":
                    columns += _columns(value)
                elif letter == "p":
                    pids = (pids or []) + [_number(part) for part in value.replace(",", " ").split()]
                else:
                    common.fail(f"ps: the lab's stand-in does not know -{letter}")
            elif letter in "aAcdefjlLmrSTvwxX":
                letters.add(letter)
            else:
                common.fail(f"ps: illegal option -- {letter}\nusage: ps [-AaCcEefhjlMmrSTvwXx] [-O fmt | -o fmt] [-p pid[,pid]]")
    return letters, columns, pids


def _number(text: str) -> int:
    if not text.isdigit():
        common.fail(f"ps: Invalid process id: {text}")
    return int(text)


def _columns(text: str) -> list[tuple[str, str | None]]:
    """BSD's rule: a heading after = takes the rest of the word, an empty one only itself."""
    found: list[tuple[str, str | None]] = []
    for part in text.replace(" ", ",").split(","):
        key, equals, heading = part.partition("=")
        if key and key not in _COLUMNS:
            common.fail(f"ps: {key}: keyword not found\nps: no valid keywords; valid keywords:\n{' '.join(_COLUMNS)}")
        if key:
            found.append((key, heading if equals else None))
    return found


def _wanted(letters: set[str], pids: list[int] | None) -> list[Process]:
    names = pids if pids is not None else [int(name) for name in os.listdir(common.PROC) if name.isdigit()]
    found = []
    for pid in names:
        try:
            found.append(Process(pid))
        except LookupError:
            continue
    everybody = "A" in letters or "e" in letters or ("a" in letters and "x" in letters)
    if pids is None and not everybody:
        found = [one for one in found if ("x" in letters or one.terminal) and ("a" in letters or one.uid == os.getuid())]
    return found


def main() -> None:
    """Exit code 1 when nothing was found, as on a Mac."""
    letters, columns, pids = _options(sys.argv[1:])
    if not columns:
        columns = [(key, None) for key in ("pid", "tty", "time", "command")]
    found = sorted(_wanted(letters, pids), key=lambda one: one.pid)
    lines = []
    titles = [_COLUMNS[key][0] if heading is None else heading for key, heading in columns]
    if any(titles):
        lines.append(_line(columns, titles))
    lines += [_line(columns, [one.value(key) for key, _heading in columns]) for one in found]
    if lines:
        sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    os._exit(0 if found else 1)


def _line(columns: list[tuple[str, str | None]], cells: list[str]) -> str:
    shown = []
    for number, ((key, _heading), cell) in enumerate(zip(columns, cells)):
        _title, width, right = _COLUMNS[key]
        last = number == len(columns) - 1
        shown.append(cell.rjust(width) if right else cell if last and not width else cell.ljust(width))
    return " ".join(shown)
