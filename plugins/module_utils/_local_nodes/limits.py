# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this machine can hold: disk and memory refuse more nodes, limits of the kernel that they share are told."""

from __future__ import annotations

import os
import re

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.docker import LocalNodesError

GIB = 1024**3
# A node's environment (torch, deepspeed, accelerate) takes 0.85 to 1.1 GB; wheels and image come on top.
DISK_BASE_BYTES = 3 * GIB
DISK_NODE_BYTES = 3 * GIB
# An idle node takes 20 MiB, one rank that trains on a CPU about 0.6 GiB, pulling in torch included.
MEMORY_NODE_BYTES = GIB
INOTIFY = "fs.inotify.max_user_instances"
NEIGHBOURS = "net.ipv4.neigh.default.gc_thresh3"
# Counted on nodes of Debian 12 that run systemd, sshd and a firewall: 6 to 10, all of the one user root.
INSTANCES_PER_NODE = 9


def check_resources(new_nodes: int, disk_path: str, tree: Tree) -> None:
    """Raise :class:`LocalNodesError` when disk or memory cannot hold that many more nodes."""
    while not os.path.exists(disk_path):
        disk_path = os.path.dirname(disk_path)
    stat = os.statvfs(disk_path)
    free, wanted = stat.f_bavail * stat.f_frsize, DISK_BASE_BYTES + new_nodes * DISK_NODE_BYTES
    if free < wanted:
        raise LocalNodesError(
            f"too little disk: {disk_path} has {free / GIB:.1f} GiB free,"
            f" {new_nodes} new nodes with their training environments need {wanted / GIB:.0f} GiB"
        )
    found = re.search(r"^MemAvailable:\s*(\d+)", tree.text("/proc/meminfo") or "", re.MULTILINE)
    available, wanted = int(found[1]) * 1024 if found else 0, new_nodes * MEMORY_NODE_BYTES
    if available < wanted:
        raise LocalNodesError(
            f"too little memory: {available / GIB:.1f} GiB available,"
            f" {new_nodes} new nodes that train need {wanted / GIB:.0f} GiB"
        )


def warnings(systemd_nodes: int, cluster_nodes: int, tree: Tree) -> list[str]:
    """What runs out, with the command that raises it.

    ``systemd_nodes`` are those of every cluster on this machine, ``cluster_nodes`` those of the one that is made: each
    of its nodes, and this machine, keeps an entry for every node in the kernel's one table of neighbours.
    """
    watches, entries = systemd_nodes * INSTANCES_PER_NODE, cluster_nodes * cluster_nodes
    found = []
    for name, count, why in (
        (
            INOTIFY,
            watches,
            f"{systemd_nodes} nodes with systemd take about {watches}, and the last ones would not boot",
        ),
        (NEIGHBOURS, entries, f"{cluster_nodes} nodes that talk to each other take {entries}: connections would fail"),
    ):
        limit = tree.number(f"/proc/sys/{name.replace('.', '/')}")
        if limit is not None and count > limit:
            enough = 2 ** (2 * count - 1).bit_length()
            found.append(f"{name} is {limit} on this machine: {why}. As root: sysctl -w {name}={enough}")
    return found
