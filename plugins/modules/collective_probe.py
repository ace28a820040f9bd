#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sum over all ranks of the cluster, and where it fails when it does."""

from __future__ import annotations

DOCUMENTATION = r"""
module: collective_probe
short_description: Run and measure an all-reduce across all ranks, and find the node that makes it fail
version_added: "1.0.0"
author:
  - trainmesh.cluster contributors (@trainmesh)
description:
  - Runs on the head as the user of the jobs, on any cluster where that user may log in from the head to every node
    and torch is installed on the same path.
  - Every rank joins one group, does some local work between small all-reduces, then reduces larger and larger messages
    (NCCL between GPUs, Gloo between CPUs).
  - If that fails, stalls or is slow, pairs of nodes and smaller groups are tested until they show which node or pair
    it is.
  - Nothing is written on any node. All ranks are ended at the limit of time, and when this module is ended.
  - Never fails because of what it finds; the verdict is in RV(ok) and RV(suspects).
extends_documentation_fragment:
  - trainmesh.cluster.job_user
  - trainmesh.cluster.attributes.read
  - trainmesh.cluster.planned
attributes:
  check_mode:
    description: In check mode nothing is run and RV(skip_reason) says so.
    support: full
options:
  nodes:
    description: The nodes in the order of their ranks; the first is the master.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Inventory name.
        type: str
        required: true
      ssh_name:
        description: Destination for ssh on the head. By default O(nodes[].name).
        type: str
      address:
        description: Data address.
        type: str
        required: true
      slots:
        description: Ranks on the node.
        type: int
        default: 1
      interface:
        description: Network interface for Gloo and for NCCL's sockets. By default the libraries choose.
        type: str
        default: ""
  python:
    description: The Python with torch, on the same path on every node.
    type: path
    default: /opt/trainmesh/env/bin/python
  launcher:
    description:
      - C(trainmesh-torchrun) of an installation by this collection; all nodes together are then tried through it.
      - If empty, the ranks are started by ssh from here.
    type: path
  script:
    description: The program of the ranks for O(launcher). By default C(share/probe_collective.py) beside its C(bin).
    type: path
  run_id:
    description: Name of the run for O(launcher). By default one with the date.
    type: str
  backend:
    description: Backend of the all-reduce. V(auto) is V(nccl) where torch sees GPUs, else V(gloo).
    type: str
    choices: [auto, nccl, gloo]
    default: auto
  sizes:
    description: Message sizes in bytes. By default 8 B to 1 GiB with V(nccl), 1 KiB to 4 MiB with V(gloo).
    type: list
    elements: int
    default: []
  port:
    description: TCP port of the rendezvous on the first node of each trial.
    type: int
    default: 29500
  environment:
    description: Variables for the ranks started by ssh, such as those of C(trainmesh_env). No secrets.
    type: dict
    default: {}
  timeout:
    description: Seconds for everything, the trials too.
    type: float
    default: 120
  stall:
    description: Seconds without any progress, once all ranks have loaded torch, after which a trial is given up.
    type: float
    default: 12
  slow_below:
    description: GB/s of bus bandwidth at the largest size below which pairs are tried to find a slow link; V(0) for
      never. A sweep that had to leave out sizes is slow in any case.
    type: float
    default: 0
seealso:
  - module: trainmesh.cluster.launch_job
"""

EXAMPLES = r"""
- name: Run an all-reduce over both nodes of a cluster that was set up by other means
  trainmesh.cluster.collective_probe:
    python: /opt/conda/envs/train/bin/python
    nodes:
      - {name: node1, address: 10.0.0.11, slots: 8, interface: eno1}
      - {name: node2, address: 10.0.0.12, slots: 8, interface: eno1}
  timeout: 180

- name: The same through this collection's launcher
  trainmesh.cluster.collective_probe:
    launcher: /opt/trainmesh/bin/trainmesh-torchrun
    nodes:
      - {name: node1, address: 10.0.0.11}
      - {name: node2, address: 10.0.0.12}
"""

RETURN = r"""
ok:
  description: Whether every rank came through and the sum was right; V(null) in check mode.
  returned: always
  type: bool
  sample: true
backend:
  description: What summed; V(null) when the ranks did not come so far.
  returned: always
  type: str
  sample: gloo
world_size:
  description: How many ranks the group had; 0 when there was none.
  returned: always
  type: int
  sample: 3
via:
  description: How the ranks of all nodes were started, V(torchrun) or V(ssh).
  returned: always
  type: str
  sample: ssh
sweep:
  description: For each size the seconds of one sum, as the slowest rank saw it, and GB/s as nccl-tests counts them.
  returned: always
  type: list
  elements: dict
  sample: [{bytes: 4194304, seconds: 0.0069, algbw_gbps: 0.607, busbw_gbps: 0.81}]
complete:
  description: Whether no size was left out because it would have taken longer than 4 seconds.
  returned: always
  type: bool
  sample: true
ranks:
  description: For each rank the seconds of a fixed piece of its own work (median), and its error.
  returned: always
  type: list
  elements: dict
  sample: [{rank: 0, host: node1, seconds: 0.0031, error: null}]
nccl:
  description: For each host what its NCCL log says (network, transports, versions, warnings, cause); empty with Gloo.
  returned: always
  type: dict
  sample: {}
trials:
  description: Every trial, the one with all nodes first.
  returned: always
  type: list
  elements: dict
  sample: [{hosts: [node1, node2, node3], ok: true, error: "", busbw_gbps: 0.81}]
suspects:
  description:
    - The nodes or pairs that explain the failure, and what was seen. C(failure) is V(killed) (by signal 9), V(failed),
      V(stopped), V(in_kernel), V(awaited) or V(not_started) for ranks that show it by themselves, V(trials) for what
      the trials tell, V(together) for nodes that work in pairs only.
  returned: always
  type: list
  elements: dict
  sample: [{hosts: [node2], failure: trials, evidence: "node1 + node2: only 0.0001 GB/s"}]
error:
  description: What went wrong with all nodes together; V(null) when nothing did.
  returned: always
  type: str
  sample: null
reason:
  description:
    - RV(error) as RV(suspects) have it; without a host, and with the C(failure) V(waits), where a rank only waited for
      others. V(null) without an error.
  returned: always
  type: dict
  sample: null
late:
  description:
    - What our own limit of time left open, such as ranks that still loaded torch; V(null) where the answer is one.
  returned: always
  type: str
  sample: null
seconds:
  description: Seconds that all trials took.
  returned: always
  type: float
  sample: 9.2
skip_reason:
  description: Why nothing was run.
  returned: in check mode
  type: str
  sample: "Check mode: nothing was summed."
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import job_user
from ansible_collections.trainmesh.cluster.plugins.module_utils._collective.probe import Wish, nothing, probe
from ansible_collections.trainmesh.cluster.plugins.module_utils._collective.runner import Node


def main() -> None:
    """Entry point."""
    node = {
        "name": {"type": "str", "required": True},
        "ssh_name": {"type": "str"},
        "address": {"type": "str", "required": True},
        "slots": {"type": "int", "default": 1},
        "interface": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={
            "nodes": {"type": "list", "elements": "dict", "required": True, "options": node},
            "python": {"type": "path", "default": "/opt/trainmesh/env/bin/python"},
            "launcher": {"type": "path"},
            "script": {"type": "path"},
            "run_id": {"type": "str"},
            "backend": {"type": "str", "choices": ["auto", "nccl", "gloo"], "default": "auto"},
            "sizes": {"type": "list", "elements": "int", "default": []},
            "port": {"type": "int", "default": 29500},
            "environment": {"type": "dict", "default": {}},
            "timeout": {"type": "float", "default": 120},
            "stall": {"type": "float", "default": 12},
            "slow_below": {"type": "float", "default": 0},
            "user": {"type": "str"},
        },
        supports_check_mode=True,
    )
    given = {name: value for name, value in module.params.items() if name != "user"}
    given["nodes"] = [Node(**{**each, "ssh_name": each["ssh_name"] or each["name"]}) for each in given["nodes"]]
    launcher = given["launcher"] = given["launcher"] or ""
    given["script"] = given["script"] or f"{launcher.rsplit('/', 2)[0]}/share/probe_collective.py"
    given["run_id"] = given["run_id"] or f"check-{time.strftime('%Y%m%d-%H%M%S')}-collective"
    given["environment"] = {key: str(value) for key, value in given["environment"].items()}
    if not given["nodes"] or any(each.slots < 1 for each in given["nodes"]):
        module.fail_json(msg="nodes: at least one node is needed, and each has at least one slot")
    wish = Wish(**given)
    if module.check_mode:
        module.exit_json(changed=False, **nothing(wish), skip_reason="Check mode: nothing was summed.")
    with job_user.working_for(module, module.params["user"]):
        verdict = probe(wish)
    module.exit_json(changed=False, failed=False, **verdict)


if __name__ == "__main__":
    main()
