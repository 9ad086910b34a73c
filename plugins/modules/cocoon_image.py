# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that VMs are made from."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cocoon_image
short_description: Images that VMs are made from
version_added: "0.1.0"
description:
  - Brings images from registries to a host, keeps them current, and removes them.
  - On Linux an OCI image in cocoon's layout, with kernel and initramfs in its layers. skopeo pulls it, and each layer becomes one EROFS file
    that all images share which have that layer.
  - On macOS what C(tart pull) can bring to tart's cache.
options:
  name:
    description:
      - The image's reference, C(registry/repository:tag) or C(registry/repository@sha256:...). Without tag or digest, V(latest) is meant.
      - The registry has to be named. A short name means another image on every host.
    type: str
    required: true
  state:
    description:
      - V(present) pulls the image if it is not there. V(latest) asks the registry whether the tag means another digest now, and pulls if so.
      - V(absent) removes it. On Linux, files that VMs still need stay until those are gone; on macOS VMs have disks of their own.
    type: str
    choices: [present, latest, absent]
    default: present
  insecure:
    description: Whether plain HTTP, or HTTPS with a certificate that nobody vouches for, will do.
    type: bool
    default: false
extends_documentation_fragment:
  - cocoonstack.cocoon.cocoon
attributes:
  check_mode:
    description: Can run in check mode and say what it would do.
    support: partial
    details: On macOS it cannot foretell O(state=latest) for an image that is there, because tart tells a digest only by pulling.
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
seealso:
  - module: cocoonstack.cocoon.cocoon_image_info
  - module: cocoonstack.cocoon.cocoon_vm
"""

EXAMPLES = r"""
- name: Have an image on the host
  cocoonstack.cocoon.cocoon_image:
    name: registry.example.com/images/debian:13

- name: Keep a tag current
  cocoonstack.cocoon.cocoon_image:
    name: registry.example.com/images/debian:stable
    state: latest

- name: Remove an image
  cocoonstack.cocoon.cocoon_image:
    name: registry.example.com/images/debian:12
    state: absent
"""

RETURN = r"""
image:
  description: The image as it is after the task; null where it is not there.
  returned: success
  type: dict
  contains:
    name:
      description: Its reference, tag or digest explicit.
      type: str
      returned: success
      sample: registry.example.com/images/debian:13
    backend:
      description: The backend that it is for.
      type: str
      returned: success
      sample: cloud-hypervisor
    digest:
      description: The digest of what the registry had under the reference when it was pulled.
      type: str
      returned: success
      sample: sha256:6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b
    size:
      description: What its files take on the host in bytes; on Linux, shared layers included.
      type: int
      returned: success
      sample: 73400320
    layers:
      description: The digests of its layers, bottom first. Empty on macOS.
      type: list
      elements: str
      returned: success
      sample: ["sha256:0f3c..."]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._argument_specs import COCOON_IMAGE
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._command import Commands
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._hypervisor import factory
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._image.converge import converge


def main() -> None:
    """Bring an image to what the options say."""
    module = AnsibleModule(argument_spec=COCOON_IMAGE, supports_check_mode=True)
    try:
        store = factory.images(factory.host(module.params, Commands(module)))
        outcome = converge(store, module.params["name"], module.params["state"], module.params["insecure"], module.check_mode)
    except CocoonError as error:
        module.fail_json(**error.for_exit())
    module.exit_json(**outcome)


if __name__ == "__main__":
    main()
