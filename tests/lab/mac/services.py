# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab Mac starts at boot, as root. The lab's init runs each in a session of its own."""
from __future__ import annotations

SERVICES: list[list[str]] = [
    ["/usr/bin/python3", "-IS", "-c", "import sys; sys.path.insert(0, '/opt/lab'); from mac.boot import main; main()"],
]
