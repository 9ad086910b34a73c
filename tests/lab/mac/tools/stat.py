# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""stat -f FORMAT as on a Mac; GNU's options go to GNU's stat."""
from __future__ import annotations

import grp
import os
import pwd
import stat
import sys
import time

from . import common

_REAL = "/opt/lab-real/stat"


def _name(kind: object, number: int) -> str:
    try:
        return kind(number)[0]  # type: ignore[operator]
    except KeyError:
        return str(number)


def _kind(mode: int) -> str:
    for test, text in ((stat.S_ISREG, "Regular File"), (stat.S_ISDIR, "Directory"), (stat.S_ISLNK, "Symbolic Link"),
                       (stat.S_ISCHR, "Character Device"), (stat.S_ISBLK, "Block Device"), (stat.S_ISSOCK, "Socket"),
                       (stat.S_ISFIFO, "Fifo File")):
        if test(mode):
            return text
    return "???"


def _field(code: str, path: str, found: os.stat_result) -> str:
    """One %-sequence, without the percent sign."""
    simple = {
        "Su": lambda: _name(pwd.getpwuid, found.st_uid), "Sg": lambda: _name(grp.getgrgid, found.st_gid),
        "u": lambda: str(found.st_uid), "g": lambda: str(found.st_gid), "z": lambda: str(found.st_size), "i": lambda: str(found.st_ino),
        "d": lambda: str(found.st_dev), "l": lambda: str(found.st_nlink), "N": lambda: path, "b": lambda: str(found.st_blocks),
        "k": lambda: str(found.st_blksize), "a": lambda: str(int(found.st_atime)), "m": lambda: str(int(found.st_mtime)),
        "c": lambda: str(int(found.st_ctime)), "B": lambda: str(int(found.st_ctime)), "HT": lambda: _kind(found.st_mode),
        "Lp": lambda: f"{found.st_mode & 0o777:o}", "OLp": lambda: f"{found.st_mode & 0o777:o}",
        "Mp": lambda: f"{found.st_mode >> 9 & 7:o}",
        "Hp": lambda: f"{found.st_mode >> 12:o}", "p": lambda: f"{found.st_mode:o}", "Sp": lambda: stat.filemode(found.st_mode),
        "Y": lambda: os.readlink(path) if stat.S_ISLNK(found.st_mode) else "", "A": lambda: f"{found.st_mode & 0o7777:o}",
        "Sm": lambda: time.strftime("%b %e %H:%M:%S %Y", time.localtime(found.st_mtime)),
    }
    if code not in simple:
        common.fail(f"stat: %{code}: the lab's stand-in does not know this format")
    return simple[code]()


def expand(template: str, path: str, found: os.stat_result) -> str:
    """The whole format."""
    out, rest = [], template
    while rest:
        before, percent, rest = rest.partition("%")
        out.append(before)
        if not percent:
            break
        if rest[:1] in ("%", "n", "t"):
            out.append({"%": "%", "n": "\n", "t": "\t"}[rest[0]])
            rest = rest[1:]
            continue
        length = next((size for size in (1, 2, 3) if rest[:size][-1:] in "ugzidlNbkamcBTpYA" and rest[:size]), 0)
        out.append(_field(rest[:length], path, found))
        rest = rest[length:]
    return "".join(out)


def main() -> None:
    """-f, -L, -n, -q; the format may stick to its option, as in -f%z and -Lf."""
    words, follow, newline, template = sys.argv[1:], False, True, None
    if not words or words[0].startswith(("-c", "--", "-t")):
        os.execv(_REAL, ["stat"] + words)
    while words and words[0].startswith("-"):
        letters = words.pop(0)[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter == "f":
                template, letters = letters or (words.pop(0) if words else ""), ""
            elif letter in "Lnq":
                follow, newline = follow or letter == "L", newline and letter != "n"
            else:
                common.fail(f"stat: illegal option -- {letter}\nusage: stat [-FLnq] [-f format | -l | -r | -s | -x] [file ...]")
    if template is None:
        template = "%d %i %Sp %l %Su %Sg 0 %z %Sm %N"
    code = 0
    for path in words:
        try:
            found = os.stat(path) if follow else os.lstat(path)
        except OSError as error:
            sys.stderr.write(f"stat: {path}: stat: {error.strerror}\n")
            code = 1
            continue
        sys.stdout.write(expand(template, path, found) + ("\n" if newline else ""))
    sys.exit(code)
