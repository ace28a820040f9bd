#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster's block of NCCL's configuration."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nccl_conf
short_description: Manage one block with the node's NCCL settings
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Writes one managed block at the end of the file. Every other line is kept byte for byte.
  - The file is replaced as a whole or not at all, a link stays a link, and the first change keeps a copy.
  - "Source: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/env.html (system configuration)."
options:
  settings:
    description: Lines of the block, each C(NAME=VALUE); empty takes the block out.
    type: list
    elements: str
    required: true
  path:
    description: The configuration file.
    type: path
    default: /etc/nccl.conf
extends_documentation_fragment:
  - trainmesh.cluster.backup
  - trainmesh.cluster.attributes
"""

EXAMPLES = r"""
- name: Set NCCL_SOCKET_IFNAME for this node
  trainmesh.cluster.nccl_conf:
    settings: ["NCCL_SOCKET_IFNAME==eth0"]

- name: Remove the block
  trainmesh.cluster.nccl_conf:
    settings: []
"""

RETURN = r"""#"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import nccl_conf


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=nccl_conf.OPTIONS, supports_check_mode=True)
    module.exit_json(**nccl_conf.converge(module, module.params))


if __name__ == "__main__":
    main()
