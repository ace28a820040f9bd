# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault matrix must not call anything right that is not."""

from __future__ import annotations

import importlib.util
import pathlib
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
