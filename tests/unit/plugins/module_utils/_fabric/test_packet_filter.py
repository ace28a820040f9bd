# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets of jobs, tried against rules of iptables."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import iptables_rules
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import packet_filter as pf

OUT = pf.Packet(pf.OUT, False, "10.0.0.11", "10.0.0.12", "eth0", 1000)
IN = OUT._replace(direction=pf.IN)


def kept(packet: pf.Packet, *lines: str) -> list[tuple[str, pf.Spans, bool]]:
    """(rule, ports, certain) of what is kept back."""
    chains = iptables_rules.iptables("\n".join(lines))
    return [(hit.rule.text, hit.ports, hit.sure) for hit in pf.blocked(chains, packet)]


@pytest.mark.parametrize(
    ("rule", "ports", "sure"),
    [
        ("-A OUTPUT -d 10.0.0.12/32 -j DROP", pf.EVERY_PORT, True),
        ("-A OUTPUT -d 10.0.0.0/8 -o eth0 -j REJECT --reject-with icmp-port-unreachable", pf.EVERY_PORT, True),
        ("-A OUTPUT -p tcp -m tcp --dport 1024:65535 -j DROP", ((1024, 65535),), True),
        ("-A OUTPUT -p tcp -m multiport ! --dports 22,29500 -j DROP", ((1, 21), (23, 29499), (29501, 65535)), True),
        ("-A OUTPUT -m owner --uid-owner 1000 -j REJECT", pf.EVERY_PORT, True),
        ("-A OUTPUT ! -d 192.0.2.0/24 -m conntrack --ctstate NEW -j DROP", pf.EVERY_PORT, True),
        ("-A OUTPUT -m iprange --dst-range 10.0.0.5-10.0.0.20 -j DROP", pf.EVERY_PORT, True),
        ("-A OUTPUT -m set --match-set blocked dst -j DROP", pf.EVERY_PORT, False),
        ("-A OUTPUT ! -o wg0 -m mark ! --mark 0xca6c -m addrtype ! --dst-type LOCAL -j REJECT", pf.EVERY_PORT, True),
        ("-A OUTPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", pf.EVERY_PORT, True),
        ("-A OUTPUT -m pkttype --pkt-type unicast -j DROP", pf.EVERY_PORT, True),
        ("-A OUTPUT -m connmark --mark 0x0/0x1 -j DROP", pf.EVERY_PORT, True),
        ('-A OUTPUT -m comment --comment "keep -j ACCEPT out" -j DROP', pf.EVERY_PORT, True),
    ],
)
def test_a_rule_that_keeps_packets_in(rule: str, ports: pf.Spans, sure: bool) -> None:
    assert kept(OUT, "-P OUTPUT ACCEPT", rule) == [(rule, ports, sure)]


@pytest.mark.parametrize(
    "rule",
    [
        "-A OUTPUT -d 10.0.0.13/32 -j DROP",
        "-A OUTPUT -o docker0 -j DROP",
        "-A OUTPUT -o lo -j DROP",
        "-A OUTPUT -p udp -j DROP",
        "-A OUTPUT -p icmp -j REJECT",
        "-A OUTPUT -m owner ! --uid-owner 1000 -j DROP",
        "-A OUTPUT -m conntrack --ctstate INVALID -j DROP",
        "-A OUTPUT -m addrtype --dst-type BROADCAST -j DROP",
        "-A OUTPUT -j LOG",
        "-A OUTPUT -m mark --mark 0x8000/0x8000 -j DROP",
        "-A OUTPUT -m connmark --mark 0x63 -j DROP",
        "-A OUTPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j DROP",
        "-A OUTPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE -j DROP",
        "-A OUTPUT -p tcp -m tcp ! --syn -m state --state NEW -j DROP",
        "-A OUTPUT -f -j DROP",
        "-A OUTPUT -m pkttype --pkt-type multicast -j DROP",
        "-A FORWARD -j DROP",
        "-A nobody-jumps-here -j DROP",
    ],
)
def test_a_rule_about_other_packets(rule: str) -> None:
    assert kept(OUT, "-P OUTPUT ACCEPT", rule) == []


def test_what_was_accepted_before_is_not_kept_back() -> None:
    lines = ("-P OUTPUT DROP", "-A OUTPUT -p tcp -m tcp --dport 22 -j ACCEPT")
    assert kept(OUT, *lines) == [("-P OUTPUT DROP", ((1, 21), (23, 65535)), True)]
    assert kept(OUT, *lines, "-A OUTPUT -d 10.0.0.0/24 -j ACCEPT") == []
    assert kept(OUT, *lines, "-A OUTPUT -m set --match-set ours dst -j ACCEPT")[0][2] is False


def test_chains_are_followed_and_come_back() -> None:
    lines = (
        "-P INPUT ACCEPT",
        "-N allow",
        "-N deny",
        "-A INPUT -j allow",
        "-A INPUT -p tcp -m tcp --dport 1000:2000 -j deny",
        "-A allow -s 10.0.0.12/32 -p tcp -m tcp --dport 1500 -j ACCEPT",
        "-A allow -s 10.0.0.12/32 -p tcp -m tcp --dport 1600 -j RETURN",
        "-A allow -p tcp -m tcp --dport 1700 -j DROP",
        "-A deny -j REJECT",
    )
    assert kept(IN, *lines) == [
        ("-A allow -p tcp -m tcp --dport 1700 -j DROP", ((1700, 1700),), True),
        ("-A deny -j REJECT", ((1000, 1499), (1501, 1699), (1701, 2000)), True),
    ]


def test_answers_pass_where_connections_are_tracked() -> None:
    tracked = ("-P INPUT DROP", "-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT")
    answer = IN._replace(answer=True)
    assert kept(answer, *tracked) == []
    assert kept(answer, tracked[0]) == [("-P INPUT DROP", pf.EVERY_PORT, True)]
    assert kept(IN, *tracked) == [("-P INPUT DROP", pf.EVERY_PORT, True)]


@pytest.mark.parametrize(
    ("rule", "certain"),
    [
        ("-A FORWARD -j CONNMARK --set-xmark 0x2/0xffffffff", [True]),
        ("-A FORWARD -j CONNMARK --set-xmark 0x1/0xffffffff", [False]),
        ("-A FORWARD -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff", [False]),
    ],
)
def test_the_mark_of_a_connection_is_uncertain_once_any_rule_sets_it(rule: str, certain: list[bool]) -> None:
    drop = "-A OUTPUT -m connmark --mark 0x0/0x1 -j DROP"
    assert [hit[2] for hit in kept(OUT, "-P OUTPUT ACCEPT", rule, drop)] == certain


def test_tables_that_see_the_packets_before_the_filter() -> None:
    lines = (
        "-P PREROUTING ACCEPT\n-P INPUT ACCEPT\n-N spoofed\n-A PREROUTING -s 10.0.0.0/8 -j spoofed\n-A spoofed -j DROP"
    )
    for table in ("mangle", "raw"):
        hits = pf.blocked(iptables_rules.iptables(lines, f"iptables-legacy -t {table}"), IN)
        assert [(hit.rule.undo, hit.chain.place) for hit in hits] == [
            (f"iptables-legacy -t {table} -D spoofed -j DROP", f"iptables-legacy -t {table} spoofed")
        ]
    assert pf.blocked(iptables_rules.iptables(lines, "iptables-legacy -t nat"), IN) == []


def test_without_a_known_interface_a_rule_for_one_is_uncertain() -> None:
    rule = "-A OUTPUT -o eth0 -j DROP"
    assert kept(OUT._replace(interface=""), "-P OUTPUT ACCEPT", rule) == [(rule, pf.EVERY_PORT, False)]


def test_a_rule_that_may_keep_packets_back_leaves_them_to_the_next_one() -> None:
    maybe = "-A INPUT -m recent --update --seconds 60 --name ban --rsource -j DROP"
    found = kept(IN, "-P INPUT DROP", maybe, "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT")
    assert found == [(maybe, pf.EVERY_PORT, False), ("-P INPUT DROP", ((1, 21), (23, 65535)), True)]


def test_a_chain_that_may_be_asked_leaves_what_it_keeps_back_to_the_next_rule() -> None:
    jump = "-A INPUT -m recent --update --hitcount 6 --name ssh --rsource -j limit"
    lines = ("-P INPUT DROP", "-N limit", jump, "-A limit -p tcp -m tcp --dport 22 -j ACCEPT", "-A limit -j REJECT")
    policy = [("-P INPUT DROP", ((1, 21), (23, 65535)), True), ("-P INPUT DROP", ((22, 22),), False)]
    assert kept(IN, *lines) == [("-A limit -j REJECT", ((1, 21), (23, 65535)), False), *policy]
    assert kept(IN, *lines[:-1]) == policy


def test_what_a_limit_returns_goes_on_above() -> None:
    limit = "-A flood -m limit --limit 25/sec --limit-burst 50 -j RETURN"
    lines = (
        "-P INPUT DROP",
        "-N flood",
        "-A INPUT -p tcp -j flood",
        "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT",
        limit,
    )
    assert kept(IN, *lines, "-A flood -j DROP") == [
        ("-A flood -j DROP", pf.EVERY_PORT, False),
        ("-P INPUT DROP", ((1, 21), (23, 65535)), True),
    ]
    assert kept(IN, *lines) == [("-P INPUT DROP", ((1, 21), (23, 65535)), True)]
    assert kept(IN, *lines, "-A flood -p tcp -m tcp --dport 80 -j ACCEPT", "-A flood -j DROP") == [
        ("-A flood -j DROP", ((1, 79), (81, 65535)), False),
        ("-P INPUT DROP", ((1, 21), (23, 79), (81, 65535)), True),
        ("-P INPUT DROP", ((80, 80),), False),
    ]


def test_a_mark_that_a_rule_on_the_way_may_set_is_uncertain() -> None:
    lines = ("-P INPUT ACCEPT", "-N policy", "-A INPUT -j policy", "-A INPUT -m mark --mark 0x0/0x20000 -j DROP")
    assert kept(IN, *lines)[0][2] is True
    assert kept(IN, *lines, "-A policy -p tcp -m tcp --dport 9 -j MARK --set-xmark 0x20000/0x20000")[0][2] is False
    assert kept(IN, *lines, "-A policy -j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff")[0][2] is False


def test_what_comes_back_from_a_goto_goes_on_above() -> None:
    lines = ("-P INPUT DROP", "-N zones", "-N drop", "-N public", "-A INPUT -j zones", "-A public -j ACCEPT")
    zones = ("-A zones -i eth0 -g drop", "-A zones -g public")
    assert kept(IN, *lines, *zones) == [("-P INPUT DROP", pf.EVERY_PORT, True)]
    assert kept(IN._replace(interface="eth1"), *lines, *zones) == []


def test_rules_for_one_family_say_nothing_of_the_other() -> None:
    chains = iptables_rules.iptables("-P INPUT DROP", "ip6tables")
    assert pf.blocked(chains, IN) == []
    (hit,) = pf.blocked(chains, IN._replace(own="fd00::11", peer="fd00::12"))
    assert (hit.rule.undo, hit.sure) == ("ip6tables -P INPUT ACCEPT", True)


def test_of_a_large_set_the_peer_is_found() -> None:
    members = [f"192.0.{number // 250}.{number % 250}" for number in range(400)]
    rule = "-A INPUT -m set --match-set banned src -j DROP"
    for more, held in ((["10.0.0.12"], True), (["10.0.0.13", "10.0.0.0/29"], False)):
        chains = iptables_rules.iptables(rule, "iptables", {"banned": [*members, *more]})
        hits = pf.blocked({**chains, "iptables INPUT": chains["iptables INPUT"]._replace(hook="input")}, IN)
        assert [(hit.rule.undo, hit.sure) for hit in hits] == [("ipset del banned ADDRESS", True)] * held


def test_chains_that_jump_in_a_circle_end() -> None:
    lines = ("-P OUTPUT DROP", "-A OUTPUT -j a", "-A a -j b", "-A b -j a")
    assert [text for text, _ports, _sure in kept(OUT, *lines)] == ["-P OUTPUT DROP"]


WORDS = (
    "-A -P OUTPUT INPUT a -j -g DROP ACCEPT RETURN ! -s -d 10.0.0.0/8 -p tcp --dport 5:9 --dports x, -m set "
    "--mark 0x1/0x1 --tcp-flags SYN NONE MARK --match-set -f"
).split()


@settings(max_examples=200, deadline=None, database=None)
@given(
    st.lists(st.lists(st.sampled_from([*WORDS, '"', "", "::1", "-i", "eth+"]), max_size=8).map(" ".join), max_size=6)
)
def test_any_lines_are_walked(lines: list[str]) -> None:
    chains = iptables_rules.iptables("\n".join(lines))
    for packet in (OUT, IN, OUT._replace(answer=True, own="", interface="", uid=None)):
        for hit in pf.blocked(chains, packet):
            assert hit.ports and all(low <= high for low, high in hit.ports)
