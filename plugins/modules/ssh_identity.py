#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job user's own key, and the host keys of the node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ssh_identity
short_description: Ensure the job user has an ssh key, and read the node's host keys
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Makes an ed25519 key pair for the job user, in C(~/.ssh/trainmesh), unless there is one (ecdsa in FIPS mode). The
    private key never leaves the node.
  - Reads the public host keys of the node from its files. They come over Ansible's own, authenticated connection, so
    that the other nodes can pin them without trusting a key scan.
options:
  comment:
    description: Comment of the key, shown in authorized_keys files.
    type: str
    required: true
  create:
    description: Whether a missing key is made; else it is only read.
    type: bool
    default: true
  rotate:
    description:
      - Make a new key beside the old one, and return the new one. M(trainmesh.cluster.ssh_mesh) makes it the key, when
        it writes it into the files of the others; until then the old one stays in use.
    type: bool
    default: false
extends_documentation_fragment:
  - trainmesh.cluster.job_user
  - trainmesh.cluster.attributes
"""

EXAMPLES = r"""
- name: Ensure the job user has an ssh key, and read the host keys
  trainmesh.cluster.ssh_identity:
    comment: "trainmesh {{ inventory_hostname }}"
  register: identity
"""

RETURN = r"""
public_key:
  description: Type and key, without comment; empty in check mode where the key is still to be made.
  returned: always
  type: str
  sample: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExampleExampleExampleExampleEx
host_keys:
  description: Public host keys, type and key, that sshd presents; the ed25519 key alone where there is one.
  returned: always
  type: list
  elements: str
  sample: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHostHostHostHostHostHostHostHostHostHostHost]
user:
  description: The job user.
  returned: always
  type: str
  sample: root
home:
  description: Home directory of this user, from the password database.
  returned: always
  type: str
  sample: /root
ssh_directory:
  description: Where C(~/.ssh) is, or the home where that is still to be made. By it nodes with one home are known.
    Empty where there is no home.
  returned: always
  type: dict
  contains:
    inode:
      description: Its inode.
      type: int
      sample: 1310725
    device:
      description: The number of its device, which means something on this machine alone.
      type: int
      sample: 64769
    machine:
      description: The boot ID of the kernel, which the containers of one machine share.
      type: str
      sample: 6b2cbb9e-1f0c-4a7e-9d0e-2f3a4b5c6d7e
    fs_type:
      description: The type of its file system.
      type: str
      sample: nfs4
    source:
      description: What is mounted there.
      type: str
      sample: 192.0.2.11:/home
    local:
      description: Whether no other machine can have this file system.
      type: bool
      sample: false
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import job_user
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import ssh_identity
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import shared_home


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "comment": {"type": "str", "required": True},
            "create": {"type": "bool", "default": True},
            "rotate": {"type": "bool", "default": False},
            "user": {"type": "str"},
        },
        supports_check_mode=True,
    )
    options = {name: module.params[name] for name in ("comment", "create", "rotate")}
    with job_user.working_for(module, module.params["user"]):
        try:
            found = shared_home.identity(ssh_identity.Wish(**options), module.check_mode)
        except (ValueError, OSError) as error:
            module.fail_json(msg=str(error))
    module.exit_json(**found)


if __name__ == "__main__":
    main()
