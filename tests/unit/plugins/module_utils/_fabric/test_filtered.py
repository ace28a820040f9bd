# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of the rules that keep packets of jobs back."""

from __future__ import annotations

import json

from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import filtered, iptables_rules

PEERS = {f"10.0.0.{number}": ("10.0.0.11", "eth0") for number in range(12, 212)}


def of(*lines: str) -> list[filtered.Row]:
    return filtered.rows(iptables_rules.iptables("\n".join(lines)), PEERS, 1000) or []


def test_nothing_is_told_of_rules_that_let_the_peers_through() -> None:
    assert of("-P INPUT DROP", "-A INPUT -s 10.0.0.0/24 -j ACCEPT", "-P OUTPUT ACCEPT") == []
    assert filtered.rows({}, PEERS, None) == []
    assert filtered.rows(None, PEERS, None) is None


def test_a_rule_for_everybody_is_told_once_and_costs_as_much_with_many_peers() -> None:
    rows = of("-P INPUT DROP", "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT")
    assert rows == [
        {
            "direction": "in",
            "answers": False,
            "tool": "iptables",
            "chain": "iptables INPUT",
            "rule": "-P INPUT DROP",
            "undo": "iptables -P INPUT ACCEPT",
            "ports": [[1, 65535]],
            "sure": True,
            "peers": None,
        }
    ]
    assert len(json.dumps(rows)) < 300


def test_a_rule_for_one_peer_names_it() -> None:
    rows = of("-P OUTPUT ACCEPT", "-A OUTPUT -d 10.0.0.13/32 -j DROP")
    assert [(row["direction"], row["answers"], row["peers"]) for row in rows] == [
        ("out", False, ["10.0.0.13"]),
        ("out", True, ["10.0.0.13"]),
    ]


def test_what_is_certain_is_told_before_what_is_not() -> None:
    maybe = [f"-A INPUT -m set --match-set country{number} src -j DROP" for number in range(2 * filtered.MOST_ROWS)]
    rows = of("-P INPUT DROP", "-P OUTPUT ACCEPT", *maybe)
    assert len(rows) == filtered.MOST_ROWS
    assert [row["rule"] for row in rows if row["sure"]] == ["-P INPUT DROP"] * 2


def test_too_many_rules_are_unknown() -> None:
    many = [f"-A INPUT -s 192.0.2.{number % 250} -j DROP" for number in range(filtered.MOST_RULES + 1)]
    assert filtered.rows(iptables_rules.iptables("\n".join(["-P INPUT ACCEPT", *many])), PEERS, None) is None
