# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accelerate's configuration files.

Only keys that Accelerate 0.17 and 1.15 both know are written (``commands/config/config_args.py``
refuses unknown ones). ``machine_rank`` is the node's own; everything else is the same on every node
as long as the nodes have equally many slots.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster, Node


def shared_files(cluster: Cluster) -> dict[str, str]:
    """The configuration files that are the same on every node: file name to content."""
    return {"deepspeed_pdsh.yaml": _yaml({**_deepspeed(cluster, 0), "deepspeed_config": _pdsh_plugin(cluster)})}


def node_files(cluster: Cluster, node: Node) -> dict[str, str]:
    """The configuration files that hold the rank of ``node``: file name to content."""
    return {
        "deepspeed_standard.yaml": _yaml(
            {
                **_deepspeed(cluster, node.rank),
                "num_processes": _per_node_total(cluster, node),
                "deepspeed_config": {**_plugin(cluster), "deepspeed_multinode_launcher": "standard"},
            }
        ),
        "multi_gpu.yaml": _yaml({**_torchrun(cluster, node), "mixed_precision": _mixed_precision(cluster)}),
        "cpu.yaml": _yaml({**_torchrun(cluster, node), "mixed_precision": "no", "use_cpu": True}),
    }


def _common(cluster: Cluster, machine_rank: int) -> dict[str, t.Any]:
    """Keys that every file has. ``num_processes`` counts the ranks of all nodes together."""
    return {
        "compute_environment": "LOCAL_MACHINE",
        "num_machines": len(cluster.nodes),
        "num_processes": cluster.world_size,
        "machine_rank": machine_rank,
        "main_process_ip": cluster.master_address,
        "main_process_port": cluster.master_port,
        "rdzv_backend": "static",
        "same_network": True,
    }


def _deepspeed(cluster: Cluster, machine_rank: int) -> dict[str, t.Any]:
    """A DeepSpeed file; ``mixed_precision`` is left out because the DeepSpeed JSON has it."""
    return {"distributed_type": "DEEPSPEED", **_common(cluster, machine_rank)}


def _torchrun(cluster: Cluster, node: Node) -> dict[str, t.Any]:
    """A file for plain data parallelism.

    V(MULTI_GPU) is right for CPUs too: V(MULTI_CPU) starts a single process on each node unless MPI
    does the starting, whereas V(MULTI_GPU) goes through torchrun; ``ACCELERATE_USE_CPU`` in the
    environment then makes all ranks one gloo world (``commands/launch.py``, ``state.py``).
    """
    return {
        "distributed_type": "MULTI_GPU",
        **_common(cluster, node.rank),
        "num_processes": _per_node_total(cluster, node),
    }


def _per_node_total(cluster: Cluster, node: Node) -> int:
    """``num_processes`` such that this node starts as many ranks as it has slots.

    Accelerate gives each node ``num_processes // num_machines`` ranks; torchrun itself adds up
    unlike nodes correctly, so with unlike slots each node is told a total that fits itself.
    """
    return node.slots * len(cluster.nodes)


def _plugin(cluster: Cluster) -> dict[str, t.Any]:
    """The DeepSpeed part that both starting ways share."""
    return {
        "deepspeed_config_file": f"{cluster.prefix}/etc/deepspeed/auto/zero{cluster.zero_stage}.json",
        "zero3_init_flag": cluster.zero_stage == 3,
    }


def _pdsh_plugin(cluster: Cluster) -> dict[str, t.Any]:
    """The DeepSpeed part for pdsh.

    Without a filter Accelerate overrides the hostfile's slots by the same number for every node, so
    unlike slots are spelled out (with explicit slot numbers: DeepSpeed 0.15.2 and later take a bare
    host name for no slots at all).
    """
    plugin = {
        **_plugin(cluster),
        "deepspeed_hostfile": f"{cluster.prefix}/etc/hostfile",
        "deepspeed_multinode_launcher": "pdsh",
    }
    if not cluster.equal_slots:
        plugin["deepspeed_inclusion_filter"] = "@".join(
            f"{node.launch_name}:{','.join(str(slot) for slot in range(node.slots))}" for node in cluster.nodes
        )
    return plugin


def _mixed_precision(cluster: Cluster) -> str:
    """Accelerate's word for the cluster's precision."""
    return "no" if cluster.precision == "fp32" else cluster.precision


def _yaml(values: t.Mapping[str, t.Any], indent: str = "") -> str:
    """A mapping of scalars and mappings as YAML; JSON's scalars are YAML's."""
    lines = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines.append(f"{indent}{key}:\n{_yaml(value, indent + '  ')}")
        else:
            lines.append(f"{indent}{key}: {json.dumps(value)}\n")
    return "".join(lines)
