# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on what the hosts of one job say in a log of NCCL: their networks, and whether they came to their start."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import rows, text
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    WARN,
    About,
    Answer,
    Case,
    Data,
    dig,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._nccl_logs import (
    Log,
    in_log,
    logs,
    logs_there,
    worlds,
    writer,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._nccl_worlds import (
    SOCKETS,
    active_port,
    explained,
    link_layers,
    odd,
    ranks_by_host,
    unready_jobs,
    usual_network,
    versions,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files._common import of_unequal_hostfile

# why a node uses sockets where others do not -> rule, cause, remedy
_WHY = {
    "disabled": (
        "ib-disabled-on-ib",
        "NCCL_IB_DISABLE=1 keeps this node from InfiniBand or RoCE, which the other nodes of the job use",
        "Unset NCCL_IB_DISABLE there: in the environment, in trainmesh_env and in /etc/nccl.conf",
    ),
    "library": (
        "ib-libibverbs-missing",
        "NCCL found no libibverbs on this node and took TCP sockets, while the others use InfiniBand or RoCE",
        "Install libibverbs1 and rdma-core there (in the container too)",
    ),
    "hca": (
        "ib-rails-not-connected",
        "NCCL_IB_HCA names no usable adapter of this node, which took TCP sockets while the others use InfiniBand or "
        "RoCE",
        "Unset NCCL_IB_HCA in what all nodes share, and set each node's own adapters in its /etc/nccl.conf "
        "(ibdev2netdev "
        "and ibstat list them)",
    ),
    "no_device": (
        "ib-port-not-active",
        "NCCL found no usable adapter on this node and took TCP sockets, while the others use InfiniBand or RoCE",
        "Run ibstat there: a port must be Active and LinkUp; then ls /dev/infiniband (in the container too) and "
        "NCCL_IB_HCA, which may name an adapter that this node does not have",
    ),
    "other": (
        "nccl-networks-differ",
        "The nodes of one job use different networks and cannot talk to each other",
        "Run the job with NCCL_DEBUG=INFO and compare the lines NET/ of the nodes: the same plugin (LD_LIBRARY_PATH, "
        "NCCL_NET, NCCL_NET_PLUGIN) and an active port have to be on all",
    ),
}


@rule(
    About(
        "nccl-networks-differ",
        layer="nccl",
        severity=FAIL,
        title="The nodes of one job use different networks",
        symptom="`wrong type 4 != 3`, an internal error or a hang",
        source="NT#188, LlamaFactory#3641",
    ),
    "ib-disabled-on-ib",
    "ib-libibverbs-missing",
    "ib-port-not-active",
    "ib-rails-not-connected",
    of_jobs=True,
    applies=logs_there,
)
def unlike_networks(case: Case) -> t.Iterator[Answer]:
    """Sockets here and RDMA there, or InfiniBand here and RoCE there, in one job."""
    for log in logs(case):
        for world in worlds(log):
            for host, network in odd(world).items():
                identity, cause, remedy = _WHY[_why(case, log, world, host)]
                seen = f"{log.path}: Using network {network}, the others {usual_network(world)}"
                yield in_log(case, identity, FAIL, {writer(case, log, host): seen}, (cause, remedy))
            kinds = {} if odd(world) else link_layers(world)
            if kinds:
                found = {writer(case, log, host): f"{log.path}: NET/IB uses {kind}" for host, kind in kinds.items()}
                cause = "Some nodes of the job have InfiniBand adapters only, others RoCE only: they are no one network"
                remedy = (
                    "Set NCCL_IB_HCA on each node (/etc/nccl.conf) to adapters of one link type, or NCCL_IB_DISABLE=1 "
                    "on all nodes if there is none in common"
                )
                yield in_log(case, "ib-rails-not-connected", FAIL, found, (cause, remedy))


def _why(case: Case, log: Log, world: Data, host: str) -> str:
    """Why a host has another network than the others of its job."""
    part = dig(world, "by_host", {}).get(host)
    if odd(world)[host] != SOCKETS:
        return "other"
    if text(part, "environment.NCCL_IB_DISABLE") not in ("", "0"):
        return "disabled"
    warned = [each for each in dig(log.said, "warnings", []) if text(each, "host") == host]
    if any("libibverbs" in text(each, "text") for each in warned):
        return "library"
    if dig(part, "no_device") is True and text(part, "environment.NCCL_IB_HCA"):
        return "hca"
    if dig(part, "no_device") is True and not active_port(case, writer(case, log, host)):
        return "no_device"
    return "other"


@rule(
    About(
        "nccl-init-incomplete",
        layer="nccl",
        severity=WARN,
        title="NCCL began and ranks were never ready",
        symptom="`Init START` of ranks, `Init COMPLETE` of none, or not of all",
        source="NC#2385, vllm#58290",
    ),
    of_jobs=True,
    applies=logs_there,
)
def began_only(case: Case) -> t.Iterator[Answer]:
    """Ranks that began and were never ready, with no word why; unequal slots in a hostfile tell it themselves.

    Where others were ready, the late ones hang while they set up their connections.
    """
    for log, world in unready_jobs(logs(case)):
        if of_unequal_hostfile(case, dig(world, "nranks")):
            continue
        ranks = ranks_by_host(case, log, world)
        words = "; ".join(f"{name}: {count} ranks" for name, count in ranks.items())
        seen = f"{log.path}: {len(dig(world, 'started', {}))} of {dig(world, 'nranks')} ranks began, none was ready"
        cause = "The ranks wait for each other: some never came, or the log ends before they were ready"
        remedy = (
            "Count Init START in the logs of all nodes: those that have fewer than ranks were not started or cannot "
            "reach rank 0; py-spy dump --pid PID shows where a rank waits"
        )
        if len(set(ranks.values())) > 1:
            cause = (
                "The nodes have unequal numbers of ranks, with which NCCL 2.31 hangs before the first exchange (here: "
                f"{versions(world) or 'version not in the log'})"
            )
            remedy = "Give every node the same number of ranks (trainmesh_slots, slots=), or take another NCCL"
        found = {log.path: f"{seen} ({words})" if words else seen}
        yield in_log(case, "nccl-init-incomplete", WARN, found, (cause, remedy))
    for log in logs(case):
        for world in worlds(log):
            late = dig(world, "late", {})
            if not late or rows(world, "causes") or dig(world, "superseded") or explained(world):
                continue
            who = ", ".join(f"{rank} ({writer(case, log, str(host))})" for rank, host in list(late.items())[:16])
            seen = f"{log.path}: {len(late)} of {dig(world, 'nranks')} ranks began and were not ready: {who}"
            cause = "Some ranks were ready and others never: they hang while they set up their connections, or the log "
            cause += "ends before"
            remedy = (
                "py-spy dump --pid PID shows where such a rank waits; NCCL_P2P_DISABLE=1, NCCL_SHM_DISABLE=1 or "
                "NCCL_IB_DISABLE=1, tried one at a time, tells which way it waits for (GPUs, /dev/shm, adapters): "
                "then mend that and unset them"
            )
            yield in_log(case, "nccl-init-incomplete", WARN, {log.path: seen}, (cause, remedy))
