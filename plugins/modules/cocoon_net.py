# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks that VMs are attached to."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cocoon_net
short_description: Networks that VMs are attached to
version_added: "0.1.0"
description:
  - Makes, changes and removes a named network on a host, for O(cocoonstack.cocoon.cocoon_vm#module:networks).
  - On Linux it is a CNI configuration with a bridge, NAT and addresses from a subnet. Networks that somebody else configured can be used,
    but are not changed.
  - On macOS it is a name for one of tart's network modes. vmnet does everything itself, so that nothing on the host is created or removed.
    The network V(default) is always there, with mode V(shared).
options:
  name:
    description: The network's name. Written like a VM's name.
    type: str
    required: true
  state:
    description: V(present) makes the network or changes what differs. V(absent) removes it, unless VMs use it.
    type: str
    choices: [present, absent]
    default: present
  mode:
    description:
      - V(shared) is NAT through the host. Linux hosts have only that.
      - V(bridged) puts the VMs on the network of O(interface). V(softnet) is NAT that keeps VMs apart and away from the host's network.
        V(host) reaches the host only. These three are for macOS.
      - If not set, a new network is V(shared).
    type: str
    choices: [shared, bridged, softnet, host]
  interface:
    description:
      - On macOS the interface that V(bridged) bridges to, such as V(en0) or V(Wi-Fi); the Mac has to have it.
      - On Linux the name of the bridge; if not set, it is made from the network's name.
    type: str
  subnet:
    description:
      - The IPv4 subnet that VMs get addresses from. Linux only.
      - If not set, a new network gets the first C(/24) of C(10.88.0.0/16) that the host does not use.
    type: str
  gateway:
    description: The host's own address in the subnet. Linux only. If not set, the first address.
    type: str
  mtu:
    description: The MTU of the network. Linux only. If not set, the kernel's default.
    type: int
  dns:
    description: Name servers that the VMs are told. Linux only.
    type: list
    elements: str
extends_documentation_fragment:
  - cocoonstack.cocoon.cocoon
  - cocoonstack.cocoon.cocoon.changes
seealso:
  - module: cocoonstack.cocoon.cocoon_net_info
  - module: cocoonstack.cocoon.cocoon_vm
"""

EXAMPLES = r"""
- name: A network with NAT, on Macs and Linux hosts alike
  cocoonstack.cocoon.cocoon_net:
    name: lab

- name: The same on Linux, with everything said
  cocoonstack.cocoon.cocoon_net:
    name: lab
    subnet: 10.88.5.0/24
    gateway: 10.88.5.1
    dns: [10.88.5.1]

- name: VMs on a Mac that are on the office network themselves
  cocoonstack.cocoon.cocoon_net:
    name: office
    mode: bridged
    interface: en0
"""

RETURN = r"""
network:
  description: The network as it is after the task; null where it is not there.
  returned: success
  type: dict
  contains:
    name: &name
      description: Its name.
      type: str
      returned: success
      sample: lab
    backend:
      description: The backend that it is for.
      type: str
      returned: success
      sample: cloud-hypervisor
    mode:
      description: V(shared), V(bridged), V(softnet) or V(host).
      type: str
      returned: success
      sample: shared
    managed:
      description: Whether this collection made it.
      type: bool
      returned: success
      sample: true
    interface:
      description: The bridge on Linux, the interface that is bridged to on macOS, or null.
      type: str
      returned: success
      sample: cn-lab
    subnet:
      description: Its IPv4 subnet, null where something else gives addresses.
      type: str
      returned: success
      sample: 10.88.0.0/24
    gateway:
      description: Its gateway, or null.
      type: str
      returned: success
      sample: 10.88.0.1
    mtu:
      description: Its MTU, null for the default.
      type: int
      returned: success
      sample: 1500
    dns:
      description: The name servers that its VMs are told.
      type: list
      elements: str
      returned: success
      sample: [10.88.0.1]
    path:
      description: The file on the host that defines it, or null.
      type: str
      returned: success
      sample: /etc/cni/net.d/50-cocoon-lab.conflist
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._argument_specs import COCOON_NET
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._command import Commands
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._hypervisor import factory
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._network.converge import converge


def main() -> None:
    """Bring a network to what the options say."""
    module = AnsibleModule(argument_spec=COCOON_NET, supports_check_mode=True)
    try:
        provider = factory.network(factory.host(module.params, Commands(module)))
        outcome = converge(provider, module.params, module.check_mode)
    except CocoonError as error:
        module.fail_json(**error.for_exit())
    module.exit_json(**outcome)


if __name__ == "__main__":
    main()
