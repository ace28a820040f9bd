# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From where a node's key opens the door of the others."""

from __future__ import annotations

import dataclasses

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import cluster
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render import ssh_sources
from ansible_collections.trainmesh.cluster.tests.unit.samples.clusters import host, interface, options


def with_kind(name, kind, *addresses, master=None):
    return {**interface(name, *addresses), "kind": kind, "master": master}


def test_addresses_of_bridges_for_guests_and_loopback_are_left_out():
    fabric = {
        "interfaces": [
            with_kind("lo", "loopback", "127.0.0.1", "192.0.2.7"),
            with_kind("eth0", "physical", "10.0.0.11"),
            with_kind("docker0", "bridge", "172.17.0.1"),
            with_kind("veth1", "veth", master="docker0"),
            with_kind("virbr0", "bridge", "192.168.122.1"),
            with_kind("vnet0", "tun", master="virbr0"),
            with_kind("br0", "bridge", "10.1.0.11"),
            with_kind("eth1", "physical", master="br0"),
        ],
        "routes": {"node2": {"source": "10.0.0.11"}, "node3": {"source": None}, "own": {"source": "127.0.0.1"}},
    }
    assert ssh_sources.of_host(fabric, "10.0.0.11") == ("10.0.0.11", "10.1.0.11")


def test_the_data_address_and_the_sources_of_routes_stay_wherever_they_lie():
    fabric = {
        "interfaces": [with_kind("cni0", "bridge", "10.244.1.1", "10.244.1.2")],
        "routes": {"node2": {"source": "10.244.1.2"}},
    }
    assert ssh_sources.of_host(fabric, "10.244.1.1") == ("10.244.1.1", "10.244.1.2")
    assert ssh_sources.of_host({}, "10.0.0.1") == ("10.0.0.1",)


def test_an_address_that_two_nodes_have_tells_them_not_apart():
    def with_twin(number):
        return host(
            number, fabric={"interfaces": [interface("eth0", f"10.0.0.1{number}"), interface("usb0", "169.254.3.1")]}
        )

    nodes = cluster.make([with_twin(1), with_twin(2)], options(), {})["model"].nodes
    assert ssh_sources.told_apart(nodes) == {"node1": ["10.0.0.11"], "node2": ["10.0.0.12"]}


def test_a_node_remembered_by_an_earlier_release_keeps_its_addresses():
    node = cluster.make([host(1)], options(), {})["model"].head
    old = dataclasses.replace(node, sources=())
    assert ssh_sources.told_apart([old]) == {"node1": ["10.0.0.11"]}
