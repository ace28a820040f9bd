# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine, evidence, options
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.catalogue import entry
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import data, inventory

PLAN = {
    "order": ["node1", "node2", "node3"],
    "nodes": {name: {"slots": 1, "address": f"10.0.0.1{name[-1]}"} for name in ("node1", "node2", "node3")},
    "world_size": 3,
    "gpus": False,
}
FACTS = {"trainmesh_facts_fabric": {"a": 1}, "trainmesh_facts_stack": {"b": 1}, "trainmesh_facts_user": {"c": 1}}


def assemble(hostvars, live, skipped="", collective=None, results=()):
    jobs = evidence.Jobs(collective or {}, results, skipped)
    return evidence.assemble(PLAN, hostvars, live, PLAN["order"], {"limit": 1}, jobs)


def test_nodes_that_left_are_told_apart_by_what_is_known_of_them():
    hostvars = {"node1": {"ansible_facts": FACTS}, "node2": {"ansible_facts": FACTS}, "node3": {}}
    case = assemble(hostvars, ["node1"], "node2 is not in this run")
    assert case.lost == {"node2": evidence.LEFT, "node3": evidence.UNREACHED}
    assert set(case.fabric) == set(case.stack) == set(case.user) == {"node1"}
    assert case.gpu == {} and case.skipped == "node2 is not in this run"


def test_what_the_probes_have_left_is_found_under_each_host():
    load = {"load1": 0.5}
    probed = {"listener": {"problems": {}}, "mesh": {"row": {"node2": {}}, "load": load, "unreached": {"node3": []}}}
    hostvars = {
        name: {
            "ansible_facts": {**FACTS, "trainmesh_facts_verify": probed},
            "trainmesh_reach": {"hosts": {"node1": {"ok": True}}},
        }
        for name in PLAN["order"]
    }
    case = assemble(hostvars, PLAN["order"], collective={"skipped": True})
    assert set(case.mesh) == set(case.listeners) == set(case.unreached) == set(PLAN["order"])
    assert case.load["node1"] == {"mesh": load}
    assert case.links == {} and case.collective is None
    assert assemble(hostvars, PLAN["order"], collective={"sweep": []}).collective == {"sweep": []}
    assert case.reach == {"node1": {"ok": True}} and case.thresholds == {"limit": 1}


def test_the_speed_of_a_node_comes_with_how_busy_it_was():
    answers = {"node1": {"speed": {"device": "gpu", "gpus": [], "load": {"load1": 9.0}}}, "node2": {"speed": None}}
    hostvars = {
        name: {"ansible_facts": {**FACTS, "trainmesh_facts_verify": {"speed": answers.get(name, {})}}}
        for name in PLAN["order"]
    }
    case = assemble(hostvars, PLAN["order"])
    assert list(case.speed) == ["node1"] and case.load == {"node1": {"speed": {"load1": 9.0}}}


def test_what_nodes_say_once_for_all_is_found_for_each():
    inventory_answer = {"node_facts": {"names": ["node1"], "peers": ["10.0.0.11"], "addresses": ["10.0.0.11"]}}
    fabric = {
        "resolution": {"odd": {}},
        "routes": {},
        "alike": {"resolution": {"form": '{"is": "<address>"}', "without": []}},
    }
    mesh = {"row": {}, "alike": {"form": '{"ssh": {"<name>": {"seconds": "<seconds>"}}}', "seconds": {"node1": [0.5]}}}
    probed = {"mesh": {"folded": json.dumps(mesh)}, "links": {"folded": "[" * 100_000}, "listener": {"folded": "[]"}}
    facts = {**FACTS, "trainmesh_facts_fabric": fabric, "trainmesh_facts_verify": probed}
    nodes = {name: {**node, "hostname": f"{name}.lan"} for name, node in PLAN["nodes"].items()}
    hostvars = {"node1": {"ansible_facts": facts, "trainmesh_inventory": inventory_answer}}
    case = evidence.assemble({**PLAN, "nodes": nodes}, hostvars, ["node1"], ["node1"], {}, evidence.Jobs({}, [], ""))
    assert case.links == case.listeners == {}  # no text of a probe
    assert case.mesh == {"node1": {"node1": {"ssh": {"node1.lan": {"seconds": 0.5}}}}}
    assert case.fabric["node1"]["resolution"] == {"odd": {}, "node1": {"is": "10.0.0.11"}}


def test_launchers_that_were_left_out_are_no_jobs():
    skipped = [{"__verify_launcher": name, "skipped": True} for name in ("deepspeed", "torchrun")]
    hostvars = {name: {"ansible_facts": FACTS} for name in PLAN["order"]}
    assert assemble(hostvars, PLAN["order"], results=skipped).jobs == []


def test_nodes_that_the_user_left_out_are_apart_and_not_lost():
    hostvars = {"node1": {"ansible_facts": FACTS}, "node2": {}, "node3": {}}
    plan = {**PLAN, "left_out": ["node4"]}
    jobs = evidence.Jobs({}, [], "node2, node3 are not in this run")
    case = evidence.assemble(plan, hostvars, ["node1"], ["node1"], {}, jobs)
    assert case.excluded == ("node2", "node3", "node4") and case.lost == {}
    assert inventory.missing(case) == {}


def test_the_verdict_on_a_job_comes_from_the_records_of_its_run_alone():
    job = {"launcher": "torchrun", "run_id": "new", "rc": 0, "seconds": 3.0, "log": "/log"}
    records = {"records": {"records": [{"run_id": "old", "rank": 0, "world_size": 3}]}}
    hostvars = {name: {"ansible_facts": {**FACTS, "trainmesh_facts_verify": records}} for name in PLAN["order"]}
    verdict = assemble(hostvars, PLAN["order"], results=[job]).jobs[0]
    assert not verdict["ok"] and verdict["log"] == "/log"
    assert {fault["host"] for fault in verdict["faults"]} >= set(PLAN["order"])


@pytest.mark.parametrize(
    ("told", "host", "words"),
    [
        ({"first_error": {"text": "KeyError: 'x'", "node": "node1", "rank": 0, "own": True}}, "node1",
         ": rank 0 on node1: KeyError: 'x'"),
        ({"first_error": None, "log_tail": "one\n\nthe last\n\n"}, "", ": the last"),
        ({"msg": "The job could not be started: no file"}, "", ": The job could not be started: no file"),
    ],
)  # fmt: skip
def test_the_verdict_has_what_failed_first(told, host, words):
    result = {"launcher": "torchrun", "run_id": "b", "rc": 1, "seconds": 2, "log": "/log", **told}
    hostvars = {name: {"ansible_facts": FACTS} for name in PLAN["order"]}
    fault = assemble(hostvars, PLAN["order"], results=[result]).jobs[0]["faults"][-1]
    assert fault == {"host": host, "failure": "launcher", "cause": f"the launcher ended with status 1{words}"}


def test_only_registers_of_changes_that_changed_something_count():
    values = {
        "__hosts_changed_name": {"changed": True},
        "__ssh_mesh_changed_files": {"changed": False},
        "__verify_probe": {"changed": True},
        "other_changed_thing": {"changed": True},
    }
    assert evidence.changed_tasks(values) == ["__hosts_changed_name"]


def unread(rows, every=("node1", "node2")):
    hostvars = {name: {"trainmesh_reach": {"hosts": rows}} for name in every}
    return evidence.unread(PLAN["order"], hostvars, every, {"limit": 1})


def test_where_nobody_answers_the_controllers_own_look_is_all_there_is():
    rows = {name: {"ok": False, "step": "tcp_timeout", "evidence": "silent", "cause": "c"} for name in PLAN["order"]}
    case = unread(rows)
    assert case.lost == {"node1": evidence.UNREACHED, "node2": evidence.UNREACHED}
    assert (case.excluded, dict(case.reach), case.fabric) == (("node3",), rows, {})
    judged = engine.judge(case, options.read({}))
    assert {finding.rule for finding in judged.findings} == {"reach-tcp-timeout"}
    assert not [answer for answer in judged.untested if "the rule itself failed" in answer.why]
    assert data.build(case, judged, {}, look=entry)["outcome"] == "faults"


def test_where_a_task_failed_everywhere_the_nodes_are_lost_and_not_unreached():
    case = unread({name: {"ok": True} for name in PLAN["order"]})
    assert set(case.lost.values()) == {evidence.LEFT}
    assert {finding.rule for finding in engine.judge(case, options.read({})).findings} == {"reach-node-lost"}


def test_where_not_even_the_look_was_taken_nothing_is_made_up():
    case = evidence.unread(PLAN["order"], {"node1": {}}, ["node1"], {})
    assert (dict(case.reach), case.lost) == ({}, {"node1": evidence.UNREACHED})


def test_a_node_that_answered_and_then_failed_was_reached():
    rows = {"hosts": {"node2": {"ok": True}, "node3": {"ok": False}}}
    hostvars = {
        "node1": {"ansible_facts": FACTS},
        "node2": {"trainmesh_reach": rows},
        "node3": {"trainmesh_reach": rows},
    }
    assert assemble(hostvars, ["node1"]).lost == {"node2": evidence.LEFT, "node3": evidence.UNREACHED}
