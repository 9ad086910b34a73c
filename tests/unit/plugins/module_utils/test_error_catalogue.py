# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Known messages and their causes, each as the program writes it (hosts-and-guests contract F, tart contract 3)."""

from __future__ import annotations

import pytest

from ansible_collections.cocoonstack.cocoon.plugins.module_utils import _error_catalogue
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._error_catalogue import explain

VZ = 'Error Domain=VZErrorDomain Code={} "The virtual machine failed to start." UserInfo={{NSLocalizedFailure=Internal error.}}'
MESSAGES = [
    ("The number of VMs exceeds the system limit (other running VMs: a, b)", "vm_limit"),
    ("The maximum supported number of active virtual machines has been reached.", "vm_limit"),
    ('Error: Failed(message: "Keychain returned unsuccessful status -25308")', "keychain_locked"),
    ("User interaction is not allowed.", "keychain_locked"),
    (VZ.format(1), "no_gui_session"),
    (VZ.format(-9), "no_gui_session"),
    ("Failed to get the HostKey", "no_gui_session"),
    ("Failed to generate keypair", "no_gui_session"),
    ("the process is not allowed access to the window system", "no_gui_session"),
    ('Error: no bridge interfaces matched "["en7"]", available interfaces: ["en0 (or \\"Wi-Fi\\")"]', "bad_bridge"),
    ('Error: InitializationFailed(why: "softnet not found in PATH")', "softnet"),
    ("root privileges are required to run and passwordless sudo was not available", "softnet"),
    ('Error: RuntimeFailed(why: "Softnet process terminated prematurely")', "softnet"),
    ("LessThanMinimalResources: VM should have 4 CPU cores at minimum (requested 2)", "resources"),
    ("new disk size of 10 GB should be larger than the current disk size of 50 GB", "shrink"),
    ("UnsupportedRestoreImageError()", "host_too_old"),
    ("Installation requires a software update.", "host_too_old"),
    ("Error: host macOS version is outdated to run this virtual machine", "host_too_old"),
    ("bind(descriptor:ptr:bytes:): Address already in use) (errno: 48)", "stale_socket"),
    ("Error: GRPCConnectionPoolError: unavailable", "no_agent"),
    ("/dev/kvm: Permission denied (os error 13)", "kvm"),
    ("Failed to open hypervisor interface (is hypervisor interface available?)", "kvm"),
    ("Couldn't open /dev/net/tun: Operation not permitted (os error 1)", "tun"),
    ("Error locking disk images: Another instance likely holds a lock", "disk_lock"),
    ('failed to find plugin "bridge" in path [/opt/cni/bin]', "cni_path"),
    ("Missing multiqueue support on device", "tap_queues"),
    ("failed to allocate for range 0: no IP addresses available in range set: 10.88.0.1-10.88.0.254", "pool_full"),
    ("write /var/lib/x: no space left on device", "disk_full"),
    ("No space left on device (os error 28)", "disk_full"),
    ("dial tcp 10.0.0.1:5000: connect: connection refused", "unreachable"),
    ("dial tcp: lookup registry.test: no such host", "unreachable"),
    ("dial tcp 10.0.0.1:443: i/o timeout", "unreachable"),
    ("http: server gave HTTP response to HTTPS client", "plain_http"),
    ("reading manifest 9 in registry.test/a: manifest unknown", "not_in_registry"),
    ('Error: UnexpectedHTTPStatusCode(when: "pulling manifest", code: 404, details: "")', "not_in_registry"),
    ("unauthorized: authentication required", "credentials"),
    ("denied: requested access to the resource is denied", "credentials"),
    ('Error: AuthFailed(why: "received unexpected HTTP status code 403", details: "")', "credentials"),
]


@pytest.mark.parametrize(("message", "name"), MESSAGES)
def test_known_messages(message: str, name: str) -> None:
    """Also when they stand in the middle of a log."""
    for text in (message, f"something before\n{message}\nsomething after\n"):
        cause = explain(text)
        assert cause is not None and cause.name == name


def test_every_cause_is_known_by_a_message() -> None:
    """No entry stands there untried."""
    assert {cause.name for _pattern, cause in _error_catalogue._CATALOGUE} == {name for _message, name in MESSAGES}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "it did not work",
        "mkfs.ext4: Permission denied: '/var/lib/cocoon'",
        "tar: etc/shadow: Cannot open: Permission denied",
        "open /var/lib/cni/networks/a: permission denied",
        "VZErrorDomain Code=12 restoring failed",
        "HTTP code: 4040",
    ],
)
def test_messages_that_are_not_known(text: str) -> None:
    """No cause is better than a wrong one."""
    assert explain(text) is None


def test_causes_and_remedies_fit_into_sentences() -> None:
    """They begin small and end without a full stop: the error puts both around them."""
    for _pattern, cause in _error_catalogue._CATALOGUE:
        for text in (cause.cause, cause.remedy):
            assert text and not text.endswith(".") and "\n" not in text
        assert cause.remedy[0].islower()
