# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest learns at its first boot, read as cloud-init reads it."""

from __future__ import annotations

import email
import json
import os
import pathlib
import typing as t

import pytest
import yaml
from hypothesis import example, given, strategies as st

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._guest.seed import (
    Seed,
    files,
    merged_user_data,
    multipart,
    network_config,
    new_identity,
    write_seed,
)

SEED = Seed("ID1", "web", ["ssh-ed25519 AAAA me"], "", [])
NICS: list[dict[str, t.Any]] = [
    {"mac_address": "52:54:00:00:00:01", "ip_address": "10.88.0.2", "prefix": 24, "gateway": "10.88.0.1", "dns": ["1.1.1.1"]},
    {"mac_address": "52:54:00:00:00:02", "ip_address": "10.88.1.2", "prefix": 16, "gateway": "10.88.1.1", "dns": []},
    {"mac_address": "52:54:00:00:00:03", "ip_address": None},
]


def parts(text: str) -> list[tuple[str, str]]:
    """The parts of a message and their types, decoded as cloud-init decodes them: from text, by the email package."""
    message = email.message_from_string(text)
    assert message.is_multipart() and not message.defects
    found = []
    for part in message.walk():
        assert not part.defects
        if not part.is_multipart():
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            found.append((part.get_content_type(), payload.decode("utf-8")))
    return found


def test_files() -> None:
    """Meta data and user data always, the network where something is known of it; all of it is YAML."""
    found = files(SEED._replace(nics=NICS))
    assert sorted(found) == ["meta-data", "network-config", "user-data"]
    assert yaml.safe_load(found["meta-data"]) == {"instance-id": "ID1", "local-hostname": "web"}
    assert yaml.safe_load(found["network-config"]) == network_config(NICS)
    assert sorted(files(SEED)) == ["meta-data", "user-data"]


def test_our_own_user_data() -> None:
    """A cloud-config with hostname and keys; keys for root only where keys are given."""
    text = merged_user_data(SEED)
    assert text.startswith("#cloud-config\n")
    assert yaml.safe_load(text) == {"hostname": "web", "ssh_authorized_keys": ["ssh-ed25519 AAAA me"], "disable_root": False}
    assert yaml.safe_load(merged_user_data(SEED._replace(ssh_authorized_keys=[]))) == {"hostname": "web"}


KINDS = [
    ("#cloud-config\nruncmd: [ls]\n", "text/cloud-config"),
    ("#!/bin/sh\necho hello\n", "text/x-shellscript"),
    ("#include\nhttp://x.test/y\n", "text/x-include-url"),
    ("#include-once\nhttp://x.test/y\n", "text/x-include-once-url"),
    ("#cloud-boothook\n#!/bin/sh\n", "text/cloud-boothook"),
    ("#cloud-config-archive\n- content: x\n", "text/cloud-config-archive"),
    ("#part-handler\n", "text/part-handler"),
    ("## template: jinja\n#cloud-config\n{}\n", "text/jinja2"),
]


@pytest.mark.parametrize(("text", "kind"), KINDS)
def test_user_data_stands_beside_ours(text: str, kind: str) -> None:
    """Ours first, then the user's, of the type that cloud-init knows by its first line."""
    (first, config), (second, found) = parts(merged_user_data(SEED._replace(user_data=text)))
    assert first == "text/cloud-config" and yaml.safe_load(config)["hostname"] == "web"
    assert (second, found) == (kind, text)


def test_a_message_of_the_users_own() -> None:
    """It is kept with all its parts."""
    inner = multipart([text for text, _kind in KINDS[:3]])
    found = parts(merged_user_data(SEED._replace(user_data=inner)))
    assert found[1:] == [(kind, text) for text, kind in KINDS[:3]]
    with_header_order = "MIME-Version: 1.0\n" + inner.replace("MIME-Version: 1.0\n", "", 1)
    assert parts(merged_user_data(SEED._replace(user_data=with_header_order)))[1:] == found[1:]


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=60))
@example("--==cocoon-part==\n")
@example("\n--==cocoon-part==--\n")
@example("echo é ☃\n")
@example("a\r\nb\rc\n")
@example("no line end")
@example("Content-Type: x\n\n")
def test_no_text_is_changed_on_its_way(body: str) -> None:
    """Whatever a script has in it: accents, carriage returns, what looks like our own boundary."""
    text = "#!/bin/sh\n" + body
    (_type, _ours), (kind, found) = parts(multipart(["#cloud-config\n{}\n", text]))
    assert kind == "text/x-shellscript"
    assert found == text


@pytest.mark.parametrize("text", ["hello", "runcmd: [ls]", " #cloud-config", "\n#!/bin/sh"])
def test_user_data_that_cloud_init_does_not_know(text: str) -> None:
    """It would be ignored in the guest: it is an error here, which says how to begin."""
    with pytest.raises(CocoonError, match="user_data.* cloud-init does not know") as caught:
        merged_user_data(SEED._replace(user_data=text))
    assert "#cloud-config" in caught.value.remedy


def test_the_network() -> None:
    """Cards are known by their MAC; addresses as given, the default route by the first card only, else DHCP by MAC (tart contract 6)."""
    assert network_config(NICS) == {
        "version": 2,
        "ethernets": {
            "id0": {
                "match": {"macaddress": "52:54:00:00:00:01"},
                "addresses": ["10.88.0.2/24"],
                "routes": [{"to": "default", "via": "10.88.0.1"}],
                "nameservers": {"addresses": ["1.1.1.1"]},
            },
            "id1": {"match": {"macaddress": "52:54:00:00:00:02"}, "addresses": ["10.88.1.2/16"]},
            "id2": {"match": {"macaddress": "52:54:00:00:00:03"}, "dhcp4": True, "dhcp-identifier": "mac"},
        },
    }


def test_the_same_wishes_give_the_same_bytes(tmp_path: pathlib.Path) -> None:
    """A change is seen by comparing; the volume is for its owner only."""
    seed = SEED._replace(user_data="#!/bin/sh\n", nics=NICS)
    write_seed(str(tmp_path / "a"), seed)
    write_seed(str(tmp_path / "b"), Seed(*json.loads(json.dumps(seed))))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert os.stat(tmp_path / "a").st_mode & 0o777 == 0o600


def test_the_largest_user_data_fits() -> None:
    """What the options allow is what the volume holds, in letters of any size."""
    for letter in ("x", "é", "☃"):
        text = "#!/bin/sh\n" + letter * ((512 * 1024 - 10) // len(letter.encode("utf-8")))
        write = files(SEED._replace(user_data=text, nics=NICS))
        assert sum(len(content) for content in write.values()) < 2000 * 512


def test_identities_are_never_the_same() -> None:
    """Names of letters and digits."""
    found = {new_identity() for _turn in range(100)}
    assert len(found) == 100 and all(identity.isalnum() for identity in found)
