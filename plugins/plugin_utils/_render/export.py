# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that need nothing of a node but its place in the cluster, for use without site.yml."""

from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import hosts_file
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render import accelerate, env, ssh
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render.deepspeed import deepspeed_files


def files(cluster: Cluster) -> dict[str, str]:
    """Path to content. The ssh configuration names no key: those that the nodes have are made by site.yml."""
    entries = [(entry["address"], entry["names"]) for entry in ssh.hosts_entries(cluster)]
    texts = {
        "hostfile": env.hostfile(cluster),
        "etc_hosts": hosts_file.plan("", entries).text,
        "ssh_config": ssh.host_blocks(cluster),
        **{f"accelerate/{name}": text for name, text in accelerate.shared_files(cluster).items()},
        **{f"deepspeed/{name}": text for name, text in deepspeed_files(cluster).items()},
    }
    for node in cluster.nodes:
        for name, text in accelerate.node_files(cluster, node).items():
            texts[f"accelerate/rank{node.rank}/{name}"] = text
    return texts
