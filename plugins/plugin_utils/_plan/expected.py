# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the nodes are expected to say, before they are asked: by the state file of the last run."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import state
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render import ssh


def addresses(hosts: t.Iterable[str], peers: t.Iterable[str], memory: state.Memory) -> list[str]:
    """The data address of each host: that of the last run, else where its peers are told to look."""
    return [str((memory.nodes.get(host) or {}).get("address") or peer) for host, peer in zip(hosts, peers)]


def authorized_keys(memory: state.Memory) -> list[str]:
    """The lines that the last run gave to every node; none where there was none. Raises ValueError."""
    nodes = tuple(state.recall(node, rank) for rank, node in enumerate(memory.nodes.values()))
    topology = "head" if memory.login_sources else "mesh"
    cluster = Cluster(nodes, user="", prefix="", master_port=0, precision="", ssh_topology=topology)
    return ssh.authorized_keys(cluster) if nodes else []
