# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of a node as they would be if it had said nothing once for all nodes: module_utils _base/alike.

What a node gives as common is restored from what it was asked for. The rows that all nodes have in common are one
object here, which nobody may change.
"""

from __future__ import annotations

import functools
import json
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import alike
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import ssh
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import timed

Facts = t.Mapping[str, t.Any]
FABRIC, USER = "trainmesh_facts_fabric", "trainmesh_facts_user"


class Asked(t.NamedTuple):
    """What all nodes of a run were asked for: by inventory_check."""

    names: tuple[str, ...]
    peers: tuple[str, ...]
    addresses: tuple[str, ...]
    authorized_keys: tuple[str, ...]


def asked(inventory: t.Any) -> Asked:
    """From the answer of inventory_check; nothing where there was none."""
    given = inventory if isinstance(inventory, t.Mapping) else {}
    nodes = given.get("node_facts") or {}
    texts = (*(nodes.get(key) for key in ("names", "peers", "addresses")), given.get("authorized_keys"))
    return Asked(*(tuple(map(str, found or ())) for found in texts))


def facts(found: Facts, inventory: t.Any) -> Facts:
    """All facts of one node; what is misshapen in them stays as it is."""
    parts = {FABRIC: _fabric, USER: _user}
    common = {part: dict_in(dict_in(found, part), "alike") for part in parts}
    if not any(common.values()):
        return found
    known = asked(inventory)
    return {**found, **{part: whole(found[part], common[part], known) for part, whole in parts.items() if common[part]}}


def answer(found: t.Any) -> t.Any:
    """What a probe has said, which may have come as one text; nothing where that is not its text."""
    if not isinstance(found, t.Mapping) or "folded" not in found:
        return found
    try:
        said = json.loads(found["folded"])
    except (TypeError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def mesh(row: t.Any, common: t.Any, nodes: t.Mapping[str, t.Any]) -> t.Any:
    """The row of mesh_probe with the targets that are alike; ``nodes`` are those of the plan."""
    if not isinstance(row, t.Mapping) or not isinstance(common, t.Mapping):
        return row
    own = {name: (str(node["hostname"]), str(node["address"])) for name, node in nodes.items()}
    try:
        every = {**timed.restored(common, own), **row}
    except (TypeError, ValueError, OverflowError):
        return row
    return {name: every[name] for name in dict.fromkeys([*nodes, *every]) if name in every}


def dict_in(data: Facts, key: str) -> Facts:
    """The mapping under a key, or an empty one."""
    value = data.get(key)
    return value if isinstance(value, t.Mapping) else {}


def _fabric(part: Facts, common: Facts, known: Asked) -> Facts:
    block = dict_in(part, "cluster_block")
    nodes = [node for node in block.get("nodes") or () if isinstance(node, t.Mapping)]
    every = _rows({str(node.get("name")): node for node in nodes}, {"names": common.get("cluster_block")}, known)
    resolution = {"names": common.get("resolution"), "others": common.get("resolution_of_peers")}
    return {
        **part,
        "resolution": _rows(part.get("resolution"), resolution, known),
        "routes": _rows(part.get("routes"), {"peers": common.get("routes")}, known),
        **({"cluster_block": {**block, "nodes": [*every.values()]}} if common.get("cluster_block") else {}),
    }


def _user(part: Facts, common: Facts, known: Asked) -> Facts:
    client = dict_in(part, "ssh_client")
    targets = _rows(client.get("targets"), {"names": common.get("targets")}, known)
    keys = part.get("authorized_keys")
    if common.get("authorized_keys"):
        keys = _keys(keys, dict_in(common, "authorized_keys"), known)
    return {**part, "ssh_client": {**client, "targets": targets}, "authorized_keys": keys}


def _rows(rows: t.Any, common: t.Mapping[str, t.Any], known: Asked) -> t.Any:
    """These rows, and those that are alike: of the names, the peers, or the peers that are no names."""
    given = {kind: said for kind, said in common.items() if isinstance(said, t.Mapping)}
    if not isinstance(rows, t.Mapping) or not given:
        return rows
    try:
        rest = _restored(tuple((kind, str(said["form"])) for kind, said in given.items()), known)
        without = frozenset(str(name) for said in given.values() for name in said["without"])
    except (KeyError, TypeError, ValueError):
        return rows
    if without:
        rest = {name: row for name, row in rest.items() if name not in without}
    return {**rest, **rows} if rows else rest


@functools.lru_cache(maxsize=64)
def _restored(forms: tuple[tuple[str, str], ...], known: Asked) -> dict[str, t.Any]:
    names, peers = alike.by_name(known.names, known.addresses), alike.by_peer(known.peers, known.addresses)
    others = {peer: own for peer, own in peers.items() if peer not in names}
    of_kind = {"names": names, "peers": peers, "others": others}
    return {name: row for kind, form in forms for name, row in alike.restored(form, of_kind[kind]).items()}


def _keys(rows: t.Any, common: Facts, known: Asked) -> list[t.Any] | None:
    """The keys with those of all nodes where they stand; None, which is not known, where these can't be restored."""
    at, ours = common.get("at"), _of_lines(known.authorized_keys)
    if not isinstance(rows, list) or not isinstance(at, int) or not ours:
        return None
    return [*rows[:at], *({**row, "file": common.get("file")} for row in ours), *rows[at:]]


@functools.lru_cache(maxsize=4)
def _of_lines(lines: tuple[str, ...]) -> list[dict[str, t.Any]]:
    return [row for line in lines if (row := ssh.public_key(line))]
