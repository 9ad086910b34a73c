# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of images in registries."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._image.base import Reference, parse_reference

DIGEST = "sha256:" + "0123456789abcdef" * 4
WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
HOSTS = st.one_of(
    st.tuples(WORD, WORD).map(".".join),
    st.tuples(WORD, st.integers(1, 65535)).map(lambda parts: f"{parts[0]}:{parts[1]}"),
    st.just("localhost"),
    st.just("10.77.0.5:5000"),
)
PATHS = st.lists(st.tuples(WORD, st.sampled_from(["", "-", "_", "__", ".", "--"]), WORD).map("".join), min_size=1, max_size=4).map("/".join)
TAGS = st.one_of(st.just(""), st.text("abcABC019_", min_size=1, max_size=20), st.just("v1.2-rc.1"))


@pytest.mark.parametrize(
    ("text", "reference", "name"),
    [
        ("registry.test/a", Reference("registry.test/a", "latest", ""), "registry.test/a:latest"),
        ("registry.test/a/b:13", Reference("registry.test/a/b", "13", ""), "registry.test/a/b:13"),
        ("10.77.0.5:5000/lab/guest:1", Reference("10.77.0.5:5000/lab/guest", "1", ""), "10.77.0.5:5000/lab/guest:1"),
        ("localhost/a", Reference("localhost/a", "latest", ""), "localhost/a:latest"),
        (f"registry.test/a@{DIGEST}", Reference("registry.test/a", "latest", DIGEST), f"registry.test/a@{DIGEST}"),
        (f"registry.test/a:13@{DIGEST}", Reference("registry.test/a", "13", DIGEST), f"registry.test/a@{DIGEST}"),
    ],
)
def test_references(text: str, reference: Reference, name: str) -> None:
    """The tag is latest where none is given; a digest says more than a tag."""
    assert parse_reference(text) == reference
    assert parse_reference(text).name == name


@given(HOSTS, PATHS, TAGS, st.sampled_from(["", DIGEST]))
def test_every_reference_is_read(host: str, path: str, tag: str, digest: str) -> None:
    """And what is shown of it names the same image again."""
    found = parse_reference(f"{host}/{path}" + (f":{tag}" if tag else "") + (f"@{digest}" if digest else ""))
    assert found == Reference(f"{host}/{path}", tag or "latest", digest)
    assert parse_reference(found.name).name == found.name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "debian",
        "debian:13",
        "library/debian:13",
        "-rf/a:1",
        "--all",
        "/a:1",
        "registry.test/",
        "registry.test/A",
        "registry.test/a:",
        "registry.test/a:é",
        "registry.test/../a",
        "registry.test//a",
        "registry.test/a b",
        "registry.test/a:1:2",
        "https://registry.test/a",
        "docker://registry.test/a",
        "registry.test/a@sha256:12",
        f"registry.test/a@{DIGEST}0",
        "registry.test/a@md5:0",
        "registry.test/a\n",
        "registry.test:port/a",
        "registry.test/a?x=1",
        "registry.test/" + "a" * 520,
        "registry.test/a:" + "t" * 129,
        "$HOME/a",
        "~/a",
        "./a",
        "user@registry.test/a",
        "registry.test-/a",
        "[::1]/a",
    ],
)
def test_what_is_no_reference(text: str) -> None:
    """A registry has to be named: a short name is another image on every host."""
    with pytest.raises(CocoonError, match="is not an image reference") as caught:
        parse_reference(text)
    assert "registry/repository:tag" in caught.value.remedy


@given(st.text(max_size=40))
def test_references_are_safe_as_paths_and_arguments(text: str) -> None:
    """What is accepted has no white space and no part that leads elsewhere."""
    try:
        found = parse_reference(text)
    except CocoonError:
        return
    assert not text.startswith("-") and not any(sign.isspace() for sign in text) and text.isascii()
    assert not {"", ".", ".."} & set(found.repository.split("/"))
