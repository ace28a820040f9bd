# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which parts of the role gpu_software each host has chosen, by its variables alone."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory.variables import PREFIX

# Each part is a file of tasks in the role, run in this order; any of its variables chooses it.
PARTS: dict[str, tuple[str, ...]] = {
    "node_base": ("node_base", "user_uid"),
    "driver": ("driver",),
    "toolkit": ("cuda_toolkits",),
    "libraries": ("cudnn", "nccl"),
}


def chosen(hosts: t.Mapping[str, t.Mapping[str, t.Any]]) -> dict[str, list[str]]:
    """The parts of each host that has chosen any."""
    found = {
        name: [part for part, names in PARTS.items() if any(values.get(PREFIX + short) for short in names)]
        for name, values in hosts.items()
    }
    return {name: parts for name, parts in found.items() if parts}
