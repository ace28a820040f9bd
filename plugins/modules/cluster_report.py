#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_report
short_description: Judge what a run has found, print it, and fail when anything failed
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Prints the faults, each with its host, cause and remedy, a table of the nodes, a table of the launchers, what the
    run changed, and the line to type next.
  - Reads the results that the verify role has registered on every host. A launcher's exit status alone proves nothing;
    the verdict comes from the records that the ranks wrote.
options:
  plan:
    description: The result of M(trainmesh.cluster.cluster_plan).
    type: dict
    required: true
  stage:
    description: >-
      V(gate) only tells, before the jobs, whether anything stands in their way; V(report) judges and prints everything.
    type: str
    choices: [gate, report]
    default: report
  jobs:
    description: With O(stage=gate), whether jobs are wanted at all.
    type: bool
    default: true
  untested:
    description: Why no job was run; empty when jobs were run.
    type: str
    default: ""
extends_documentation_fragment:
  - trainmesh.cluster.attributes.read
notes:
  - Runs on the controller only; use C(run_once).
"""

EXAMPLES = r"""
- name: Report
  trainmesh.cluster.cluster_report:
    plan: "{{ trainmesh_plan }}"
  run_once: true
"""

RETURN = r"""
untested:
  description: Why no job is to be started; empty when nothing stands in the way.
  returned: with O(stage=gate)
  type: str
  sample: check mode starts no jobs
verdicts:
  description: What each launcher's job came to.
  returned: success
  type: list
  elements: dict
  sample: [{launcher: torchrun, ok: true, world_size: 3, seconds: 21.4, faults: []}]
"""
