# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every file of launch configuration that the nodes get, but for job.env.

That one may hold secrets, which the plan must not: the role makes it from the inventory.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster, Node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render import accelerate, env
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render.activate import activate
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render.deepspeed import deepspeed_files


def shared_files(cluster: Cluster) -> list[dict[str, str]]:
    """The files that are the same on every node: V(path) relative to the prefix, V(content), V(mode).

    Raises ValueError when a value of the model or of the user cannot be written safely.
    """
    return _files(
        {
            "activate": activate(cluster),
            "etc/hostfile": env.hostfile(cluster),
            "etc/hosts": env.host_list(cluster),
            "etc/cluster.env": env.cluster_env(cluster),
            "etc/deepspeed_env": env.deepspeed_env(cluster),
            "etc/cluster.json": json.dumps(describe(cluster), indent=2) + "\n",
            **{f"etc/accelerate/{name}": text for name, text in accelerate.shared_files(cluster).items()},
            **{f"etc/deepspeed/{name}": text for name, text in deepspeed_files(cluster).items()},
        }
    )


def node_files(cluster: Cluster, node: Node) -> list[dict[str, str]]:
    """The files of ``node`` alone, as shared_files() gives them."""
    return _files(
        {
            "etc/node.env": env.node_env(node),
            "etc/openmpi-mca-params.conf": env.openmpi_params(node),
            **{f"etc/accelerate/{name}": text for name, text in accelerate.node_files(cluster, node).items()},
        }
    )


def _files(texts: t.Mapping[str, str]) -> list[dict[str, str]]:
    return [{"path": path, "content": texts[path], "mode": "0644"} for path in sorted(texts)]


def describe(cluster: Cluster) -> dict[str, t.Any]:
    """The cluster in short, for programs on the nodes; ranks are the global ranks of each node."""
    nodes = []
    first = 0
    for node in cluster.nodes:
        nodes.append(
            {
                "name": node.name,
                "node_rank": node.rank,
                "ranks": list(range(first, first + node.slots)),
                "address": node.address,
                "ssh_port": node.ssh_port,
                "interface": node.interface,
                "gpus": list(node.gpus),
                "gpu_memory_mib": node.gpu_memory_mib,
                # whole GiB: the last bytes change with each kernel
                "memory_gib": None if node.memory_bytes is None else node.memory_bytes >> 30,
            }
        )
        first += node.slots
    return {
        "head": cluster.head.name,
        "master_address": cluster.master_address,
        "master_port": cluster.master_port,
        "world_size": cluster.world_size,
        "precision": cluster.precision,
        "zero_stage": cluster.zero_stage,
        "nodes": nodes,
    }
