#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module node_facts: everything that the plan has to know of a node, in one start."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_facts
short_description: Gather all facts about a node at once
version_added: "1.0.0"
author:
  - trainmesh.cluster contributors (@trainmesh)
description:
  - Returns what M(trainmesh.cluster.gpu_facts), M(trainmesh.cluster.fabric_facts), M(trainmesh.cluster.stack_facts),
    M(trainmesh.cluster.user_facts) and M(trainmesh.cluster.ssh_identity) return, and the present state of what the
    roles manage, for the price of one module start. Their documentation describes the facts.
  - The parts are read at the same time. One that fails is named in RV(ansible_facts.trainmesh_facts_errors), and the
    others are returned all the same; only without V(identity), which was asked for, the module fails.
  - Run it as root with O(user). GPUs and fabric need root to be read in full; what is the job user's is read with the
    rights of the job user.
  - Only reads, unless O(create_key=true).
  - In a run with an inventory that M(trainmesh.cluster.inventory_check) has read, that says what is not given here.
    O(present) then has the secret in C(trainmesh_run_key), and a run that only reads leaves V(present) out of
    O(gather).
extends_documentation_fragment:
  - trainmesh.cluster.attributes.facts
  - trainmesh.cluster.node.fabric
  - trainmesh.cluster.node.stack
  - trainmesh.cluster.node.user
options:
  gather:
    description: The parts to read.
    type: list
    elements: str
    choices: [gpu, fabric, stack, user, identity, present]
    default: [gpu, fabric, stack, user]
  names:
    description:
      - Names to resolve on the node, and those for which C(ssh -G) is asked. The node's own name and O(peers) are
        always among the former.
    type: list
    elements: str
    default: []
  user:
    description:
      - The job user, whose keys, login environment, C(PATH) and packages are read. If not given, the user who runs
        the module; in a run with an inventory that M(trainmesh.cluster.inventory_check) has read, the one in
        C(trainmesh_user), or else the login user.
      - Root becomes that user in a child process, for good, before anything of that user is read or started.
        Anybody else can only name themselves.
    type: str
  user_paths:
    description:
      - Files and directories to describe and to digest, such as scripts, code and models. C(paths) of
        M(trainmesh.cluster.user_facts). V(~) is expanded.
    type: list
    elements: str
    default: []
  create_key:
    description: With V(identity) in O(gather), make the job user's ssh key where it is missing.
    type: bool
    default: false
  rotate_key:
    description: With O(create_key), make a new key beside the old one. C(rotate) of M(trainmesh.cluster.ssh_identity).
    type: bool
    default: false
  key_comment:
    description: Comment of a key that is made; in a run with an inventory C(trainmesh) and the node's name.
    type: str
    default: trainmesh
  present:
    description: What has to be known for the part V(present).
    type: dict
    suboptions:
      key:
        description: Secret of the run for the digests, so that nobody finds what is digested by trying.
        type: str
        required: true
      backends:
        description: The firewalls that may get rules.
        type: list
        elements: str
        default: []
      port:
        description: TCP port of the rendezvous.
        type: int
        default: 29500
      ssh_port:
        description: TCP port that sshd shall have; V(0) for none.
        type: int
        default: 0
  timeout:
    description:
      - Seconds that each part may take. If not given, those of the single modules, which are 30 for V(gpu), 10 for
        V(fabric), 120 for V(stack), 20 for V(user), 120 for V(identity) and 60 for V(present).
    type: float
seealso:
  - module: trainmesh.cluster.gpu_facts
  - module: trainmesh.cluster.fabric_facts
  - module: trainmesh.cluster.stack_facts
  - module: trainmesh.cluster.user_facts
  - module: trainmesh.cluster.ssh_identity
"""

EXAMPLES = r"""
- name: Read everything about a node, its software as the user who trains
  trainmesh.cluster.node_facts:
    user: trainer
    peers: [10.0.0.11, 10.0.0.12]
  become: true

- name: Read GPUs and network in the place of the facts that a play gathers by itself
  ansible.builtin.gather_facts:
  vars:
    ansible_facts_modules: [trainmesh.cluster.node_facts]
  become: true

- name: Read them and make the job user's ssh key where it is missing
  trainmesh.cluster.node_facts:
    gather: [gpu, fabric, stack, user, identity]
    create_key: true
  become: true

- name: Look at GPUs and network alone
  trainmesh.cluster.node_facts:
    gather: [gpu, fabric]
"""

RETURN = r"""
ansible_facts:
  description: The facts of the parts that were asked for and could be read.
  returned: always
  type: dict
  contains:
    trainmesh_facts_gpu:
      description: What M(trainmesh.cluster.gpu_facts) returns under this name. The sample is a part of it.
      returned: when O(gather) has V(gpu) and it could be read
      type: dict
      sample:
        counts: {"driver": 8, "pci": 8, "smi": 8}
        cuda_driver_version: "13.0"
        driver_kind: open
        driver_version: 580.105.08
        fabric_manager: {"nvswitches": 4, "running": true, "version": "580.105.08"}
        problem: null
        status: ok
    trainmesh_facts_fabric:
      description: What M(trainmesh.cluster.fabric_facts) returns under this name. The sample is a part of it.
      returned: when O(gather) has V(fabric) and it could be read
      type: dict
      sample:
        default_route: {"address": "10.213.0.11", "gateway": "10.213.0.1", "interface": "eth0"}
        fqdn: node1.trainmesh.internal
        hostname: node1
        routes:
          10.213.0.12:
            address: 10.213.0.12
            error: null
            interface: eth0
            reachable: true
            source: 10.213.0.11
    trainmesh_facts_stack:
      description: What M(trainmesh.cluster.stack_facts) returns under this name. The sample is a part of it.
      returned: when O(gather) has V(stack) and it could be read
      type: dict
      sample:
        packages: {"accelerate": "1.15.0", "deepspeed": "0.19.8", "numpy": "2.4.6", "torch": "2.13.0+cpu"}
        python:
          headers: false
          kind: venv
          path: /opt/trainmesh/env/bin/python
          prefix: /opt/trainmesh/env
          problem: null
          sites: [/opt/trainmesh/env/lib/python3.11/site-packages]
          version: 3.11.2
    trainmesh_facts_user:
      description: What M(trainmesh.cluster.user_facts) returns under this name. The sample is a part of it.
      returned: when O(gather) has V(user) and it could be read
      type: dict
      sample: {"name": "trainer", "uid": 1000, "home": "/home/trainer", "shell": "/bin/bash", "problem": null}
    trainmesh_facts_identity:
      description:
        - What M(trainmesh.cluster.ssh_identity) returns, without C(changed) and C(diff).
      returned: when O(gather) has V(identity) and it could be read
      type: dict
      sample:
        public_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH0 trainmesh node1"
        host_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF1"]
        user: trainer
        home: /home/trainer
        ssh_directory:
          {"inode": 131072, "device": 64769, "machine": "6b2cbb9e-1f0c-4a7e-9d0e-2f3a4b5c6d7e", "fs_type": "nfs4",
           "source": "192.0.2.11:/home", "local": false}
    trainmesh_facts_present:
      description:
        - The present state of what the roles manage, by role. Texts are digests under O(present.key), empty where
          something stands otherwise than we write it.
      returned: when O(gather) has V(present)
      type: dict
      sample: {"of": ["trainer", "/opt/trainmesh"], "hosts": {"kernel": "node1", "file": "node1", "block": "0d5f"}}
    trainmesh_facts_errors:
      description: Why a part could not be read, by part; normally empty.
      returned: always
      type: dict
      sample: {"stack": "there is no user trainer here: create it, or set trainmesh_user to one that exists"}
replayed_from:
  description: The recorded host that the facts of the GPUs come from.
  returned: when it is not the node itself
  type: str
  sample: /srv/recordings/eight-h100
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import facts as fabric_facts
from ansible_collections.trainmesh.cluster.plugins.module_utils._node import facts as node_facts
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import facts as stack_facts
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import facts as user_facts

PRESENT = {
    "key": {"type": "str", "required": True, "no_log": True},
    "backends": {"type": "list", "elements": "str", "default": []},
    "port": {"type": "int", "default": 29500},
    "ssh_port": {"type": "int", "default": 0},
}


def main() -> None:
    """Read the options, gather, answer."""
    module = AnsibleModule(
        argument_spec={
            **fabric_facts.OPTIONS,
            **stack_facts.OPTIONS,
            **user_facts.OPTIONS,
            "gather": {
                "type": "list",
                "elements": "str",
                "choices": list(node_facts.PARTS),
                "default": list(node_facts.READ_ONLY),
            },
            "user_paths": {"type": "list", "elements": "str", "default": []},
            "create_key": {"type": "bool", "default": False, "no_log": False},
            "rotate_key": {"type": "bool", "default": False, "no_log": False},
            "key_comment": {"type": "str", "default": "trainmesh", "no_log": False},
            "present": {"type": "dict", "options": PRESENT},
            "timeout": {"type": "float"},
        },
        supports_check_mode=True,
    )
    timeout = module.params["timeout"]
    if timeout is not None and timeout <= 0:
        module.fail_json(msg=f"timeout must be more than 0 seconds, not {timeout}: nothing was read.")
    if "present" in module.params["gather"] and not module.params["present"]:
        module.fail_json(msg="gather has present, and the option present is missing: nothing was read.")
    found = node_facts.gather(module.params, dict(os.environ), module.check_mode)
    for warning in found.warnings:
        module.warn(warning)
    for part, error in found.errors.items():
        module.warn(f"the {part} facts could not be read: {error}")
    if "identity" in found.errors:  # without its keys a node can't be planned
        module.fail_json(msg=f"the ssh keys could not be read or made: {found.errors['identity']}")
    made = {
        name: found.facts.get("identity", {}).pop(name, empty) for name, empty in (("changed", False), ("diff", []))
    }
    facts: dict[str, t.Any] = {f"trainmesh_facts_{part}": read for part, read in found.facts.items()}
    replayed = facts.get("trainmesh_facts_gpu", {}).get("replayed_from")
    module.exit_json(
        **made,
        ansible_facts={**facts, "trainmesh_facts_errors": found.errors},
        **({"replayed_from": replayed} if replayed else {}),
        invocation={},  # the parameters name every node: they are not sent back
    )


if __name__ == "__main__":
    main()
