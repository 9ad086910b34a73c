# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of programs: how they are read, and that they are asked once."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from hypothesis import given, strategies as st

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._command import Commands
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._program import NEWEST, parse_version, version

Program = t.Callable[[str, str], str]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2.32.1\n", (2, 32, 1)),
        ("SNAPSHOT\n", NEWEST),
        ("cloud-hypervisor v51.1\n", (51, 1)),
        ("cloud-hypervisor v53.0-246-gae44c2971\nMigration Protocol Versions: 0\n", (53, 0)),
        ("cloud-hypervisor v51.1-dirty\n", (51, 1)),
        ('cloud-hypervisor v52.0\nEnabled features: ["io_uring", "kvm"]\n', (52, 0)),
        ("cloud-hypervisor 51.1.0-1.fc43\n", (51, 1, 0)),
    ],
)
def test_versions(text: str, found: tuple[int, ...]) -> None:
    """Released, built by hand, built by a distribution (cloud-hypervisor contract 1.2, tart contract 9.1)."""
    assert parse_version(text, "/x") == found


@pytest.mark.parametrize("text", ["", "\n", "hello", "usage: tart <subcommand>", "version 5", "\n\nhello\nv51.0"])
def test_what_is_no_version(text: str) -> None:
    """The error says who answered what."""
    with pytest.raises(CocoonError, match="/bin/x --version answers .* which is no version") as caught:
        parse_version(text, "/bin/x")
    assert "binary" in caught.value.remedy


@given(st.lists(st.integers(0, 999), min_size=2, max_size=4), st.sampled_from(["{}", "v{}", "tart {}", "x v{}-dirty"]))
def test_versions_are_numbers(numbers: list[int], form: str) -> None:
    """They compare as numbers do, so that 9 is before 10."""
    assert parse_version(form.format(".".join(map(str, numbers))), "/x") == tuple(numbers)


def test_a_program_is_asked_once(commands: Commands, program: Program, tmp_path: pathlib.Path) -> None:
    """Until its file changes, also behind a link."""
    path = program("real", "echo 2.30.0")
    link = str(tmp_path / "tart")
    os.symlink(path, link)
    for _turn in range(3):
        assert version(commands, link, str(tmp_path), "tart") == (2, 30, 0)
    assert commands.count == 1
    program("real", "echo 2.31.0 # newer")
    assert version(commands, link, str(tmp_path), "tart") == (2, 31, 0)
    assert commands.count == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"x"', b"{}", b'{"stamp": 1}', b"\xff", b'{"version": [1, 0]}'])
def test_a_damaged_memory_is_asked_again(commands: Commands, program: Program, tmp_path: pathlib.Path, content: bytes) -> None:
    """It is a memory, not a record."""
    (tmp_path / "tart-version.json").write_bytes(content)
    assert version(commands, program("tart", "echo 2.30.0"), str(tmp_path), "tart") == (2, 30, 0)


def test_looking_makes_no_directory(commands: Commands, program: Program, tmp_path: pathlib.Path) -> None:
    """Check mode leaves the host as it is."""
    root = tmp_path / "none"
    assert version(commands, program("tart", "echo 2.30.0"), str(root), "tart") == (2, 30, 0)
    assert not root.exists()


def test_a_program_that_fails(commands: Commands, program: Program, tmp_path: pathlib.Path) -> None:
    """Its own words are told, and nothing is remembered."""
    with pytest.raises(CocoonError, match="for its version failed: .* ended with 127: cannot load library"):
        version(commands, program("tart", "echo cannot load library >&2; exit 127"), str(tmp_path), "tart")
    assert not (tmp_path / "tart-version.json").exists()
