# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calling tart: its environment, and answers that are cut off or are none (tart contract 2.1, 8.3, 10)."""

from __future__ import annotations

import json
import os
import pathlib
import pwd
import typing as t

import pytest
from hypothesis import given, strategies as st

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._command import Commands, Output
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._tart import TartCommand, read_config

Program = t.Callable[[str, str], str]
ROWS = [
    {"Source": "local", "Name": "web", "Disk": 50, "Size": 20, "State": "running", "Running": True},
    {"Source": "local", "Name": "d b", "Disk": 50, "Size": 20, "State": "stopped", "Running": False},
]


class Answering:
    """Commands of which every one gives the same answer."""

    def __init__(self, out: str, rc: int = 0, err: str = "") -> None:
        self.output = Output(rc, out, err)

    def need(self, name: str, _remedy: str) -> str:
        """Every program is there."""
        return f"/opt/homebrew/bin/{name}"

    def run(self, _argv: list[str], **_options: t.Any) -> Output:
        """The answer."""
        return self.output


def test_how_tart_is_called(commands: Commands, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain progress, Homebrew in the PATH for softnet, no tracing; arguments as they are."""
    monkeypatch.setenv("TRACEPARENT", "00-1-1-01")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    path = program("tart", 'echo "$CI|$PATH|$TRACEPARENT|$*"')
    ci, search, trace, arguments = TartCommand(commands, path).run("get", "$HOME").out.strip().split("|")
    assert (ci, trace, arguments) == ("1", "", "get $HOME")
    assert (
        search.split(":")[:2] == ["/usr/bin", "/bin"]
        and "/opt/homebrew/bin" in search
        and len(set(search.split(":"))) == len(search.split(":"))
    )


def test_where_tart_keeps_its_files(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where TART_HOME says, else in the home of the user's account, whatever HOME says (tart contract 4.1)."""
    monkeypatch.setenv("HOME", "/Users/admin")
    monkeypatch.delenv("TART_HOME", raising=False)
    assert TartCommand(commands).home == f"{pwd.getpwuid(os.geteuid()).pw_dir}/.tart"
    monkeypatch.setenv("TART_HOME", "/Volumes/vms")
    assert TartCommand(commands).home == "/Volumes/vms"


def test_a_list() -> None:
    """All rows, whatever keys the version has."""
    assert TartCommand(Answering(json.dumps(ROWS))).list("local") == ROWS
    assert TartCommand(Answering("[]")).list("local") == []


@given(st.integers(0, len(json.dumps(ROWS)) - 1))
def test_a_list_that_is_cut_off(length: int) -> None:
    """Every beginning of an answer that is not all of it is an error: VMs that are not seen would be made again."""
    with pytest.raises(CocoonError, match="tart list gave no whole answer") as caught:
        TartCommand(Answering(json.dumps(ROWS)[:length])).list("local")
    assert "changes nothing while it cannot see" in caught.value.remedy


@pytest.mark.parametrize("answer", ["{}", "null", "1", '"web"', "[1]", "[{}]", '[{"name": "web"}]', '[{"Name": "web"}, null]'])
def test_an_answer_that_is_no_list(answer: str) -> None:
    """JSON, but not what tart says."""
    with pytest.raises(CocoonError, match="no list of VMs"):
        TartCommand(Answering(answer)).list("local")


def test_tart_that_fails() -> None:
    """Its words, and the cause where it is known."""
    with pytest.raises(CocoonError, match="Listing VMs failed: tart list .* ended with 1: TART_HOME is invalid"):
        TartCommand(Answering("", 1, "TART_HOME is invalid: /x does not exist")).list("local")
    with pytest.raises(CocoonError, match="Starting failed: (.|\n)*Likely cause: a Mac runs at most two"):
        TartCommand(Answering("", 1, "The number of VMs exceeds the system limit")).check("Starting", "run", "web")


def test_no_tart(commands: Commands) -> None:
    """How to get it."""
    with pytest.raises(CocoonError, match="The program no-tart is not on this host") as caught:
        TartCommand(commands, "no-tart").list("local")
    assert "install tart" in caught.value.remedy


@pytest.mark.parametrize(
    ("content", "found"), [(b'{"os": "linux"}', {"os": "linux"}), (b"", {}), (b"{", {}), (b"[]", {}), (b"\xff", {}), (None, {})]
)
def test_a_vm_without_a_config_that_can_be_read(tmp_path: pathlib.Path, content: bytes | None, found: dict[str, t.Any]) -> None:
    """It has no settings that are known; that is no reason to see no VM at all."""
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    assert read_config(str(tmp_path)) == found
