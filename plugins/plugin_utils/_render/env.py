# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plain lists and environment files that the launchers read.

Everything here is a pure function of the cluster model. Sources of the formats: DeepSpeed 0.19.8
``launcher/runner.py`` (hostfile, environment file), NCCL 2.30 ``src/misc/param.cc`` (nccl.conf),
pdsh 2.34 (host list), Open MPI 4.1 (parameter file).
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster, Node

PLAIN = re.compile(r"[\w@%+=:,./-]*\Z", re.ASCII)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def hostfile(cluster: Cluster) -> str:
    """DeepSpeed's and Open MPI's hostfile: ``name slots=N`` per node in rank order, and nothing else."""
    return "".join(f"{node.launch_name} slots={node.slots}\n" for node in cluster.nodes)


def host_list(cluster: Cluster) -> str:
    """The node names, one a line in rank order, for ``pdsh -w ^file``."""
    return "".join(f"{node.launch_name}\n" for node in cluster.nodes)


def cluster_env(cluster: Cluster) -> str:
    """What is the same on every node, as ``KEY=VALUE`` lines that sh can source and anything can split.

    All names begin with ``TRAINMESH_``: a person may source the file in a shell, and a stray
    ``WORLD_SIZE`` or ``MASTER_ADDR`` there would make every single-process program wait for peers.
    """
    return plain_lines(
        {
            "TRAINMESH_PREFIX": cluster.prefix,
            "TRAINMESH_PYTHON": cluster.python,
            "TRAINMESH_HEAD": cluster.head.name,
            "TRAINMESH_MASTER_ADDR": cluster.master_address,
            "TRAINMESH_MASTER_PORT": str(cluster.master_port),
            "TRAINMESH_NNODES": str(len(cluster.nodes)),
            "TRAINMESH_WORLD_SIZE": str(cluster.world_size),
            "TRAINMESH_DEVICE": "cuda" if cluster.gpus else "cpu",
            "TRAINMESH_PRECISION": cluster.precision,
            "TRAINMESH_ZERO_STAGE": str(cluster.zero_stage),
            "TRAINMESH_SSH_TOPOLOGY": cluster.ssh_topology,
            "TRAINMESH_SSH_PORTS": ",".join(str(port) for port in sorted({node.ssh_port for node in cluster.nodes})),
        }
    )


def node_env(node: Node) -> str:
    """What is this node's own: its name, ranks and interface.

    Gloo and TensorPipe take the exact interface name, and it may differ on every node, so these
    variables are set by each node for its own ranks and never travel from the head.
    """
    values = {
        "TRAINMESH_NODE_NAME": node.name,
        "TRAINMESH_NODE_RANK": str(node.rank),
        "TRAINMESH_NODE_ADDRESS": node.address,
        "TRAINMESH_NODE_SLOTS": str(node.slots),
    }
    if node.interface:
        values["TRAINMESH_NODE_INTERFACE"] = node.interface
        values["GLOO_SOCKET_IFNAME"] = node.interface
        values["TP_SOCKET_IFNAME"] = node.interface
    return plain_lines(values)


def deepspeed_env(cluster: Cluster) -> str:
    """DeepSpeed's environment file, read by our rank wrapper as well; only ``KEY=VALUE`` lines.

    The caches of compiled kernels stay on the node: on a shared home directory nodes with unlike
    GPUs would load each other's kernels.
    """
    values = {
        "TORCH_EXTENSIONS_DIR": f"{cluster.prefix}/var/cache/torch_extensions",
        "TRITON_CACHE_DIR": f"{cluster.prefix}/var/cache/triton",
    }
    if not cluster.gpus:
        values["DS_ACCELERATOR"] = "cpu"
        values["OMP_NUM_THREADS"] = "1"
    return plain_lines(values)


def nccl_conf(cluster: Cluster, node: Node) -> list[str]:
    """Lines for the node's ``/etc/nccl.conf``; none on a cluster that trains on CPUs.

    The ``=`` makes the name exact: NCCL would take ``eth1`` for a prefix of ``eth10``.
    """
    if not cluster.gpus or not node.interface:
        return []
    return [f"NCCL_SOCKET_IFNAME=={node.interface}"]


def openmpi_params(node: Node) -> str:
    """Open MPI's parameter file: every node names its own interface, for its daemon and for TCP."""
    if not node.interface:
        return ""
    return f"oob_tcp_if_include = {node.interface}\nbtl_tcp_if_include = {node.interface}\n"


def plain_lines(values: t.Mapping[str, str]) -> str:
    """``KEY=VALUE`` lines; ValueError for a value that sh or DeepSpeed would read otherwise."""
    for key, value in values.items():
        if not NAME.match(key) or not PLAIN.match(value):
            raise ValueError(f"{key}={value!r} cannot be written to an environment file: only plain characters can")
    return "".join(f"{key}={value}\n" for key, value in values.items())
