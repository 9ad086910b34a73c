# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the words of the command line to the exit code (tart contract 1.1, 3 and 4.6)."""
from __future__ import annotations

import errno
import os
import sys

from . import commands, console, home, interrupt, journal, matrix, parser, settings
from .errors import Finished, OtherError, ParseError, RuntimeFailure, TartError, Trap, ValidationError


def main(argv: list[str] | None = None) -> None:
    """Never returns."""
    interrupt.install()
    words = sys.argv[1:] if argv is None else argv
    switches = settings.load()
    log = str(switches["log"])
    journal.call(log, words, str(switches["version"]))
    try:
        code = _guarded(words, switches)
    except Trap as trap:
        console.err(f"tart: Fatal error: {trap}")
        journal.leave(log, 133)
        _die_of_trap()
    journal.leave(log, code)
    # No interpreter shutdown: it is slow, and locks have to go with the process anyway.
    os._exit(code)  # pylint: disable=protected-access


def _die_of_trap() -> None:
    import _signal  # pylint: disable=import-outside-toplevel
    import resource  # pylint: disable=import-outside-toplevel
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _signal.signal(_signal.SIGTRAP, _signal.SIG_DFL)
    os.kill(os.getpid(), _signal.SIGTRAP)


def _guarded(words: list[str], switches: settings.Settings) -> int:
    """Every error in its shape."""
    validated = False
    try:
        parsed = _parse(words, switches)
        if parsed.asks == "version":
            console.out(str(switches["version"]))
            return 0
        validated = True
        return _run(parsed, switches)
    except Finished as end:
        return end.code
    except ParseError as error:
        return _usage(str(error), error.command, switches, error.help_line)
    except ValidationError as error:
        return _usage(str(error), None, switches)
    except RuntimeFailure as error:
        console.err(str(error) if validated else f"Error: {error}")
        return error.code if validated else 1
    except OtherError as error:
        console.err(f"Error: {error}")
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.ENOENT, errno.EDQUOT, errno.EROFS):
            raise
        console.err(f"Error: {_cocoa(error)}")
        return 1


def _cocoa(error: OSError) -> str:
    """What Foundation says about a failed file operation."""
    name = os.path.basename(str(error.filename or "disk.img"))
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The file \u201c{name}\u201d couldn\u2019t be saved because there isn\u2019t enough space."
    if error.errno == errno.ENOENT:
        return f"The file \u201c{name}\u201d doesn\u2019t exist."
    return f"You don\u2019t have permission to save the file \u201c{name}\u201d."


def _usage(message: str, command: str | None, switches: settings.Settings, help_line: str = "") -> int:
    console.err(f"Error: {message}")
    if help_line:
        console.err(f"Help:  {help_line}")
    console.err(f"Usage: {matrix.usage(command, switches.version)}")
    console.err(f"  See 'tart {command + ' ' if command else ''}--help' for more information.")
    return 64


def _parse(words: list[str], switches: settings.Settings) -> parser.Parsed:
    if words and words[0] == "--experimental-dump-help" or "--generate-completion-script" in words:
        from . import helptext  # pylint: disable=import-outside-toplevel
        helptext.special(words, switches)
    known = matrix.commands(switches.version, int(str(switches["macos"])))
    command = words[0] if words and words[0] in known else None
    if words and words[0] == "help":
        # An unknown name gives the root's help.
        wanted = words[1] if len(words) > 1 and words[1] in known else None
        return parser.Parsed(wanted, {}, "help")
    tokens = parser.split(words[1:] if command else words)
    reader = parser.Parser(command, switches.version)
    parsed = reader.parse(tokens)
    if not parsed.asks:
        if command:
            _validate_before_leftovers(parsed, switches)
        reader.refuse_leftovers(tokens)
        if command is None:
            parsed.asks = "help"
    return parsed


def _validate_before_leftovers(parsed: parser.Parsed, switches: settings.Settings) -> None:
    """A failed check is reported before an unknown option or an extra word, with the usage of the subcommand."""
    try:
        commands.validate(parsed, switches)
    except ValidationError as error:
        raise ParseError(str(error), parsed.command) from None


def _run(parsed: parser.Parsed, switches: settings.Settings) -> int:
    """The garbage collection, then the command."""
    if parsed.command not in ("pull", "clone") or parsed.asks:
        try:
            home.prepare()
            home.collect()
        except (TartError, OSError) as error:
            console.err(f"Failed to perform garbage collection: {error}")
    if parsed.asks == "help":
        from . import helptext  # pylint: disable=import-outside-toplevel
        helptext.show(parsed.command, switches)
        return 0
    home.prepare()
    fault = switches.fault(str(parsed.command), _words(parsed))
    commands.suffer(fault)
    return commands.execute(parsed, switches, fault)


def _words(parsed: parser.Parsed) -> list[str]:
    found: list[str] = []
    for value in parsed.values.values():
        found += value if isinstance(value, list) else [value] if isinstance(value, str) else []
    return found
