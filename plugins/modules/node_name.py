#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host name of a node, at once and after the next boot."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_name
short_description: Set the host name permanently, without a reboot
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Sets the name that the kernel has and the one in C(/etc/hostname), the bare name alone, so that both are equal.
  - Uses C(hostnamectl) where systemd runs. Where C(/etc/hostname) is a bind mount, as in containers, C(hostnamectl)
    fails with C(Device or resource busy) and M(ansible.builtin.hostname) leaves the kernel's name as it was; there
    the file is written in place and C(hostname) sets the name.
  - Where the kernel refuses another name, as in a container without C(CAP_SYS_ADMIN), both names stay as they are and
    a warning names C(trainmesh_hostname).
options:
  name:
    description: The host name.
    type: str
    required: true
extends_documentation_fragment:
  - trainmesh.cluster.attributes
"""

EXAMPLES = r"""
- name: Set the host name
  trainmesh.cluster.node_name:
    name: node1
"""

RETURN = r"""
before:
  description: The names that the kernel and the file had.
  returned: always
  type: dict
  sample: {kernel: localhost.localdomain, file: localhost.localdomain}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import node_name


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=node_name.OPTIONS, supports_check_mode=True)
    module.exit_json(**node_name.converge(module, module.params))


if __name__ == "__main__":
    main()
