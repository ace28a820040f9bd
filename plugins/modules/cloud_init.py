#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that cloud-init does not take back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cloud_init
short_description: Keep cloud-init from taking /etc/hosts and the host name back at a boot
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Writes the drop-in C(/etc/cloud/cloud.cfg.d/99-trainmesh.cfg) where cloud-init is there and switched on, with what
    is needed of C(manage_etc_hosts) off and C(preserve_hostname) on. Elsewhere it changes nothing.
  - A file of that name without the mark of this collection is left as it is; it fails where the drop-in is needed.
  - "Data that the cloud gives goes above all drop-ins: there the settings would be of no use, and are not written."
  - "Source: https://docs.cloud-init.io/en/latest/reference/modules.html (Update Etc Hosts, Update Hostname)."
options:
  state:
    description: V(absent) removes the drop-in of this collection.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - trainmesh.cluster.attributes
"""

EXAMPLES = r"""
- name: Keep the names of the cluster over a boot
  trainmesh.cluster.cloud_init:
    state: present
  become: true
"""

RETURN = r"""
lines:
  description: The settings of the drop-in, empty where none is needed.
  returned: success
  type: list
  elements: str
  sample: ["manage_etc_hosts: false", "preserve_hostname: true"]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import cloud_init


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=cloud_init.OPTIONS, supports_check_mode=True)
    module.exit_json(**cloud_init.converge(module, module.params))


if __name__ == "__main__":
    main()
