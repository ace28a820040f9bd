# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the report says of a new environment that was not put into use."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import evidence
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.environments import switched

NEW = "torch-2.14.0-cpu-py3.11"
WELL, DONE, LEFT = {"failed": False, "changed": False}, {"failed": False, "changed": True}, {"skipped": True}
HELD = {"failed": True, "held": True, "msg": "/opt/trainmesh/env can't lead to it while jobs run from it: 7 of train"}
UNFIT = {"failed": True, "held": False, "msg": "/x/bin/python can't use torch: libcudart.so.12 is not there"}
FULL = {"failed": True, "held": False, "msg": "[Errno 28] No space left on device"}


def answers(**results):
    """Of nodes by their results: of the verification, then of the switch; None for one that dropped out."""
    nodes = {name: {"environment": {"switch": NEW}} for name in results}
    plan = {"order": list(results), "nodes": {**nodes, "other": {}}}
    named = {
        name: dict(zip(("__torch_stack_verified", "__torch_stack_changed_switch"), found))
        for name, found in results.items()
        if found is not None
    }
    lost = {name: evidence.LEFT for name in results if name not in named}
    return list(switched(Case(plan=plan, switch=evidence._switch(plan, named, list(named)), lost=lost)))


@pytest.mark.parametrize("results", [{"gpu1": [WELL, DONE], "gpu2": [WELL, WELL]}, {"gpu1": [], "gpu2": []}])
def test_nothing_is_said_where_all_are_switched_or_the_run_only_looked(results):
    assert answers(**results) == []


def test_running_jobs_are_no_fault_and_only_their_node_is_named():
    (found,) = answers(gpu1=[WELL, LEFT], gpu2=[HELD])
    assert (found.severity, found.hosts) == ("warn", ("gpu2",))
    assert "7 of train" in found.evidence["gpu2"] and NEW in found.cause and "stop --all" in found.remedy


def test_one_that_cannot_be_used_is_a_failure_of_its_node_alone_even_beside_running_jobs():
    (found,) = answers(gpu1=[HELD], gpu2=[UNFIT], gpu3=[WELL, LEFT])
    assert (found.severity, found.hosts) == ("fail", ("gpu2",)) and "libcudart" in found.evidence["gpu2"]


def test_a_node_that_fails_in_the_midst_of_the_switch_is_named():
    (found,) = answers(gpu1=[WELL, DONE], gpu2=[WELL, FULL])
    assert found.hosts == ("gpu2",) and "No space" in found.evidence["gpu2"]
    assert found.cause.startswith("gpu2 goes on") and "which gpu1 use by now" in found.cause


def test_a_node_that_dropped_out_before_holds_all_back_and_is_named():
    (found,) = answers(gpu1=[WELL, LEFT], gpu2=None)
    assert (found.severity, found.hosts) == ("fail", ("gpu2",)) and "did not get it" in found.cause
