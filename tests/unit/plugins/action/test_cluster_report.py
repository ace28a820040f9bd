# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run ends by its report, and when jobs are started; what the rules say is tested in plugin_utils."""

from __future__ import annotations

import dataclasses
import json
import types
from unittest import mock

import pytest

from ansible_collections.trainmesh.cluster.plugins.action import cluster_report
from ansible_collections.trainmesh.cluster.plugins.action.cluster_report import ActionModule
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.engine import Judgement
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Finding, Rule, Untested
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import run_lock
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import healthy_case

FAILED = Finding("clock-skew", "fail", ("node2",), {"node2": "9 s"}, "The clock of node2 is wrong.", "Set it.")
WARNED = Finding("fd-limit", "warn", ("node1",), {"node1": "1024"}, "The limit is low.", "Raise it.")


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs the action over a healthy cluster, of which the rules say what is given; its answer and what it showed."""
    shown = []
    monkeypatch.setattr(cluster_report.action, "show", shown.append)

    def start(*answers, lost=(), check_mode=False, live=("node1", "node2", "node3"), variables=None, **args):
        case = healthy_case(lost=dict.fromkeys(lost, "it left the run"))
        monkeypatch.setattr(cluster_report.evidence, "assemble", lambda *_arguments: case)
        judged = Judgement(tuple(answers), ("rdma-down",))
        monkeypatch.setattr(cluster_report.engine, "judge", lambda *_arguments: judged)
        task = mock.Mock(args={"state_dir": str(tmp_path), **args}, async_val=0)
        task.check_mode = check_mode
        values = {"trainmesh_report_dir": str(tmp_path / "report"), **(variables or {})}
        given = {"hostvars": dict.fromkeys(case.order, values), "ansible_play_hosts": list(live)}
        given["trainmesh_plan"] = case.plan
        action = ActionModule(task, *[mock.Mock()] * 5)
        return action.run(task_vars={**given, "ansible_play_hosts_all": list(case.order)}), shown

    return start


def test_a_clean_run_ends_well_and_writes_its_report(run, tmp_path):
    answer, shown = run(WARNED)
    assert (answer["outcome"], answer.get("failed"), answer.get("unreachable")) == ("clean", None, None)
    assert json.loads((tmp_path / "report/report.json").read_text())["outcome"] == "clean"
    assert sorted(path.rpartition(".")[2] for path in answer["files"]) == ["html", "json", "md"] and len(shown) == 1


def test_a_fault_fails_the_run_and_is_its_message(run):
    answer, _shown = run(FAILED, WARNED)
    assert (answer["failed"], answer["outcome"], answer["summary"]["fail"]) == (True, "faults", 1)
    assert answer["msg"] == "1 failure(s), the first on node2: The clock of node2 is wrong. [clock-skew]"


def test_a_node_that_was_lost_ends_it_as_an_unreachable_host_does(run):
    answer, _shown = run(lost=["node3"])
    assert (answer["unreachable"], answer["outcome"], answer.get("failed")) == (True, "incomplete", None)


def test_check_mode_judges_nothing_of_what_a_run_would_mend_and_writes_nothing(run, tmp_path):
    answer, _shown = run(FAILED, check_mode=True)
    assert (answer["files"], answer["summary"]["fail"], answer.get("failed")) == ([], 0, None)
    assert not (tmp_path / "report").exists()


def test_a_directory_that_can_not_be_written_costs_the_files_alone(run, tmp_path, monkeypatch):
    warned = []
    monkeypatch.setattr(cluster_report.action, "warn", warned.append)
    (tmp_path / "file").touch()
    answer, shown = run(variables={"trainmesh_report_dir": str(tmp_path / "file/report")})
    assert (answer["files"], len(shown), len(warned)) == ([], 1, 1) and "trainmesh_report_dir" in warned[0]


@pytest.mark.parametrize(
    ("answers", "more", "why"),
    [
        ((WARNED,), {}, ""),
        ((FAILED,), {}, "skipped: fix the failures above first"),
        ((), {"jobs": False}, "trainmesh_verify_jobs is false"),
        ((), {"live": ("node1",)}, "node2, node3 are not in this run"),
        ((), {"check_mode": True}, "check mode starts no jobs"),
        ((Untested("torch-missing", ("node1",), "x"),), {}, ""),
    ],
)
def test_the_gate_says_why_no_job_is_started(run, answers, more, why, tmp_path):
    answer, shown = run(*answers, stage="gate", **more)
    assert (answer["untested"], answer["listeners_wait"], shown, list(tmp_path.iterdir())) == (why, False, [], [])


def test_the_gate_says_whether_gpus_are_measured(run, monkeypatch):
    monkeypatch.setattr(cluster_report.speed, "wanted", lambda _case, mode: mode != "false")
    asked = [{"speed": "auto"}, {"speed": "yes"}, {}, {"speed": "auto", "check_mode": True}]
    assert [run(stage="gate", **more)[0]["speed"] for more in asked] == [True, True, False, False]
    assert "expected auto, true or false" in run(stage="gate", speed="fast")[0]["msg"]


def test_the_gate_names_what_most_nodes_failed_at_for_another_try(run, monkeypatch):
    every = dataclasses.replace(FAILED, rule="ssh-login-failed", hosts=("node1", "node2", "node3"))
    assert run(FAILED, stage="gate")[0]["repeat"] == []
    monkeypatch.setattr(cluster_report.repetition, "checks", lambda _case, found, _wishes: [one.rule for one in found])
    assert run(every, stage="gate")[0]["repeat"] == ["ssh-login-failed"]


def test_a_run_that_could_read_a_node_has_no_report_of_none(run):
    facts = {"ansible_facts": {"trainmesh_facts_fabric": {}}}
    assert run(stage="unread", hosts=["node1"], variables=facts)[0]["files"] == []
    answer, shown = run(stage="unread", hosts=["node1"])
    assert answer["outcome"] == "incomplete" and len(answer["files"]) == 3
    assert shown[0].startswith("\nNo node could be read.")


def test_a_run_without_a_report_gives_its_inventory_back_and_no_other_ones(run, tmp_path):
    lock, mine = tmp_path / run_lock.FILE, run_lock.own(1)
    lock.write_text(json.dumps(mine._replace(host="elsewhere")._asdict()))
    answer, shown = run(stage="end")
    assert (answer["changed"], shown, lock.exists()) == (False, [], True)
    lock.write_text(json.dumps(mine._asdict()))
    run(stage="end")
    assert not lock.exists()


NODES = ("node1", "node2")
PLAN = {"order": [*NODES], "nodes": {name: {"slots": 1} for name in NODES}, "world_size": 2, "gpus": False}
OPTIONS = {"env": {}, "rules": {}, "extra_rules": [], "thresholds": {}}
FACTS = {f"trainmesh_facts_{part}": {"x": 1} for part in ("fabric", "gpu", "stack", "user")}


def judged(live=NODES, **args):
    """What the action judges with these arguments of its task."""
    action = ActionModule.__new__(ActionModule)
    action._task = types.SimpleNamespace(args={name: value for name, value in args.items() if value}, check_mode=False)
    action._given = action.validate_argument_spec(cluster_report.ARGUMENTS)[1]
    hostvars = {name: {"ansible_facts": FACTS} for name in NODES}
    variables = {"hostvars": hostvars, "ansible_play_hosts_all": [*NODES], "trainmesh_plan": PLAN}
    return action._judged(variables, [*live], OPTIONS)[1]


@pytest.fixture(name="asked")
def fixture_asked(monkeypatch):
    """How often each of two rules is asked: one on jobs, one on the nodes."""
    asked = []

    def rule_of(name, of_jobs):
        def judge(case):
            asked.append(name)
            return [Untested(name, (), "why")]

        return Rule((name,), (), judge, of_jobs)

    monkeypatch.setattr(engine, "load", lambda: [rule_of("gpu-ecc", False), rule_of("job-failed", True)])
    return asked


def gate(hosts=NODES):
    return {"judged": {"hosts": [*hosts], "answers": engine.to_rows(judged().before_jobs)}}


def test_the_report_asks_only_the_rules_on_jobs_again(asked):
    found = gate()
    asked.clear()
    answers = judged(gate=found).answers
    assert asked == ["job-failed"]
    assert {answer.rule for answer in answers} == {"gpu-ecc", "job-failed"}


@pytest.mark.parametrize("found", [None, {}, {"skipped": True}])
def test_without_a_gate_everything_is_asked(asked, found):
    judged(gate=found)
    assert asked == ["gpu-ecc", "job-failed"]


def test_when_a_node_was_lost_since_everything_is_asked_again(asked):
    found = gate()
    asked.clear()
    judged(live=["node1"], gate=found)
    assert asked == ["gpu-ecc", "job-failed"]
