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

import re

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import line_check, textfile
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import hosts_file


def refuse(module: AnsibleModule, entries: list[tuple[str, list[str]]]) -> None:
    """Fail for what would be another line, or another machine, to a reader of the file."""
    problems = [line_check.hosts_entry_problem(address, names) for address, names in entries]
    cluster, head = module.params["cluster"], module.params["head"]
    if not re.match(r"([0-9a-f]{8,32})?\Z", cluster):
        problems.append(f"cluster: expected 8 to 32 hexadecimal digits, not {cluster!r}")
    if head and not (line_check.is_one_line(head) and " " not in head):
        problems.append(f"head: expected a name without blanks, not {head!r}")
    if any(problems):
        module.fail_json(msg=f"{module.params['path']} is left as it is: {'; '.join(filter(None, problems))}")


def main() -> None:
    """Entry point."""
    entry = {
        "address": {"type": "str", "required": True},
        "names": {"type": "list", "elements": "str", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "entries": {"type": "list", "elements": "dict", "required": True, "options": entry},
            "cluster": {"type": "str", "default": ""},
            "head": {"type": "str", "default": ""},
            "path": {"type": "path", "default": "/etc/hosts"},
            "backup": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    path = module.params["path"]
    entries = [(item["address"], item["names"]) for item in module.params["entries"]]
    refuse(module, entries)
    whose = module.params["cluster"], module.params["head"]
    try:
        plan = hosts_file.plan(textfile.read_text(path), entries, *whose)
    except textfile.BlockError as error:
        module.fail_json(msg=f"{path}: {error}")
    changes = textfile.changes_of([(path, plan.text, None)])
    for conflict in plan.conflicts:
        module.warn(f"{path}: the line {conflict}; the cluster's block above it wins")
    if not module.check_mode:
        for change in changes:
            textfile.write(module, change, module.params["backup"])
    module.exit_json(changed=bool(changes), conflicts=plan.conflicts, diff=[change.diff for change in changes])


if __name__ == "__main__":
    main()
