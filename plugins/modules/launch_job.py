#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A training job, started by one of the launch scripts."""

from __future__ import annotations

DOCUMENTATION = r"""
module: launch_job
short_description: Run a training job over the whole cluster within a time limit
version_added: "1.0.0"
author:
  - trainmesh.cluster contributors (@trainmesh)
description:
  - Runs one launch script of the role P(trainmesh.cluster.launch_config#role) on the head and waits for it.
  - At the time limit the run is stopped on every node.
  - Never fails because of the job - whether it did its work is to be read from the records of its ranks (see
    M(trainmesh.cluster.job_records)), not from RV(rc).
extends_documentation_fragment:
  - trainmesh.cluster.job_user
  - trainmesh.cluster.attributes.read
attributes:
  check_mode:
    description: In check mode no job is run and RV(skip_reason) says so.
    support: full
options:
  prefix:
    description: The directory of the installation, the same on every node.
    type: path
    default: /opt/trainmesh
  launcher:
    description: Which launcher starts the job.
    type: str
    choices: [deepspeed, accelerate, accelerate_standard, torchrun, mpirun]
    required: true
  run_id:
    description: The name of the run, of letters, digits, dots and dashes. By default one with the date and
      O(launcher).
    type: str
  arguments:
    description:
      - The training script, on the same path on every node, and its arguments.
      - If empty, the small job that comes with the collection; it suits each launcher and its ranks write records.
    type: list
    elements: str
    default: []
  options:
    description: Options of the launch script itself, such as C(--master-port).
    type: list
    elements: str
    default: []
  directory:
    description: The directory in which every rank starts. By default C(workspace) in O(prefix).
    type: path
  timeout:
    description: Seconds that the job may take.
    type: float
    default: 300
seealso:
  - module: trainmesh.cluster.job_records
"""

EXAMPLES = r"""
- name: Train a few steps of a tiny model with DeepSpeed
  trainmesh.cluster.launch_job:
    launcher: deepspeed

- name: Run the user's own script with torchrun beside another job
  trainmesh.cluster.launch_job:
    launcher: torchrun
    run_id: mine
    options: [--master-port, "29600"]
    arguments: [/opt/trainmesh/workspace/train.py, --epochs, "3"]
    timeout: 3600
"""

RETURN = r"""
launcher:
  description: The same as O(launcher).
  returned: always
  type: str
  sample: torchrun
run_id:
  description: The name of the run.
  returned: always
  type: str
  sample: check-20261121-074512-torchrun
rc:
  description: Exit status of the launch script; V(null) when it was stopped at the limit or not run.
  returned: always
  type: int
  sample: 0
seconds:
  description: Seconds that the job took.
  returned: always
  type: float
  sample: 25.231
timed_out:
  description: Whether the job was stopped at the limit.
  returned: always
  type: bool
  sample: false
log:
  description: The file on the head with all output of the job.
  returned: always
  type: str
  sample: /opt/trainmesh/var/runs/check-20261121-074512-torchrun/torchrun.log
log_tail:
  description: The last 4000 characters of the output.
  returned: always
  type: str
  sample: "node2: rank 1 of 3 on node2: sum 6 right, loss 5.070139 -> 1.186449\n"
killed:
  description:
    - Nodes on which a signal has ended a rank before its launcher ended any, as the launchers' output tells it; empty
      for a job that was stopped at the limit.
  returned: always
  type: list
  elements: dict
  contains:
    node:
      description: The node as the launcher calls it; empty where it names none.
      type: str
    signal:
      description: Number of the signal.
      type: int
  sample: [{node: node3, signal: 9}]
first_error:
  description:
    - What failed first, as the output tells it; V(null) where nothing did, or nothing says so. What other ranks only
      say because of it is not meant.
  returned: always
  type: dict
  contains:
    kind:
      description: The kind of it, such as V(gpu_memory), V(module_missing) or V(exception) for one without a kind.
      type: str
    own:
      description: Whether it is a cause by itself, and no connection that could have been lost because of another.
      type: bool
    node:
      description: The node as the launcher calls it; empty where nothing names it.
      type: str
    rank:
      description: The rank; V(null) where nothing names it.
      type: int
    line:
      description: Number of the line in RV(log).
      type: int
    text:
      description: The line, without what launchers put in front of it.
      type: str
  sample: {kind: module_missing, own: true, node: node2, rank: 1, line: 81, text: "ImportError: x"}
command:
  description: The command line.
  returned: always
  type: list
  elements: str
  sample:
    - /opt/trainmesh/bin/trainmesh-torchrun
    - --run-id
    - check-20261121-074512-torchrun
    - /opt/trainmesh/share/probe_train.py
    - --engine
    - ddp
    - --record-dir
    - /opt/trainmesh/var/runs/check-20261121-074512-torchrun/torchrun
    - --timeout
    - "120"
skip_reason:
  description: Why no job was run.
  returned: in check mode
  type: str
  sample: "Check mode: no job was run."
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import job_user
from ansible_collections.trainmesh.cluster.plugins.module_utils._jobs import launch as launch_job


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "prefix": {"type": "path", "default": "/opt/trainmesh"},
            "launcher": {"type": "str", "choices": list(launch_job.SCRIPTS), "required": True},
            "run_id": {"type": "str"},
            "arguments": {"type": "list", "elements": "str", "default": []},
            "options": {"type": "list", "elements": "str", "default": []},
            "directory": {"type": "path"},
            "timeout": {"type": "float", "default": 300},
            "user": {"type": "str"},
        },
        supports_check_mode=True,
    )
    given = {name: value for name, value in module.params.items() if name != "user"}
    given["directory"] = given["directory"] or f"{given['prefix']}/workspace"
    given["run_id"] = given["run_id"] or launch_job.new_run_id(given["launcher"], time.localtime())
    job = launch_job.Job(**given)
    answer = {"changed": False, "launcher": job.launcher, "run_id": job.run_id}
    answer.update(command=launch_job.command(job), log=launch_job.log_path(job))
    if module.check_mode:
        reason = "Check mode: no job was run."
        module.exit_json(
            **answer,
            rc=None,
            seconds=0.0,
            timed_out=False,
            log_tail="",
            killed=[],
            first_error=None,
            skip_reason=reason,
        )
    try:
        with job_user.working_for(module, module.params["user"]):
            result = launch_job.run_job(job)
    except OSError as error:
        module.fail_json(msg=f"The job could not be started: {error}", **answer)
    # ansible-core before 2.22 takes any other rc than 0 for a failed module unless it is told better
    outcome = {"rc": result.rc, "seconds": result.seconds, "timed_out": result.timed_out, "log_tail": result.tail}
    module.exit_json(
        failed=False,
        **answer,
        **outcome,
        killed=[rank._asdict() for rank in result.killed],
        first_error=result.first_error,
    )


if __name__ == "__main__":
    main()
