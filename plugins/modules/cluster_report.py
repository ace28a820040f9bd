#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_report
short_description: Run all checks, write the report, and fail if a check failed
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Runs every check of the collection on the evidence of the run, and those that the user added in
    C(trainmesh_extra_rules).
  - Prints the findings by severity, each with host, evidence, cause and fix, then the connectivity matrix, the nodes,
    the jobs, what was not tested, what the run changed, and the command to run next.
  - Writes C(report.json), C(report.html) and C(report.md) into C(trainmesh_report_dir) on the controller, not in check
    mode.
  - Fails if a check prevents jobs, which ends C(ansible-playbook) with status 2. If none does, but something requested
    could not be tested, the status is 4, as with an unreachable host.
  - A launcher's exit status proves nothing; the result of a job comes from the records that its ranks wrote.
options:
  stage:
    description: >-
      V(gate) only returns, before the jobs, whether they can run; V(report) runs all checks and prints the report;
      V(unread) writes the report of a run in which no node could be read, and does nothing when one was. V(end) gives
      the inventory back at the end of a run without a report; V(report) does that, too.
    type: str
    choices: [gate, report, unread, end]
    default: report
  hosts:
    description: With O(stage=unread), the nodes of the inventory.
    type: list
    elements: str
    default: []
  jobs:
    description: With O(stage=gate), whether jobs are requested at all.
    type: bool
    default: true
  speed:
    description: >-
      With O(stage=gate), whether the speed of the GPUs is requested, V(true), V(false), or V(auto): where all GPUs are
      idle.
    type: str
    default: "false"
  gate:
    description: >-
      With O(stage=report), the result of the task with O(stage=gate): what no job can change is then not judged again,
      unless a node was lost since. It also says why no job was run.
    type: dict
    default: {}
  state_dir:
    description: Directory on the controller under which the report is written, unless C(trainmesh_report_dir) is set.
    type: path
  collective:
    description: With O(stage=report), the result of M(trainmesh.cluster.collective_probe); empty when it did not run.
    type: dict
    default: {}
  results:
    description: With O(stage=report), the results of M(trainmesh.cluster.launch_job), one for each launcher.
    type: list
    elements: dict
    default: []
extends_documentation_fragment:
  - trainmesh.cluster.attributes.read
notes:
  - Runs on the controller only; use C(run_once).
  - With V(gate) and V(report), reads the result of M(trainmesh.cluster.cluster_plan) in the variable C(trainmesh_plan),
    and of each host the facts C(trainmesh_facts_gpu), C(trainmesh_facts_fabric), C(trainmesh_facts_stack),
    C(trainmesh_facts_user) and C(trainmesh_facts_verify), which the probes leave.
"""

EXAMPLES = r"""
- name: Report
  trainmesh.cluster.cluster_report:
    state_dir: "{{ trainmesh_plan.state_dir }}"
  run_once: true
"""

RETURN = r"""
untested:
  description: Why jobs are skipped; empty if they can run.
  returned: with O(stage=gate)
  type: str
  sample: check mode starts no jobs
slow_below:
  description: GB/s of bus bandwidth below which the sum over all nodes is called slow; V(0) when that is not known.
  returned: with O(stage=gate)
  type: float
  sample: 0.03125
listeners_wait:
  description: Whether a caller did not come through to a listener of the probes, which then still holds its port.
  returned: with O(stage=gate)
  type: bool
  sample: false
repeat:
  description:
    - Checks that failed on more than half of the nodes, and on three at least, by what the probes saw and nothing else.
      The probes themselves may be the cause, so test again before a node is named.
  returned: with O(stage=gate)
  type: list
  elements: str
  sample: [ssh-login-failed]
speed:
  description: Whether the speed of the GPUs, or of the processors, is to be measured.
  returned: with O(stage=gate)
  type: bool
  sample: false
judged:
  description: What the rules have said that no job can change, for O(gate) of the report.
  returned: with O(stage=gate)
  type: dict
  contains:
    hosts:
      description: The nodes that were in the run.
      type: list
      elements: str
    answers:
      description: Findings, and what could not be tested.
      type: list
      elements: dict
outcome:
  description: V(clean), V(faults) or V(incomplete), when something that was asked for could not be tested.
  returned: with O(stage=report)
  type: str
  sample: clean
summary:
  description: Number of findings by severity, of what was not tested, and of checks that looked and passed.
  returned: with O(stage=report)
  type: dict
  sample: {fail: 0, warn: 0, info: 3, untested: 0, held: 199}
files:
  description: The files that were written.
  returned: with O(stage=report)
  type: list
  elements: str
  sample: [/home/me/cluster/.trainmesh/report/report.json]
"""
