# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether others can reach the ports of a job."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.samples.checks import findings
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import healthy_case

OFF = [{"name": "ufw", "active": False, "evidence": "its chains are not loaded"}]
OWN_RULES = [{"name": "nftables", "active": True, "evidence": "policy drop"}]


def told_of_node3(firewalls, address=None):
    case = healthy_case()
    case.fabric["node3"]["firewalls"] = firewalls
    if address:
        case.plan["nodes"]["node3"]["address"] = address
    rules = ("fw-disabled-entirely", "job-ports-exposed")
    return [(item.rule, item.severity) for item in findings(case) if item.rule in rules and item.hosts == ("node3",)]


@pytest.mark.parametrize("address", ["8.8.4.4", "2a00:1450::1"])
@pytest.mark.parametrize("firewalls", [[], OFF])
def test_a_public_address_without_a_firewall_is_warned_of_once(firewalls, address):
    assert told_of_node3(firewalls, address) == [("job-ports-exposed", "warn")]


@pytest.mark.parametrize("address", [None, "100.64.0.7", "fd00::7", "192.168.1.7"])
def test_elsewhere_it_is_a_note(address):
    assert told_of_node3([], address) == [("job-ports-exposed", "info")]
    assert told_of_node3(OFF, address) == [("fw-disabled-entirely", "info")]


@pytest.mark.parametrize("address", [None, "8.8.4.4"])
@pytest.mark.parametrize("firewalls", [None, OWN_RULES, OFF + OWN_RULES, [{"name": "nftables", "active": None}]])
def test_a_firewall_that_is_active_or_not_known_accuses_nobody(firewalls, address):
    assert told_of_node3(firewalls, address) == []
