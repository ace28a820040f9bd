# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the nodes send, and what the rules get of it."""

from __future__ import annotations

import copy
import dataclasses
import json

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import alike
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import facts as fabric_facts
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import facts as user_facts
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import ssh
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import action, whole
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine, options
from ansible_collections.trainmesh.cluster.tests.unit.samples import clusters, healthy

SECONDS = alike.SECONDS
FABRIC, USER = whole.FABRIC, whole.USER


def lines(names):
    return [
        f'restrict,pty,from="{healthy.address(name)}" {clusters.public_key(name)} trainmesh {name}' for name in names
    ]


def inventory(names):
    """The answer of inventory_check."""
    addresses = [healthy.address(name) for name in names]
    asked = {"names": list(names), "peers": addresses, "addresses": addresses}
    return {"node_facts": asked, "authorized_keys": lines(names)}


def facts_of(name, names):
    """(fabric, user) facts of a node in full; the state of a node that site.yml has set up."""
    fabric = healthy.fabric(name, names)
    own = {other: healthy.answer(healthy.address(other)) for other in names}
    addresses = [healthy.address(other) for other in names]
    block = {"id": "0123abcd", "head": names[0], "nodes": [{"address": healthy.address(o), "name": o} for o in names]}
    fabric.update(
        resolution={**own, **{address: healthy.answer(address) for address in addresses}}, cluster_block=block
    )
    user = healthy.user(name, names)
    target = {"port": 22, "user": "trainer"}
    user["ssh_client"]["targets"] = {other: {"hostname": healthy.address(other), **target} for other in names}
    user["authorized_keys"] = [{**ssh.public_key(line), "file": "/home/trainer/.ssh/x"} for line in lines(names)]
    return fabric, user


def sent(fabric, user, names):
    """What the node sends of them."""
    asked, keys = inventory(names)["node_facts"], ssh.expected(lines(names))
    nets = fabric_facts.Wish(asked["peers"], asked["names"], addresses=asked["addresses"])
    wish = user_facts.Wish(None, asked["names"], (), (), (), "/opt/x", "127.0.0.1", 20.0, asked["addresses"], keys)
    fabric, user = copy.deepcopy(fabric), copy.deepcopy(user)
    return {FABRIC: fabric_facts.folded(fabric, nets), USER: user_facts.folded(user, wish)}


def received(facts, names, **changed):
    hostvars = {"a": {"ansible_facts": facts, "trainmesh_inventory": {**inventory(names), **changed}}}
    return action.facts(hostvars, "a")


def plain(value):
    return json.loads(json.dumps(value, default=dict))


def without_alike(facts):
    return {part: {key: value for key, value in plain(facts[part]).items() if key != "alike"} for part in facts}


def test_a_healthy_node_sends_as_much_among_many_nodes_as_among_few():
    sizes = {}
    for count in (16, 256, 1024):
        names = healthy.named(count)
        sizes[count] = {part: len(json.dumps(facts)) for part, facts in sent(*facts_of("node3", names), names).items()}
        assert all(size < 8000 for size in sizes[count].values()), sizes
    assert sizes[16] == sizes[256] == sizes[1024]


def test_a_row_of_the_mesh_is_little_more_than_its_times():
    names = healthy.named(256)
    own = {name: (name, healthy.address(name)) for name in names}
    row = row_of("node3", names)
    rest, common = alike.fold_timed(row, own)
    assert [*rest] == ["node3"] and len(json.dumps([rest, common])) < 45 * len(names) < len(json.dumps(row)) / 10
    nodes = {name: {"hostname": name, "address": address} for name, address in own.values()}
    assert whole.mesh(rest, common, nodes) == row and [*whole.mesh(rest, common, nodes)] == [*row]


@pytest.mark.parametrize(
    "common", [None, "x", {}, {"form": "{}", "seconds": {"node1": [10**400]}}, {"form": "[" * 999}]
)
def test_a_row_in_other_hands_stays_as_it_is(common):
    assert whole.mesh({"node2": {}}, common, {"node1": {"hostname": "node1", "address": "10.0.0.11"}}) == {"node2": {}}


def test_nothing_of_a_healthy_node_is_lost():
    names = healthy.named(40)
    fabric, user = facts_of("node3", names)
    facts = sent(fabric, user, names)
    found, other = received(facts, names), received(sent(*facts_of("node9", names), names), names)
    assert found[FABRIC]["resolution"] is other[FABRIC]["resolution"]
    assert facts[FABRIC]["resolution"] == facts[FABRIC]["routes"] == facts[USER]["ssh_client"]["targets"] == {}
    assert facts[USER]["authorized_keys"] == facts[FABRIC]["cluster_block"]["nodes"] == []
    assert without_alike(found) == plain({FABRIC: fabric, USER: user})


def odd_resolution(fabric, user):
    fabric["resolution"]["node2"] = healthy.answer("127.0.1.1")
    fabric["resolution"]["elsewhere"] = healthy.answer(error="Name or service not known")


def no_names(fabric, user):
    for name in healthy.named(8):
        fabric["resolution"][name] = healthy.answer(error="Name or service not known")


def odd_route(fabric, user):
    fabric["routes"]["10.0.0.15"] = {"address": "10.0.0.15", "interface": None, "source": None, "reachable": False}


def odd_targets(fabric, user):
    user["ssh_client"]["targets"]["node4"]["port"] = 33
    del user["ssh_client"]["targets"]["node5"]


def key_gone(fabric, user):
    del user["authorized_keys"][2]


def key_more(fabric, user):
    user["authorized_keys"].insert(0, {**ssh.public_key(clusters.public_key("me")), "file": "/elsewhere"})
    user["authorized_keys"].append({**ssh.public_key(f"{clusters.public_key('x')} trainmesh x"), "file": "/h"})


def keys_unknown(fabric, user):
    user["authorized_keys"] = None


def no_block(fabric, user):
    fabric["cluster_block"] = None


def old_block(fabric, user):
    fabric["cluster_block"]["nodes"] = [*fabric["cluster_block"]["nodes"][:3], {"address": "192.0.2.1", "name": "old"}]


ODD = (odd_resolution, no_names, odd_route, odd_targets, key_gone, key_more, keys_unknown, no_block, old_block)


def test_names_that_nobody_knows_are_said_once():
    names = healthy.named(8)
    fabric, user = facts_of("node3", names)
    no_names(fabric, user)
    assert sent(fabric, user, names)[FABRIC]["resolution"] == {}


@pytest.mark.parametrize("change", ODD)
def test_nothing_odd_is_lost(change):
    names = healthy.named(8)
    fabric, user = facts_of("node3", names)
    change(fabric, user)
    assert without_alike(received(sent(fabric, user, names), names)) == plain({FABRIC: fabric, USER: user})


def through_the_wire(case):
    """The case with what the controller makes of the facts as they are sent."""
    names = [str(name) for name in case.order]
    told = {name: received(sent(facts, case.user[name], names), names) for name, facts in case.fabric.items()}
    fabric = {name: facts[FABRIC] for name, facts in told.items()}
    user = {name: facts[USER] for name, facts in told.items()}
    own = {name: (name, healthy.address(name)) for name in names}
    rows = {name: alike.fold_timed(row, own) for name, row in case.mesh.items()}
    assert all(common for _row, common in rows.values())
    mesh = {name: whole.mesh(*given, case.plan["nodes"]) for name, given in rows.items()}
    return dataclasses.replace(case, fabric=fabric, user=user, mesh=mesh)


def row_of(source, names):
    """What mesh_probe finds from a node of a large cluster, by one name of each."""
    row = healthy.row(source, names)
    for number, name in enumerate(names):
        login = healthy.login(seconds=0.2 + number % 50 / 100, addresses=[healthy.address(name)])
        row[name]["ssh"] = {name: login}
    return row


@pytest.mark.parametrize("dead", [0, 2])
def test_the_rules_find_the_same(dead):
    case = healthy.healthy_case(8)
    for name in case.order:
        case.fabric[name]["cluster_block"] = None
        case.user[name]["authorized_keys"] = facts_of(name, case.order)[1]["authorized_keys"]
    case = healthy.break_it(case, dead) if dead else case
    again = through_the_wire(case)
    assert all(facts["alike"] for facts in (*again.fabric.values(), *again.user.values()))
    wishes = options.Options()
    assert engine.judge(again, wishes) == engine.judge(case, wishes)


@pytest.mark.parametrize(
    ("part", "common"),
    [
        (FABRIC, {"resolution": {"form": "{", "without": []}}),
        (FABRIC, {"routes": {"form": "[" * 400, "without": 7}, "resolution": "x"}),
        (FABRIC, {"cluster_block": {"form": "1"}}),
        (USER, {"targets": {"without": []}}),
        (USER, {"targets": ["x"]}),
        (USER, {"authorized_keys": "x"}),
        (USER, {"authorized_keys": {"at": "0"}}),
    ],
)
def test_what_a_node_in_other_hands_says_is_common_does_no_harm(part, common):
    names = healthy.named(4)
    fabric, user = facts_of("node3", names)
    facts = {FABRIC: fabric, USER: user}
    facts[part]["alike"] = common
    found = received(facts, names)
    assert plain(found[FABRIC]["resolution"]) == fabric["resolution"]
    assert found[USER]["authorized_keys"] in (user["authorized_keys"], None)


def test_keys_that_can_not_be_restored_are_not_known():
    names = healthy.named(4)
    found = received(sent(*facts_of("node3", names), names), names, authorized_keys=[])
    assert found[USER]["authorized_keys"] is None


def test_facts_of_a_node_that_was_not_asked_so_stay_as_they_are():
    facts = {FABRIC: {"resolution": {}}, USER: {}, "other": 1}
    assert action.facts({"a": {"ansible_facts": facts}}, "a") is facts
    assert action.facts({"a": {}}, "a") == {}
