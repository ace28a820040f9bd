# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of this machine's kernel that many embedded nodes share."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.model import LATER_SETTINGS

INOTIFY = "fs.inotify.max_user_instances"
NEIGHBOURS = "net.ipv4.neigh.default.gc_thresh3"
# Counted on nodes of Debian 12 that run systemd, sshd and a firewall: 6 to 10, all of the one user root.
INSTANCES_PER_NODE = 9


def warnings(systemd_nodes: int, cluster_nodes: int, tree: Tree) -> list[str]:
    """What runs out, with the command that raises it.

    ``systemd_nodes`` are those of every cluster on this machine, ``cluster_nodes`` those of the one that is made: each
    of its nodes, and this machine, keeps an entry for every node in the kernel's one table of neighbours.
    """
    wanted = {INOTIFY: systemd_nodes * INSTANCES_PER_NODE, NEIGHBOURS: cluster_nodes * cluster_nodes}
    why = {
        INOTIFY: f"{systemd_nodes} nodes with systemd take about {wanted[INOTIFY]}, and the last ones would not boot",
        NEIGHBOURS: f"{cluster_nodes} nodes that talk to each other take {wanted[NEIGHBOURS]}: connections would fail",
    }
    found = []
    for name, count in wanted.items():
        limit = tree.number(f"/proc/sys/{name.replace('.', '/')}")
        if limit is not None and count > limit:
            enough = 2 ** (2 * count - 1).bit_length()
            found.append(f"{name} is {limit} on this machine: {why[name]}. As root: sysctl -w {name}={enough}")
    return found


def count_systemd(settings: t.Iterable[str]) -> int:
    """How many nodes with these settings (the JSON of their labels) run systemd, as those do that do not say."""
    found = 0
    for text in settings:
        try:
            found += {**LATER_SETTINGS, **json.loads(text)}["init"] == "systemd"
        except (ValueError, TypeError):
            found += 1
    return found
