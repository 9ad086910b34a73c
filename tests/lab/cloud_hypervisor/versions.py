# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release is simulated and what differs between them (contract 2.4, 2.5, 3.3 and 7)."""
from __future__ import annotations

RELEASES = {51: "51.1", 52: "52.0", 53: "53.0"}
DEFAULT = 53
MARK = "lab-simulator"


class Version:
    """One simulated release."""

    def __init__(self, major: int) -> None:
        self.major = major
        self.short = RELEASES[major]

    @property
    def build(self) -> str:
        """As `CH_EXTRA_VERSION` would mark a build: v53.0-lab-simulator."""
        return f"v{self.short}-{MARK}"

    @property
    def cargo(self) -> str:
        """The version that `vmm.ping` gives beside the build."""
        return self.short if self.short.count(".") == 2 else self.short + ".0"

    def lines(self, verbose: bool) -> list[str]:
        """What `--version` prints."""
        lines = [f"cloud-hypervisor {self.build}"]
        if self.major >= 53:
            lines.append("Migration Protocol Versions: 0")
        if verbose:
            lines.append('Enabled features: ["io_uring", "kvm"]')
        return lines


def choose(wanted: object) -> Version:
    """The release for a value from the environment or the lab's file; anything else is the default."""
    try:
        major = int(str(wanted))
    except ValueError:
        major = DEFAULT
    return Version(major if major in RELEASES else DEFAULT)
