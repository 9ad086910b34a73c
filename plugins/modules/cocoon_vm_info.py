# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What VMs a host has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cocoon_vm_info
short_description: What VMs a host has
version_added: "0.1.0"
description:
  - Lists the VMs of a host, or some of them. It is always a list, and never an error that there is none.
  - A VM is only said to run if its process is proven to be it, by start time, boot and command line, or by tart's own lock.
options:
  name:
    description: Only this VM.
    type: str
  names:
    description: Only these VMs. Those that do not exist are left out.
    type: list
    elements: str
extends_documentation_fragment:
  - cocoonstack.cocoon.cocoon
  - cocoonstack.cocoon.cocoon.info
seealso:
  - module: cocoonstack.cocoon.cocoon_vm
"""

EXAMPLES = r"""
- name: Which VMs are there?
  cocoonstack.cocoon.cocoon_vm_info:
  register: found

- name: Show those that run
  ansible.builtin.debug:
    msg: "{{ found.vms | selectattr('state', 'eq', 'running') | map(attribute='name') }}"

- name: Look at one
  cocoonstack.cocoon.cocoon_vm_info:
    name: web1
"""

RETURN = r"""
vms:
  description: The VMs, sorted by name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The VM's name.
      type: str
      returned: success
      sample: web1
    state:
      description: V(running), V(stopped), V(suspended) or V(unknown).
      type: str
      returned: success
      sample: running
    backend:
      description: The program that runs it, V(tart) or V(cloud-hypervisor).
      type: str
      returned: success
      sample: cloud-hypervisor
    managed:
      description: Whether this collection made the VM or has taken it over.
      type: bool
      returned: success
      sample: true
    image:
      description: What its disk was made from.
      type: str
      returned: success
      sample: registry.example.com/images/debian:13
    cpus:
      description: The number of its virtual CPUs.
      type: int
      returned: success
      sample: 2
    memory:
      description: Its memory in bytes.
      type: int
      returned: success
      sample: 2147483648
    disk_size:
      description: The size of its root disk in bytes.
      type: int
      returned: success
      sample: 10737418240
    disks:
      description: Its disks, each with C(path), C(size) in bytes, and C(readonly). The shared layers of an image are left out.
      type: list
      elements: dict
      returned: success
      sample: [{path: /var/lib/cocoon/vms/web1/cow.raw, size: 10737418240, readonly: false}]
    networks:
      description: Its network cards, each with C(name), and on Linux C(mac_address) and C(ip_address).
      type: list
      elements: dict
      returned: success
      sample: [{name: lab, mac_address: "52:54:00:12:34:56", ip_address: 10.88.0.2}]
    hostname:
      description: The host name that was asked for, or null.
      type: str
      returned: success
      sample: null
    labels:
      description: Its labels.
      type: dict
      returned: success
      sample: {role: web}
    pid:
      description: The process that is the VM on its host, null where it does not run.
      type: int
      returned: success
      sample: 4242
    ip_address:
      description: Its IPv4 address, null where none is known.
      type: str
      returned: success
      sample: 10.88.0.2
    mac_address:
      description: The MAC address of its first network card.
      type: str
      returned: success
      sample: "52:54:00:12:34:56"
    console:
      description: What there is of its console on the host, C(pty) (a terminal) and C(log) (a file), each a path or null.
      type: dict
      returned: success
      sample: {pty: /dev/pts/3, log: /var/lib/cocoon/vms/web1/console.log}
    log_path:
      description: The file on the host with what the hypervisor wrote.
      type: str
      returned: success
      sample: /var/lib/cocoon/vms/web1/vm.log
    msg:
      description: Why nothing is known of the VM but its name; its state is then V(unknown).
      type: str
      returned: when the VM's record is damaged
      sample: "The record /var/lib/cocoon/vms/web1/record.json is damaged: it does not describe web1."
    remedy:
      description: What to do about that.
      type: str
      returned: when the VM's record is damaged
      sample: restore it from a backup, or move /var/lib/cocoon/vms/web1 away after you have made sure that nothing of it runs
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._argument_specs import COCOON_VM_INFO
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._command import Commands
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._engine import look
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._hypervisor import factory


def main() -> None:
    """List the VMs of the host."""
    module = AnsibleModule(argument_spec=COCOON_VM_INFO, mutually_exclusive=[("name", "names")], supports_check_mode=True)
    names = [module.params["name"]] if module.params["name"] is not None else module.params["names"]
    try:
        vms = look(factory.hypervisor(factory.host(module.params, Commands(module))), names)
    except CocoonError as error:
        module.fail_json(**error.for_exit())
    module.exit_json(changed=False, vms=vms)


if __name__ == "__main__":
    main()
