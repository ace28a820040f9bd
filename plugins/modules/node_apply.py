#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several modules of this collection in one start."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_apply
short_description: Apply names, ssh files, firewall rules and launch files in one start
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Does what several modules of this collection do, one after the other, for the price of one module start.
  - In a run with a plan, the variable C(trainmesh_plan) that M(trainmesh.cluster.cluster_plan) makes, the steps of a
    node are by default those of the roles C(hosts), C(ssh_mesh), C(firewall) and C(launch_config) for which the plan
    holds a change there. Variables of these roles that the inventory sets are heeded.
  - Ends at the first step that fails; what the steps before it have changed stays, and a second run goes on.
options:
  steps:
    description: What to do, in this order.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: A module of this collection.
        type: str
        required: true
        choices:
          - node_name
          - hosts_entries
          - cloud_init
          - ssh_mesh
          - cluster_firewall
          - file_set
          - command_link
          - reserved_port
          - nccl_conf
      options:
        description: Its options, as its documentation describes them.
        type: dict
        required: true
  job_env:
    description:
      - Content of the file C(etc/job.env) below O(prefix), a set of files of its own. It is neither logged nor shown.
    type: str
  prefix:
    description: Directory of the collection on the node. Required with O(job_env).
    type: path
extends_documentation_fragment:
  - trainmesh.cluster.job_user
  - trainmesh.cluster.attributes
seealso:
  - module: trainmesh.cluster.node_name
  - module: trainmesh.cluster.hosts_entries
  - module: trainmesh.cluster.cloud_init
  - module: trainmesh.cluster.ssh_mesh
  - module: trainmesh.cluster.cluster_firewall
  - module: trainmesh.cluster.file_set
  - module: trainmesh.cluster.command_link
  - module: trainmesh.cluster.reserved_port
  - module: trainmesh.cluster.nccl_conf
"""

EXAMPLES = r"""
- name: Apply what the plan would change on this node
  trainmesh.cluster.node_apply:
    user: trainer
  become: true

- name: Set the host name and two lines of the hosts file
  trainmesh.cluster.node_apply:
    steps:
      - name: node_name
        options: {name: node1}
      - name: hosts_entries
        options:
          entries:
            - {address: 10.0.0.11, names: [node1]}
            - {address: 10.0.0.12, names: [node2]}
  become: true
"""

RETURN = r"""
steps:
  description: What each step that changed something returned, without its differences, by its name.
  returned: success
  type: dict
  sample: {node_name: {changed: true, before: {kernel: ubuntu, file: ubuntu}}}
"""

import types
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import (
    cloud_init,
    cluster_firewall,
    command_link,
    file_set,
    hosts_entries,
    nccl_conf,
    node_name,
    reserved_port,
    ssh_mesh,
)

STEPS: dict[str, types.ModuleType] = {
    "node_name": node_name,
    "hosts_entries": hosts_entries,
    "cloud_init": cloud_init,
    "ssh_mesh": ssh_mesh,
    "cluster_firewall": cluster_firewall,
    "file_set": file_set,
    "command_link": command_link,
    "reserved_port": reserved_port,
    "nccl_conf": nccl_conf,
}
SECRETS = "secrets"


def main() -> None:
    """Entry point."""
    step = {
        "name": {"type": "str", "required": True, "choices": list(STEPS)},
        "options": {"type": "dict", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "steps": {"type": "list", "elements": "dict", "default": [], "options": step},
            "job_env": {"type": "str", "no_log": True},
            "prefix": {"type": "path"},
            "user": {"type": "str"},
        },
        required_by={"job_env": ["prefix"]},
        supports_check_mode=True,
    )
    todo = [(each["name"], _valid(module, each["name"], each["options"])) for each in module.params["steps"]]
    answers = []
    for name, given in todo:
        answer = STEPS[name].converge(module, given)
        answers.append((name, answer))
    if module.params["job_env"] is not None:
        answers.append((SECRETS, _job_env(module)))
    diff = [one for _name, answer in answers for one in answer.pop("diff", [])]
    changed = {name: answer for name, answer in answers if answer["changed"]}
    # the parameters are the texts of all files: they are not sent back
    module.exit_json(changed=bool(changed), steps=changed, diff=diff, invocation={})


def _valid(module: AnsibleModule, name: str, options: dict[str, t.Any]) -> dict[str, t.Any]:
    """The options of a step as its module would have them; fails for wrong ones before any step has begun."""
    result = ArgumentSpecValidator(STEPS[name].OPTIONS).validate(options)
    if result.error_messages:
        module.fail_json(msg=f"{name}: {'; '.join(result.error_messages)}")
    given: dict[str, t.Any] = result.validated_parameters
    return given


def _job_env(module: AnsibleModule) -> dict[str, t.Any]:
    """The one file whose content nobody may see; that it differs is all that is told."""
    row = {"path": "etc/job.env", "content": module.params["job_env"], "mode": "0600"}
    given = {"path": module.params["prefix"], "name": SECRETS, "files": [row], "user": module.params["user"]}
    answer = file_set.converge(module, given)
    hidden = [{"header": row["path"], "before": "(not shown)\n", "after": "(not shown, differs)\n"}]
    return {**answer, "diff": hidden if answer["changed"] else []}


if __name__ == "__main__":
    main()
