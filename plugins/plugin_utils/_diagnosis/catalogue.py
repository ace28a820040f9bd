# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue of faults, ``data/rules.json``.

Every fault that this collection knows has an entry, whether a rule looks for it, a role prevents it, or it is out of
scope: docs/rules.md shows them all. The file is made of what stands beside the rules and of ``data/unchecked.json``
by scripts/render_docs.py, so that a reader of the catalogue need not load every rule.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat import tables
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import rule as diagnosis_rule

DATA = pathlib.Path(__file__).parent / "data"
Entry = t.Mapping[str, t.Any]
RULE, PREVENTED, SCOPE = "rule", "prevented", "scope"
HOMES = (RULE, PREVENTED, SCOPE)
_MADE = "Made by scripts/render_docs.py of the rules themselves and of unchecked.json: change those."


@functools.cache
def entries() -> dict[str, Entry]:
    """All entries by id, in the order of the file; read once. Treat it as read-only."""
    return {one["id"]: one for one in tables.table("rules", DATA)["rules"]}


def entry(rule_id: str) -> Entry | None:
    """Layer, title, symptom, severity, also, source, home and where of an id; None for an unknown one."""
    return entries().get(rule_id)


def text() -> str:
    """What ``data/rules.json`` should hold, an entry in a line. Every rule must have been loaded."""
    unchecked = tables.table("unchecked", DATA)
    rows = [{**dataclasses.asdict(about), "home": RULE} for about in diagnosis_rule.ABOUT.values()]
    rows = sorted([*rows, *unchecked["rules"]], key=lambda row: (diagnosis_rule.LAYERS.index(row["layer"]), row["id"]))
    head = {"source": unchecked["source"], "date": unchecked["date"], "notes": [_MADE]}
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    return json.dumps(head, indent=2)[:-2] + ',\n  "rules": [\n    ' + ",\n    ".join(lines) + "\n  ]\n}\n"
