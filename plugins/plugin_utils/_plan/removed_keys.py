# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that are no node's any more, until every node was seen without them.

A node that was down when another one left, made itself a new key, or was no longer to log in (a mesh that becomes a
star, a star with another head), still lets the old key in.
"""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._user import ssh
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster

Facts = t.Mapping[str, t.Any]


class Removed(t.NamedTuple):
    """A key: the node that had it, its public part, and the nodes that may still let it in."""

    name: str
    public_key: str
    nodes: tuple[str, ...]


def still_open(
    before: t.Iterable[Removed],
    memory: t.Mapping[str, Facts],
    cluster: Cluster,
    user_facts: t.Mapping[str, Facts],
    sources: t.Collection[str] = (),
) -> list[Removed]:
    """The removed keys that a node may still have.

    ``before`` are those of earlier runs, ``memory`` the nodes of the last one, and ``sources`` those of them that were
    to log in to others (none named: all); ``user_facts`` are of the nodes that were read in this run, with what their
    files say before anything is changed. A node lets its own key in, from itself. A node that has no key at all has
    lost it, and nobody has removed it.
    """
    own = {node.name: node.public_key for node in cluster.nodes}
    current = {node.public_key for node in cluster.login_sources}
    keyless = {name for name, key in own.items() if not key}
    logged_in = [
        (name, old) for name, old in memory.items() if name not in keyless and (not sources or name in sources)
    ]
    left = [Removed(name, str(old.get("public_key") or ""), tuple(memory)) for name, old in logged_in]
    found: dict[str, Removed] = {}
    for key in (*before, *left):
        others = [name for name in key.nodes if name in own and own[name] != key.public_key]
        holders = tuple(name for name in others if _may_have(key.public_key, user_facts.get(name)))
        if key.public_key and key.public_key not in current and holders:
            found.setdefault(key.public_key, key._replace(nodes=holders))
    return list(found.values())


def _may_have(public_key: str, facts: Facts | None) -> bool:
    """Whether a node was seen with the key, or not seen at all."""
    known, key = (facts or {}).get("authorized_keys"), ssh.public_key(public_key)
    if not isinstance(known, list) or key is None or len(known) >= ssh.MAX_KEYS:
        return True
    return key["fingerprint"] in {item.get("fingerprint") for item in known}


def for_rules(removed: t.Iterable[Removed], unread: t.Container[str]) -> list[dict[str, t.Any]]:
    """What the report is told: keys that nodes keep which this run does not change."""
    rows = []
    for key in removed:
        nodes = [name for name in key.nodes if name in unread]
        fingerprint = (ssh.public_key(key.public_key) or {}).get("fingerprint", "")
        if nodes:
            rows.append({"name": key.name, "fingerprint": fingerprint, "nodes": nodes})
    return rows
