# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses in sets of nftables and of ipset."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import (
    filter_sets,
    filtered,
    iptables_rules,
    nft_rules,
)

PEERS = {f"10.0.0.{number}": ("10.0.0.11", "eth0") for number in (12, 13)}
PLACE = {"family": "inet", "table": "guard", "handle": 3}
HEAD = {"chain": {**PLACE, "name": "in", "type": "filter", "hook": "input", "prio": 0, "policy": "accept"}}


def ruleset(right: str, operator: str = "==", verdict: str = "drop") -> str:
    compare = {"op": operator, "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": right}
    rule = {"rule": {**PLACE, "chain": "in", "expr": [{"match": compare}, {verdict: None}]}}
    return json.dumps({"nftables": [{"metainfo": {}}, HEAD, rule]})


def answering(*elements: t.Any, rc: int = 0) -> t.Callable[..., Outcome]:
    named = {"set": {"family": "inet", "table": "guard", "name": "banned", "elem": list(elements)}}
    return lambda argv, limit: Outcome(rc, json.dumps({"nftables": [named]}), "", False, False, 0.0)


def rows(text: str) -> list[tuple[t.Any, bool, str, str]]:
    found = filtered.rows(nft_rules.nftables(text), PEERS, None) or []
    return [(row["peers"], row["sure"], row["rule"], row["undo"]) for row in found if not row["answers"]]


def test_who_is_in_a_set_is_kept_out_and_who_is_not_is_not() -> None:
    banned = {"elem": {"val": "10.0.0.13", "timeout": 600, "expires": 9}}
    text = filter_sets.of_nft("nft", ruleset("@banned"), 1, answering("192.0.2.1", banned))
    assert rows(text) == [
        (
            ["10.0.0.13"],
            True,
            "inet guard in: ip saddr @banned drop",
            "nft delete element inet guard banned '{ ADDRESS }'",
        )
    ]
    network = {"prefix": {"addr": "192.0.2.0", "len": 24}}
    assert rows(filter_sets.of_nft("nft", ruleset("@banned"), 1, answering(network))) == []
    assert rows(filter_sets.of_nft("nft", ruleset("@banned"), 1, answering())) == []


def test_who_is_not_in_a_set_of_friends_is_kept_out() -> None:
    text = filter_sets.of_nft("nft", ruleset("@banned", "!="), 1, answering("10.0.0.12"))
    assert rows(text) == [
        (["10.0.0.13"], True, "inet guard in: ip saddr != @banned drop", "nft delete rule inet guard in handle 3")
    ]


@pytest.mark.parametrize(
    "ask", [answering("10.0.0.12", rc=1), lambda argv, limit: Outcome(0, "{}", "", False, False, 0.0)]
)
def test_a_set_that_does_not_tell_leaves_its_rules_uncertain(ask: t.Any) -> None:
    text = filter_sets.of_nft("nft", ruleset("@banned"), 1, ask)
    assert [(peers, sure) for peers, sure, _rule, _undo in rows(text)] == [(None, False)]


def test_a_set_of_addresses_and_ports_and_a_map_by_card() -> None:
    parts = [{"payload": {"protocol": "ip", "field": "saddr"}}, {"payload": {"protocol": "tcp", "field": "dport"}}]
    text = ruleset("@banned").replace(json.dumps(parts[0]), json.dumps({"concat": parts}))
    banned = {"elem": {"val": {"concat": ["10.0.0.13", 29500]}, "timeout": 600}}
    assert rows(filter_sets.of_nft("nft", text, 1, answering(banned))) == [
        (
            ["10.0.0.13"],
            True,
            "inet guard in: ip saddr . tcp dport @banned drop",
            "nft delete element inet guard banned '{ ADDRESS . PORT }'",
        )
    ]
    by_card = {"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@banned"}}
    rule = {"rule": {**PLACE, "chain": "in", "expr": [by_card]}}
    elements = {"family": "inet", "table": "guard", "name": "banned", "elem": [["eth0", {"drop": None}]]}
    answer = Outcome(0, json.dumps({"nftables": [{"map": elements}]}), "", False, False, 0.0)
    found = filter_sets.of_nft("nft", json.dumps({"nftables": [HEAD, rule]}), 1, lambda argv, limit: answer)
    assert [row[:3] for row in rows(found)] == [(None, True, "inet guard in: iifname vmap")]


def test_a_map_of_verdicts() -> None:
    key = {"payload": {"protocol": "tcp", "field": "dport"}}
    head = {"chain": {**HEAD["chain"], "policy": "drop"}}
    rule = {"rule": {**PLACE, "chain": "in", "expr": [{"vmap": {"key": key, "data": "@ports"}}]}}
    asked = []

    def ask(argv: list[str], limit: float) -> Outcome:
        asked.append(argv)
        elements = [[{"range": [1, 1023]}, {"accept": None}], [29500, {"drop": None}]]
        answer = {"nftables": [{"map": {"name": "ports", "elem": elements}}]}
        return Outcome(0, json.dumps(answer), "", False, False, 0.0)

    text = filter_sets.of_nft("nft", json.dumps({"nftables": [head, rule]}), 1, ask)
    assert asked == [["nft", "-j", "list", "map", "inet", "guard", "ports"]]
    found = filtered.rows(nft_rules.nftables(text), PEERS, None) or []
    assert [(row["sure"], row["ports"]) for row in found if not row["answers"]] == [
        (True, [[29500, 29500]]),
        (True, [[1024, 29499], [29501, 65535]]),
    ]


def test_nothing_is_asked_where_no_rule_names_a_set_or_no_time_is_left() -> None:
    def never(*arguments: t.Any) -> t.Any:
        raise AssertionError(arguments)

    for text, limit in ((ruleset("10.0.0.12"), 1), (ruleset("@banned"), 0), ("no json", 1), ('{"nftables": 3}', 1)):
        assert filter_sets.of_nft("nft", text, limit, never) == text or limit == 0
    assert filter_sets.of_ipset("ipset", "-A INPUT -j DROP", 1, never) == {}
    assert filter_sets.of_ipset(None, "-A INPUT -m set --match-set banned src -j DROP", 1, never) == {}


RULE = "-A INPUT -p tcp -m set --match-set banned src -j DROP"


@pytest.mark.parametrize(
    ("saved", "members"),
    [
        ("create banned hash:ip family inet\nadd banned 10.0.0.13 timeout 9\n", {"banned": ["10.0.0.13"]}),
        ("create banned hash:net family inet\n", {"banned": []}),
        ("create banned hash:ip,port family inet\nadd banned 10.0.0.13,tcp:22\n", {}),
        ("create banned hash:net family inet\nadd banned 10.0.0.0/8\nadd banned 10.0.0.12 nomatch\n", {}),
    ],
)
def test_the_members_of_a_set_of_ipset(saved: str, members: dict[str, list[str]]) -> None:
    found = filter_sets.of_ipset(
        "ipset", f"-P INPUT ACCEPT\n{RULE}", 1, lambda *_: Outcome(0, saved, "", False, False, 0)
    )
    assert found == members
    chains = iptables_rules.iptables(f"-P INPUT ACCEPT\n{RULE}", "iptables", found)
    kept = [(row["peers"], row["sure"]) for row in filtered.rows(chains, PEERS, None) or [] if not row["answers"]]
    assert kept == ([(["10.0.0.13"], True)] if members.get("banned") else [] if members else [(None, False)])
