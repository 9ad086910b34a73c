# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the lab for one host: the release to simulate and faults on demand.

They stand in a JSON file that no product path leads to; a program without that file behaves.
Keys: version, hang_api, die_after_ms, die_at_start (text), boot_delay_ms, accel (QEMU's, default tcg), kvm (what stands for
/dev/kvm).
"""
from __future__ import annotations

import os

FILE = "/etc/lab/cloud-hypervisor.json"


def load() -> dict:
    """Read the settings; the environment may name another file and another release."""
    path = os.environ.get("FAKE_CH_CONFIG", FILE)
    settings: dict = {}
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError:
        text = ""
    if text.strip():
        import json  # pylint: disable=import-outside-toplevel
        settings = json.loads(text)
    if "FAKE_CH_VERSION" in os.environ:
        settings["version"] = os.environ["FAKE_CH_VERSION"]
    return settings
