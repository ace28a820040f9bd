#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ranks of a run wrote on a node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: job_records
short_description: Read what the ranks of a training job recorded on a node
version_added: "1.0.0"
author:
  - trainmesh.cluster contributors (@trainmesh)
description:
  - Returns the records that ranks wrote on this node, each below C(var/runs/RUN_ID/LAUNCHER) of O(prefix).
  - Removes old runs that M(trainmesh.cluster.launch_job) named itself, which are of no further use, and the
    temporary files that torchrun left in the others. This does not count as a change.
extends_documentation_fragment:
  - trainmesh.cluster.job_user
  - trainmesh.cluster.attributes.read
  - trainmesh.cluster.planned.kept
attributes:
  check_mode:
    description: Reads in the same way and removes nothing.
    support: full
options:
  prefix:
    description: The directory of the installation.
    type: path
    default: /opt/trainmesh
  runs:
    description: The names of the runs.
    type: list
    elements: str
    required: true
  keep:
    description: How many older runs stay besides O(runs). With V(-1) all stay.
    type: int
    default: 20
seealso:
  - module: trainmesh.cluster.launch_job
"""

EXAMPLES = r"""
- name: Read the records of a run
  trainmesh.cluster.job_records:
    runs: [check-20261121-074512-torchrun]

- name: Read them from another place and keep every run
  trainmesh.cluster.job_records:
    prefix: /data/trainmesh
    runs: [mine-1, mine-2]
    keep: -1
"""

RETURN = r"""
records:
  description: The records in the order of runs, launchers and ranks.
  returned: success
  type: list
  elements: dict
  sample:
    - rank: 1
      world_size: 3
      local_rank: 0
      node: node2
      hostname: node2
      address: 10.0.0.12
      interface: eth0
      ifname: {GLOO_SOCKET_IFNAME: eth0}
      addresses_used: [10.0.0.12]
      backend: gloo
      device: cpu
      versions: {torch: 2.13.0+cpu}
      allreduce: {expected: 6.0, got: 6.0, ok: true}
      losses: [5.070139, 1.186449]
      loss_decreased: true
      zero_stage: null
      precision: fp32
      launcher: torchrun
      run_id: check-20261121-074512-torchrun
      pid: 653
      seconds: 16.231
      ok: true
      error: null
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import job_user
from ansible_collections.trainmesh.cluster.plugins.module_utils._jobs import records as job_records


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "prefix": {"type": "path", "default": "/opt/trainmesh"},
            "runs": {"type": "list", "elements": "str", "required": True},
            "keep": {"type": "int", "default": 20},
            "user": {"type": "str"},
        },
        supports_check_mode=True,
    )
    given = module.params
    with job_user.working_for(module, module.params["user"]):
        try:
            records = job_records.read_records(given["prefix"], given["runs"])
        except (OSError, ValueError) as error:
            module.fail_json(msg=f"The records cannot be read: {error}")
        if given["keep"] >= 0 and not module.check_mode:
            job_records.remove(job_records.old_runs(given["prefix"], given["keep"], given["runs"]))
            job_records.remove(job_records.torchruns_own(given["prefix"]))
    module.exit_json(changed=False, records=records)


if __name__ == "__main__":
    main()
