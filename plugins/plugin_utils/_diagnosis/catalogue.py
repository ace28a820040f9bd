# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue of faults, ``data/rules.json``.

Every fault that this collection knows has an entry, whether a rule looks for it, a role prevents it, or it is out of
scope: docs/rules.md shows them all.
"""

from __future__ import annotations

import functools
import pathlib
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat import tables

DATA = pathlib.Path(__file__).parent / "data"
Entry = t.Mapping[str, t.Any]
RULE, PREVENTED, SCOPE = "rule", "prevented", "scope"
HOMES = (RULE, PREVENTED, SCOPE)


@functools.cache
def entries() -> dict[str, Entry]:
    """All entries by id, in the order of the file; read once. Treat it as read-only."""
    return {one["id"]: one for one in tables.table("rules", DATA)["rules"]}


def entry(rule_id: str) -> Entry | None:
    """Layer, title, symptom, severity, source, home and where of an id; None for an unknown one."""
    return entries().get(rule_id)


__all__ = ("HOMES", "PREVENTED", "RULE", "SCOPE", "Entry", "entries", "entry")
