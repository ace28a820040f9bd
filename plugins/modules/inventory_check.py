#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: inventory_check
short_description: Validate the inventory before any host is touched
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Reads the variables of every host of the inventory on the controller and lists all faults at once, each with its
    host and, where ansible-core tells it, its file and line.
  - >-
    Looks for: no host at all, names that stand twice, two hosts with one machine, name or data address, bad ports, bad
    slots, unknown variables with the prefix C(trainmesh_), values of the wrong form, an unknown head, variables of the
    whole cluster that differ between hosts, a rendezvous port that is an ssh port.
  - >-
    Of a hostfile (see P(trainmesh.cluster.hostfile#inventory)), names bad lines, and fails where another inventory
    plugin has read it and its slots are lost.
  - Has the inventory for this run of C(ansible-playbook) from here on, by C(run.json) in the directory of lock and
    memory, and fails when another run that still goes on has it. What a run that was killed left there is taken over.
    With C(--check) it only looks.
options:
  group:
    description: Inventory group that holds the nodes.
    type: str
    default: all
  teardown:
    description: All nodes leave; fails without O(ignore:trainmesh_teardown), except in check mode.
    type: bool
    default: false
  read_only:
    description: This run changes no node. RV(node_facts) then makes no key, and RV(present) is empty.
    type: bool
    default: false
  may_rotate:
    description: Whether O(ignore:trainmesh_rotate_keys) counts in this run.
    type: bool
    default: false
extends_documentation_fragment:
  - trainmesh.cluster.attributes.read
notes:
  - Runs on the controller only; use C(run_once).
"""

EXAMPLES = r"""
- name: Check the inventory
  trainmesh.cluster.inventory_check:
  run_once: true

- name: Check the nodes of one group only
  trainmesh.cluster.inventory_check:
    group: trainers
  run_once: true
"""

RETURN = r"""
hosts:
  description: The inventory names of the nodes, in the inventory's order.
  returned: success
  type: list
  elements: str
  sample: [node1, node2, node3]
leaving:
  description: The nodes that leave the cluster, which are not among RV(hosts).
  returned: success
  type: list
  elements: str
  sample: [node3]
state_dir:
  description: The directory for lock and memory, beside the inventory.
  returned: success
  type: str
  sample: /home/me/cluster/.trainmesh
become:
  description: For each node, whether the job user is another than the login user.
  returned: success
  type: dict
  sample: {node1: false, node2: false}
interrupted:
  description: Whether the last run on this inventory did not come to its report, and may have left a job on the nodes.
  returned: success
  type: bool
  sample: false
gpu_software:
  description: The parts of the role C(gpu_software) that each host has chosen; hosts without any are left out.
  returned: success
  type: dict
  sample: {node2: [driver]}
node_facts:
  description: Arguments for M(trainmesh.cluster.node_facts) on every node.
  returned: success
  type: dict
  sample: {peers: [10.0.0.11, 10.0.0.12], names: [node1, node2], addresses: [10.0.0.11, 10.0.0.12]}
authorized_keys:
  description:
    - The lines that the last run has put into authorized_keys of every node, by the state file. A node where they still
      stand does not tell them again.
  returned: success
  type: list
  elements: str
  sample: ['restrict,pty,from="10.0.0.11" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE5PREUx trainmesh node1']
present:
  description:
    - What M(trainmesh.cluster.node_facts) has to know for the present state, beside the secret of the run. Empty with
      O(read_only), where it is not read.
  returned: success
  type: dict
  sample: {backends: [firewalld, ufw], port: 29500}
"""
