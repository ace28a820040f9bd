# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which failures are tested again: those of most nodes, if the probes alone have seen them."""

from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine, options, repetition
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import (
    HIGH,
    MASTER,
    answer,
    fail_calls,
    fail_logins,
    healthy_case,
    link,
    named,
)

ANY = options.Options()


def repeated(case, wishes=ANY):
    case = dataclasses.replace(case, views={})
    return repetition.checks(case, engine.judge(case, wishes).findings, wishes)


def pairs(sources, targets):
    return [(source, target) for source in sources for target in targets if source != target]


def logins(case, names):
    fail_logins(case, pairs(case.order, names), "no_answer")


def ports(case, names):
    fail_calls(case, pairs(case.order, names), "timeout")


def packets(case, names):
    for source, target in pairs(case.order, names):
        found = {"ok": False, "interface_mtu": 9000, "passed": 1500, "failed": 9000, "evidence": "lost"}
        case.mesh[source][target]["mtu"] = found


def transfers(case, names):
    for source, target in pairs(names, case.order):
        case.links[source][target] = link(ok=False, failure="stalled", evidence="no data")


def lookups(case, names):
    fail_logins(case, pairs(names, case.order), "name", "Temporary failure in name resolution")


def listeners(case, names):
    for name in names:
        case.listeners[name] = {port: [98, "Address already in use"] for port in (MASTER, HIGH)}


KINDS = {
    logins: "ssh-login-failed",
    ports: "rdzv-errno-110",
    packets: "net-mtu-mismatch",
    transfers: "link-failed",
    lookups: "name-hosts-typo",
    listeners: "rdzv-errno-98",
}


@pytest.mark.parametrize(
    ("fail", "count"), [*((fail, 8) for fail in KINDS), (logins, 3), (ports, 3), (lookups, 3), (listeners, 3)]
)
def test_what_the_probes_alone_saw_on_every_node_is_tested_again(fail, count):
    case = healthy_case(count)
    fail(case, case.order)
    assert repeated(case) == [KINDS[fail]]


@pytest.mark.parametrize("fail", [logins, ports, listeners])
@pytest.mark.parametrize(("count", "bad", "again"), [(8, 5, True), (8, 4, False), (7, 4, True), (3, 2, False)])
def test_it_takes_more_than_half_of_the_nodes_and_three(fail, count, bad, again):
    case = healthy_case(count)
    fail(case, named(count)[:bad])
    assert bool(repeated(case)) == again


@pytest.mark.parametrize("fail", KINDS)
def test_two_nodes_are_never_tested_again(fail):
    case = healthy_case(2)
    fail(case, case.order)
    assert repeated(case) == []


def test_what_is_known_without_the_probes_stands():
    case = healthy_case(4)
    for facts in case.fabric.values():
        facts["resolution"].update(dict.fromkeys(named(4), answer("192.0.2.7")))
    assert "name-hosts-typo" in {finding.rule for finding in engine.judge(case, ANY).findings}
    assert repeated(case) == []


def test_a_warning_and_a_check_that_is_off_are_not_worth_it():
    case = healthy_case(4)
    logins(case, case.order)
    assert repeated(case, options.Options({"ssh-login-failed": "warn"})) == []
    assert repeated(case, options.Options({"ssh-login-failed": "off"})) == []


def test_a_healthy_cluster_is_judged_once(monkeypatch):
    monkeypatch.setattr(engine, "judge", lambda *_arguments: pytest.fail("judged again"))
    assert repetition.checks(healthy_case(3), [], ANY) == []
