# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the terminal shows of the changes."""

from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import changes_text
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.changes import Change

NAME = Change("hosts", "host name", "is ubuntu instead of node4")
BLOCK = Change("hosts", "/etc/hosts block", "not there")
CONFIG, KEYS = (Change("ssh_mesh", what, "not there") for what in ("config", "authorized_keys block"))


def test_a_cluster_as_planned_is_one_line():
    assert changes_text.table({"node1": [], "node2": []}).strip() == "The changes: none, all nodes are as planned."


def test_each_changed_node_has_a_line_and_the_others_share_one():
    text = changes_text.table({"node1": [BLOCK], "node2": [], "n4": [NAME, BLOCK, CONFIG, KEYS]})
    assert text.splitlines()[1:] == [
        "The changes:",
        "  node1  hosts: /etc/hosts block (not there)",
        "  n4     hosts: host name (is ubuntu instead of node4); /etc/hosts block (not there)"
        " | ssh_mesh: config, authorized_keys block (not there)",
        "  no changes on node2",
    ]


def test_ten_lines_for_ten_nodes_and_one_for_two_hundred_others():
    found = {f"node{number}": [BLOCK] if number < 10 else [] for number in range(256)}
    lines = changes_text.table(found).splitlines()
    assert len(lines) == 2 + 10 + 1 and lines[-1] == "  no changes on 246 other nodes"


def test_nodes_that_leave_are_told():
    lines = changes_text.table({"node1": [], "node2": []}, ["node3"]).splitlines()
    assert lines[2].startswith("  node3  leaves: ") and lines[3] == "  no changes on node1, node2"
