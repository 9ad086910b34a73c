# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""security: keychains by name and whether they are open; every call is written down without its passwords."""
from __future__ import annotations

import os
import sys

from . import common


def _without_secrets(words: list[str]) -> list[str]:
    return ["(hidden)" if number and words[number - 1] in ("-p", "-w", "-k") else word for number, word in enumerate(words)]


def main() -> None:
    """unlock-keychain opens it for the simulated tart too, when that says so by a file."""
    words = sys.argv[1:]
    common.record("security", _without_secrets(words))
    verb = words[0] if words else ""
    keychains = os.path.expanduser("~/Library/Keychains")
    if verb == "create-keychain":
        os.makedirs(keychains, exist_ok=True)
        with open(os.path.join(keychains, os.path.basename(words[-1])), "ab"):
            pass
    elif verb == "show-keychain-info":
        common.fail("security: SecKeychainCopySettings <NULL>: User interaction is not allowed.", 36)
    elif verb in ("login-keychain", "default-keychain", "list-keychains"):
        if "-s" not in words:
            print(f'    "{keychains}/login.keychain-db"')
    elif verb not in ("unlock-keychain", "lock-keychain", "set-keychain-settings", "set-key-partition-list", "delete-keychain",
                      "find-internet-password", "delete-internet-password"):
        common.fail("Usage: security [-hilqv] [-p prompt] [command] [opt ...]", 2)
    elif verb in ("find-internet-password", "delete-internet-password"):
        common.fail("security: SecKeychainSearchCopyNext: The specified item could not be found in the keychain.", 44)
