# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running programs: deadlines, no shell, counts, and errors that say what was tried; the programs are real."""

from __future__ import annotations

import os
import pathlib
import time
import typing as t

import pytest

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._command import Commands, Output, failed
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError, join

Program = t.Callable[[str, str], str]


def test_what_a_program_leaves_behind(commands: Commands, program: Program) -> None:
    """Exit code, both outputs, and the input that it got, line ends as they are."""
    path = program("copy", "cat; echo oops >&2; exit 3")
    output = commands.run([path], data="one\r\ntwo")
    assert output == Output(3, "one\r\ntwo", "oops\n")
    assert output.text == "oops"
    assert Output(0, " said ", "").text == "said"
    assert commands.check(["/bin/echo", "hello"], "Greeting") == "hello\n"


@pytest.mark.parametrize(
    "argument", ["$HOME", "${HOME}", "~", "~root", "a b", "*", "`id`", "$(id)", "; id", "a\nb", "", "-rf", "é", "'", '"', "\\"]
)
def test_arguments_are_what_they_are(commands: Commands, argument: str) -> None:
    """No shell, no variables, no home: a value is a value."""
    assert commands.check(["/usr/bin/printf", "%s|", argument, "end"], "Printing") == f"{argument}|end|"


def test_the_environment_of_one_call(commands: Commands, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has what was given beside what there is, and the next call does not have it any more."""
    monkeypatch.setenv("COCOON_TEST", "outside")
    path = program("tell", 'echo "$COCOON_TEST $GREETING"')
    assert commands.check([path], "Telling", env={"GREETING": "$HOME"}) == "outside $HOME\n"
    assert commands.check([path], "Telling") == "outside \n"


def test_a_program_that_hangs_is_killed(commands: Commands, program: Program) -> None:
    """The error says for how long it was waited; nothing of it runs on."""
    path = program("hang", 'echo $$ >"$1"; exec sleep 60')
    pid_file = pathlib.Path(path).with_name("pid")
    began = time.monotonic()
    with pytest.raises(CocoonError, match=rf"hang {pid_file} did not end within 0\.4 seconds and was killed") as caught:
        commands.run([path, str(pid_file)], timeout=0.4)
    assert time.monotonic() - began < 10
    assert "run the task again" in caught.value.remedy
    assert not os.path.exists(f"/proc/{int(pid_file.read_text(encoding='ascii'))}/cmdline")


def test_a_hanging_grandchild_does_not_hold_the_task(commands: Commands, program: Program) -> None:
    """It keeps the pipes open, but its parent is dead."""
    path = program("fork", 'sleep 20 & echo $! >"$1"; wait')
    pid_file = pathlib.Path(path).with_name("pid")
    began = time.monotonic()
    try:
        with pytest.raises(CocoonError, match="did not end within"):
            commands.run([path, str(pid_file)], timeout=0.3)
        assert time.monotonic() - began < 15
    finally:
        os.kill(int(pid_file.read_text(encoding="ascii")), 9)


def test_who_is_in_time_is_not_killed(commands: Commands) -> None:
    """A deadline that is not reached changes nothing."""
    assert commands.run(["/bin/sleep", "0.05"], timeout=30).rc == 0


def test_programs_that_cannot_be_run(commands: Commands, tmp_path: pathlib.Path) -> None:
    """Not there, not executable: the error names it."""
    with pytest.raises(CocoonError, match="/no/such/thing cannot be run: No such file or directory"):
        commands.run(["/no/such/thing"])
    (tmp_path / "file").write_text("", encoding="ascii")
    with pytest.raises(CocoonError, match="file cannot be run: Permission denied") as caught:
        commands.run([str(tmp_path / "file")])
    assert "executable" in caught.value.remedy


def test_every_run_is_counted(commands: Commands) -> None:
    """Also those that fail; looking for a program is none."""
    commands.which("sh")
    assert commands.count == 0
    commands.run(["/bin/true"])
    commands.run(["/bin/false"])
    with pytest.raises(CocoonError):
        commands.run(["/no/such/thing"])
    assert commands.count == 3


def test_where_programs_are_looked_for(commands: Commands, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """In PATH first; what is not executable or a folder is no program; absolute paths as they are."""
    path = program("cocoon-test-tool", "exit 0")
    folder = os.path.dirname(path)
    assert commands.which("cocoon-test-tool") is None
    monkeypatch.setenv("PATH", f":{folder}/none:{folder}")
    commands._found.clear()
    assert commands.which("cocoon-test-tool") == path == commands.need("cocoon-test-tool", "")
    assert commands.which(path) == path
    assert commands.which(folder) is None
    os.chmod(path, 0o644)
    assert commands.which(path) == path, "a program is looked for once"
    commands._found.clear()
    assert commands.which(path) is None and commands.which("cocoon-test-tool") is None


def test_sbin_is_found_without_being_in_the_path(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the SSH session of a plain user."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert commands.which("sh") in ("/usr/bin/sh", "/bin/sh")
    monkeypatch.delenv("PATH")
    commands._found.clear()
    assert commands.which("sh")


def test_a_program_that_is_missing(commands: Commands) -> None:
    """The error says where it was looked for and how to get it."""
    with pytest.raises(CocoonError, match="The program no-such-tool is not on this host .looked in PATH and .*/opt/homebrew/bin") as caught:
        commands.need("no-such-tool", "install it")
    assert caught.value.remedy == "install it"


def test_failures_say_what_was_tried(commands: Commands, program: Program) -> None:
    """What, the command, its code, its words."""
    path = program("tool", "echo some words; echo why it failed >&2; exit 4")
    with pytest.raises(CocoonError) as caught:
        commands.check([path, "--flag"], "Making the thing")
    assert caught.value.msg == "Making the thing failed: tool --flag ended with 4: why it failed"
    assert caught.value.as_dict() == {"msg": caught.value.msg, "rc": 4}
    silent = failed("Doing", ["/bin/x"], Output(1, "", ""))
    assert silent.msg == "Doing failed: x ended with 1: no output"


def test_known_failures_are_explained() -> None:
    """The cause and the remedy come with the program's own words."""
    error = failed("Pulling a", ["/bin/skopeo", "copy"], Output(1, "", "manifest unknown"))
    assert "manifest unknown\nLikely cause: the registry has no such image or tag." in error.msg
    assert error.details == {"rc": 1, "cause": "not_in_registry"} and "typing errors" in error.remedy


def test_long_outputs_are_cut() -> None:
    """The end is what matters; a command line is not repeated without end."""
    error = failed("Doing", ["/bin/x", "y" * 1000], Output(1, "", "a" * 9000 + " the end"))
    assert len(error.msg) < 5000 and error.msg.endswith("the end")


def test_how_errors_read() -> None:
    """The remedy follows the message as a sentence of its own."""
    error = CocoonError("It failed.", "try again", log_tail="last words", rc=1)
    assert error.sentence == "It failed. Try again."
    assert error.for_exit() == {"msg": "It failed. Try again.", "remedy": "try again", "log_tail": "last words", "rc": 1}
    assert CocoonError("It failed.").for_exit() == {"msg": "It failed."} and str(error) == "It failed."
    assert join(["one"]) == "one" and join(["one", "two"]) == "- one\n- two"
