# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Behaviour of the verdict on a job."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.job_result import verdict

PLAN = {
    "order": ["node1", "node2"],
    "world_size": 3,
    "gpus": False,
    "nodes": {
        "node1": {"slots": 2, "address": "10.0.0.11", "interface": "eth0"},
        "node2": {"slots": 1, "address": "10.0.0.12", "interface": "eth1"},
    },
}


def record(rank, **values):
    node = 1 if rank < 2 else 2
    good = {
        "rank": rank,
        "world_size": 3,
        "address": f"10.0.0.1{node}",
        "interface": f"eth{node - 1}",
        "addresses_used": [f"10.0.0.1{node}"],
        "backend": "gloo",
        "allreduce": {"expected": 6.0, "got": 6.0, "ok": True},
        "losses": [5.0, 4.0, 1.0],
        "ok": True,
        "error": None,
    }
    return {**good, **values}


def judge(changes=None, rc=0, first=None, records=None, killed=()):
    groups = {"node1": [record(0), record(1)], "node2": [record(2, **(changes or {}))]}
    return verdict(PLAN, "torchrun", groups if records is None else records, rc, first or {}, 20.0, killed)


def test_a_job_that_ran_as_planned_is_ok():
    wanted = {"launcher": "torchrun", "ok": True, "world_size": 3, "seconds": 20.0, "timed_out": False, "faults": []}
    assert judge() == wanted


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"world_size": 1}, "rank 2 is in a world of 1 instead of 3"),
        ({"allreduce": {"got": 5.0, "ok": False}}, "rank 2: the sum over all ranks is 5.0 instead of 6"),
        ({"losses": [1.0, 2.0]}, "the loss does not go down"),
        ({"losses": []}, "the loss does not go down"),
        ({"losses": [float("nan"), float("nan")]}, "the loss does not go down"),
        ({"addresses_used": ["172.17.0.2"]}, "rank 2 spoke from 172.17.0.2 instead of 10.0.0.12"),
        ({"addresses_used": [], "interface": "docker0"}, "rank 2 reaches the head over docker0 instead of eth1"),
        ({"backend": "nccl"}, "rank 2 used nccl instead of gloo"),
        ({"error": "Traceback\n  File x\nRuntimeError: no interface"}, "rank 2: RuntimeError: no interface"),
    ],
)
def test_a_rank_that_is_wrong_is_named_with_its_node(changes, cause):
    found = judge(changes)
    assert not found["ok"]
    assert found["faults"][0]["host"] == "node2"
    assert cause in found["faults"][0]["cause"]


def test_a_missing_rank_is_a_fault_even_when_the_launcher_says_it_went_well():
    found = judge(records={"node1": [record(0), record(1)], "node2": []})
    assert found["faults"] == [
        {"host": "node2", "failure": "no_record", "cause": "no record of rank 2: it never came so far, or was killed"}
    ]


@pytest.mark.parametrize("called", ["node2", "gpu2", "gpu2.example.org", "10.0.0.12"])
def test_ranks_that_their_launchers_ended_are_told_from_the_one_that_was_killed(called, monkeypatch):
    names = {"hostname": "gpu2", "fqdn": "gpu2.example.org", "names": ["gpu2"]}
    monkeypatch.setitem(PLAN["nodes"], "node2", {**PLAN["nodes"]["node2"], **names})
    found = judge(records={"node1": [record(1)], "node2": []}, rc=1, killed=[{"node": called, "signal": 9}])
    assert found["faults"][:2] == [
        {
            "host": "node2",
            "failure": "killed",
            "cause": "no record of rank 2: signal 9 (Killed) ended a rank here before any other",
        },
        {"host": "node1", "failure": "ended", "cause": "no record of rank 0: ended after a rank on node2 was gone"},
    ]


def test_a_crash_is_no_kill_and_an_unknown_node_tells_nothing():
    records = {"node1": [record(0), record(1)], "node2": []}
    assert judge(records=records, killed=[{"node": "node2", "signal": 11}])["faults"][0]["failure"] == "crashed"
    assert judge(records=records, killed=[{"node": "elsewhere", "signal": 9}])["faults"][0]["failure"] == "no_record"


def test_on_one_node_the_launcher_need_not_name_it():
    plan = {"order": ["n"], "world_size": 1, "gpus": False, "nodes": {"n": {"slots": 1, "address": "10.0.0.1"}}}
    found = verdict(plan, "deepspeed", {"n": []}, 0, {}, 1.0, [{"node": "", "signal": 9}])
    assert [fault["failure"] for fault in found["faults"]] == ["killed"]


def test_ranks_on_the_wrong_nodes_are_faults():
    found = judge(records={"node1": [record(0), record(2)], "node2": [record(1)]})
    causes = " / ".join(f"{fault['host']} {fault['cause']}" for fault in found["faults"])
    assert "node1 rank 2 ran here and belongs on another node" in causes
    assert "node2 no record of rank 2" in causes


def test_three_worlds_of_one_are_not_a_world_of_three():
    alone = {"world_size": 1, "allreduce": {"expected": 1.0, "got": 1.0, "ok": True}}
    found = judge(records={"node1": [record(0, **alone), record(0, **alone)], "node2": [record(0, **alone)]})
    assert not found["ok"]
    assert found["world_size"] == 1


@pytest.mark.parametrize(
    ("first", "host", "words"),
    [
        ({"text": "No route to host", "node": "10.0.0.12"}, "", ": node2: No route to host"),
        (
            {"text": "KeyError: 'x'", "node": "node2", "rank": 2, "own": True},
            "node2",
            ": rank 2 on node2: KeyError: 'x'",
        ),
        ({"text": "KeyError: 'x'", "node": "elsewhere", "rank": None, "own": True}, "", ": KeyError: 'x'"),
        ({}, "", ""),
    ],
)
def test_the_launchers_own_words_stand_when_no_rank_spoke(first, host, words):
    found = judge(records={"node1": [], "node2": []}, rc=1, first=first)
    cause = f"the launcher ended with status 1{words}"
    assert found["faults"][-1] == {"host": host, "failure": "launcher", "cause": cause}
    spoken = judge({"error": "ValueError: x"}, rc=1, first=first)["faults"]
    assert spoken[-1] == {"host": "", "failure": "launcher", "cause": "the launcher ended with status 1"}


def test_a_job_over_its_limit_says_so():
    assert judge(rc=None)["faults"] == [{"host": "", "failure": "timeout", "cause": "not finished within 20 s"}]
    assert judge(rc=None)["timed_out"] and not judge(rc=1)["timed_out"]


def test_the_cause_comes_before_its_consequences():
    lost = record(0, error="RuntimeError: Connection closed by peer [10.0.0.12]:40000")
    broken = record(2, error="ValueError: bad library")
    found = judge(records={"node1": [lost, record(1)], "node2": [broken]}, rc=1)
    assert [fault["host"] for fault in found["faults"]] == ["node2", "node1", ""]


def test_a_node_that_could_not_be_asked_is_named():
    found = judge(records={"node1": [record(0), record(1)]})
    assert found["faults"] == [{"host": "node2", "failure": "unread", "cause": "its records could not be read"}]


def test_one_node_alone_needs_no_network():
    plan = {"order": ["n"], "world_size": 1, "gpus": False, "nodes": {"n": {"slots": 1, "address": "10.0.0.1"}}}
    one = record(0, world_size=1, addresses_used=[], interface="lo", allreduce={"got": 1.0, "ok": True})
    assert verdict(plan, "deepspeed", {"n": [one]}, 0, {}, 1.0)["ok"]
