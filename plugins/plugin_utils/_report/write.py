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


def write(directory: str, report: Data, mask_addresses: bool) -> list[str]:
    """Write report.json, report.html and report.md; their paths. Raises OSError when the place can't be written.

    Only the owner may read them: they tell names, addresses and versions of the machines.
    """
    os.makedirs(directory, mode=0o700, exist_ok=True)
    texts = {
        "report.json": json.dumps(report, indent=1) + "\n",
        "report.html": html(report),
        "report.md": markdown(report, mask_addresses=mask_addresses),
    }
    for name, text in texts.items():
        file_write.replace(os.path.join(directory, name), text.encode(), 0o600)
    return [os.path.join(directory, name) for name in texts]
