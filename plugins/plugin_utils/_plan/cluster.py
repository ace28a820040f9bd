# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of the whole cluster, from facts to finished texts."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import line_check
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import cloud_init
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster, Node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.torch_builds import GpuFact, choose_precision
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import addresses as plan_addresses
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import fault, node_check, shared_home
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import nodes as plan_nodes
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import stack as plan_stack
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.fault import Fault
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.nodes import Host
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.state import recall
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render import node_files, ssh
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render.env import nccl_conf

# A port that a firewall opened for the rendezvous port alone would block; above the usual ephemeral range.
HIGH_PORT = 61999

Options = t.Mapping[str, t.Any]
Memory = t.Mapping[str, t.Mapping[str, t.Any]]


class PlanError(Exception):
    """The machines, as they are, can't make the cluster asked for; ``faults`` holds one sentence each."""

    def __init__(self, faults: t.Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclasses.dataclass
class Draft:
    """What the plan gathers on its way: sentences for the user."""

    faults: list[Fault] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)
    reasons: list[str] = dataclasses.field(default_factory=list)


def make(hosts: t.Sequence[Host], options: Options, memory: Memory, strict: bool = True) -> dict[str, t.Any]:
    """The plan as plain data for the roles; raises PlanError with every fault at once.

    ``hosts`` are all hosts of the inventory in its order, ``options`` the cluster's variables by short name (with
    ``user`` filled in; ``installs``: whether this run makes environments; ``refused``: what plan_nodes.checked said),
    ``memory`` the nodes of earlier runs. Without ``strict`` a cluster that site.yml would refuse is planned as it is,
    for the rules to judge; its faults stand in V(refusals).
    """
    draft = Draft(faults=list(options.get("refused") or ()))
    managed = strict or bool(memory) or any(_installed(host, options["prefix"]) for host in hosts)
    hosts = hosts if managed else [_as_named(host) for host in hosts]
    use_gpus = options["torch_build"] != "cpu"
    nodes = _nodes(hosts, options, memory, use_gpus, draft)
    if (draft.faults and strict) or not nodes:
        raise PlanError(draft.faults or ["no host could be reached, and none is remembered from an earlier run"])
    gpus = gpu_facts(hosts, nodes)
    cluster = Cluster(
        nodes=tuple(nodes),
        user=options["user"],
        prefix=options["prefix"],
        master_port=options["master_port"],
        precision=_precision(options, gpus, draft),
        zero_stage=options["zero_stage"],
        launchers=tuple(options["launchers"]),
        ssh_topology=options["ssh_topology"],
    )
    _check_cluster(cluster, hosts, draft, str(options.get("ssh_trust", "keys")))
    if options.get("installs", True) and options.get("packages_install", True):
        draft.faults += [fault for host in hosts for fault in plan_nodes.package_faults(host)]
    if options["cloud_init"] == cloud_init.KEEP_OURS:
        draft.faults += [fault for host in hosts for fault in plan_nodes.cloud_init_faults(host)]
    stack = _stack(cluster, hosts, options, gpus, draft, strict)
    if draft.faults and strict:
        raise PlanError(draft.faults)
    return {
        **_data(cluster, options, managed, hosts),
        "left_out": [host.name for host in hosts if host.name not in {node.name for node in nodes}],
        "refusals": fault.rows(draft.faults),
        "stack": stack,
        "reasons": draft.reasons,
        "warnings": draft.warnings,
        "model": cluster,
    }


def _stack(
    cluster: Cluster, hosts: t.Sequence[Host], options: Options, gpus: list[GpuFact], draft: Draft, strict: bool
) -> dict[str, t.Any]:
    """What is installed; why it can't be is no fault of a run that installs nothing."""
    unfit: list[Fault] = []
    software = {host.name: {**host.stack, **_free(host, options["prefix"])} for host in hosts if host.stack}
    stack = plan_stack.make(cluster, software, options, gpus, unfit, draft.reasons)
    if stack:
        stack["environments"] = plan_stack.own(stack, cluster.nodes[0].arch, options, gpus, unfit)
    if strict and not options.get("installs", True):
        draft.warnings += [f"what this run leaves out would be refused: {one}" for one in unfit]
    else:
        draft.faults += unfit
    return stack


def _nodes(hosts: t.Sequence[Host], options: Options, memory: Memory, use_gpus: bool, draft: Draft) -> list[Node]:
    """The nodes in rank order; a host without facts is taken from memory, or left out with a warning."""
    by_name = {host.name: host for host in hosts}
    nodes: list[Node] = []
    chosen = plan_addresses.choose(hosts)
    draft.warnings += chosen.warnings
    for name in plan_nodes.order(list(by_name), options["head"], list(memory)):
        host = by_name[name]
        if host.fabric:
            node = plan_nodes.build_node(host, len(nodes), options["domain"], use_gpus, chosen.addresses[name])
            wrong = node_check.faults(node)
            if wrong:
                draft.faults += [Fault(f"what it says of itself can't be used: {one}", name) for one in wrong]
                continue
            draft.faults += [Fault(one, name) for one in plan_nodes.faults(host, node, use_gpus)]
            draft.warnings += plan_nodes.kept_name(host, node)
        elif name in memory:
            node = recall(memory[name], len(nodes))
            draft.warnings.append(
                f"{name} was not reached, or is not in this run: it keeps rank {node.rank} and what is remembered of it"
            )
        else:
            draft.warnings.append(
                f"{name} was not reached, or is not in this run, and never was part of the cluster: the others go on "
                "without it"
            )
            continue
        nodes.append(node)
    return nodes


def gpu_facts(hosts: t.Sequence[Host], nodes: t.Sequence[Node]) -> list[GpuFact]:
    """Every GPU of the cluster; of remembered nodes their weakest stands for all."""
    facts = []
    reached = {host.name: host for host in hosts if host.fabric}
    for node in nodes:
        if node.name in reached and node.gpus:
            for gpu in plan_nodes.usable_gpus(reached[node.name]):
                facts.append(
                    GpuFact(node.name, str(gpu.get("name")), gpu.get("compute_capability"), node.driver_version)
                )
        elif node.gpus:
            facts.append(GpuFact(node.name, node.gpus[0], node.compute_capability, node.driver_version))
    return facts


def _precision(options: Options, gpus: list[GpuFact], draft: Draft) -> str:
    chosen, reason = choose_precision(gpus)
    asked = str(options["precision"])
    if asked == "auto":
        draft.reasons.append(reason)
        return chosen
    if asked == "bf16" and gpus and chosen != "bf16":
        draft.faults.append(Fault(f"trainmesh_precision: bf16 can't run on every GPU ({reason}); set auto or {chosen}"))
    draft.reasons.append(f"{asked}: set by trainmesh_precision")
    return asked


def _free(host: Host, prefix: str) -> dict[str, t.Any]:
    """What the job user may fill below the prefix, in bytes."""
    place = (host.fabric.get("disks") or {}).get(prefix) or {}
    return {"free_bytes": place.get("free_bytes")}


def _installed(host: Host, prefix: str) -> bool:
    """Whether the prefix exists on a host: another controller may have set it up."""
    place = (host.fabric.get("disks") or {}).get(prefix) or {}
    return bool(place.get("existing") == prefix)


def _as_named(host: Host) -> Host:
    """A host that we did not set up keeps the names it has, whatever the inventory calls it."""
    own = str(host.fabric.get("hostname") or "")
    if not own or host.wish.get("hostname"):
        return host
    fqdn = host.wish.get("fqdn") or host.fabric.get("fqdn") or own
    return host._replace(wish={**host.wish, "hostname": own, "fqdn": fqdn})


def address_faults(nodes: t.Sequence[Node]) -> list[Fault]:
    """Data addresses with which the nodes can't find each other."""
    found: list[Fault] = []
    owners: dict[str, str] = {}
    for node in nodes:
        if len(nodes) > 1 and node.address and line_check.is_loopback(node.address):
            found.append(Fault(f"the data address {node.address} is a loopback one: set trainmesh_address", node.name))
        other = owners.setdefault(node.address, node.name)
        if other != node.name:
            advice = "two lines of the inventory lead to one machine, or trainmesh_address must tell them apart"
            found.append(Fault(f"the data address {node.address} is also that of {other}: {advice}", node.name))
    return found


def _check_cluster(cluster: Cluster, hosts: t.Sequence[Host], draft: Draft, ssh_trust: str) -> None:
    """What can only be judged over all nodes together."""
    draft.faults += address_faults(cluster.nodes)
    homes = homes_of(cluster, hosts)
    for home in homes if ssh_trust == "ca" else []:
        found = f"{', '.join(home)} have one home, and so one key for all their certificates"
        draft.faults.append(Fault(f"trainmesh_ssh_trust: ca: {found}: give each a home of its own, or set keys"))
    draft.reasons += [f"{', '.join(home)} have one home: {home[0]} writes the ssh files of it" for home in homes]
    same = [node.name for node in cluster.nodes[1:] if node.public_key and node.public_key == cluster.head.public_key]
    if same and cluster.ssh_topology == "head":
        advice = "give each node a home of its own, or make the key of a cloned machine anew, or set mesh"
        found = f"{', '.join(same)} would log in too, having the key of the head"
        draft.faults.append(Fault(f"trainmesh_ssh_topology: head: {found}: {advice}"))
    without = [node.name for node in cluster.nodes if not node.gpus]
    if without and len(without) < len(cluster.nodes):
        advice = "take them out, or set trainmesh_torch_build: cpu to train on CPUs only"
        draft.faults.append(Fault(f"no GPU found, while other nodes have some; {advice}", *without))
    if not cluster.equal_slots:
        slots = ", ".join(f"{node.name} {node.slots}" for node in cluster.nodes)
        draft.warnings.append(f"the nodes have unlike slots ({slots}): the slowest sets the pace")
    port = cluster.master_port
    for host in hosts:
        if plan_nodes.may_be_given_away(host, port):
            draft.reasons.append(f"{host.name}: port {port} is reserved, as its ephemeral range covers it")
        if port in ((host.fabric.get("sshd") or {}).get("ports") or []):
            draft.faults.append(
                Fault(f"trainmesh_master_port {port} is the port of its sshd: choose another", host.name)
            )


def _data(cluster: Cluster, options: Options, managed: bool, hosts: t.Sequence[Host]) -> dict[str, t.Any]:
    """The plain data that the roles read."""
    reserving = {host.name for host in hosts if plan_nodes.may_be_given_away(host, cluster.master_port)}
    homes = {name: home for home in homes_of(cluster, hosts) for name in home}
    return {
        "managed": managed,
        "head": cluster.head.name,
        "master": {"address": cluster.master_address, "port": cluster.master_port},
        "order": [node.name for node in cluster.nodes],
        "world_size": cluster.world_size,
        "user": cluster.user,
        "prefix": cluster.prefix,
        "precision": cluster.precision,
        "launchers": list(cluster.launchers),
        "gpus": cluster.gpus,
        "hosts_entries": ssh.hosts_entries(cluster),
        "files": node_files.shared_files(cluster),
        "ssh": {
            "authorized_keys": ssh.authorized_keys(cluster),
            "known_hosts": ssh.known_hosts(cluster),
            "config": ssh.client_config(cluster),
            "revoked": "",
        },
        "firewall": options["firewall"],
        "cloud_init": options["cloud_init"],
        "probe_ports": [cluster.master_port, HIGH_PORT],
        "env": sorted(options["env"]),  # the names: values may be secret, and the plan is printed and kept
        "nodes": {
            node.name: {
                **_node_data(cluster, node, managed),
                **_home_data(cluster, node, homes.get(node.name, [])),
                "reserved_port": cluster.master_port if node.name in reserving else 0,
            }
            for node in cluster.nodes
        },
    }


def homes_of(cluster: Cluster, hosts: t.Sequence[Host]) -> list[list[str]]:
    """The nodes that share a home, each time in rank order; of those not reached nothing is known."""
    known = {host.name: host.identity for host in hosts if host.identity}
    return shared_home.groups(
        [
            shared_home.Place(
                node.name,
                known[node.name].get("ssh_directory") or {},
                node.public_key,
                {node.address, *node.addresses, *node.sources},
                {node.name, *node.names},
            )
            for node in cluster.nodes
            if node.name in known
        ]
    )


def _home_data(cluster: Cluster, node: Node, home: t.Sequence[str]) -> dict[str, t.Any]:
    """Who writes the ssh files of a home that several nodes have (empty: the node itself), and who has it."""
    if len(home) < 2:
        return {"ssh_home_of": "", "ssh_home": []}
    return {
        "ssh_home_of": home[0] if home[0] != node.name else "",
        "ssh_home": list(home),
        "loopback_key": ssh.loopback_key(cluster.node(home[0]), home),
    }


def _names(node: Node, managed: bool) -> list[str]:
    """What the others call a node: of one that we did not set up, only its own name is known."""
    return list(node.names) if managed else [node.hostname]


def _node_data(cluster: Cluster, node: Node, managed: bool) -> dict[str, t.Any]:
    return {
        "name": node.name,
        "rank": node.rank,
        "address": node.address,
        "addresses": list(dict.fromkeys([node.address, *node.addresses])),
        "ssh_port": node.ssh_port,
        "slots": node.slots,
        "interface": node.interface,
        "hostname": node.hostname,
        "fqdn": node.fqdn,
        "names": _names(node, managed),
        "logs_in": node in cluster.login_sources,
        "gpus": list(node.gpus),
        "reachable": node.reachable,
        "files": node_files.node_files(cluster, node),
        "nccl_conf": nccl_conf(cluster, node),
        "loopback_key": ssh.loopback_key(node),
        # Trust.enter() puts certificates in their place.
        "authority_lines": [],
        "certificate": "",
        "host_certificates": [],
        "sshd_certificates": False,
    }
