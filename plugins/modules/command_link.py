#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program of the installation on the search path."""

from __future__ import annotations

DOCUMENTATION = r"""
module: command_link
short_description: Link a program of the installation into the search path
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Makes a symbolic link in a directory that is in everybody's search path, also in that of C(ssh HOST COMMAND).
  - There is no link where others than root could exchange the program, since root would run it too, and where the
    directory is missing or can't be written.
  - What somebody else has put there stays, with a warning. A link that leads to no program is replaced.
options:
  target:
    description: The program.
    type: path
    required: true
  path:
    description: The link.
    type: path
    default: /usr/local/bin/trainmesh
  state:
    description: V(absent) removes the link if it leads to O(target), or to no program.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - trainmesh.cluster.attributes
"""

EXAMPLES = r"""
- name: Put trainmesh on the search path
  trainmesh.cluster.command_link:
    target: /opt/trainmesh/bin/trainmesh
  become: true
"""

RETURN = r"""
leads_to:
  description: Where the link has led before; empty when there was none.
  returned: success
  type: str
  sample: /opt/trainmesh/bin/trainmesh
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import command_link


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=command_link.OPTIONS, supports_check_mode=True)
    module.exit_json(**command_link.converge(module, module.params))


if __name__ == "__main__":
    main()
