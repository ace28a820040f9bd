# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that are part of another cluster."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import hosts_file
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import membership


def block(identity="aaaa1111", head="y1", **nodes):
    rows = nodes or {"y1": "10.0.0.1", "y2": "10.0.0.2"}
    return {"id": identity, "head": head, "nodes": [{"name": n, "address": a} for n, a in rows.items()]}


@pytest.mark.parametrize(
    ("found", "identity", "addresses", "foreign"),
    [
        (block(), "bbbb2222", {"10.0.0.2", "10.0.0.3"}, True),
        (block(), "", {"10.0.0.2", "10.0.0.3"}, True),
        (block(), "aaaa1111", {"10.0.0.2"}, False),  # ours, and a node was taken out
        (block(), "bbbb2222", {"10.0.0.1", "10.0.0.2"}, False),  # the memory was lost, the nodes are the same
        (block(), "", {"10.0.0.1", "10.0.0.2", "10.0.0.3"}, False),  # another controller with a grown inventory
        (block(identity=""), "bbbb2222", {"10.0.0.2"}, False),  # an old block
        (None, "bbbb2222", {"10.0.0.2"}, False),
        ("text", "bbbb2222", set(), False),
    ],
)
def test_a_block_of_another_cluster(found, identity, addresses, foreign):
    assert bool(membership.others({"n": found}, identity, addresses)) is foreign


def test_the_other_cluster_and_the_way_out_are_named():
    said = membership.words("n2", block())
    assert "n2 is part of another cluster (head y1; y1 10.0.0.1, y2 10.0.0.2)" in said
    assert "trainmesh_takeover: true" in said
    many = {f"m{number}": f"10.0.1.{number}" for number in range(40)}
    assert "and 34 more" in membership.words("n2", block(**many))


def test_a_lost_memory_takes_up_the_identity_of_its_nodes():
    assert membership.adopted({"a": block(), "b": block(), "c": None}, {}) == "aaaa1111"
    assert membership.adopted({"a": block(), "b": block("cccc3333")}, {}) == ""
    assert membership.adopted({"a": block()}, {"a": block()}) == ""


def test_the_block_tells_whose_it_is_and_stays_as_it_is():
    entries = [("10.0.0.1", ["y1.x", "y1"]), ("10.0.0.2", ["y2.x", "y2"])]
    text = hosts_file.plan("127.0.0.1 localhost\n", entries, "aaaa1111", "y1").text
    assert hosts_file.block_of(text) == block()
    assert hosts_file.plan(text, entries, "aaaa1111", "y1").text == text
    assert hosts_file.plan(text, entries, "", "").text.count("# cluster") == 0
    assert hosts_file.plan(text, [], "aaaa1111", "y1").text == "127.0.0.1 localhost\n"


@pytest.mark.parametrize("text", ["", "127.0.0.1 localhost\n", "# BEGIN trainmesh.cluster\n"])
def test_no_block_is_no_block(text):
    assert hosts_file.block_of(text) is None


def test_a_block_of_an_earlier_version_has_no_identity():
    text = hosts_file.plan("", [("10.0.0.1", ["y1"])]).text
    assert hosts_file.block_of(text) == block("", "", y1="10.0.0.1")
