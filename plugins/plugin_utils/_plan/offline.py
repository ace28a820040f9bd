# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model of a cluster of which no host was asked: from the inventory, and from what earlier runs remember."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster, Node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.torch_builds import choose_precision
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import cluster as plan_cluster
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import nodes as plan_nodes
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.fault import Fault
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.state import recall

UNKNOWN_GPU = "GPU"


class Place(t.NamedTuple):
    """How the controller reaches a host: address, port and user of its login; why the address is not known."""

    address: str
    port: int = 22
    user: str = ""
    problem: str = ""


def make(
    wishes: t.Mapping[str, t.Mapping[str, t.Any]],
    places: t.Mapping[str, Place],
    options: t.Mapping[str, t.Any],
    memory: t.Mapping[str, t.Mapping[str, t.Any]],
) -> tuple[Cluster, list[str]]:
    """The model, and what it assumes, one sentence each; raises PlanError with every value that is missing.

    ``wishes`` are the variables of the hosts by short name, ``options`` those of the cluster. What the inventory says
    comes first, then what is remembered of a node, then how the controller reaches it.
    """
    faults: list[Fault] = []
    nodes = []
    for rank, name in enumerate(plan_nodes.order(list(wishes), options["head"], list(memory))):
        known = recall(memory[name], rank) if name in memory else None
        node = _node(name, rank, wishes[name], places[name], known, options)
        if not (wishes[name]["slots"] or known or options["torch_build"] == "cpu"):
            faults.append(Fault("trainmesh_slots is missing (slots=N in a hostfile), and its GPUs are not known", name))
        if not node.address:
            faults.append(Fault(f"trainmesh_address is missing, and {places[name].problem}", name))
        nodes.append(node)
    user = _user(options, places, faults)
    faults += plan_cluster.address_faults([node for node in nodes if node.address])
    if faults:
        raise plan_cluster.PlanError(faults)
    precision, assumed = _precision(nodes, options, memory)
    cluster = Cluster(
        nodes=tuple(nodes),
        user=user,
        prefix=options["prefix"],
        master_port=options["master_port"],
        precision=precision,
        zero_stage=options["zero_stage"],
        launchers=tuple(options["launchers"]),
        ssh_topology=options["ssh_topology"],
    )
    return cluster, [*_assumed(cluster, wishes, options, memory), *assumed]


def _node(
    name: str,
    rank: int,
    wish: t.Mapping[str, t.Any],
    place: Place,
    known: Node | None,
    options: t.Mapping[str, t.Any],
) -> Node:
    filled = {
        **wish,
        "slots": wish["slots"] or (known.slots if known else None),
        "address": wish["address"] or (known.address if known else place.address),
        "ssh_port": wish["ssh_port"] or (known.ssh_port if known else place.port),
    }
    host, address = plan_nodes.Host(name, filled, "", 22, {}, {}, {}), str(filled["address"] or "")
    node = plan_nodes.build_node(host, rank, options["domain"], False, address)
    if options["torch_build"] == "cpu":
        return node
    if known is None:
        return dataclasses.replace(node, gpus=(UNKNOWN_GPU,) * node.slots)
    return dataclasses.replace(
        node,
        gpus=known.gpus,
        compute_capability=known.compute_capability,
        driver_version=known.driver_version,
    )


def _user(options: t.Mapping[str, t.Any], places: t.Mapping[str, Place], faults: list[Fault]) -> str:
    """The job user: the one asked for, or the login user of all hosts."""
    users = sorted({place.user for place in places.values() if place.user})
    if options["user"] or len(users) == 1:
        return str(options["user"] or users[0])
    found = f"the login users differ ({', '.join(users)})" if users else "no login user is known"
    faults.append(Fault(f"{found}: set trainmesh_user to the one that runs the jobs"))
    return ""


def _precision(
    nodes: t.Sequence[Node], options: t.Mapping[str, t.Any], memory: t.Container[str]
) -> tuple[str, list[str]]:
    if options["precision"] != "auto":
        return str(options["precision"]), []
    if options["torch_build"] == "cpu" or all(node.name in memory for node in nodes):
        return choose_precision(plan_cluster.gpu_facts([], nodes))[0], []
    return "fp32", ["precision fp32, which runs on every GPU: set trainmesh_precision to bf16 or fp16 if all have it"]


def _assumed(
    cluster: Cluster,
    wishes: t.Mapping[str, t.Mapping[str, t.Any]],
    options: t.Mapping[str, t.Any],
    memory: t.Container[str],
) -> list[str]:
    new = [node for node in cluster.nodes if node.name not in memory]
    addresses = [f"{node.name} {node.address}" for node in new if not wishes[node.name]["address"]]
    ports = [f"{node.name} {node.ssh_port}" for node in new if not wishes[node.name]["ssh_port"]]
    found = []
    if addresses:
        found.append(f"the controller's addresses serve the nodes too ({_few(addresses)}): else set trainmesh_address")
    if ports and any(node.ssh_port != 22 for node in new):
        found.append(f"the controller's ssh ports serve the nodes too ({_few(ports)}): else set trainmesh_ssh_port")
    if not options["user"]:
        found.append(f"jobs run as the login user {cluster.user}: else set trainmesh_user")
    if new and options["torch_build"] != "cpu":
        found.append("each slot is a GPU: to train on CPUs set trainmesh_torch_build: cpu")
    return found


def _few(words: t.Sequence[str]) -> str:
    return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")
