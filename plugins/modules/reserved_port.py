#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A port that the kernel gives to no connection by itself."""

from __future__ import annotations

DOCUMENTATION = r"""
module: reserved_port
short_description: Exclude a port from the ephemeral range, immediately and after a reboot
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Adds the port to C(net.ipv4.ip_local_reserved_ports), so that on a host whose ephemeral range covers it no
    connection can be using it when a job wants to listen there. Ports that are reserved already stay.
  - The value is written to the kernel first, then to C(/etc/sysctl.d/50-trainmesh.conf). A container that may not
    change it keeps what it has, with a warning.
  - "Source: https://docs.kernel.org/networking/ip-sysctl.html (ip_local_reserved_ports)."
options:
  port:
    description: TCP port.
    type: int
    required: true
  state:
    description: V(absent) takes a port back that this module has reserved, and removes the file.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - trainmesh.cluster.attributes
"""

EXAMPLES = r"""
- name: Reserve the rendezvous port
  trainmesh.cluster.reserved_port:
    port: 29500
"""

RETURN = r"""
reserved:
  description: The reserved ports as the kernel had them before.
  returned: always
  type: str
  sample: 8080,9148-9150
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import reserved_port


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=reserved_port.OPTIONS, supports_check_mode=True)
    module.exit_json(**reserved_port.converge(module, module.params))


if __name__ == "__main__":
    main()
