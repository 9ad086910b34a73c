# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""system_profiler SPHardwareDataType, as Ansible's facts read it."""
from __future__ import annotations

import os

from . import sysctl


def main() -> None:
    """One section, whatever was asked for."""
    memory = int(sysctl.VALUES["hw.memsize"]()) // 2**30
    print(f"""Hardware:

    Hardware Overview:

      Model Name: Mac mini
      Model Identifier: {sysctl.VALUES["hw.model"]()}
      Chip: {sysctl.VALUES["machdep.cpu.brand_string"]()}
      Total Number of Cores: {os.cpu_count()}
      Memory: {memory} GB
      System Firmware Version: 13822.41.1
      Serial Number (system): LAB0000001
      Hardware UUID: 00000000-0000-0000-0000-0000000000AB
      Activation Lock Status: Disabled
""")
