# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual machines on Macs and Linux hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cocoon_vm
short_description: Virtual machines on Macs (tart) and Linux hosts (cloud-hypervisor)
version_added: "0.1.0"
description:
  - Makes, changes, starts, stops and removes VMs on a host, one or many in a task.
  - The whole batch is checked before anything is touched. Then all VMs are worked on side by side, and one that fails does not
    keep others from success.
  - VMs outlive the task, the connection and the controller. They are tracked by PID file, and a process is only taken for a VM if its
    start time, boot and command line say so.
  - A task that was cut off anywhere loses nothing. Run again, it completes.
options:
  name:
    description:
      - The VM's name, unique on its host.
      - A letter or digit, then letters, digits, dots, underscores and hyphens, 63 characters at most.
      - Exactly one of O(name) and O(vms) has to be given.
    type: str
  vms:
    description:
      - Several VMs. What is not given for one of them is taken from the option of the same name beside O(vms).
    type: list
    elements: dict
    suboptions:
      name:
        description: The VM's name.
        type: str
        required: true
      state: &state
        description:
          - V(present) makes the VM where it does not exist and changes what differs, but neither starts nor stops it.
          - V(started) and V(stopped) also see to it that it runs, or does not. V(restarted) stops it, if it runs, and starts it.
          - V(absent) stops it and removes it with its disks.
        type: str
        choices: [present, started, stopped, restarted, absent]
      image: &image
        description:
          - What the VM's disk is made from; needed when the VM does not exist.
          - On Linux an OCI image that M(cocoonstack.cocoon.cocoon_image) brought to the host. On macOS an image in tart's cache, or
            the name of a local VM.
          - The registry is part of the name, as in V(registry.example.com/images/debian:13).
          - Another image means another VM. See O(recreate).
        type: str
      cpus: &cpus
        description:
          - The number of virtual CPUs.
          - If not set, a new VM has 2 on Linux, and what its image says on macOS.
        type: int
      memory: &memory
        description:
          - The VM's memory, as a number with a unit, V(512M) or V(2G). Units are powers of 1024, a number alone is bytes.
          - If not set, a new VM has V(1G) on Linux, and what its image says on macOS.
        type: str
      disk_size: &disk_size
        description:
          - The size of the VM's disk, written like O(memory). Disks grow and never shrink; a smaller one needs O(recreate).
          - If not set, a new VM has V(10G) on Linux, and what its image says on macOS. Disks are sparse.
          - tart counts in gigabytes of 10^9 bytes, so that on macOS the size is rounded up to the next of them.
        type: str
      networks: &networks
        description:
          - The VM's network cards, one for each entry.
          - If not set, a new VM has one in the network V(default), which on macOS is always there.
          - An empty list means no network, which only Linux hosts can do.
        type: list
        elements: dict
        suboptions:
          name:
            description: The name of a network of the host. See M(cocoonstack.cocoon.cocoon_net).
            type: str
            required: true
          mac_address:
            description: The card's MAC address. Linux only; if not set, it is chosen for the VM and then kept.
            type: str
          ip_address:
            description: The card's IPv4 address, a free member of the network's subnet. Linux only; if not set, one is chosen and then kept.
            type: str
      hostname: &hostname
        description:
          - The guest's host name. If not set, the VM's name on Linux, and what the image says on macOS.
          - Not for macOS guests.
        type: str
      ssh_authorized_keys: &ssh_authorized_keys
        description:
          - Public keys that may log in to the guest, given to it at its first boot through cloud-init.
          - Not for macOS guests.
        type: list
        elements: str
      user_data: &user_data
        description:
          - User data for cloud-init, such as a text that begins with C(#cloud-config). What the other options say is merged with it.
          - It is kept on the host in a file that only its owner can read, and never shown.
          - Not for macOS guests.
        type: str
      labels: &labels
        description: Names and values of your own, kept with the VM and returned. An empty dictionary removes all.
        type: dict
      restart: &restart
        description:
          - Whether a running VM may be restarted when O(cpus), O(memory), O(disk_size), O(networks), or on Linux O(hostname), change.
          - With V(never) such a change is an error, and nothing is changed.
        type: str
        choices: [never, if_needed]
      recreate: &recreate
        description:
          - Whether a VM may be deleted B(with its disks) and made anew when O(image), O(ssh_authorized_keys) or O(user_data) change,
            when a disk would have to shrink, or on macOS when O(hostname) changes.
          - With V(never) such a change is an error, and nothing is changed.
        type: str
        choices: [never, if_needed]
      adopt: &adopt
        description:
          - Whether a VM of that name that this collection did not make may be taken over. Without it such a VM is an error and is never touched.
          - Only on macOS are there such VMs, those that tart lists.
        type: bool
      force: &force
        description:
          - Stop without asking the guest first, which is like pulling the plug.
          - Also discard the saved memory of a suspended VM when it is to be stopped.
        type: bool
      stop_timeout: &stop_timeout
        description:
          - How many seconds a guest may take to shut down, before its program is told to stop and then made to.
          - macOS guests cannot be asked, and are stopped by tart.
        type: float
      wait_for: &wait_for
        description:
          - What is waited for when a VM is to run. V(process) means that the hypervisor runs it. V(ip) that the guest has an address that
            answers. V(ssh) that an SSH server greets there. V(none) is V(process) as well, for the hypervisor's own errors come within a second.
          - Seen from the host, on every task that leaves the VM running, not only when it is started.
        type: str
        choices: [none, process, ip, ssh]
      wait_timeout: &wait_timeout
        description:
          - How many seconds to wait for O(wait_for), and for another task that works on the same VM.
        type: float
  state:
    <<: *state
    default: present
  image: *image
  cpus: *cpus
  memory: *memory
  disk_size: *disk_size
  networks: *networks
  hostname: *hostname
  ssh_authorized_keys: *ssh_authorized_keys
  user_data: *user_data
  labels: *labels
  restart:
    <<: *restart
    default: never
  recreate:
    <<: *recreate
    default: never
  adopt:
    <<: *adopt
    default: false
  force:
    <<: *force
    default: false
  stop_timeout:
    <<: *stop_timeout
    default: 30
  wait_for:
    <<: *wait_for
    default: process
  wait_timeout:
    <<: *wait_timeout
    default: 120
  parallel:
    description: How many VMs are worked on at once.
    type: int
    default: 8
extends_documentation_fragment:
  - cocoonstack.cocoon.cocoon
  - cocoonstack.cocoon.cocoon.changes
seealso:
  - module: cocoonstack.cocoon.cocoon_vm_info
  - module: cocoonstack.cocoon.cocoon_image
  - module: cocoonstack.cocoon.cocoon_net
"""

EXAMPLES = r"""
- name: One VM that runs and can be reached
  cocoonstack.cocoon.cocoon_vm:
    name: web1
    image: registry.example.com/images/debian:13
    state: started
    cpus: 2
    memory: 2G
    ssh_authorized_keys: "{{ [lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub')] }}"
    wait_for: ssh

- name: Three VMs, with what they share said once
  cocoonstack.cocoon.cocoon_vm:
    image: registry.example.com/images/debian:13
    state: started
    memory: 1G
    networks:
      - name: lab
    vms:
      - name: worker1
      - name: worker2
      - name: worker3
        memory: 4G
  register: workers

- name: Show where they are
  ansible.builtin.debug:
    msg: "{{ item.name }} has {{ item.ip_address }}"
  loop: "{{ workers.vms }}"
  loop_control:
    label: "{{ item.name }}"

- name: More memory, with a restart if the VM runs
  cocoonstack.cocoon.cocoon_vm:
    name: web1
    memory: 4G
    restart: if_needed

- name: No more VMs
  cocoonstack.cocoon.cocoon_vm:
    state: absent
    vms:
      - name: worker1
      - name: worker2
"""

RETURN = r"""
vms:
  description: The VMs of the task, in its order. Where the whole batch was refused, only those that are the reason, and why.
  returned: always, unless the options make no sense
  type: list
  elements: dict
  contains:
    name:
      description: The VM's name.
      type: str
      returned: success
      sample: web1
    state:
      description: V(running), V(stopped), V(suspended) or V(absent). In check mode, what it would be.
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
    changed:
      description: Whether this VM was changed, or would be.
      type: bool
      returned: success
      sample: true
    actions:
      description: What was done to it, in order; in check mode, what would be done.
      type: list
      elements: str
      returned: success
      sample: ["create from image registry.example.com/images/debian:13", "start"]
    failed:
      description: Whether something went wrong with this VM.
      type: bool
      returned: success
      sample: false
    msg:
      description: What went wrong and why.
      type: str
      returned: when this VM failed
      sample: "web1 runs, but was not ready (ssh) within 120 seconds: no address of it was found."
    remedy:
      description: What to do about it.
      type: str
      returned: when this VM failed and something is known to help
      sample: look at the guest's console, raise wait_timeout, or set wait_for=process
    log_tail:
      description: The last lines that the hypervisor wrote.
      type: str
      returned: when this VM's program failed
      sample: "Error: Cloud Hypervisor exited with the following error:"
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._argument_specs import COCOON_VM
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._command import Commands
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._engine import Engine, batch_result
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._hypervisor import factory
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._spec import vm_specs


def main() -> None:
    """Bring the VMs to what the options say."""
    module = AnsibleModule(
        argument_spec=COCOON_VM,
        mutually_exclusive=[("name", "vms")],
        required_one_of=[("name", "vms")],
        supports_check_mode=True,
    )
    try:
        specs = vm_specs(module.params)
        hypervisor = factory.hypervisor(factory.host(module.params, Commands(module)))
        results = Engine(hypervisor, module.params["parallel"], module.check_mode).run(specs)
    except CocoonError as error:
        module.fail_json(**error.for_exit())
    outcome = batch_result(results, module.params["name"])
    (module.fail_json if outcome["failed"] else module.exit_json)(**outcome)


if __name__ == "__main__":
    main()
