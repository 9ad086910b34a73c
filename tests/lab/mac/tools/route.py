# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""route -n get default."""
from __future__ import annotations

import json
import subprocess
import sys

from . import common
from .ifconfig import NAMES


def main() -> None:
    """Only this question."""
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    if words != ["get", "default"]:
        common.fail("usage: route [-dnqtv] command [[modifiers] args]", 64)
    text = subprocess.run(["ip", "-j", "route", "show", "default"], stdout=subprocess.PIPE, check=True).stdout
    routes = json.loads(text or "[]")
    if not routes:
        common.fail("route: writing to routing socket: not in table")
    device = NAMES.get(routes[0]["dev"], routes[0]["dev"])
    print(f"   route to: default\ndestination: default\n       mask: default\n    gateway: {routes[0]['gateway']}\n  interface: {device}\n"
          "      flags: <UP,GATEWAY,DONE,STATIC,PRCLONING,GLOBAL>\n"
          " recvpipe  sendpipe  ssthresh  rtt,msec    rttvar  hopcount      mtu     expire\n"
          "       0         0         0         0         0         0      1500         0 ")
