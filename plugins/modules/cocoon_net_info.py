# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What networks a host has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cocoon_net_info
short_description: What networks a host has
version_added: "0.1.0"
description:
  - Lists the networks of a host that VMs can be attached to, or one of them. It is always a list, and never an error that there is none.
options:
  name:
    description: Only this network.
    type: str
extends_documentation_fragment:
  - cocoonstack.cocoon.cocoon
  - cocoonstack.cocoon.cocoon.info
seealso:
  - module: cocoonstack.cocoon.cocoon_net
"""

EXAMPLES = r"""
- name: Which networks are there?
  cocoonstack.cocoon.cocoon_net_info:
  register: found

- name: Show them
  ansible.builtin.debug:
    msg: "{{ found.networks | map(attribute='name') }}"
"""

RETURN = r"""
networks:
  description: The networks, sorted by name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
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

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._argument_specs import COCOON_NET_INFO
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._command import Commands
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._hypervisor import factory


def main() -> None:
    """List the networks of the host."""
    module = AnsibleModule(argument_spec=COCOON_NET_INFO, supports_check_mode=True)
    try:
        provider = factory.network(factory.host(module.params, Commands(module)))
        networks = [network for network in provider.list() if module.params["name"] in (None, network["name"])]
    except CocoonError as error:
        module.fail_json(**error.for_exit())
    module.exit_json(changed=False, networks=networks)


if __name__ == "__main__":
    main()
