# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
import json

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine, options
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import rule as diagnosis_rule
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Finding, Rule
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import break_it, healthy_case

WISHES = options.read({})
PLAN = {"order": ["node1", "node2"], "nodes": {"node1": {}, "node2": {}}, "head": "node1"}


@pytest.fixture(name="rules")
def fixture_rules(monkeypatch):
    """The registry, empty, and a way to put rules into it."""
    registry: list[Rule] = []
    monkeypatch.setattr(engine, "load", lambda: registry)
    return registry


def a_case(**more):
    facts = {"node1": {"x": 1}, "node2": {"x": 1}}
    return Case(**{"plan": PLAN, "fabric": facts, "gpu": facts, "stack": facts, "user": facts, **more})


def fault(rule="ssh-key-missing-pair", severity="fail", host="node1", cause="why"):
    return Finding(rule, severity, (host,), {host: "seen"}, cause, "do this")


def test_a_healthy_cluster_has_no_answers_and_its_rules_hold(rules):
    rules.append(Rule(("one", "two"), ("fabric",), lambda case: []))
    judged = engine.judge(a_case(), WISHES)
    assert (judged.answers, judged.held, judged.failed) == ((), ("one", "two"), False)


def test_the_worst_comes_first_and_the_lowest_layer_before_the_others(rules):
    rules.append(Rule(("a",), (), lambda case: [fault("acc-version-differs", "warn"), fault("rdzv-errno-113")]))
    rules.append(Rule(("b",), (), lambda case: [fault("ssh-key-missing-pair")]))
    judged = engine.judge(a_case(), WISHES)
    assert [one.rule for one in judged.answers] == ["ssh-key-missing-pair", "rdzv-errno-113", "acc-version-differs"]
    assert judged.failed


def test_one_fault_of_several_hosts_is_one_finding(rules):
    rules.append(Rule(("a",), (), lambda case: [fault(host="node1"), fault(host="node2"), fault(cause="another")]))
    found = engine.judge(a_case(), WISHES).findings
    assert [one.hosts for one in found] == [("node1", "node2"), ("node1",)]
    assert found[0].evidence == {"node1": "seen", "node2": "seen"}


def test_the_source_comes_from_the_catalogue(rules):
    rules.append(Rule(("a",), (), lambda case: [fault("ssh-key-missing-pair")]))
    assert engine.judge(a_case(), WISHES).findings[0].source


def test_a_rule_without_what_it_needs_is_not_asked_and_the_node_is_named(rules):
    rules.append(Rule(("a",), ("gpu",), lambda case: [fault()]))
    judged = engine.judge(a_case(gpu={}), WISHES)
    assert judged.findings == []
    assert [(one.rule, one.hosts) for one in judged.untested] == [("gpu", ("node1", "node2"))]


@pytest.mark.parametrize("more", [{"gpu": {}}, {"jobs": [{}]}, {}])
def test_a_rule_has_passed_only_where_it_had_something_to_look_at(rules, more):
    rules.append(Rule(("a", "b"), ("gpu",), lambda case: []))
    rules.append(Rule(("b", "c"), (), lambda case: [], applies=lambda case: bool(case.jobs)))
    judged = engine.judge(a_case(**more), WISHES)
    passed = {"jobs": {"a", "b", "c"}, "gpu": set(), "": {"a", "b"}}[next(iter(more), "")]
    assert (set(judged.held), set(judged.not_applicable)) == (passed, {"a", "b", "c"} - passed)


def test_a_check_has_not_passed_where_only_a_job_could_have_shown_its_fault(rules):
    rules.append(Rule(("a",), (), lambda case: [], applies=lambda case: False))
    rules.append(Rule(("a", "b"), (), lambda case: [], elsewhere=frozenset(("a",))))
    judged = engine.judge(a_case(), WISHES)
    assert (judged.held, judged.not_applicable) == (("b",), ("a",))


def test_a_rule_that_has_nothing_to_look_at_is_asked_all_the_same(rules):
    rules.append(Rule(("gpu-ecc",), (), lambda case: [fault("gpu-ecc")], applies=lambda case: False))
    judged = engine.judge(a_case(), WISHES)
    assert ([one.rule for one in judged.findings], judged.held, judged.not_applicable) == (["gpu-ecc"], (), ())


def test_a_subject_that_can_not_be_told_has_not_passed(rules):
    rules.append(Rule(("a",), (), lambda case: [], applies=lambda case: case.fabric["nobody"]))
    assert engine.judge(a_case(), WISHES).not_applicable == ("a",)


def test_a_rule_that_breaks_is_said_to_have_tested_nothing(rules):
    rules.append(Rule(("a",), (), lambda case: 1 / 0))
    untested = engine.judge(a_case(), WISHES).untested
    assert [one.rule for one in untested] == ["a"] and "ZeroDivisionError" in untested[0].why


def test_a_node_that_left_and_jobs_that_were_skipped_are_not_tested(rules):
    judged = engine.judge(a_case(lost={"node2": "it froze"}, skipped="node2 is not in this run"), WISHES)
    assert {(one.rule, one.hosts) for one in judged.untested} == {("node", ("node2",)), ("jobs", ())}


def test_silenced_rules_do_not_fail_the_cluster(rules):
    rules.append(Rule(("ssh-key-missing-pair",), (), lambda case: [fault()]))
    wishes = options.read({"rules": {"ssh-key-missing-pair": "off"}})
    assert not engine.judge(a_case(), wishes).failed


def test_every_module_of_rules_can_be_loaded():
    assert len(engine.load()) > 50
    assert all(isinstance(rule.ids, tuple) and rule.ids for rule in diagnosis_rule.REGISTRY)


def test_what_was_not_tried_is_said_without_an_accusation(rules):
    plan = {**PLAN, "managed": False}
    case = a_case(plan=plan, collective={"ok": True}, lost={"node4": "why"}, excluded=("node3",))
    judged = engine.judge(case, WISHES)
    assert judged.findings == []
    assert {(one.rule, one.hosts) for one in judged.untested} == {
        ("node", ("node3",)),
        ("node", ("node4",)),
        ("jobs", ()),
    }
    quiet = engine.judge(a_case(plan={**PLAN, "managed": True}, collective={"ok": True}), WISHES)
    assert quiet.answers == ()


def test_what_no_job_can_change_is_asked_once(rules):
    asked = []

    def rule_of(name, of_jobs):
        def judge(case):
            asked.append(name)
            return [fault(name), diagnosis_rule.Untested(name, ("node2",), "busy")] if case.jobs or not of_jobs else []

        return Rule((name,), (), judge, of_jobs)

    rules += [rule_of("gpu-ecc", False), rule_of("job-failed", True), Rule(("one",), (), lambda case: [])]
    gate = engine.judge(a_case(), WISHES)
    rows = json.loads(json.dumps(engine.to_rows(gate.before_jobs)))
    report = engine.judge(a_case(jobs=[{}]), WISHES, engine.from_rows(rows))
    assert asked == ["gpu-ecc", "job-failed", "job-failed"]
    assert [one.rule for one in report.findings] == ["gpu-ecc", "job-failed"]
    assert report.answers == engine.judge(a_case(jobs=[{}]), WISHES).answers
    assert gate.held == ("job-failed", "one") and report.held == ("one",)


class Sealed(Case):
    """A Case whose jobs nobody may read."""

    def __getattribute__(self, name):
        assert name not in ("jobs", "collective", "skipped"), f"reads {name} and is not of_jobs"
        return super().__getattribute__(name)


@pytest.mark.parametrize("broken", [0, 1, 4])
def test_rules_that_are_not_of_jobs_do_not_read_them(broken):
    case = break_it(healthy_case(8), broken)
    parts = {field.name: getattr(case, field.name) for field in dataclasses.fields(case)}
    sealed = Sealed(**parts)
    for rule in engine.load():
        if not rule.of_jobs and all(getattr(case, part) for part in rule.needs):
            list(rule.judge(sealed))


def test_hosts_stand_in_rank_order_and_what_was_seen_on_one_is_joined():
    seen = [("node2", "a"), ("node1", "b"), ("node2", "c"), ("node2", "a"), ("elsewhere", "d")]
    found = [diagnosis_rule.finding("gpu-ecc", "fail", host, evidence, "why", "do") for host, evidence in seen]
    (one,) = engine.merged([*found], PLAN["order"])
    assert isinstance(one, Finding)
    assert one.hosts == ("node1", "node2", "elsewhere")
    assert list(one.evidence.items()) == [("node1", "b"), ("node2", "a; c"), ("elsewhere", "d")]


def test_of_much_that_was_seen_on_a_host_some_is_shown():
    found = [diagnosis_rule.finding("gpu-ecc", "fail", "node1", str(number), "why", "do") for number in range(9)]
    (one,) = engine.merged(found)
    assert isinstance(one, Finding) and one.evidence == {"node1": "0; 1; 2; 3; 4; 5; and 3 more"}
