# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller adds to link_probe."""

from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.action.link_probe import ActionModule
from ansible_collections.trainmesh.cluster.tests.unit.samples import actions


def test_links_are_measured_to_the_nodes_of_the_run_on_the_second_port(monkeypatch):
    result, given = actions.run(monkeypatch, ActionModule, {"folded": '{"row": {}}'})
    assert given == {
        "name": "node2",
        "targets": [{"name": "node1", "address": "10.0.0.1"}, {"name": "node2", "address": "10.0.0.2"}],
        "port": 61999,
        "token": "5f3a",
        "fold": True,
    }
    assert result["ansible_facts"] == {"trainmesh_facts_verify": {"links": {"folded": '{"row": {}}'}}}
