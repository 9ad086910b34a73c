# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGINT: some commands can be interrupted, some lose it (tart contract 13.9)."""
from __future__ import annotations

import _signal

from .errors import Cancelled

_state = {"open": False, "pending": False}


def _arrived(_number: int, _frame: object) -> None:
    if _state["open"]:
        _state["open"] = False
        raise Cancelled()
    _state["pending"] = True


def install() -> None:
    """From the first instruction on: noted, nothing more. A closed pipe kills, as it does Swift programs."""
    _signal.signal(_signal.SIGINT, _arrived)
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)


class allowed:  # pylint: disable=invalid-name,too-few-public-methods
    """Inside, SIGINT ends the command."""

    def __enter__(self) -> None:
        if _state["pending"]:
            raise Cancelled()
        _state["open"] = True

    def __exit__(self, *_details: object) -> None:
        _state["open"] = False
