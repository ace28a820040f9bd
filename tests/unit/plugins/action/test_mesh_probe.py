# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller adds to mesh_probe, and keeps of its answer; every probe goes the same way."""

from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.action.mesh_probe import ActionModule
from ansible_collections.trainmesh.cluster.tests.unit.samples import actions

KEPT = {"folded": '{"row": {"node1": {}}}'}
FOUND = {**KEPT, "changed": False}


def test_the_nodes_of_the_run_are_tried_and_the_lost_one_is_not(monkeypatch):
    _result, given = actions.run(monkeypatch, ActionModule, FOUND, timeout=10)
    assert [target["name"] for target in given["targets"]] == ["node1", "node2"]
    assert given["targets"][0] == {
        "name": "node1",
        "address": "10.0.0.1",
        "addresses": ["192.168.0.1"],
        "hostname": "host1",
        "ssh_names": ["host1", "host1.internal", "10.0.0.1"],
    }
    assert given["ports"] == [29500, 61999] and given["fold"] is True
    more = {name: given[name] for name in ("address", "log_in", "workers", "timeout", "unreached")}
    assert more == {
        "address": "10.0.0.2",
        "log_in": False,
        "workers": 5,
        "timeout": 10,
        "unreached": actions.PLAN["unreached"],
    }


def test_what_the_task_says_beats_the_plan(monkeypatch):
    assert actions.run(monkeypatch, ActionModule, FOUND, workers=1)[1]["workers"] == 1


def test_among_many_nodes_one_name_of_each_is_tried(monkeypatch):
    first = actions.PLAN["nodes"]["node1"]
    many = {f"node{number}": {**first, "name": f"node{number}"} for number in range(1, 18)}
    plan = {**actions.PLAN, "nodes": many}
    _result, given = actions.run(monkeypatch, ActionModule, FOUND, variables={"trainmesh_plan": plan})
    assert given["targets"][0]["ssh_names"] == ["host1"]


def test_the_answer_is_kept_beside_those_of_the_probes_before(monkeypatch):
    before = {"listener": {"problems": {}}, "mesh": {"row": "of an earlier attempt"}}
    variables = {"trainmesh_plan": actions.PLAN, "ansible_facts": {"trainmesh_facts_verify": before}}
    result, _given = actions.run(monkeypatch, ActionModule, FOUND, variables=variables)
    assert result["ansible_facts"] == {"trainmesh_facts_verify": {"listener": {"problems": {}}, "mesh": KEPT}}


def test_a_probe_that_failed_leaves_nothing(monkeypatch):
    result, _given = actions.run(monkeypatch, ActionModule, {"failed": True, "msg": "no ssh"})
    assert result == {"failed": True, "msg": "no ssh"}


def test_without_a_plan_the_task_is_all_there_is(monkeypatch):
    result, given = actions.run(monkeypatch, ActionModule, FOUND, variables={}, targets=[{"name": "a"}])
    assert (given, result) == ({"targets": [{"name": "a"}]}, FOUND)
