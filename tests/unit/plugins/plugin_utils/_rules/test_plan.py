# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What site.yml would refuse is told once, with the nodes that the plan names."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Answer, Case, Finding
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import plan as rules_plan


def answers(refusals: t.Any) -> list[Answer]:
    plan = {"order": ["node1", "node2", "node3"], "nodes": {}, "refusals": refusals}
    return list(rules_plan.refused(Case(plan=plan)))


def test_one_finding_for_all_that_is_refused() -> None:
    refusals = [
        {"hosts": ["node2"], "text": "its GPUs can't be used (gpu_lost)"},
        {"hosts": ["node2"], "text": "it has no glibc"},
        {"hosts": ["node1", "node3"], "text": "no GPU found, while other nodes have some; take them out"},
        {"hosts": [], "text": "trainmesh_precision: bf16 can't run on every GPU"},
        {"hosts": ["node9"], "text": "it is not of this cluster"},
    ]
    (found,) = answers(refusals)
    assert isinstance(found, Finding)
    assert (found.rule, found.severity, found.hosts) == ("plan-refused", "info", ("node2", "node1", "node3"))
    assert found.evidence == {
        "node2": "its GPUs can't be used (gpu_lost); it has no glibc",
        "node1": "no GPU found, while other nodes have some; take them out",
        "node3": "no GPU found, while other nodes have some; take them out",
        "the cluster": "trainmesh_precision: bf16 can't run on every GPU; it is not of this cluster",
    }
    assert found.remedy == "Fix it before site.yml is run."


def test_a_refusal_of_no_node_accuses_none() -> None:
    (found,) = answers([{"hosts": [], "text": "the nodes have unlike processors (node1 x86_64, node2 aarch64)"}])
    assert isinstance(found, Finding)
    assert found.hosts == ()
    assert list(found.evidence) == ["the cluster"]


@pytest.mark.parametrize("refusals", [None, [], {}, "node1: x", 7, [None, 3]])
def test_a_plan_that_refuses_nothing_or_odd_things_says_nothing(refusals: t.Any) -> None:
    assert answers(refusals) == []
    assert list(rules_plan.refused(Case(plan={}))) == []
