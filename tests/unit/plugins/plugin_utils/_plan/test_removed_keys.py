# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that were removed are remembered until every node was seen without them."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._user import ssh
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import cluster as plan_cluster
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import removed_keys, state
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.removed_keys import Removed
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import plan as rules_plan
from ansible_collections.trainmesh.cluster.tests.unit.samples.clusters import host, options, public_key


def public(number):
    return public_key(f"key {number}")


def machine(number, key=None, reached=True):
    found = host(number, reached=reached)
    return found._replace(identity={**found.identity, "public_key": key or public(number)}) if reached else found


def facts(*keys):
    return {"authorized_keys": [ssh.public_key(key) for key in keys]}


def cluster(*hosts, memory=None, **wish):
    return plan_cluster.make(list(hosts), options(**wish), memory or {})["model"]


def remembered(model):
    return {node.name: node.remembered() for node in model.nodes}


THREE = cluster(machine(1), machine(2), machine(3))


def test_a_key_is_remembered_until_each_node_was_seen_without_it():
    memory = remembered(THREE)
    nodes = cluster(machine(1), machine(3, reached=False), memory=memory)
    before = removed_keys.still_open([], memory, nodes, {"node1": facts(public(1), public(2))})
    assert before == [Removed("node2", public(2), ("node1", "node3"))]
    memory = {name: memory[name] for name in ("node1", "node3")}
    second = removed_keys.still_open(before, memory, nodes, {"node1": facts(public(1))})
    assert second == [Removed("node2", public(2), ("node3",))], "node3 was down all the time"
    nodes = cluster(machine(1), machine(3), memory=memory)
    third = removed_keys.still_open(second, memory, nodes, {"node1": facts(), "node3": facts(public(2))})
    assert third == second, "it is back, and had the key when it was read"
    assert removed_keys.still_open(third, memory, nodes, {"node1": facts(), "node3": facts(public(3))}) == []


def test_the_old_key_of_a_node_with_a_new_one_is_a_removed_key():
    nodes = cluster(machine(1), machine(2, key=public("new")), machine(3))
    seen = {name: facts(public(1), public(2), public(3)) for name in ("node1", "node2", "node3")}
    (found,) = removed_keys.still_open([], remembered(THREE), nodes, seen)
    assert (found.name, found.public_key) == ("node2", public(2))


def test_a_node_that_comes_back_with_its_key_is_none_that_left():
    old = [Removed("node2", public(2), ("node1",))]
    assert removed_keys.still_open(old, {}, THREE, {}) == []


def test_nodes_that_joined_later_or_left_hold_nothing():
    old = [Removed("node9", public(9), ("node8",))]
    assert removed_keys.still_open(old, {}, THREE, {}) == []


@pytest.mark.parametrize("known", [{}, {"authorized_keys": None}])
def test_files_that_were_not_read_say_nothing(known):
    old = [Removed("node9", public(9), ("node1",))]
    assert removed_keys.still_open(old, {}, THREE, {"node1": known}) == old


def test_the_keys_are_in_the_state_file(tmp_path):
    path, keys = str(tmp_path / "cluster.json"), (Removed("node9", public(9), ("node1",)),)
    hosts = {node.name: node.address for node in THREE.nodes}
    assert state.load(path, "all", hosts).removed == ()
    state.save(path, state.text(THREE, "id", "all", [], keys))
    memory = state.load(path, "all", hosts)
    assert memory.removed == keys and list(memory.nodes) == ["node1", "node2", "node3"]
    other = state.text(THREE, "id", "all", [], [])
    assert "removed_keys" not in other, "an old release reads it as before"
    (tmp_path / "cluster.json").write_text(other.replace('"format"', '"removed_keys": [1], "format"'))
    with pytest.raises(ValueError, match="can't be read"):
        state.load(path, "all", hosts)


def test_only_nodes_that_this_run_does_not_change_are_told():
    rows = removed_keys.for_rules([Removed("node9", public(9), ("node1", "node3"))], ["node3"])
    (found,) = rules_plan.kept_keys(Case(plan={"removed_keys": rows}))
    assert (found.rule, found.severity, found.hosts) == ("ssh-key-removed-kept", "warn", ("node3",))
    assert "node9 (SHA256:" in found.evidence["node3"]
    assert not list(rules_plan.kept_keys(Case(plan={"removed_keys": []})))
    assert not list(rules_plan.kept_keys(Case(plan={})))


def test_the_keys_of_the_workers_are_removed_ones_when_a_mesh_becomes_a_star():
    star, memory = cluster(machine(1), machine(2), machine(3), ssh_topology="head"), remembered(THREE)
    every = facts(public(1), public(2), public(3))
    found = removed_keys.still_open([], memory, star, {"node1": every, "node2": every})
    assert found == [
        Removed("node2", public(2), ("node1", "node3")),
        Removed("node3", public(3), ("node1", "node2")),
    ], "node3 was down, and no node is told of its own key"
    seen = {f"node{number}": facts(public(1), public(number)) for number in (1, 2)}
    assert removed_keys.still_open(found, memory, star, seen, ["node1"]) == [found[0]._replace(nodes=("node3",))]
    assert removed_keys.still_open(found, memory, THREE, {}, ["node1"]) == [], "a mesh again"


def test_a_star_has_nothing_to_remember_of_its_workers_but_of_its_old_head():
    down = {"node1": facts(public(1)), "node2": facts(public(1), public(2))}
    star = cluster(machine(1), machine(2), machine(3, reached=False), memory=remembered(THREE), ssh_topology="head")
    assert removed_keys.still_open([], remembered(star), star, down, ["node1"]) == [], "node3 is down, and knows node1"
    moved = cluster(machine(1), machine(2), machine(3), memory=remembered(star), ssh_topology="head", head="node2")
    assert removed_keys.still_open([], remembered(star), moved, down, ["node1"]) == [
        Removed("node1", public(1), ("node2", "node3"))
    ]


def test_the_state_file_tells_who_logged_in(tmp_path):
    path, hosts = str(tmp_path / "cluster.json"), {node.name: node.address for node in THREE.nodes}
    star = cluster(machine(1), machine(2), ssh_topology="head", head="node2")
    for model, sources in ((star, ("node2",)), (THREE, ())):
        state.save(path, state.text(model, "id", "all", [], []))
        assert state.load(path, "all", hosts).login_sources == sources


@pytest.mark.parametrize("read_by", [("node1", "node2", "node3"), ()])
def test_a_node_that_has_lost_its_key_has_not_removed_it(read_by):
    bare = host(2)
    nodes = cluster(machine(1), bare._replace(identity={**bare.identity, "public_key": ""}), machine(3))
    seen = {name: facts(public(1), public(2), public(3)) for name in read_by}
    assert removed_keys.still_open([], remembered(THREE), nodes, seen) == []
