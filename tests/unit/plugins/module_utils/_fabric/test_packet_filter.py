# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets of jobs, tried against rules of iptables."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import filter_rules
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import packet_filter as pf

OUT = pf.Packet(pf.OUT, False, "10.0.0.11", "10.0.0.12", "eth0", 1000)
IN = OUT._replace(direction=pf.IN)


def kept(packet: pf.Packet, *lines: str) -> list[tuple[str, pf.Spans, bool]]:
    """(rule, ports, certain) of what is kept back."""
    chains = filter_rules.iptables("\n".join(lines))
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


def test_without_a_known_interface_a_rule_for_one_is_uncertain() -> None:
    rule = "-A OUTPUT -o eth0 -j DROP"
    assert kept(OUT._replace(interface=""), "-P OUTPUT ACCEPT", rule) == [(rule, pf.EVERY_PORT, False)]


def test_chains_that_jump_in_a_circle_end() -> None:
    lines = ("-P OUTPUT DROP", "-A OUTPUT -j a", "-A a -j b", "-A b -j a")
    assert [text for text, _ports, _sure in kept(OUT, *lines)] == ["-P OUTPUT DROP"]


WORDS = "-A -P OUTPUT INPUT a -j -g DROP ACCEPT RETURN ! -s -d 10.0.0.0/8 -p tcp --dport 5:9 --dports x, -m set".split()


@settings(max_examples=200, deadline=None, database=None)
@given(
    st.lists(st.lists(st.sampled_from([*WORDS, '"', "", "::1", "-i", "eth+"]), max_size=8).map(" ".join), max_size=6)
)
def test_any_lines_are_walked(lines: list[str]) -> None:
    chains = filter_rules.iptables("\n".join(lines))
    for packet in (OUT, IN, OUT._replace(answer=True, own="", interface="", uid=None)):
        for hit in pf.blocked(chains, packet):
            assert hit.ports and all(low <= high for low, high in hit.ports)
