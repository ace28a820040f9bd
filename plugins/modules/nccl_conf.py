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

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import line_check, textfile


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "settings": {"type": "list", "elements": "str", "required": True},
            "path": {"type": "path", "default": "/etc/nccl.conf"},
            "backup": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    path, settings = module.params["path"], module.params["settings"]
    problems = [problem for problem in map(line_check.setting_problem, settings) if problem]
    if problems:
        module.fail_json(msg=f"{path} is left as it is: {'; '.join(problems)}")
    try:
        wanted = textfile.edited(path, settings)
    except textfile.BlockError as error:
        module.fail_json(msg=str(error))
    changes = textfile.changes_of([(path, wanted, 0o644 if settings and not textfile.read_text(path) else None)])
    if not module.check_mode:
        for change in changes:
            textfile.write(module, change, module.params["backup"])
    module.exit_json(changed=bool(changes), diff=[change.diff for change in changes])


if __name__ == "__main__":
    main()
