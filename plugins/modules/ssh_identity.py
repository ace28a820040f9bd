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
  - Makes an ed25519 key pair for the job user, in C(~/.ssh/trainmesh), unless there is one. The
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
"""

import os
import pwd
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import job_user
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import ssh_files


def make_key(module: AnsibleModule, key: str, home: str) -> None:
    """Make what is missing of a key pair."""
    keygen = module.get_bin_path("ssh-keygen", required=True)
    ssh_files.close(ssh_files.directories(home))
    if os.path.exists(key):  # a private key without its public half: derive that
        _rc, out, _err = module.run_command(
            [keygen, "-y", "-P", "", "-f", key], check_rc=True, expand_user_and_vars=False
        )
        with open(f"{key}.pub", "w", encoding="utf-8") as stream:
            stream.write(out)
    else:
        command = [keygen, "-q", "-t", "ed25519", "-N", "", "-C", module.params["comment"], "-f", key]
        module.run_command(command, check_rc=True, expand_user_and_vars=False)


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
    with job_user.working_for(module):
        answer = converge(module)
    module.exit_json(**answer)


def converge(module: AnsibleModule) -> dict[str, t.Any]:
    """Make the key where it is missing and wished, or the next one, and read all keys."""
    account, create = pwd.getpwuid(os.geteuid()), module.params["create"]
    key = own = f"{account.pw_dir}/.ssh/{ssh_files.OURS}/{ssh_files.KEY_NAME}"
    half = create and ssh_files.half_switched(own)
    if half and not module.check_mode:
        ssh_files.switch(own)
    if create and module.params["rotate"] and os.path.exists(own):
        key = f"{own}{ssh_files.NEXT}"
    missing = create and not (os.path.exists(key) and os.path.exists(f"{key}.pub"))
    if missing and not module.check_mode:
        make_key(module, key, account.pw_dir)
    publics = [ssh_files.key_line(ssh_files.read_text_if_allowed(f"{path}.pub")) for path in (key, own)]
    texts = [ssh_files.read_text_if_allowed(path) for path in ssh_files.host_key_files(Tree())]
    host_keys = ssh_files.pinned(line for line in map(ssh_files.key_line, texts) if line)
    return {
        "changed": missing or half,
        "public_key": publics[0] or publics[1] or "",
        "host_keys": host_keys,
        "user": account.pw_name,
        "home": account.pw_dir,
        "diff": [{"header": f"{key}.pub", "before": "absent\n", "after": "present\n"}] if missing else [],
    }


if __name__ == "__main__":
    main()
