# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller adds to collective_probe."""

from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.action.collective_probe import ActionModule
from ansible_collections.trainmesh.cluster.tests.unit.samples import actions


def test_the_nodes_of_the_run_take_part_and_nothing_is_kept_of_a_single_node(monkeypatch):
    result, given = actions.run(monkeypatch, ActionModule, {"ok": True, "sweep": []}, timeout=60)
    assert [node["name"] for node in given["nodes"]] == ["node1", "node2"]
    assert given["nodes"][1] == {
        "name": "node2",
        "ssh_name": "host2",
        "address": "10.0.0.2",
        "slots": 8,
        "interface": "eth0",
    }
    assert (given["port"], given["timeout"], result) == (29500, 60, {"ok": True, "sweep": []})
