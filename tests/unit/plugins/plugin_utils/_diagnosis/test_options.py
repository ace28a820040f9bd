# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user wants of the rules: silence, other severities, rules of their own, and errors that help."""

from __future__ import annotations

import typing as t

import pytest
import yaml

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import options
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Finding, Untested
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import gpu_case

SHM: dict[str, t.Any] = {
    "id": "my-shm-check",
    "severity": "warn",
    "expression": "fabric.shm.total_bytes < `1000`",
    "cause": "Too little shared memory.",
    "remedy": "Make it larger.",
}


@pytest.fixture(autouse=True)
def catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, t.Any] = {"gpu-persistence": {}, "gpu-pcie-narrow": {}, "drv-differs": {}}
    monkeypatch.setattr(options, "entries", lambda: known)


def finding(rule: str, severity: str = "warn") -> Finding:
    return Finding(rule, severity, ("node1",), {"node1": "seen"}, "Why.", "How.")


def extra(rule: dict[str, t.Any], **facts: t.Any) -> list[t.Any]:
    case = gpu_case(2)
    for host in case.order:
        case.fabric[host]["shm"] = {"total_bytes": facts[host]} if host in facts else None
    return list(options.extra(case, options.read({"extra_rules": [rule]})))


def test_without_wishes_nothing_changes() -> None:
    answers = [finding("drv-differs"), Untested("gpu-persistence", ("node1",), "why")]
    assert options.apply(answers, options.read({})) == answers
    assert list(options.extra(gpu_case(), options.read({}))) == []


def test_rules_are_silenced_and_weighed_otherwise() -> None:
    wishes = options.read({"rules": {"gpu-persistence": "off", "drv-differs": "fail"}})
    answers = [finding("gpu-persistence"), Untested("gpu-persistence", (), "why"), finding("drv-differs", "info")]
    assert options.apply(answers, wishes) == [finding("drv-differs", "fail")]


def test_a_bare_off_of_yaml_is_off() -> None:
    assert options.read_levels(yaml.safe_load("{gpu-persistence: off}")) == {"gpu-persistence": "off"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"gpu-persistance": "off"}, "did you mean gpu-persistence"),
        ({"zzz": "off"}, r"docs/rules\.md"),
        ({"drv-differs": "error"}, "expected one of off, info, warn, fail, found 'error'"),
        (["drv-differs"], "expected a mapping"),
    ],
)
def test_a_wrong_level_is_refused(value: t.Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        options.read_levels(value)


def test_an_own_rule_is_asked_of_each_host() -> None:
    (found,) = extra(SHM, node1=10, node2=5000)
    assert (found.rule, found.severity, found.hosts, found.evidence) == (
        "my-shm-check",
        "warn",
        ("node1",),
        {"node1": "true"},
    )


def test_the_evidence_is_what_the_expression_gives() -> None:
    rule = {**SHM, "expression": "[name, node.address, fabric.shm.total_bytes]", "title": "Own"}
    (found,) = extra(rule, node1=10, node2=11)
    assert found.evidence == {"node1": '["node1", "10.0.0.11", 10]', "node2": '["node2", "10.0.0.12", 11]'}
    assert found.cause == "Own: Too little shared memory."
    (found,) = extra({**SHM, "expression": "to_string(fabric)"})
    assert len(found.evidence["node1"]) == 160


def test_an_own_rule_over_the_whole_cluster() -> None:
    rule = {**SHM, "scope": "cluster", "expression": "hosts[?fabric.shm.total_bytes < `1000`].name"}
    (found,) = extra(rule, node1=10, node2=5000)
    assert (found.hosts, found.evidence) == ((), {"cluster": '["node1"]'})
    assert extra({**rule, "expression": "length(plan.order) > `2`"}) == []


@pytest.mark.parametrize("expression", ["fabric.nothing", "`false`", "`[]`", "''", "`0`", "gpu.gpus[?name=='X']"])
def test_what_is_empty_holds(expression: str) -> None:
    assert extra({**SHM, "expression": expression}) == []


def test_null_may_count_as_untested() -> None:
    found = extra({**SHM, "null_is_untested": True}, node1=5000)
    assert [(each.rule, each.hosts) for each in found] == [("my-shm-check", ("node2",))]
    assert isinstance(found[0], Untested)


def test_an_expression_that_fails_on_the_data_is_untested() -> None:
    found = extra({**SHM, "expression": "length(fabric.shm.total_bytes) > `2`"}, node1=1, node2=2)
    assert [each.hosts for each in found] == [("node1",), ("node2",)]
    assert all(isinstance(each, Untested) and "length" in each.why for each in found)


def test_a_node_without_facts_is_not_asked() -> None:
    case = gpu_case(1)
    bare = Case(plan=case.plan)
    assert list(options.extra(bare, options.read({"extra_rules": [{**SHM, "expression": "name"}]}))) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expression": "fabric.["}, "rule my-shm-check: the expression is no JMESPath"),
        ({"expression": "contians(name, 'x')"}, "there is no function contians"),
        ({"expression": ""}, "expected a text as expression"),
        ({"severity": "error"}, "expected one of fail, warn, info as severity"),
        ({"scope": "node"}, "expected one of host, cluster as scope"),
        ({"id": "My Check"}, "expected an id of small letters"),
        ({"id": "drv-differs"}, "change that one with trainmesh_rules"),
        ({"cause": None}, "expected a text as cause"),
        ({"fix": "x"}, "unknown key fix"),
        ({"null_is_untested": "yes"}, "expected true or false as null_is_untested"),
    ],
)
def test_a_broken_rule_is_one_clear_error(change: dict[str, t.Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        options.read_extra_rules([{**SHM, **change}])


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a list of rules"):
        options.read_extra_rules({"id": "x"})
    with pytest.raises(ValueError, match="rule 2: expected a mapping"):
        options.read_extra_rules([SHM, "x"])
    with pytest.raises(ValueError, match="two rules have the id my-shm-check"):
        options.read_extra_rules([SHM, SHM])


def test_what_was_read_can_be_read_again() -> None:
    once = options.read_extra_rules([SHM])
    assert options.read_extra_rules(once) == once
