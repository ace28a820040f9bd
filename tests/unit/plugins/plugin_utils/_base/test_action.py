# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What actions read of the hosts' variables, and how often."""

from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import action


class HostVars(dict):
    """Variables as Ansible has them: put together anew for each question, templates in them only by name."""

    def __init__(self, values):
        super().__init__(values)
        self.asked = []

    def raw_get(self, name):
        self.asked.append(name)
        return {"trainmesh_state": "{{ a_template }}"} if self[name] else {"ansible_facts": {"a": 1}}


def test_a_host_is_asked_for_once():
    hostvars = HostVars({"node1": {}, "node2": {}})
    for _round in range(3):
        assert action.facts(hostvars, "node1") == {"a": 1}
        assert action.stored(hostvars, "node2")["ansible_facts"] == {"a": 1}
    assert hostvars.asked == ["node1", "node2"]
    other = HostVars({"node1": {}})
    assert action.facts(other, "node1") and other.asked == ["node1"]


def test_of_a_plain_mapping_nothing_is_remembered():
    hostvars = {"node1": {"ansible_facts": {"a": 1}}}
    assert action.facts(hostvars, "node1") == {"a": 1}
    hostvars["node1"] = {"ansible_facts": {"a": 2}}
    assert action.facts(hostvars, "node1") == {"a": 2}


def test_a_host_leaves_by_what_its_variable_comes_to():
    hostvars = HostVars({"node1": {"trainmesh_state": "absent"}, "node2": {"trainmesh_state": "present"}, "node3": {}})
    assert [name for name in hostvars if action.is_leaving(hostvars, name)] == ["node1"]
