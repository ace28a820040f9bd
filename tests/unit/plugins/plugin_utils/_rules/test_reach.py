# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on what the controller saw of the hosts."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Finding, Untested
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import reach as rules_reach

GOOD = {"ok": True, "step": "", "evidence": "", "cause": "", "remedy": ""}


def bad(step, evidence="seen", cause="why", remedy="do this"):
    return {"ok": False, "step": step, "evidence": evidence, "cause": cause, "remedy": remedy}


def case(lost=None, **reach):
    return Case(plan={"order": ["n1", "n2", "n3"], "nodes": {}}, reach=reach, lost=lost or {})


@pytest.mark.parametrize(("step", "rule_id"), sorted(rules_reach.RULES.items()))
def test_a_step_is_a_rule_and_the_row_brings_the_words(step, rule_id):
    (found,) = rules_reach.unreached(case(n1=GOOD, n2=bad(step)))
    assert isinstance(found, Finding)
    assert (found.rule, found.severity, found.hosts) == (rule_id, "fail", ("n2",))
    assert (found.evidence, found.cause, found.remedy) == ({"n2": "seen"}, "why", "do this")


def test_the_same_cause_is_said_once_for_all_its_hosts():
    rows = case(n1=bad("auth"), n2=bad("auth", "other words"), n3=bad("auth", cause="x"))
    found = engine.merged(rules_reach.unreached(rows))
    assert [one.hosts for one in found] == [("n1", "n2"), ("n3",)]
    assert found[0].evidence == {"n1": "seen", "n2": "other words"}


def test_good_hosts_say_nothing():
    assert not list(rules_reach.unreached(case(n1=GOOD, n2=GOOD, n3=GOOD)))
    assert not list(rules_reach.lost(case(n1=GOOD)))


def test_unchecked_host_keys_are_told_and_warned_of_where_passwords_go():
    loose = {**GOOD, "host_key_checked": False}
    rows = {"n1": {**loose, "password": True}, "n2": {**loose, "password": False}, "n3": {**GOOD, "password": True}}
    found = {one.hosts: one.severity for one in rules_reach.unchecked(case(**rows))}
    assert found == {("n1",): "warn", ("n2",): "info"}
    assert not list(rules_reach.unchecked(case(n1={**GOOD, "host_key_checked": True}, n2=GOOD, n3=None)))


def test_untested_is_neither_good_nor_bad():
    row = {"ok": None, "step": "untested", "evidence": "no paramiko"}
    found = list(rules_reach.unreached(case(n1=row, n2=row, n3={**row, "ok": True, "evidence": "a password"})))
    assert found == [Untested("reach", ("n1", "n2"), "no paramiko"), Untested("reach-sudo", ("n3",), "a password")]


def test_a_node_that_is_lost_on_the_way():
    (found,) = rules_reach.lost(case({"n2": "its tasks never ended", "n3": "gone"}, n2=GOOD, n3=bad("auth")))
    assert (found.rule, found.hosts) == ("reach-node-lost", ("n2",)), "n3 was never there: its own id says that"
    assert found.evidence == {"n2": "its tasks never ended"}


def test_a_node_that_is_lost_without_a_check_before():
    (found,) = rules_reach.lost(case({"n2": "gone"}))
    assert found.hosts == ("n2",)


@pytest.mark.parametrize("row", [None, "text", {}, {"ok": False}, {"ok": False, "step": "new-step"}])
def test_rows_of_another_form_do_no_harm(row):
    found = list(rules_reach.unreached(case(n1=row)))
    assert all(one.rule == "reach-banner" for one in found)
    list(rules_reach.lost(case({"n1": "gone"}, n1=row)))


def seen(step, neighbour=None):
    return [{"address": "10.0.0.3", "port": 22, "result": step, "neighbour": neighbour}]


def with_nodes(row, **rows):
    known = Case(
        plan={"order": ["n1", "n2", "n3"], "nodes": {}},
        reach={"n1": GOOD, "n2": GOOD, "n3": row},
        unreached={node: {"n3": found} for node, found in rows.items()},
    )
    (found,) = rules_reach.unreached(known)
    return found


@pytest.mark.parametrize(
    ("rows", "cause", "evidence"),
    [
        ({"n1": seen("open"), "n2": seen("timeout")}, "only the controller does not", "port 22 answers"),
        ({"n1": seen("timeout", True)}, "its firewall keeps ssh shut", "the machine answers as a neighbour"),
        ({"n1": seen("refused")}, "nothing listens on its ssh port", "is refused"),
        ({"n1": seen("timeout", False)}, "it is off, or its address is wrong", "no neighbour answers"),
        ({"n1": seen("timeout")}, "get no answer from it either.", "port 22"),
        ({"n1": seen("no_route"), "n2": seen("timeout")}, "it is off, or its address is wrong", "has no route"),
    ],
)
@pytest.mark.parametrize("step", ["tcp_timeout", "no_route"])
def test_what_the_nodes_know_of_a_dead_host_is_said(step, rows, cause, evidence):
    found = with_nodes(bad(step), **rows)
    assert (found.rule, found.hosts) == (rules_reach.RULES[step], ("n3",))
    assert cause in found.cause and evidence in found.evidence["n3"]
    assert found.evidence["n3"].startswith("seen; from n1")


def test_nodes_that_saw_the_same_are_named_together():
    found = with_nodes(bad("tcp_timeout"), n1=seen("timeout"), n2=seen("timeout"))
    assert "from n1, n2: " in found.evidence["n3"]
    many = {f"m{number}": seen("timeout") for number in range(9)}
    assert "from m0, m1, m2, m3 and others: " in with_nodes(bad("tcp_timeout"), **many).evidence["n3"]


@pytest.mark.parametrize("step", ["auth", "hostkey_changed", "sudo"])
def test_where_the_controller_came_further_it_knows_best(step):
    found = with_nodes(bad(step), n1=seen("open"))
    assert (found.evidence, found.cause) == ({"n3": "seen"}, "why")


@pytest.mark.parametrize("rows", [{}, {"n1": []}, {"n1": seen("name")}, {"n1": [None]}])
def test_nodes_that_know_nothing_change_nothing(rows):
    assert with_nodes(bad("tcp_timeout"), **rows).cause == "why"
