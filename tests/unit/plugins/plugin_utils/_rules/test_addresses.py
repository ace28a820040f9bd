# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.samples.checks import findings, one, told
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import (
    MASTER,
    NAMES,
    call,
    fail_calls,
    fail_logins,
    healthy_case,
    interface,
    number_of,
    towards,
)


def move(case, name, address, prefix=24):
    """Give a node another data address."""
    case.plan["nodes"][name]["address"] = address
    case.fabric[name]["interfaces"][1]["addresses"][0].update(address=address, prefix=prefix)


def speeds(case, **of):
    for name, speed in of.items():
        case.fabric[name]["interfaces"][1].update(speed_mbps=speed, kind="physical")
    for row in case.links.values():
        row.clear()


def test_public_and_private_addresses():
    case = healthy_case()
    case.plan["nodes"]["node3"]["address"] = "8.8.4.4"
    case.fabric["node3"]["container"] = None
    case.fabric["node3"]["firewalls"][0]["active"] = True  # else its ports are open to all
    assert told(case) == {("net-public-private-mix", "warn"): ("node3",)}


def test_packets_that_leave_from_another_address():
    route, seen = healthy_case(), healthy_case()
    route.fabric["node2"]["routes"]["10.0.0.11"].update(source="192.168.7.2", interface="eth1")
    assert told(route) == {("net-public-private-mix", "warn"): ("node2",)}
    seen.mesh["node2"]["node1"]["tcp"]["29500"] = call(False, "wrong_interface", "node1 sees 192.168.7.2")
    assert told(seen) == {("net-public-private-mix", "fail"): ("node2",)}


def test_data_addresses_in_several_networks():
    case = healthy_case()
    move(case, "node3", "10.0.9.13")
    case.fabric["node3"]["routes"] = {}
    for name in ("node1", "node2"):
        case.fabric[name]["resolution"] = {}
    case.fabric["node3"]["resolution"] = {}
    found = [item for item in findings(case) if item.rule == "net-different-subnets"]
    assert [(item.severity, item.hosts) for item in found] == [("info", NAMES)]
    assert "10.0.9.0/24" in found[0].evidence["node3"]
    for name in NAMES:
        case.fabric[name]["interfaces"][1]["addresses"][0]["prefix"] = 32
    assert [item for item in findings(case) if item.rule == "net-different-subnets"] == []


def test_several_addresses_of_the_head_where_deepspeed_is_not_told():
    case = healthy_case()
    case.fabric["node1"]["interfaces"].append(interface("eth1", "192.168.7.1"))
    assert [item for item in findings(case) if item.rule == "net-hostname-multi-ip"] == []
    case.plan["managed"] = False
    found = [item for item in findings(case) if item.rule == "net-hostname-multi-ip"]
    assert [(item.severity, item.hosts) for item in found] == [("info", ("node1",))]


def test_a_container_behind_a_bridge():
    mapped, default = healthy_case(), healthy_case()
    mapped.plan["nodes"]["node3"]["address"] = "10.0.0.23"
    mapped.fabric["node3"]["routes"] = {}
    for name in NAMES:
        mapped.fabric[name]["resolution"] = {}
    assert told(mapped) == {("ctr-bridge-network", "fail"): ("node3",)}
    assert "--network host" in one(mapped).remedy
    for name in NAMES:
        move(default, name, f"172.17.0.{name[-1]}")
        default.fabric[name].update(routes={}, resolution={})
    assert told(default) == {}, "nodes on one host's bridge reach each other"
    fail_calls(default, towards("node2"), "timeout")
    assert ("ctr-bridge-network", "fail") in told(default)
    for name in NAMES:
        default.fabric[name]["interfaces"][1]["kind"] = "physical"
    assert ("ctr-bridge-network", "fail") not in told(default), "the site's own network may have these addresses"


def test_interfaces_that_do_not_hold():
    tunnel, dark, flaps, errors = healthy_case(), healthy_case(), healthy_case(), healthy_case()
    tunnel.fabric["node1"]["interfaces"][1]["kind"] = "wireguard"
    assert told(tunnel) == {}, "a tunnel may be all there is"
    for name in NAMES:
        tunnel.fabric[name]["interfaces"].append(interface("eno1", f"192.168.7.{name[-1]}", kind="physical"))
    assert told(tunnel) == {("net-flaky-interface", "warn"): ("node1",)}
    dark.fabric["node2"]["interfaces"][1].update(kind="physical", carrier=False)
    assert told(dark) == {("net-flaky-interface", "fail"): ("node2",)}
    flaps.fabric["node2"]["interfaces"][1]["carrier_changes"] = 200
    errors.fabric["node2"]["interfaces"][1]["rx_errors"] = 100000
    assert told(flaps) == told(errors) == {("net-flaky-interface", "warn"): ("node2",)}


def with_hardware(case):
    for name in case.order:
        case.fabric[name]["interfaces"][1]["mac"] = f"52:54:00:00:00:{number_of(name):02x}"
    return case


@pytest.mark.parametrize(
    ("hardware", "host"), [("52:54:00:00:00:99", "node2"), ("52:54:00:00:00:03", "node3"), ("52:54:00:00:00:02", None)]
)
def test_another_machine_with_the_address_of_a_node(hardware, host):
    case = with_hardware(healthy_case())
    case.mesh["node1"]["node2"]["neighbour"] = hardware
    fail_calls(case, [("node1", "node2")], "refused")
    fail_logins(case, [("node1", "node2")], "hostkey_changed", "REMOTE HOST IDENTIFICATION HAS CHANGED")
    found = told(case)
    if host:
        assert found == {("net-address-taken", "fail"): (host,)}
    else:
        assert ("net-address-taken", "fail") not in found and ("rdzv-errno-111", "fail") in found


def test_a_network_that_answers_for_all_has_nobodys_address():
    case = with_hardware(healthy_case())
    for source, target in (("node1", "node2"), ("node1", "node3"), ("node2", "node3")):
        case.mesh[source][target]["neighbour"] = "12:34:56:78:9a:bc"
        fail_calls(case, [(source, target)], "timeout")
    assert "net-address-taken" not in {item.rule for item in findings(case)}


def test_cards_that_are_not_known_accuse_nobody():
    case = healthy_case()
    case.mesh["node1"]["node2"]["neighbour"] = "52:54:00:00:00:99"
    fail_calls(case, [("node1", "node2")], "refused")
    assert list(told(case)) == [("rdzv-errno-111", "fail")]


@pytest.mark.parametrize(
    ("mode", "aggregators", "up", "warned"),
    [
        ("802.3ad", (1, 2), (True, True), True),
        ("802.3ad", (1, 1), (True, True), False),
        ("802.3ad", (1, 2), (True, False), False),
        ("802.3ad", (1, None), (True, True), False),
        ("active-backup", (1, 2), (True, True), False),
    ],
)
def test_a_bond_whose_ports_did_not_come_together(mode, aggregators, up, warned):
    case = healthy_case()
    ports = [{"name": f"eno{n}", "up": on, "aggregator": own} for n, (own, on) in enumerate(zip(aggregators, up), 1)]
    bond = {"mode": mode, "partner": "00:00:00:00:00:00", "ports": ports}
    case.fabric["node2"]["interfaces"][1].update(kind="bond", bond=bond)
    assert told(case) == ({("net-flaky-interface", "warn"): ("node2",)} if warned else {})
    if warned:
        assert "eno1 and eno2 are in 2 aggregators, no switch answers" in one(case).evidence["node2"]


def test_a_faster_network_that_is_not_used():
    case = healthy_case()
    speeds(case, node1=1000, node2=1000, node3=1000)
    for name in NAMES:
        case.fabric[name]["interfaces"].append(interface("eth1", f"192.168.7.{name[-1]}", speed_mbps=25000))
    assert told(case) == {("perf-wrong-nic", "warn"): NAMES}
    for name in NAMES[1:]:
        case.fabric[name]["interfaces"].pop()
    assert told(case) == {}, "nobody else is in that network"


@pytest.mark.parametrize(("speed", "severity"), [(1000, "warn"), (2500, "info"), (25000, None), (None, None)])
def test_gpus_behind_a_slow_network(speed, severity):
    case = healthy_case()
    case.plan["gpus"] = True
    speeds(case, node1=speed, node2=speed, node3=speed)
    found = [(item.severity, item.hosts) for item in findings(case) if item.rule == "perf-ethernet-bound"]
    assert found == ([(severity, NAMES)] if severity else [])
    for name in NAMES:
        case.fabric[name]["rdma"]["devices"] = [{"name": "mlx5_0", "ports": [{"state": "ACTIVE"}]}]
    assert [item for item in findings(case) if item.rule == "perf-ethernet-bound"] == []


def test_two_cards_in_one_subnet_are_told_where_they_are():
    case = healthy_case()
    for name in case.order:
        number = case.plan["nodes"][name]["address"].rpartition(".")[2]
        case.fabric[name]["interfaces"].append(interface("eth7", f"10.0.0.1{number}", "physical"))
    for route in case.fabric["node2"]["routes"].values():
        route.update(source="10.0.0.112", interface="eth7")
    case.mesh["node2"]["node1"]["tcp"][MASTER] = call(False, "wrong_interface", "node1 sees 10.0.0.112")
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("net-two-cards-one-subnet", "warn", tuple(case.order))
    assert "eth0 (10.0.0.12) and eth7 (10.0.0.112) are both in 10.0.0.0/24" in found.evidence["node2"]
    assert "the kernel sends by eth7, the plan has eth0" in found.evidence["node2"]


def test_two_cards_that_rules_by_source_keep_apart_are_no_fault():
    case = healthy_case()
    case.fabric["node1"]["interfaces"].append(interface("eth7", "10.0.0.111", "physical"))
    case.fabric["node1"]["source_rules"] = ["10.0.0.111/32"]
    assert told(case) == {}
    for route in case.fabric["node1"]["routes"].values():
        route.update(source="10.0.0.111", interface="eth7")
    assert one(case).rule == "net-two-cards-one-subnet"


def test_ports_of_a_bond_are_no_second_card():
    case = healthy_case()
    case.fabric["node1"]["interfaces"].append(interface("eth7", "10.0.0.111", "physical", master="eth0"))
    assert told(case) == {}
