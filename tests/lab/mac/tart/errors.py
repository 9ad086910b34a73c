# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong, by the shape in which it is reported (tart contract 1.1, table of error shapes)."""
from __future__ import annotations


class TartError(Exception):
    """Base of all that ends a command."""


class ParseError(TartError):
    """Wrong arguments: 64, usage of the subcommand (of the root when command is None)."""

    def __init__(self, message: str, command: str | None, help_line: str = "") -> None:
        super().__init__(message)
        self.command = command
        self.help_line = help_line


class ValidationError(TartError):
    """Refused by a command's check (usage of the subcommand) or while it runs (usage of the root): 64."""


class RuntimeFailure(TartError):
    """One of tart's own errors: the bare text, 1 or 2."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class OtherError(TartError):
    """Any other error: "Error: " before it, 1."""


class Cancelled(OtherError):
    """SIGINT while the command could be interrupted."""

    def __init__(self) -> None:
        super().__init__("CancellationError()")


class Trap(TartError):
    """A crash of the Swift runtime: the process dies of SIGTRAP."""


class Finished(TartError):
    """Nothing wrong: leave now with this code."""

    def __init__(self, code: int = 0) -> None:
        super().__init__(str(code))
        self.code = code


def no_such_vm(name: str) -> RuntimeFailure:
    """Contract 3: the exit code is 2."""
    return RuntimeFailure(f'the specified VM "{name}" does not exist', 2)
