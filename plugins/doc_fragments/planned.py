# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the modules that the plan of a run gives their options."""

from __future__ import annotations


class ModuleDocFragment:
    """What the controller adds to the options, and what it keeps of the answer."""

    DOCUMENTATION = r"""
options: {}
notes:
  - In a run with a plan, the variable C(trainmesh_plan) that M(trainmesh.cluster.cluster_plan) makes, options that are
    left out and concern the nodes of the cluster are taken from it, for the nodes that are still in the run.
"""

    KEPT = r"""
options: {}
notes:
  - In a run with a plan the answer is also kept in the fact C(trainmesh_facts_verify) of the node, from which
    M(trainmesh.cluster.cluster_report) takes the evidence. Its keys are C(listener), C(mesh), C(links), C(speed) and
    C(records).
"""
