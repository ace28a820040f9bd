# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller remembers of a cluster between runs.

It keeps ranks where they were, and lets a run go on when a node is down or left out by --limit:
the others keep its key, its line and its rank. Keys that were removed stand there until no node has them any more.
The inventory stays the only truth about who belongs.
Groups of one inventory, and inventories of one directory, share the file: each run replaces its own cluster only.
"""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import file_write
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster, Node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import node_check
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.removed_keys import Removed

FORMAT = 1


class Memory(t.NamedTuple):
    """What is remembered of one cluster: its nodes by name in rank order, its identity, its prefix.

    ``others`` are the clusters of other groups and inventories that share the file, as they stand there.
    """

    nodes: dict[str, dict[str, t.Any]]
    identity: str
    prefix: str
    others: list[dict[str, t.Any]]
    removed: tuple[Removed, ...] = ()  # keys that are no node's any more
    login_sources: tuple[str, ...] = ()  # of a star; empty: all nodes


def load(path: str, group: str, hosts: t.Mapping[str, str]) -> Memory:
    """What is remembered of the cluster of these hosts (name and address) in this group; empty when nothing is.

    Raises ValueError when the file is there but can't be read as ours.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            data = json.load(stream)
        if data["format"] != FORMAT:
            raise KeyError("format")
        others = list(data.pop("others", []))
        return _choose([data, *others], group, hosts)
    except FileNotFoundError:
        return Memory({}, "", "", [])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} can't be read ({error}); restore it, or remove it to number the nodes anew") from None


def _choose(clusters: list[dict[str, t.Any]], group: str, hosts: t.Mapping[str, str]) -> Memory:
    """The cluster that shares most nodes with these hosts.

    That of another group serves only when one group holds all of the other: two groups that share a node are two
    clusters that both want it. An old file tells no group.
    """
    best, most = None, 0
    for cluster in clusters:
        nodes = {node["name"]: node for node in cluster["nodes"]}
        shared = sum(name in hosts or node.get("address") in hosts.values() for name, node in nodes.items())
        own = cluster.get("group") in (group, None)
        # A cluster of the same group comes before any other.
        rank = shared + len(hosts) if shared and own else shared if shared in (len(nodes), len(hosts)) else 0
        if rank > most:
            best, most = cluster, rank
    if best is None:
        return Memory({}, "", "", clusters)
    rest = [cluster for cluster in clusters if cluster is not best or cluster.get("group") not in (group, None)]
    nodes = {node["name"]: node for node in best["nodes"]}
    removed = tuple(map(_removed, best.get("removed_keys") or []))
    sources = tuple(map(str, best.get("login_sources") or []))
    return Memory(nodes, str(best.get("id") or ""), str(best.get("prefix") or ""), rest, removed, sources)


def recall(data: t.Mapping[str, t.Any], rank: int) -> Node:
    """The node of remembered data, marked as not reached by this run. Raises ValueError when it is damaged."""
    try:
        fields: dict[str, t.Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        node = Node(**fields, rank=rank, reachable=False)
    except TypeError as error:
        raise ValueError(f"the memory of {data.get('name')} is damaged ({error})") from None
    wrong = node_check.faults(node)
    if wrong:
        raise ValueError(f"the memory of {node.name} is damaged ({'; '.join(wrong)})")
    return node


def _removed(row: t.Mapping[str, t.Any]) -> Removed:
    return Removed(str(row["name"]), str(row["public_key"]), tuple(map(str, row["nodes"])))


def text(
    cluster: Cluster,
    identity: str,
    group: str,
    others: t.Sequence[t.Mapping[str, t.Any]],
    keys: t.Sequence[Removed] = (),
) -> str:
    """The file's text: this cluster, with the keys that were removed from it, then the others."""
    nodes = [node.remembered() for node in cluster.nodes]
    data = {"format": FORMAT, "group": group, "id": identity, "prefix": cluster.prefix, "nodes": nodes}
    if cluster.ssh_topology != "mesh":
        data["login_sources"] = [node.name for node in cluster.login_sources]
    if keys:
        data["removed_keys"] = [key._asdict() for key in keys]
    return json.dumps({**data, "others": list(others)} if others else data, indent=1, sort_keys=True) + "\n"


def save(path: str, wanted: str) -> None:
    """Write the file at once, unless it says so already."""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as stream:
            if stream.read() == wanted:
                return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    file_write.replace(path, wanted.encode(), 0o600)
