#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an interrupted run of ours has left on a node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: left_runs
short_description: Stop verification jobs of an interrupted run
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - A run of C(ansible-playbook) that was killed leaves the job that it had started. It holds the ports of the next one.
  - Ends such jobs on this node with C(trainmesh-stop) and waits until their processes are gone. Only runs with the
    names that M(trainmesh.cluster.launch_job) and M(trainmesh.cluster.collective_probe) give (C(check-DATE-TIME-WHAT))
    and only processes of O(user) are ended; never a job that a user has started.
extends_documentation_fragment:
  - trainmesh.cluster.job_user
  - trainmesh.cluster.attributes
options:
  prefix:
    description: The directory of the installation.
    type: path
    default: /opt/trainmesh
  timeout:
    description: Seconds to wait for the end of the processes.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Stop verification jobs of an interrupted run
  trainmesh.cluster.left_runs:
    prefix: /opt/trainmesh
"""

RETURN = r"""
runs:
  description: The check runs that went on here.
  returned: always
  type: list
  elements: str
  sample: [check-20260102-030405-torchrun]
left:
  description: Processes of theirs that were still there after O(timeout).
  returned: always
  type: list
  elements: int
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import job_user
from ansible_collections.trainmesh.cluster.plugins.module_utils._jobs import left_runs


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "prefix": {"type": "path", "default": "/opt/trainmesh"},
            "timeout": {"type": "int", "default": 60},
            "user": {"type": "str"},
        },
        supports_check_mode=True,
    )
    with job_user.working_for(module, module.params["user"]):
        if module.check_mode:
            runs, left = sorted(left_runs.living()), list[int]()
        else:
            runs, left = left_runs.end(module.params["prefix"], module.params["timeout"])
    if left:
        seconds = module.params["timeout"]
        module.warn(f"{', '.join(runs)}: the processes {left} are still there after {seconds} seconds: kill them")
    module.exit_json(changed=bool(runs), runs=runs, left=left, diff=_diff(runs))


def _diff(runs: list[str]) -> dict[str, str]:
    return {"before": "".join(f"{run}\n" for run in runs), "after": ""}


if __name__ == "__main__":
    main()
