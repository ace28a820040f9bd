#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module node_facts: GPUs, fabric and training software of a node in one start."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_facts
short_description: Gather facts about GPUs, network and training software of a node at once
version_added: "1.0.0"
author:
  - trainmesh.cluster contributors (@trainmesh)
description:
  - Returns what M(trainmesh.cluster.gpu_facts), M(trainmesh.cluster.fabric_facts) and
    M(trainmesh.cluster.stack_facts) return, for the price of one module start. Their documentation describes the facts.
  - The parts are read at the same time. One that fails is named in RV(ansible_facts.trainmesh_facts_errors), and the
    others are returned all the same.
  - Run it as root with O(user). GPUs and fabric need root to be read in full; the software is read with the rights of
    the job user.
  - Only reads. Nothing on the node is changed.
extends_documentation_fragment:
  - trainmesh.cluster.attributes.facts
  - trainmesh.cluster.node.fabric
  - trainmesh.cluster.node.stack
options:
  gather:
    description: The parts to read.
    type: list
    elements: str
    choices: [gpu, fabric, stack]
    default: [gpu, fabric, stack]
  timeout:
    description:
      - Seconds that each part may take. If not given, those of the single modules, which are 30 for V(gpu), 10 for
        V(fabric) and 120 for V(stack).
    type: float
seealso:
  - module: trainmesh.cluster.gpu_facts
  - module: trainmesh.cluster.fabric_facts
  - module: trainmesh.cluster.stack_facts
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


def main() -> None:
    """Read the options, gather, answer."""
    parts = list(node_facts.PARTS)
    module = AnsibleModule(
        argument_spec={
            **fabric_facts.OPTIONS,
            **stack_facts.OPTIONS,
            "gather": {"type": "list", "elements": "str", "choices": parts, "default": parts},
            "timeout": {"type": "float"},
        },
        supports_check_mode=True,
    )
    timeout = module.params["timeout"]
    if timeout is not None and timeout <= 0:
        module.fail_json(msg=f"timeout must be more than 0 seconds, not {timeout}: nothing was read.")
    found = node_facts.gather(module.params, dict(os.environ))
    for warning in found.warnings:
        module.warn(warning)
    for part, error in found.errors.items():
        module.warn(f"the {part} facts could not be read: {error}")
    facts: dict[str, t.Any] = {f"trainmesh_facts_{part}": read for part, read in found.facts.items()}
    replayed = facts.get("trainmesh_facts_gpu", {}).get("replayed_from")
    module.exit_json(
        changed=False,
        ansible_facts={**facts, "trainmesh_facts_errors": found.errors},
        **({"replayed_from": replayed} if replayed else {}),
    )


if __name__ == "__main__":
    main()
