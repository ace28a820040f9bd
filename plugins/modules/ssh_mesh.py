#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job user's ssh files of the mesh."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ssh_mesh
short_description: Set up passwordless ssh between all nodes for the job user
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Writes, for the job user, the nodes' public keys as a managed block of
    C(~/.ssh/authorized_keys), and in files of its own under C(~/.ssh/trainmesh) the pinned host keys and the client
    configuration, which a managed block at the start of C(~/.ssh/config) includes.
  - Sets the modes that OpenSSH requires, and removes write permission for others from the home directory.
  - Puts a certificate of the user's key beside it, and takes it away when it is no longer wanted.
  - A new key of this user, made by O(trainmesh.cluster.ssh_identity#module:rotate), takes the place of the old one when
    it is among O(authorized_keys).
  - If all options are empty, removes the blocks, and C(~/.ssh/trainmesh) with the key of the node; creates no missing
    directory or file.
  - The client configuration is validated with C(ssh -G) before it goes live.
options:
  authorized_keys:
    description: Lines of the block; a key that is no longer among them is removed.
    type: list
    elements: str
    required: true
  known_hosts:
    description: Lines of the known_hosts file.
    type: list
    elements: str
    required: true
  certificate:
    description: The certificate of the user's key, its type and itself in base64; empty for none.
    type: str
    default: ""
  config:
    description: Text of the client configuration.
    type: str
    required: true
extends_documentation_fragment:
  - trainmesh.cluster.job_user
  - trainmesh.cluster.backup
  - trainmesh.cluster.attributes
"""

EXAMPLES = r"""
- name: Join the mesh
  trainmesh.cluster.ssh_mesh:
    authorized_keys: ["ssh-ed25519 AAAA... trainmesh node1"]
    known_hosts: ["node1,10.0.0.11 ssh-ed25519 AAAA..."]
    config: |
      Host node1 10.0.0.11
        HostName 10.0.0.11
        Port 22

- name: Leave the mesh
  trainmesh.cluster.ssh_mesh:
    authorized_keys: []
    known_hosts: []
    config: ""
"""

RETURN = r"""
files:
  description: Files that were, or would be, changed.
  returned: always
  type: list
  elements: str
  sample: [/root/.ssh/authorized_keys]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import ssh_mesh


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=ssh_mesh.OPTIONS, supports_check_mode=True)
    module.exit_json(**ssh_mesh.converge(module, module.params))


if __name__ == "__main__":
    main()
