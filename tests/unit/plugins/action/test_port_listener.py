# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller adds to port_listener."""

from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.action.port_listener import ActionModule
from ansible_collections.trainmesh.cluster.tests.unit.samples import actions


def test_it_listens_until_every_node_of_the_run_has_called(monkeypatch):
    _result, given = actions.run(monkeypatch, ActionModule, {"problems": {}}, link_port=61999)
    assert given == {
        "link_port": 61999,
        "address": "10.0.0.2",
        "ports": [29500, 61999],
        "name": "node2",
        "token": "5f3a",
        "callers": 2,
        "peers": "10.0.0.1,192.168.0.1,10.0.0.2,192.168.0.2",
        "seconds": 310,
    }


def test_what_a_cache_of_facts_holds_of_an_earlier_run_is_dropped(monkeypatch):
    old = {"ansible_facts": {"trainmesh_facts_verify": {"mesh": {"row": {}}, "records": {"records": []}}}}
    variables = {"trainmesh_plan": actions.PLAN, **old}
    result, _given = actions.run(monkeypatch, ActionModule, {"problems": {}}, variables=variables)
    assert result["ansible_facts"] == {"trainmesh_facts_verify": {"listener": {"problems": {}}}}


def test_the_end_of_listening_needs_no_plan_and_leaves_no_fact(monkeypatch):
    told = {"state": "stopped", "name": "node2", "token": "5f3a"}
    result, given = actions.run(monkeypatch, ActionModule, {"stopped": True}, **told)
    assert (given, result) == (told, {"stopped": True})
