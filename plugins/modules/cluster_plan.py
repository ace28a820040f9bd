#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_plan
short_description: Plan the cluster on the controller
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Reads the variables, facts and identities of all hosts that the play has gathered and computes ranks, addresses,
    interfaces, slots, precision, the build of torch, and the finished texts of every file that names other nodes. The
    roles only apply these.
  - Compares the plan with the present state of each node, and prints what each role will change there and why.
  - Refuses, with every reason at once, what can't work, such as a GPU whose driver is broken or bf16 on a GPU
    without it.
  - Records the nodes in C(cluster.json) of O(state_dir), so that ranks stay where they are and an unreachable node
    keeps its rank. Clusters of other groups that share the file stay in it. Check mode writes nothing.
options:
  group:
    description: Inventory group that holds the nodes.
    type: str
    default: all
  state_dir:
    description: Directory on the controller for the state file.
    type: path
    required: true
  read_only:
    description:
      - Whether the cluster is only looked at. Then nothing is remembered, machines that could not make a cluster are
        planned as they are (RV(refusals) says what would be refused), and a cluster that this collection did not set
        up keeps its own host names.
    type: bool
    default: false
extends_documentation_fragment:
  - trainmesh.cluster.attributes.read
notes:
  - Runs on the controller only; use C(run_once).
  - Expects the facts of M(trainmesh.cluster.node_facts) for each host, the result of
    M(trainmesh.cluster.inventory_check) in the variable C(trainmesh_inventory), and the secret of the run, under which
    the present states were digested, in C(trainmesh_run_key).
"""

EXAMPLES = r"""
- name: Plan the cluster
  trainmesh.cluster.cluster_plan:
    state_dir: "{{ inventory_dir }}/.trainmesh"
  run_once: true
  register: trainmesh_plan
"""

RETURN = r"""
head:
  description: Inventory name of the node of rank 0.
  returned: success
  type: str
  sample: node1
master:
  description: Address and port of the rendezvous.
  returned: success
  type: dict
  sample: {address: 10.0.0.11, port: 29500}
order:
  description: Inventory names in rank order.
  returned: success
  type: list
  elements: str
  sample: [node1, node2]
world_size:
  description: Sum of the slots.
  returned: success
  type: int
  sample: 16
reasons:
  description: Why precision and build were chosen.
  returned: success
  type: list
  elements: str
  sample: ["fp16: node2 has V100S-PCIE-32GB, compute capability 7.0"]
nodes:
  description: >-
    Everything about each node, by inventory name and in rank order; its files are those that no other node has.
  returned: success
  type: dict
  sample: {node1: {rank: 0, address: 10.0.0.11, slots: 8, interface: eth0}}
files:
  description: Files of the launch configuration that are the same on every node.
  returned: success
  type: list
  elements: dict
  sample: [{path: etc/hostfile, content: "node1 slots=8\n", mode: "0644"}]
refusals:
  description: What a run that sets the cluster up would refuse; always empty without O(read_only=true).
  returned: success
  type: list
  elements: dict
  sample: [{hosts: [node2], text: "its GPUs can't be used (gpu_lost)"}]
changes:
  description:
    - What the roles of this run will change on each node, in their order; nodes without changes are left out.
      Empty with O(read_only=true).
  returned: success
  type: dict
  sample: {node4: [{role: hosts, what: host name, why: is ubuntu instead of node4}]}
plays:
  description: The plays of site.yml that each of these nodes needs.
  returned: success
  type: dict
  sample: {node4: [apply, python_env, torch_stack]}
logins_at_once:
  description: Number of simultaneous logins per node while all nodes test each other, by the lowest MaxStartups.
  returned: success
  type: int
  sample: 5
identity:
  description: Identity of this cluster, created once, and recorded in the state file and in C(/etc/hosts).
  returned: success
  type: str
  sample: 3fa9c1d2
unreached:
  description: Addresses at which M(trainmesh.cluster.mesh_probe) tests hosts that are unreachable for the controller.
  returned: success
  type: list
  elements: dict
  sample: [{name: node3, addresses: [10.0.0.13], port: 22}]
removed_keys:
  description:
    - Keys of nodes that left or made new ones, which nodes that this run does not change may still have.
  returned: success
  type: list
  elements: dict
  sample: [{name: gpu2, fingerprint: "SHA256:47DEQpj8HBSa", nodes: [gpu3]}]
probe_token:
  description: Secret by which the probes of this run and their listeners know each other; another one in each run.
  returned: success
  type: str
  sample: 5f3a9c0e5f3a9c0e5f3a9c0e5f3a9c0e
managed:
  description: Whether this collection has set the cluster up.
  returned: success
  type: bool
  sample: true
stack:
  description: Versions, build and platform of the Python environment.
  returned: success
  type: dict
  sample: {torch_build: cu126, requirements: ["torch==2.13.0+cu126", "deepspeed==0.19.8"]}
"""
