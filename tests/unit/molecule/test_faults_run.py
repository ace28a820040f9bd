# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault matrix must not call anything right that is not."""

from __future__ import annotations

import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

PLACE = pathlib.Path(__file__).resolve().parents[3] / "molecule" / "faults" / "run.py"
SPEC = importlib.util.spec_from_file_location("faults_run", PLACE)
run = importlib.util.module_from_spec(SPEC)
sys.modules["faults_run"] = run
SPEC.loader.exec_module(run)

FAULT = {"name": "x", "what": "x", "rule": "ssh-perms-too-open", "hosts": ["node2"], "repair": "site"}


def finding(rule="ssh-perms-too-open", hosts=("node2",), severity="fail"):
    return {"rule": rule, "hosts": list(hosts), "severity": severity, "cause": "why", "remedy": "do"}


def judged(findings, rc=2, **more):
    outcome = run.Outcome("x", "x", FAULT["rule"], FAULT["hosts"], "site")
    run.judge({**FAULT, **more}, {"findings": findings}, rc, outcome)
    return outcome


def test_the_right_rule_on_the_right_host_alone_is_right():
    outcome = judged([finding(), finding("net-different-subnets", ["node1"], "info")])
    assert (outcome.detected, outcome.right_host, outcome.alone, outcome.problems) == (True, True, True, [])


@pytest.mark.parametrize(
    ("findings", "rc", "words"),
    [
        ([], 0, "was not named"),
        ([finding(hosts=["node1"])], 2, "instead of"),
        ([finding(hosts=["node1", "node2"])], 2, "instead of"),
        ([finding(), finding("rdzv-errno-113", ["node1"])], 2, "also accused: rdzv-errno-113"),
        ([finding(), finding(hosts=["node3"])], 2, "named 2 times"),
        ([finding(severity="warn")], 0, "severity warn"),
        ([finding()], 0, "exit status 0"),
    ],
)
def test_everything_else_is_wrong(findings, rc, words):
    assert any(words in problem for problem in judged(findings, rc).problems)


def test_a_follow_up_is_permitted_only_by_name():
    both = [finding(), finding("rdzv-errno-113", ["node1"])]
    assert judged(both, also={"rdzv-errno-113": "follows from it"}).problems == []


def test_a_warning_does_not_fail_the_run():
    assert judged([finding(severity="warn")], 0, severity="warn").problems == []


def test_the_cases_are_whole_and_their_names_their_own():
    cases = run.load([])
    names = [case["name"] for case in cases]
    assert len(cases) >= 60 and len(set(names)) == len(names)
    for case in cases:
        assert {"name", "what", "rule", "hosts", "repair"} <= set(case), case
        assert case["repair"] in ("site", "remedy", "undo")
        assert case["repair"] != "remedy" or {"node", "command"} <= set(case)
        assert "undo" in case


class Recorder(run.Cluster):
    """A cluster on which nothing is run, and every script and run of verify.yml is noted."""

    def __init__(self):
        super().__init__("/nowhere/hosts.yml", "x", run.Results(None))
        self.seen = []

    def shell(self, node, script, check=True, limit=0):
        self.seen.append(f"{node}: {script}")
        return ""

    def healthy(self, playbook="playbooks/verify.yml"):
        self.seen.append(f"healthy with {(self.ground.get('vars') or {}).get('color')}")
        return []


def test_a_ground_is_made_once_for_all_its_faults_and_taken_away():
    cluster = Recorder()
    ground = {"before": {"node1": "make"}, "after": {"node1": "unmake"}, "vars": {"color": "red"}}
    for each in ({}, ground, ground, {}):
        cluster.stand_on(each)
    assert cluster.seen == ["node1: make", "healthy with red", "node1: unmake", "healthy with None"]


def test_the_replayed_cases_share_one_ground_and_say_that_they_are_replayed():
    grounded = [case for case in run.load([]) if case["ground"]]
    assert grounded and all(case["ground"] == grounded[0]["ground"] for case in grounded)
    assert all(case["what"].startswith("replayed: ") for case in grounded)
    assert set(grounded[0]["ground"]["after"]) == {"node1", "node2", "node3"}


def test_every_machine_that_a_case_replays_is_written(tmp_path):
    pytest.importorskip("ansible")
    done = subprocess.run(
        [sys.executable, PLACE.parent / "gpus.py", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    scripts = " ".join(str(case.get("break")) for case in run.load([]) if case["ground"])
    wanted = set(re.findall(r"ln -sfn (\S+) /srv/replay/shown", scripts))
    written = {path.name for path in tmp_path.iterdir()}
    assert wanted | {"healthy"} == written


def test_results_are_kept_after_each_fault_and_a_resumed_run_leaves_out_the_right_ones(tmp_path):
    kept = run.Results(tmp_path / "results.json")
    kept.add(run.Outcome("right", "right", "x", ["node1"], "site", repaired=True))
    kept.add(run.Outcome("wrong", "wrong", "x", ["node1"], "site", problems=["not named"]))
    kept.healthy(["link-slow on node1"], ["Debian 12"])
    again = run.Results(tmp_path / "results.json", resume=True)
    assert (again.settled("right"), again.settled("wrong"), again.settled("new")) == (True, False, False)
    assert (again.healthy_runs, again.false_accusations) == (1, ["link-slow on node1"])
    assert again.systems == ["Debian 12"]
    assert [one.name for one in again.wrong()] == ["wrong"]
    assert not run.Results(tmp_path / "results.json").settled("right")


def test_the_page_has_a_line_for_each_fault_also_for_those_not_tried():
    results = run.Results(None)
    results.add(run.Outcome("x", "it breaks", "rule-x", ["node1"], "site", 12.4, 5, True, True, True, True))
    faults = [{"name": "x", "what": "it breaks", "rule": "rule-x"}, {"name": "y", "what": "other", "rule": "rule-y"}]
    page = results.page(faults)
    assert "1 of 2 as they have to be, 1 not tried; 0 runs" in page
    assert "| it breaks | `rule-x` | yes | yes | yes | site.yml | 12 |" in page
    assert "| other | `rule-y` | not tried |" in page
