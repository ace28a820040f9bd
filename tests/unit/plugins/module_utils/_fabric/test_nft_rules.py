# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of nftables."""

from __future__ import annotations

import json
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import nft_rules
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import packet_filter as pf

OUT = pf.Packet(pf.OUT, False, "10.0.0.11", "10.0.0.12", "eth0", 1000)


def match(left: t.Any, right: t.Any, operator: str = "==") -> dict[str, t.Any]:
    return {"match": {"op": operator, "left": left, "right": right}}


def payload(protocol: str, field: str) -> dict[str, t.Any]:
    return {"payload": {"protocol": protocol, "field": field}}


def ruleset(*expressions: list[t.Any], policy: str = "accept", hook: str = "output", family: str = "inet") -> str:
    place = {"family": family, "table": "mine", "handle": 7}
    head = {"chain": {**place, "name": "c", "type": "filter", "hook": hook, "prio": 0, "policy": policy}}
    rules = [{"rule": {**place, "chain": "c", "expr": expression}} for expression in expressions]
    return json.dumps({"nftables": [{"metainfo": {}}, head, *rules]})


def kept(text: str, packet: pf.Packet = OUT) -> list[tuple[str, pf.Spans, bool]]:
    chains = nft_rules.nftables(text)
    assert chains is not None
    return [(hit.rule.undo, hit.ports, hit.sure) for hit in pf.blocked(chains, packet)]


UNDO = "nft delete rule inet mine c handle 7"
TO = match(payload("ip", "daddr"), "10.0.0.12")
NEW = {"ct": {"key": "state"}}


@pytest.mark.parametrize(
    ("expression", "ports", "sure"),
    [
        ([TO, {"counter": {"packets": 0, "bytes": 0}}, {"drop": None}], pf.EVERY_PORT, True),
        ([match(payload("ip", "daddr"), {"prefix": {"addr": "10.0.0.0", "len": 8}}), {"reject": None}], None, True),
        ([match(payload("ip", "daddr"), {"set": [{"range": ["10.0.0.5", "10.0.0.20"]}]}), {"drop": None}], None, True),
        ([match(payload("tcp", "dport"), {"set": [22, {"range": [5, 9]}]}), {"drop": None}], ((5, 9), (22, 22)), True),
        ([match({"meta": {"key": "oifname"}}, "eth0"), match(NEW, ["new"], "in"), {"drop": None}], None, True),
        ([match({"meta": {"key": "skuid"}}, 1000), {"reject": {"type": "icmp", "expr": "x"}}], None, True),
        ([match(payload("ip", "daddr"), "@blocked"), {"drop": None}], None, False),
        ([{"limit": {"rate": 5}}, {"drop": None}], None, False),
        ([match({"meta": {"key": "mark"}}, 51820, "!="), {"drop": None}], None, True),
        ([match({"&": [payload("tcp", "flags"), {"|": ["syn", "ack"]}]}, "syn"), {"drop": None}], None, True),
        ([match(payload("tcp", "flags"), "syn", "in"), {"drop": None}], None, True),
        ([match({"meta": {"key": "pkttype"}}, "host"), {"drop": None}], None, True),
        ([match({"concat": [payload("ip", "daddr"), payload("tcp", "dport")]}, "@two"), {"drop": None}], None, False),
    ],
)
def test_rules_that_keep_packets_in(expression: list[t.Any], ports: pf.Spans | None, sure: bool) -> None:
    assert kept(ruleset(expression)) == [(UNDO, ports or pf.EVERY_PORT, sure)]


@pytest.mark.parametrize(
    "expression",
    [
        [match(payload("ip", "daddr"), "10.0.0.12", "!="), {"drop": None}],
        [match(payload("ip6", "daddr"), {"prefix": {"addr": "fd00::", "len": 8}}), {"drop": None}],
        [match(payload("udp", "dport"), 53), {"drop": None}],
        [match({"meta": {"key": "l4proto"}}, "icmp"), {"drop": None}],
        [match({"meta": {"key": "nfproto"}}, "ipv6"), {"drop": None}],
        [match({"ct": {"key": "status"}}, "dnat", "in"), {"drop": None}],
        [match({"meta": {"key": "skuid"}}, 0), {"drop": None}],
        [TO, {"log": None}],
        [match({"&": [{"meta": {"key": "mark"}}, 0x8000]}, 0x8000), {"drop": None}],
        [match({"&": [payload("tcp", "flags"), ["fin", "syn", "rst", "ack"]]}, "syn", "!="), {"drop": None}],
        [match({"meta": {"key": "pkttype"}}, {"set": ["broadcast", "multicast"]}), {"drop": None}],
        [match({"fib": {"result": "oif", "flags": ["saddr", "iif"]}}, False), {"drop": None}],
    ],
)
def test_rules_about_other_packets(expression: list[t.Any]) -> None:
    assert kept(ruleset(expression)) == []


def concatenated(parts: list[t.Any], *elements: list[t.Any], operator: str = "==") -> dict[str, t.Any]:
    return match({"concat": parts}, {"set": [{"concat": element} for element in elements]}, operator)


TO_PORT = [payload("ip", "daddr"), payload("tcp", "dport")]
NETWORK = {"prefix": {"addr": "10.0.0.0", "len": 24}}
CARD = {"meta": {"key": "oifname"}}


@pytest.mark.parametrize(
    ("expression", "ports", "sure"),
    [
        (concatenated(TO_PORT, ["10.0.0.12", 22], ["10.0.0.13", 80]), ((22, 22),), True),
        (
            concatenated(TO_PORT, [NETWORK, {"range": [1024, 65535]}], ["10.0.0.12", 22]),
            ((22, 22), (1024, 65535)),
            True,
        ),
        (concatenated([CARD, payload("ip", "daddr")], ["eth0", "10.0.0.12"]), pf.EVERY_PORT, True),
        (
            concatenated([{"meta": {"key": "l4proto"}}, payload("th", "dport")], ["tcp", 22], ["udp", 53]),
            ((22, 22),),
            True,
        ),
        (
            concatenated([{"meta": {"key": "day"}}, payload("ip", "daddr")], ["Monday", "10.0.0.12"]),
            pf.EVERY_PORT,
            False,
        ),
        (concatenated(TO_PORT, ["10.0.0.12", 22], operator="!="), ((1, 21), (23, 65535)), True),
        (concatenated(TO_PORT, ["10.0.0.13", 22], operator="!="), pf.EVERY_PORT, True),
    ],
)
def test_concatenations_are_tried_element_by_element(expression: t.Any, ports: pf.Spans, sure: bool) -> None:
    assert kept(ruleset([expression, {"drop": None}])) == [(UNDO, ports, sure)]


@pytest.mark.parametrize(
    "expression",
    [
        concatenated(TO_PORT, ["10.0.0.13", 22]),
        concatenated([CARD, payload("ip", "daddr")], ["eth1", "10.0.0.12"], ["eth0", "10.0.0.13"]),
        concatenated([payload("ip", "daddr"), payload("udp", "dport")], ["10.0.0.12", 22]),
        concatenated([{"meta": {"key": "day"}}, payload("ip", "daddr")], ["Monday", "10.0.0.13"]),
        concatenated([CARD, payload("ip", "daddr")], ["eth0", NETWORK], operator="!="),
    ],
)
def test_concatenations_about_other_packets(expression: t.Any) -> None:
    assert kept(ruleset([expression, {"drop": None}])) == []


def test_an_accept_by_a_concatenation_lets_through_what_it_names() -> None:
    accept = [concatenated(TO_PORT, ["10.0.0.12", {"range": [1, 30000]}]), {"accept": None}]
    assert [hit[1:] for hit in kept(ruleset(accept, policy="drop"))] == [(((30001, 65535),), True)]
    verdicts = [[{"concat": ["tcp", 22]}, {"accept": None}], [{"concat": ["udp", 53]}, {"accept": None}]]
    key = {"concat": [{"meta": {"key": "l4proto"}}, payload("th", "dport")]}
    text = ruleset([{"vmap": {"key": key, "data": {"set": verdicts}}}], policy="drop")
    assert [hit[1:] for hit in kept(text)] == [(((1, 21), (23, 65535)), True)]


def test_a_set_of_concatenations_with_too_many_elements_is_not_judged() -> None:
    elements = [[f"10.1.{number // 250}.{number % 250}", 22] for number in range(nft_rules.MOST_ALTERNATIVES + 1)]
    assert [hit[2] for hit in kept(ruleset([concatenated(TO_PORT, *elements), {"drop": None}]))] == [False]


def test_a_packet_begins_without_a_mark() -> None:
    mark = {"meta": {"key": "mark"}}
    assert [hit[2] for hit in kept(ruleset([match(mark, 0), {"drop": None}]))] == [True]
    assert [hit[2] for hit in kept(ruleset([match({"&": [mark, 1]}, 0), {"drop": None}]))] == [True]
    assert kept(ruleset([match({"&": [mark, 1]}, 0, "!="), {"drop": None}])) == []


def test_the_mark_of_a_connection_is_none_until_a_rule_sets_it() -> None:
    mark = {"ct": {"key": "mark"}}
    assert kept(ruleset([match(mark, 99), {"drop": None}])) == []
    drop = [match({"&": [mark, 1]}, 0), {"drop": None}]
    assert [hit[2] for hit in kept(ruleset(drop))] == [True]
    assert [hit[2] for hit in kept(ruleset([{"mangle": {"key": mark, "value": {"meta": {"key": "mark"}}}}], drop))] == [
        False
    ]
    connmark = {"xt": {"type": "target", "name": "CONNMARK"}}
    assert [hit[2] for hit in kept(ruleset([connmark], drop))] == [False]


def test_a_policy_and_a_verdict_map() -> None:
    key = {"ct": {"key": "state"}}
    verdicts = {"vmap": {"key": key, "data": {"set": [["established", {"accept": None}], ["invalid", {"drop": None}]]}}}
    text = ruleset([verdicts], policy="drop")
    assert kept(text) == [("nft 'chain inet mine c { policy accept; }'", pf.EVERY_PORT, True)]
    assert kept(text, OUT._replace(answer=True)) == []


@pytest.mark.parametrize(
    "expression",
    [
        [{"vmap": {"key": payload("tcp", "dport"), "data": "@verdicts"}}],
        [{"queue": {"num": 0}}],
        [{"of a later nft": [1]}, {"accept": None}],
        [{"match": {"left": payload("tcp", "dport")}}, {"accept": None}],
    ],
)
def test_what_may_let_packets_through_leaves_a_policy_uncertain(expression: list[t.Any]) -> None:
    assert [sure for _undo, _ports, sure in kept(ruleset(expression, policy="drop"))] == [False]


def test_a_policy_of_one_family_says_nothing_of_the_other() -> None:
    text = ruleset(policy="drop", family="ip6")
    assert kept(text) == []
    assert kept(text, OUT._replace(own="fd00::11", peer="fd00::12"))[0][2] is True


def test_a_mark_is_uncertain_once_a_rule_sets_it() -> None:
    mark = {"meta": {"key": "mark"}}
    drop = [match({"&": [mark, 1]}, 1), {"drop": None}]
    assert kept(ruleset(drop)) == []
    assert [hit[2] for hit in kept(ruleset([{"mangle": {"key": mark, "value": 1}}], drop))] == [False]
    assert [hit[2] for hit in kept(ruleset([{"mangle": {"key": mark, "value": {"|": [mark, 3]}}}], drop))] == [False]
    assert kept(ruleset([{"mangle": {"key": mark, "value": 4}}], drop)) == []


def test_a_chain_at_the_ingress_of_a_device() -> None:
    text = ruleset([match(payload("ip", "saddr"), "10.0.0.12"), {"drop": None}], hook="ingress", family="netdev")
    assert [hit[2] for hit in kept(text, OUT._replace(direction=pf.IN))] == [False]
    text = text.replace('"hook"', '"dev": "eth0", "hook"')
    packet = OUT._replace(direction=pf.IN)
    assert kept(text, packet) == [("nft delete rule netdev mine c handle 7", pf.EVERY_PORT, True)]
    assert kept(text, packet._replace(interface="eth1")) == []


def test_what_is_written_of_a_rule_is_near_to_what_nft_lists() -> None:
    text = ruleset([TO, match(payload("tcp", "dport"), {"range": [5, 9]}), {"reject": {"type": "icmp", "expr": "y"}}])
    chains = nft_rules.nftables(text) or {}
    rule = chains["nft inet mine c"].rules[0]
    assert rule.text == "inet mine c: ip daddr 10.0.0.12 tcp dport 5-9 reject with icmp y"


def test_other_hooks_and_nat_are_not_on_the_way() -> None:
    assert kept(ruleset([{"drop": None}], hook="forward")) == []
    assert kept(ruleset([{"drop": None}]).replace('"filter"', '"nat"')) == []


JSON = st.recursive(
    st.none() | st.integers(0, 9) | st.sampled_from(["output", "drop", "ip", "10.0.0.12", "=="]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["match", "op", "left", "right", "payload", "meta", "key", "vmap", "data", "set", "drop"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None, database=None)
@given(st.lists(JSON, max_size=4))
def test_random_rules_never_raise(expression: list[t.Any]) -> None:
    chains = nft_rules.nftables(ruleset(expression))
    if chains:
        pf.blocked(chains, OUT)
