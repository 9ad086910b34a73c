# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that have to agree with each other."""

from __future__ import annotations

import pathlib

import yaml

TOP = pathlib.Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (TOP / "plugins/modules").glob("*.py") if path.stem != "__init__")


def _yaml(path: str) -> dict:
    return yaml.safe_load((TOP / path).read_text(encoding="utf-8"))


def test_the_action_group_has_every_module() -> None:
    """module_defaults with group/cocoonstack.cocoon.cocoon reach them all."""
    assert _yaml("meta/runtime.yml")["action_groups"]["cocoon"] == MODULES


def test_the_oldest_core_is_one_that_is_tested() -> None:
    """requires_ansible, the table of cores and the README name the same one."""
    first = [line.split() for line in (TOP / "tests/cores.txt").read_text(encoding="utf-8").splitlines() if line[:1].isdigit()][0][0]
    floor = ".".join(first.split(".")[:2])
    assert _yaml("meta/runtime.yml")["requires_ansible"] == f">={floor}.0"
    assert f"ansible-core {floor}" in (TOP / "README.md").read_text(encoding="utf-8")


def test_the_changelog_ends_with_a_released_version() -> None:
    """A version is in galaxy.yml before its release is in the changelog, never after a later one."""
    releases = [tuple(int(part) for part in version.split(".")) for version in _yaml("changelogs/changelog.yaml")["releases"]]
    version = tuple(int(part) for part in _yaml("galaxy.yml")["version"].split("."))
    assert all(release <= version for release in releases)
