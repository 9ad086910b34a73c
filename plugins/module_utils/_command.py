# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""The one place that runs external programs and waits for them."""

from __future__ import annotations

import os
import threading
import typing as t

from ._errors import CocoonError

# Homebrew's folders are not in the PATH of SSH sessions that are no login shells (tart contract 10.3); sbin is not in a plain user's.
SEARCH = ["/opt/homebrew/bin", "/usr/local/bin", "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"]


class Output(t.NamedTuple):
    """What a program left behind: exit code, standard output, standard error."""

    rc: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Standard error, or standard output where that is empty."""
        return (self.err.strip() or self.out.strip())[-4000:]


class Commands:
    """Runs programs through AnsibleModule.run_command, with a deadline for each, and counts them.

    run_command now and then sleeps a full second (ansible contract 5.2), so call few programs.
    """

    def __init__(self, module: t.Any) -> None:
        self._run = module.run_command
        self._found: dict[str, str | None] = {}
        self.count = 0

    def which(self, name: str) -> str | None:
        """Return the path of a program, looked for in PATH and where each platform keeps it; None if absent."""
        if name not in self._found:
            self._found[name] = _which(name)
        return self._found[name]

    def need(self, name: str, remedy: str) -> str:
        """Return the path of a program or raise CocoonError with *remedy*."""
        path = self.which(name)
        if path is None:
            raise CocoonError(f"The program {name} is not on this host (looked in PATH and {', '.join(SEARCH)}).", remedy)
        return path

    def run(
        self,
        argv: list[str],
        timeout: float = 60,
        env: dict[str, str] | None = None,
        data: str | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> Output:
        """Run *argv* (never through a shell) for at most *timeout* seconds; raise CocoonError when it takes longer."""
        self.count += 1
        expired: list[bool] = []
        timers: list[threading.Timer] = []

        def watch(process: t.Any) -> None:
            def expire() -> None:
                expired.append(True)
                process.kill()

            timer = threading.Timer(timeout, expire)
            timer.daemon = True
            timers.append(timer)
            timer.start()

        try:
            rc, out, err = self._run(
                argv,
                environ_update=env,
                data=data,
                binary_data=True,
                before_communicate_callback=watch,
                handle_exceptions=False,
                expand_user_and_vars=False,  # a value such as $HOME is a value
                pass_fds=pass_fds,
            )
        except OSError as error:
            raise CocoonError(f"{argv[0]} cannot be run: {error.strerror or error}.", "install the program, or make it executable") from error
        finally:
            for timer in timers:
                timer.cancel()
        if expired:
            msg = f"{_shown(argv)} did not end within {timeout:g} seconds and was killed."
            raise CocoonError(msg, "look for what it waits for on the host, then run the task again")
        return Output(rc, out, err)

    def check(self, argv: list[str], what: str, timeout: float = 60, env: dict[str, str] | None = None, data: str | None = None) -> str:
        """Run *argv* and return its standard output; raise CocoonError that says *what* was tried when it fails."""
        output = self.run(argv, timeout=timeout, env=env, data=data)
        if output.rc != 0:
            raise failed(what, argv, output)
        return output.out


def failed(what: str, argv: list[str], output: Output) -> CocoonError:
    """Return the error for a program that failed, with the cause and remedy where its message is known."""
    from ._error_catalogue import explain

    cause = explain(output.err + output.out)
    msg = f"{what} failed: {_shown(argv)} ended with {output.rc}: {output.text or 'no output'}"
    if cause is None:
        return CocoonError(msg, rc=output.rc)
    return CocoonError(f"{msg}\nLikely cause: {cause.cause}.", cause.remedy, rc=output.rc, cause=cause.name)


def _shown(argv: list[str]) -> str:
    return " ".join([os.path.basename(argv[0])] + argv[1:])[:300]


def _which(name: str) -> str | None:
    if os.path.isabs(name):
        return name if os.access(name, os.X_OK) and os.path.isfile(name) else None
    for folder in os.environ.get("PATH", "").split(os.pathsep) + SEARCH:
        path = os.path.join(folder, name)
        if folder and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None
