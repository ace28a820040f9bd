# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on what the controller saw of the hosts."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils import _rules_reach
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rule import Case, Finding, Untested

GOOD = {"ok": True, "layer": "", "evidence": "", "cause": "", "remedy": ""}


def bad(layer, evidence="seen", cause="why", remedy="do this"):
    return {"ok": False, "layer": layer, "evidence": evidence, "cause": cause, "remedy": remedy}


def case(dropped=None, **reach):
    return Case(plan={"order": ["n1", "n2", "n3"], "nodes": {}}, reach=reach, dropped=dropped or {})


@pytest.mark.parametrize(("layer", "rule_id"), sorted(_rules_reach.RULES.items()))
def test_a_layer_is_a_rule_and_the_row_brings_the_words(layer, rule_id):
    (found,) = _rules_reach.unreached(case(n1=GOOD, n2=bad(layer)))
    assert isinstance(found, Finding)
    assert (found.rule, found.severity, found.hosts) == (rule_id, "fail", ("n2",))
    assert (found.evidence, found.cause, found.remedy) == ({"n2": "seen"}, "why", "do this")


def test_the_same_cause_is_said_once_for_all_its_hosts():
    found = list(_rules_reach.unreached(case(n1=bad("auth"), n2=bad("auth", "other words"), n3=bad("auth", cause="x"))))
    assert [one.hosts for one in found] == [("n1", "n2"), ("n3",)]
    assert found[0].evidence == {"n1": "seen", "n2": "other words"}


def test_good_hosts_say_nothing():
    assert not list(_rules_reach.unreached(case(n1=GOOD, n2=GOOD, n3=GOOD)))
    assert not list(_rules_reach.lost(case(n1=GOOD)))


def test_untested_is_neither_good_nor_bad():
    row = {"ok": None, "layer": "untested", "evidence": "no paramiko"}
    found = list(_rules_reach.unreached(case(n1=row, n2=row, n3={**row, "ok": True, "evidence": "a password"})))
    assert found == [Untested("reach", ("n1", "n2"), "no paramiko"), Untested("reach-sudo", ("n3",), "a password")]


def test_a_node_that_is_lost_on_the_way():
    (found,) = _rules_reach.lost(case({"n2": "its tasks never ended", "n3": "gone"}, n2=GOOD, n3=bad("auth")))
    assert (found.rule, found.hosts) == ("reach-node-lost", ("n2",)), "n3 was never there: its own id says that"
    assert found.evidence == {"n2": "its tasks never ended"}


def test_a_node_that_is_lost_without_a_check_before():
    (found,) = _rules_reach.lost(case({"n2": "gone"}))
    assert found.hosts == ("n2",)


@pytest.mark.parametrize("row", [None, "text", {}, {"ok": False}, {"ok": False, "layer": "new-layer"}])
def test_rows_of_another_form_do_no_harm(row):
    found = list(_rules_reach.unreached(case(n1=row)))
    assert all(one.rule == "reach-banner" for one in found)
    list(_rules_reach.lost(case({"n1": "gone"}, n1=row)))
