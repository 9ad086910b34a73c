# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""Calling tart: where it is, its environment, its answers (tart contract 1, 2, 10, 12.1)."""

from __future__ import annotations

import json
import os
import typing as t

from ._command import SEARCH, Output, failed
from ._errors import CocoonError

_INSTALL = "install tart (Homebrew tap or release archive), or set binary to its path"


class TartCommand:
    """The tart program of one user."""

    def __init__(self, commands: t.Any, binary: str = "tart") -> None:
        self.commands = commands
        self.binary = binary

    @property
    def path(self) -> str:
        """The program's path; raise CocoonError where it is not installed."""
        return t.cast(str, self.commands.need(self.binary, _INSTALL))

    @property
    def home(self) -> str:
        """Where tart keeps VMs and its cache."""
        import pwd

        # The account's home, whatever $HOME says (tart contract 4.1).
        return os.environ.get("TART_HOME") or os.path.join(pwd.getpwuid(os.geteuid()).pw_dir, ".tart")

    @property
    def environment(self) -> dict[str, str]:
        """What every call gets: plain progress lines, Homebrew in the PATH for softnet, no tracing."""
        os.environ.pop("TRACEPARENT", None)
        folders = os.environ.get("PATH", "").split(os.pathsep)
        return {"CI": "1", "PATH": os.pathsep.join(folders + [folder for folder in SEARCH if folder not in folders])}

    def run(self, *arguments: str, timeout: float = 60) -> Output:
        """Run tart and return what it left behind."""
        return t.cast(Output, self.commands.run([self.path, *arguments], timeout=timeout, env=self.environment))

    def check(self, what: str, *arguments: str, timeout: float = 60) -> str:
        """Run tart and return its output; raise CocoonError that says *what* was tried when it fails."""
        output = self.run(*arguments, timeout=timeout)
        if output.rc != 0:
            raise failed(what, [self.path, *arguments], output)
        return output.out

    def list(self, source: str) -> list[dict[str, t.Any]]:
        """Return ``tart list`` of ``local`` or ``oci``; keys that a version lacks are absent."""
        out = self.check("Listing VMs", "list", "--source", source, "--format", "json")
        try:
            rows = json.loads(out)
        except ValueError as error:
            raise CocoonError(
                f"tart list gave no whole answer ({error}): {out[-80:]!r}.",
                "run 'tart list --format json' on the host; the collection changes nothing while it cannot see",
            ) from error
        if not isinstance(rows, list) or not all(isinstance(row, dict) and "Name" in row for row in rows):
            raise CocoonError("tart list gave an answer that is no list of VMs.", "check that binary names tart 2.10 or newer")
        return rows

    def config(self, name: str) -> dict[str, t.Any]:
        """Return a local VM's config.json, {} where it cannot be read."""
        return read_config(os.path.join(self.home, "vms", name))


def read_config(folder: str) -> dict[str, t.Any]:
    """Return the config.json of a VM's folder, {} where it cannot be read."""
    try:
        with open(os.path.join(folder, "config.json"), "r", encoding="utf-8") as file:
            config = json.load(file)
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
