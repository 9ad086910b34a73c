# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options and attributes that all modules of the collection share."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation fragments; each is named where a module extends it."""

    DOCUMENTATION = r"""
options:
  backend:
    description:
      - The program that runs the VMs.
      - With V(auto), V(tart) on macOS and V(cloud-hypervisor) on Linux.
    type: str
    choices: [auto, tart, cloud-hypervisor]
    default: auto
  root_dir:
    description:
      - The directory on the host where the collection keeps its records, and on Linux also images and disks.
      - If not set, C(/var/lib/cocoon) on Linux and C(~/.cocoon) on macOS.
    type: path
  binary:
    description:
      - Name or path of the backend's program on the host.
      - If not set, C(cloud-hypervisor) or C(tart), looked for in the C(PATH) and in the folders where each platform keeps it,
        Homebrew's included.
    type: str
requirements:
  - "On Linux: cloud-hypervisor 51.0 or newer, /dev/kvm, iproute2, CNI plugins, e2fsprogs, skopeo, erofs-utils, and root (C(become: true))."
  - "On macOS: tart 2.10 or newer; no C(become), because tart keeps VMs per user."
  - "On both: Python 3.9 or newer."
author:
  - cocoonstack contributors (@cocoonstack)
"""

    CHANGES = r"""
attributes:
  check_mode:
    description: Can run in check mode and say what it would do.
    support: full
  diff_mode:
    description: Shows what it changes in diff mode.
    support: full
  idempotent:
    description: Run again with the same options, it changes nothing.
    support: full
  action_group:
    description: C(module_defaults) can be set for all modules of the group C(cocoonstack.cocoon.cocoon).
    support: full
    membership: [cocoonstack.cocoon.cocoon]
"""

    INFO = r"""
attributes:
  check_mode:
    description: Can run in check mode; it never changes anything.
    support: full
  diff_mode:
    description: Has nothing to show in diff mode.
    support: none
    details: It only looks.
  idempotent:
    description: Changes nothing.
    support: full
  action_group:
    description: C(module_defaults) can be set for all modules of the group C(cocoonstack.cocoon.cocoon).
    support: full
    membership: [cocoonstack.cocoon.cocoon]
"""
