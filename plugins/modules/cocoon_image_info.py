# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What images a host has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cocoon_image_info
short_description: What images a host has
version_added: "0.1.0"
description:
  - Lists the images of a host, or one of them. It is always a list, and never an error that there is none.
options:
  name:
    description: Only this image.
    type: str
extends_documentation_fragment:
  - cocoonstack.cocoon.cocoon
  - cocoonstack.cocoon.cocoon.info
seealso:
  - module: cocoonstack.cocoon.cocoon_image
"""

EXAMPLES = r"""
- name: Which images are there?
  cocoonstack.cocoon.cocoon_image_info:
  register: found

- name: Show them
  ansible.builtin.debug:
    msg: "{{ found.images | map(attribute='name') }}"
"""

RETURN = r"""
images:
  description: The images, sorted by name.
  returned: success
  type: list
  elements: dict
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

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._argument_specs import COCOON_IMAGE_INFO
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._command import Commands
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._hypervisor import factory


def main() -> None:
    """List the images of the host."""
    module = AnsibleModule(argument_spec=COCOON_IMAGE_INFO, supports_check_mode=True)
    try:
        store = factory.images(factory.host(module.params, Commands(module)))
        one = store.inspect(module.params["name"]) if module.params["name"] else None
        images = store.list() if not module.params["name"] else [one] if one else []
    except CocoonError as error:
        module.fail_json(**error.for_exit())
    module.exit_json(changed=False, images=images)


if __name__ == "__main__":
    main()
