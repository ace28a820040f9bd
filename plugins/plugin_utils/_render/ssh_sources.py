# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses from which the other nodes see a node's connections.

They stand in the C(from=) of its key. An address that other machines have too would open the door from them: that
of a bridge for local guests (docker0, virbr0) is the same on every host.
"""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Node

Facts = t.Mapping[str, t.Any]
# The ends of a host's own guests: with a physical interface in it, a bridge leads to the network.
UPLINKS = ("physical", "bond", "team", "vlan", "macvlan", "ipvlan")


def of_host(fabric: Facts, address: str) -> tuple[str, ...]:
    """The data address, the sources of the routes to the peers, and the global addresses that lead to a network."""
    routes = [str(route.get("source") or "") for route in (fabric.get("routes") or {}).values()]
    interfaces: list[Facts] = list(fabric.get("interfaces") or [])
    outward = [
        str(own["address"])
        for interface in interfaces
        if not for_guests(interface, interfaces)
        for own in interface["addresses"]
        if own.get("scope") == "global"
    ]
    # Loopback in disguise (::ffff:127.0.0.1) stays: the plan refuses the node that says so.
    sources = [found for found in (address, *routes, *outward) if found and not found.startswith("127.")]
    return tuple(dict.fromkeys(found for found in sources if found != "::1"))


def for_guests(interface: Facts, interfaces: t.Sequence[Facts]) -> bool:
    """Whether it is loopback, or a bridge without an interface that leads to the network."""
    if interface.get("kind") == "loopback":
        return True
    ports = [other for other in interfaces if other.get("master") == interface["name"]]
    return interface.get("kind") == "bridge" and not any(port.get("kind") in UPLINKS for port in ports)


def told_apart(nodes: t.Sequence[Node]) -> dict[str, list[str]]:
    """The sources of each node by name, without those that another node has too; a data address always stays."""
    sources = {node.name: node.sources or node.addresses for node in nodes}
    holders = collections.Counter(address for found in sources.values() for address in found)
    return {
        node.name: [found for found in sources[node.name] if holders[found] == 1 or found == node.address]
        for node in nodes
    }
