# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""The one kind of error that the collection raises: what failed, on which VM, why, and what to do."""

from __future__ import annotations

import typing as t


class CocoonError(Exception):
    """Something that the user has to know.

    ``msg`` says what was tried and why it failed, ``remedy`` what to do about it, ``vm`` on which VM,
    ``log_tail`` the last lines that the program wrote.  Library code raises it; only a module's entry point exits.
    """

    def __init__(self, msg: str, remedy: str = "", vm: str = "", log_tail: str = "", **details: t.Any) -> None:
        super().__init__(msg)
        self.msg = msg
        self.remedy = remedy
        self.vm = vm
        self.log_tail = log_tail
        self.details = details

    def __str__(self) -> str:
        return self.msg  # which may have grown since

    @property
    def sentence(self) -> str:
        """The message and the remedy as people read them."""
        return f"{self.msg} {self.remedy[0].upper()}{self.remedy[1:]}." if self.remedy else self.msg

    def for_exit(self) -> dict[str, t.Any]:
        """Return what a module fails with: everything known, and the remedy in the message too, where people look first."""
        return {**self.as_dict(), "msg": self.sentence}

    def as_dict(self) -> dict[str, t.Any]:
        """Return the parts that are known, named as the modules' results name them."""
        parts = {"msg": self.msg, "remedy": self.remedy, "log_tail": self.log_tail}
        return {key: value for key, value in parts.items() if value} | self.details


def join(messages: t.Iterable[str]) -> str:
    """Join several messages into one that reads as a sentence or as a list."""
    found = list(messages)
    return found[0] if len(found) == 1 else "\n".join("- " + message for message in found)
