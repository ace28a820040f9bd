#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster's block of the hosts file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hosts_entries
short_description: Manage one block with all cluster nodes in the hosts file
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Writes one managed block with an address and all its names a line at the start of the file, in one write.
  - Takes the names of nodes off loopback lines, such as the C(127.0.1.1) line that Debian and Ubuntu write for the own
    name and that sends gloo and torchrun to the loopback. Every other line is kept.
  - Works where the file is a bind mount, which can be written but not replaced.
options:
  entries:
    description: The lines of the block; empty takes the block out.
    type: list
    elements: dict
    required: true
    suboptions:
      address:
        description: IP address.
        type: str
        required: true
      names:
        description: Names of the address, the canonical one first.
        type: list
        elements: str
        required: true
  cluster:
    description: Identity of the cluster, hexadecimal, recorded in a comment of the block. Empty for none.
    type: str
    default: ""
  head:
    description: Name of the head, recorded with O(cluster).
    type: str
    default: ""
  path:
    description: The hosts file.
    type: path
    default: /etc/hosts
extends_documentation_fragment:
  - trainmesh.cluster.backup
  - trainmesh.cluster.attributes
"""

EXAMPLES = r"""
- name: Add all cluster nodes to /etc/hosts
  trainmesh.cluster.hosts_entries:
    entries:
      - address: 10.0.0.11
        names: [node1.trainmesh.internal, node1]
      - address: 10.0.0.12
        names: [node2.trainmesh.internal, node2]

- name: Remove the block
  trainmesh.cluster.hosts_entries:
    entries: []
"""

RETURN = r"""
conflicts:
  description: Foreign lines that give a node's name another address; they are kept, and the block wins over them.
  returned: always
  type: list
  elements: str
  sample: ["'192.0.2.7 node2' names node2 too"]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import hosts_entries


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=hosts_entries.OPTIONS, supports_check_mode=True)
    module.exit_json(**hosts_entries.converge(module, module.params))


if __name__ == "__main__":
    main()
