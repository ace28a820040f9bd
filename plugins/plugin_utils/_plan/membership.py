# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether nodes are part of another cluster, by the block in their hosts file.

A machine has one host name, one block and one key, so that it can serve one cluster only. A controller that
has lost its memory, or another one with the same inventory, has the same cluster: all nodes of the block are its own.
"""

from __future__ import annotations

import typing as t

Block = t.Mapping[str, t.Any]
MOST = 6


def others(blocks: t.Mapping[str, t.Any], identity: str, addresses: t.Container[str]) -> dict[str, Block]:
    """The blocks that are of another cluster, by node.

    ``blocks`` are the facts of the nodes, ``identity`` is this cluster's (empty when it has none yet), ``addresses``
    are those of its nodes, the remembered ones too. A block without an identity is an old one and tells nothing.
    """
    found = {}
    for name, block in blocks.items():
        if isinstance(block, t.Mapping) and block.get("id") and block["id"] != identity:
            strangers = [node for node in block.get("nodes") or [] if node.get("address") not in addresses]
            if strangers:
                found[name] = block
    return found


def adopted(blocks: t.Mapping[str, t.Any], foreign: t.Container[str]) -> str:
    """The identity that the nodes of this cluster have already; empty when there is none, or more than one."""
    known = {
        str(block["id"])
        for name, block in blocks.items()
        if isinstance(block, t.Mapping) and block.get("id") and name not in foreign
    }
    return known.pop() if len(known) == 1 else ""


def words(name: str, block: Block) -> str:
    """What a node is part of, and the way out."""
    nodes = [f"{node.get('name')} {node.get('address')}" for node in block.get("nodes") or []]
    rest = f" and {len(nodes) - MOST} more" if len(nodes) > MOST else ""
    return (
        f"{name} is part of another cluster (head {block.get('head')}; {', '.join(nodes[:MOST])}{rest}), as its "
        "/etc/hosts says: that one would lose it. Take the host out of this inventory, or set trainmesh_takeover: true"
    )
