# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception of the simulator: a chain of messages, outermost first (contract 1.7 and 2.4)."""
from __future__ import annotations

import os


class Failure(Exception):
    """What the real program reports as a chain of errors."""

    def __init__(self, *chain: str) -> None:
        super().__init__(" -> ".join(chain))
        self.chain = list(chain)

    def under(self, *outer: str) -> Failure:
        """The same failure seen from a layer further out."""
        return Failure(*outer, *self.chain)


class Fatal(Exception):
    """The program ends now with exit code 1; an API client sees its connection closed."""

    def __init__(self, *chain: str) -> None:
        super().__init__(" -> ".join(chain))
        self.chain = list(chain)


def os_text(error: OSError) -> str:
    """An operating system error in the words of the real program; key on the number, the words differ between C libraries."""
    return f"{os.strerror(error.errno)} (os error {error.errno})"
