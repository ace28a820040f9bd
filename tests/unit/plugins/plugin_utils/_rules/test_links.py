# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.samples.checks import one, told, untested
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import NAMES, fail_calls, healthy_case, link

STALLED = {"ok": False, "latency_us": 90.0, "mbps": 0.0, "failure": "stalled", "evidence": "the bulk transfer stopped"}
NOT_MET = {"ok": False, "latency_us": None, "mbps": None, "failure": "not_met", "evidence": "node3 was busy"}


def hole(case, pairs):
    for source, target in pairs:
        seen = {"ok": False, "interface_mtu": 9000, "passed": None, "failed": 9000, "evidence": "64 KiB do not pass"}
        case.mesh[source][target]["mtu"] = seen
        case.links[source][target] = dict(STALLED)


def test_large_packets_that_vanish_before_a_node():
    case = healthy_case()
    hole(case, [("node1", "node3"), ("node2", "node3")])
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("net-mtu-mismatch", "fail", ("node3",))
    assert "node1 to node3: those of 9000 do not, MTU 9000, 64 KiB do not pass" in found.evidence["node3"]


def test_the_node_with_an_mtu_of_its_own_is_to_blame():
    case = healthy_case()
    case.fabric["node1"]["interfaces"][1]["mtu"] = 9000
    assert told(case) == {("net-mtu-mismatch", "warn"): ("node1",)}
    hole(case, [("node1", "node2"), ("node1", "node3")])
    found = one(case)
    assert (found.severity, found.hosts) == ("fail", ("node1",))
    assert "ip link set eth0 mtu 1500" in found.remedy


def test_two_nodes_that_differ_are_both_named():
    case = healthy_case()
    case.plan["order"] = ["node1", "node2"]
    del case.fabric["node3"]
    case.fabric["node1"]["interfaces"][1]["mtu"] = 9000
    found = one(dataclasses.replace(case, mesh={}, links={}))
    assert (found.severity, found.hosts) == ("warn", ("node1", "node2"))


def test_a_transfer_that_hangs_although_the_ports_are_open():
    case = healthy_case()
    for other in ("node1", "node2"):
        case.links["node3"][other] = dict(STALLED)
    assert told(case) == {("link-failed", "fail"): ("node3",)}
    fail_calls(case, [("node1", "node3"), ("node2", "node3")], "timeout")
    assert told(case) == {("rdzv-errno-110", "fail"): ("node3",)}


def test_a_link_that_was_not_measured_is_no_fault():
    case = healthy_case()
    case.links["node1"]["node3"] = dict(NOT_MET)
    assert told(case) == {}
    found = untested(case)
    assert [(item.rule, item.hosts) for item in found] == [("link-slow", ("node1", "node3"))]
    assert "node3 was busy" in found[0].why


@pytest.mark.parametrize("outward", [True, False])
def test_a_node_whose_links_are_slow(outward):
    case = healthy_case()
    for other in ("node1", "node2"):
        case.links["node3"][other] = link(mbps=19.0)
        if not outward:
            case.links[other]["node3"] = link(mbps=19.0)
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("link-slow", "warn", ("node3",))
    assert "node3 to node1: 19 Mb/s" in found.evidence["node3"]


def test_one_slow_pair_names_both():
    case = healthy_case()
    case.links["node1"]["node2"] = link(mbps=900.0)
    case.links["node2"]["node1"] = link(mbps=900.0)
    assert told(case) == {("link-slow", "warn"): ("node1", "node2")}


def test_links_that_differ_as_on_a_busy_machine():
    case = healthy_case()
    for number, (source, target) in enumerate((a, b) for a in NAMES for b in NAMES if a != b):
        case.links[source][target] = link(mbps=6000.0 + 900 * number, latency=60.0 + 100 * number)
    assert told(case) == {}


def test_the_speed_of_the_interfaces_is_the_measure_where_it_is_known():
    case = healthy_case()
    for name in NAMES:
        case.fabric[name]["interfaces"][1]["speed_mbps"] = 10000
        for other in case.links[name]:
            case.links[name][other] = link(mbps=6100.0)
    assert told(case) == {}
    case.links["node1"]["node2"] = link(mbps=940.0)
    assert told(case) == {("link-slow", "warn"): ("node1", "node2")}
    for name in NAMES:
        case.fabric[name]["interfaces"][1]["speed_mbps"] = 100000
    case.links["node1"]["node2"] = link(mbps=6100.0)
    assert told(case) == {}, "one process does not fill a network of 100 Gb/s"


def test_a_far_node_is_not_slow_as_well():
    case = healthy_case()
    for other in ("node1", "node2"):
        case.links["node3"][other] = link(mbps=90.0, latency=25000.0)
        case.links[other]["node3"] = link(mbps=90.0, latency=25000.0)
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("link-latency", "warn", ("node3",))
    patient = dataclasses.replace(case, thresholds={"link_latency_warn_us": 1e6, "link_latency_factor": 1e6})
    assert told(patient) == {("link-slow", "warn"): ("node3",)}


def loaded(case, **by_node):
    """The case with nodes that were busy during both probes."""
    quiet = {"load1": 0.3, "cores": 2, "throttled": 0.0, "stolen": 0.0}
    load = {name: {key: {**quiet, **by_node.get(name, {})} for key in ("mesh", "links")} for name in NAMES}
    return dataclasses.replace(case, load=load)


BUSY = [{"load1": 24.0}, {"throttled": 0.6}, {"stolen": 0.9}]


@pytest.mark.parametrize("busy", BUSY)
def test_links_of_a_busy_node_are_not_tested(busy):
    case = healthy_case()
    for other in ("node1", "node2"):
        case.links["node3"][other] = link(mbps=40.0, latency=9000.0)
    assert set(told(case)) & {("link-slow", "warn"), ("link-latency", "warn")}
    case = loaded(case, node3=busy)
    assert told(case) == {}
    assert {item.rule for item in untested(case)} >= {"link-latency"}
    assert all("node3" in item.why and "busy" in item.why for item in untested(case))
    case.links["node3"] = {other: link(mbps=40.0) for other in ("node1", "node2")}
    assert told(case) == {} and "link-slow" in {item.rule for item in untested(case)}


def test_a_bulk_transfer_that_stood_still_on_a_busy_node_is_not_tested():
    case = healthy_case()
    case.links["node1"]["node3"] = link(ok=False, mbps=0.0, failure="stalled", evidence="nothing arrived in 0.3 s")
    assert set(told(case)) == {("link-failed", "fail")}
    case = loaded(case, node3={"load1": 9.0})
    assert told(case) == {} and [item.rule for item in untested(case)] == ["link-failed"]


def test_a_link_far_slower_than_a_load_explains_is_still_told():
    case = healthy_case()
    for other in ("node1", "node2"):
        case.links["node3"][other] = case.links[other]["node3"] = link(mbps=15.0)
    assert told(loaded(case, node3={"load1": 5.0})) == {("link-slow", "warn"): ("node3",)}


def test_a_load_below_the_processors_excuses_nothing():
    case = healthy_case()
    for other in ("node1", "node2"):
        case.links["node3"][other] = case.links[other]["node3"] = link(mbps=40.0)
    assert told(loaded(case, node3={"load1": 1.9})) == {("link-slow", "warn"): ("node3",)}
