# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the report beside the inventory, in each of its forms."""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import file_write
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report.html import html
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report.markdown import markdown

Data = t.Mapping[str, t.Any]
_DEEPEST = 3


def write(directory: str, report: Data, mask_addresses: bool) -> list[str]:
    """Write report.json, report.html and report.md; their paths. Raises OSError when the place can't be written.

    Only the owner may read them: they tell names, addresses and versions of the machines.
    """
    os.makedirs(directory, mode=0o700, exist_ok=True)
    texts = {
        "report.json": as_json(report) + "\n",
        "report.html": html(report),
        "report.md": markdown(report, mask_addresses=mask_addresses),
    }
    for name, text in texts.items():
        file_write.replace(os.path.join(directory, name), text.encode(), 0o600)
    return [os.path.join(directory, name) for name in texts]


def as_json(value: t.Any, indent: str = "") -> str:
    """JSON with a line for each entry of an object and each row of a list: the pairs of many nodes are most of it."""
    within = f"{indent} "
    if isinstance(value, t.Mapping) and len(indent) < _DEEPEST:
        lines = [f"{within}{json.dumps(key)}: {as_json(item, within)}" for key, item in value.items()]
        return _lines("{", lines, f"{indent}}}")
    if isinstance(value, list) and any(isinstance(item, (list, dict)) for item in value):
        return _lines("[", [within + json.dumps(item, separators=(",", ":")) for item in value], f"{indent}]")
    return json.dumps(value, separators=(",", ":"))


def _lines(opening: str, lines: t.Sequence[str], closing: str) -> str:
    return "\n".join([opening, ",\n".join(lines), closing]) if lines else opening + closing.strip()
