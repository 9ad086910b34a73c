# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Standard output and error of the simulated tart, unbuffered, with the progress lines of contract 2.5."""
from __future__ import annotations

import os
import time

cut_output_at = 1.0
_last_progress = [0.0, ""]


def out(text: str) -> None:
    """A line, or several, on stdout."""
    _write(1, text + "\n")


def document(text: str) -> None:
    """The result of list and get: the fault "cut" shortens it."""
    data = text + "\n"
    _write(1, data if cut_output_at >= 1 else data[:int(len(data) * cut_output_at)])


def err(text: str) -> None:
    """A line on stderr."""
    _write(2, text + "\n")


def progress(text: str, first: bool = False, last: bool = False) -> None:
    """At most one a second, unchanged ones skipped; in place with escape codes unless CI is set, terminal or not."""
    now = time.monotonic()
    if not (first or last) and (now - _last_progress[0] < 1 or text == _last_progress[1]):
        return
    if not first and text == _last_progress[1]:
        return
    _last_progress[:] = [now, text]
    if first or "CI" in os.environ:
        out(text)
    else:
        _write(1, "\x1b[1A\r\x1b[J" + text + "\n")


def _write(descriptor: int, text: str) -> None:
    data = text.encode("utf-8", "surrogateescape")
    while data:
        data = data[os.write(descriptor, data):]
