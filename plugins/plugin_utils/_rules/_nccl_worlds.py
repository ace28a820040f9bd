# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts of one job in a log of NCCL have in common, and what not."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.nccl_failure import ROOT
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import rows, text, texts
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Data, dig
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._nccl_logs import Log, worlds, writer

# What "Using network" says of TCP; everything else is RDMA, or a plugin for it.
SOCKETS = "Socket"
# Failures that only say that the ends do not fit together.
FOLLOWS = ("unlike_networks", "unlike_adapters", "peer_uses_sockets")


def active_port(case: Case, name: str) -> str:
    """The first RDMA port of a node that is active; empty when there is none or it is not known."""
    for device in rows(case.fabric.get(name), "rdma.devices"):
        for port in rows(device, "ports"):
            if dig(port, "state") == "ACTIVE":
                return f"{dig(device, 'name')} port {dig(port, 'port')}"
    return ""


def networks(world: Data) -> dict[str, str]:
    """{host: its network} of a job; a host that names two of them, for two communicators, is left out."""
    found = {}
    for host, part in dig(world, "by_host", {}).items():
        said = texts(part, "networks")
        if len(said) == 1 and host:
            found[str(host)] = said[0]
    return found


def odd(world: Data) -> dict[str, str]:
    """{host: its network} of those that must be changed: they use sockets while as many others do not, or are fewer."""
    found = networks(world)
    if len(set(found.values())) < 2:
        return {}
    counts = {name: list(found.values()).count(name) for name in found.values()}
    usual = max(counts, key=lambda name: (counts[name], name != SOCKETS))
    return {host: name for host, name in found.items() if name != usual}


def usual_network(world: Data) -> str:
    """What the other hosts of the job use."""
    rest = set(networks(world).values()) - set(odd(world).values())
    return ", ".join(sorted(rest))


def apart(log: Log) -> set[str]:
    """The hosts of a log whose network is not that of their job."""
    return {host for world in worlds(log) for host in odd(world)}


def link_layers(world: Data) -> dict[str, str]:
    """{host: IB or RoCE} of a job whose hosts have adapters of one kind each, and not the same; else nothing."""
    found = {}
    for host, part in dig(world, "by_host", {}).items():
        kinds = texts(part, "link_layers")
        if len(kinds) == 1 and host:
            found[str(host)] = kinds[0]
    return found if len(set(found.values())) > 1 else {}


def explained(world: Data) -> bool:
    """Whether unlike networks explain the failures of a job: no line names another cause."""
    causes = rows(world, "causes")
    blunt = all(text(each, "kind") in FOLLOWS or dig(each, "weight", ROOT) > ROOT for each in causes)
    return bool(odd(world) or link_layers(world)) and blunt


def unready(world: Data) -> bool:
    """Whether ranks of a job began and none was ready, and nothing says why."""
    came = dig(world, "complete") or dig(world, "ready") or dig(world, "superseded")
    return bool(dig(world, "started")) and not came and not rows(world, "causes")


def ranks_by_host(case: Case, log: Log, world: Data) -> dict[str, int]:
    """{node: ranks} as far as the ranks that began tell: each host's first one, where hosts have ranks in a row."""
    first: dict[str, int] = {}
    for rank, host in dig(world, "started", {}).items():
        name = writer(case, log, str(host))
        first[name] = min(first.get(name, int(rank)), int(rank))
    order = sorted(first, key=lambda name: first[name])
    total = int(dig(world, "nranks", 0))
    if not order or first[order[0]] != 0:
        return {}
    ends = [*(first[name] for name in order[1:]), total]
    return {name: end - first[name] for name, end in zip(order, ends, strict=True)}


def versions(world: Data) -> str:
    """The versions of NCCL in a job."""
    found = {version for part in dig(world, "by_host", {}).values() for version in texts(part, "nccl_versions")}
    return ", ".join(sorted(found))


def unready_jobs(read: t.Iterable[Log]) -> list[tuple[Log, Data]]:
    """The jobs of the logs whose ranks began and were never ready."""
    return [(log, world) for log in read for world in worlds(log) if unready(world)]
