# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run will change, a line a node, for the terminal."""

from __future__ import annotations

import itertools
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.changes import Change

FEW_NAMES = 4


def table(found: t.Mapping[str, t.Sequence[Change]], leaving: t.Sequence[str] = ()) -> str:
    """The changes by node, and which nodes leave; nodes without any share a line."""
    changed = {name: line(rows) for name, rows in found.items() if rows}
    changed.update(dict.fromkeys(leaving, "leaves: all that site.yml has written there is removed"))
    if not changed:
        return "\nThe changes: none, all nodes are as planned."
    width = max(map(len, changed))
    lines = ["", "The changes:", *(f"  {name:<{width}}  {text}" for name, text in changed.items())]
    same = [name for name in found if name not in changed]
    if same:
        names = ", ".join(same) if len(same) <= FEW_NAMES else f"{len(same)} other nodes"
        lines.append(f"  no changes on {names}")
    return "\n".join(lines)


def line(rows: t.Sequence[Change]) -> str:
    """The changes of one node: each role, and what and why."""
    parts = []
    for role, of_role in itertools.groupby(rows, lambda row: row.role):
        by_reason: dict[str, list[str]] = {}
        for row in of_role:
            by_reason.setdefault(row.why, []).append(row.what)
        parts.append(f"{role}: " + "; ".join(f"{', '.join(names)} ({why})" for why, names in by_reason.items()))
    return " | ".join(parts)
