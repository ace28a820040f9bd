# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model without facts: what the inventory says, what is remembered, what is missing, what is assumed."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import variables
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import cluster as plan_cluster
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import offline
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.offline import Place
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render import export
from ansible_collections.trainmesh.cluster.tests.unit.samples.clusters import gpu, host, options


def wishes(**hosts):
    return {name: variables.read({f"trainmesh_{key}": one for key, one in wish.items()}, "host")
            for name, wish in hosts.items()}  # fmt: skip


def places(*names, **more):
    return {name: Place(f"10.0.0.{at}", 22, "bob") for at, name in enumerate(names, 1)} | more


def made(hosts, found=None, memory=None, **wish):
    asked = options(**{"user": None, **wish})
    return offline.make(hosts, found or places(*hosts), asked, memory or {})


def test_of_the_inventory_and_the_places_alone():
    hosts = wishes(gpu1={"slots": 8}, gpu2={"slots": 4, "address": "192.0.2.2", "ssh_port": 2222, "hostname": "b"})
    cluster, assumed = made(hosts)
    rows = [(node.name, node.rank, node.address, node.ssh_port, node.slots, node.names) for node in cluster.nodes]
    assert rows == [
        ("gpu1", 0, "10.0.0.1", 22, 8, ("gpu1", "gpu1.trainmesh.internal")),
        ("gpu2", 1, "192.0.2.2", 2222, 4, ("gpu2", "b", "b.trainmesh.internal")),
    ]
    assert (cluster.user, cluster.precision, cluster.gpus) == ("bob", "fp32", True)
    told = "\n".join(assumed)
    assert "(gpu1 10.0.0.1)" in told and "login user bob" in told and "each slot is a GPU" in told
    assert "precision fp32" in told and "192.0.2.2" not in told


def test_nothing_is_assumed_of_what_is_given():
    given = {"slots": 1, "address": "192.0.2.1", "ssh_port": 22}
    cluster, assumed = made(wishes(gpu1=given), user="train", precision="bf16", torch_build="cpu")
    assert (cluster.user, cluster.precision, cluster.gpus, assumed) == ("train", "bf16", False, [])


def test_every_missing_value_is_named_with_its_host():
    found = places("gpu1", gpu2=Place("", problem="the controller can't resolve gpu2 (no such name)"))
    with pytest.raises(plan_cluster.PlanError) as error:
        made(wishes(gpu1={}, gpu2={"slots": 1}), found)
    assert list(map(str, error.value.faults)) == [
        "gpu1: trainmesh_slots is missing (slots=N in a hostfile), and its GPUs are not known",
        "gpu2: trainmesh_address is missing, and the controller can't resolve gpu2 (no such name)",
    ]


def test_without_gpus_a_node_has_one_slot():
    cluster, _assumed = made(wishes(a={}, b={"slots": 3}), torch_build="cpu")
    assert [node.slots for node in cluster.nodes] == [1, 3]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"a": Place("10.0.0.1", user="x"), "b": Place("10.0.0.2", user="y")}, "the login users differ (x, y)"),
        ({"a": Place("10.0.0.1"), "b": Place("10.0.0.2")}, "no login user is known"),
        ({"a": Place("10.0.0.1", user="x"), "b": Place("10.0.0.1", user="x")}, "10.0.0.1 is also that of a"),
        ({"a": Place("127.0.1.1", user="x"), "b": Place("10.0.0.1", user="x")}, "127.0.1.1 is a loopback one"),
    ],
)
def test_places_that_make_no_cluster(found, told):
    with pytest.raises(plan_cluster.PlanError) as error:
        made(wishes(a={"slots": 1}, b={"slots": 1}), found)
    assert [told in str(fault) for fault in error.value.faults] == [True]


def test_the_head_leads():
    cluster, _assumed = made(wishes(a={"slots": 1}, b={"slots": 1}), head="b")
    assert [node.name for node in cluster.nodes] == ["b", "a"] and cluster.master_address == "10.0.0.2"


@pytest.mark.parametrize("gpus", [[gpu()] * 2, [gpu("V100", "7.0")] * 2, []])
def test_after_a_run_the_files_are_those_that_the_nodes_have(gpus):
    asked = options(master_port=29501, prefix="/opt/other")
    read = [host(1, gpus, wish={"ssh_port": 2200}), host(2, gpus, fabric={"sshd": {"ports": [2222]}})]
    plan = plan_cluster.make(read, asked, {})
    memory = {node.name: node.remembered() for node in plan["model"].nodes}
    elsewhere = places("node1", "node2")  # the controller's way to them is another
    cluster, assumed = offline.make(wishes(node1={}, node2={}), elsewhere, asked, memory)
    files = export.files(cluster)
    on_nodes = {one["path"].removeprefix("etc/"): one["content"] for one in plan["files"]}
    for rank, node in enumerate(plan["nodes"].values()):
        on_nodes |= {one["path"].replace("etc/accelerate", f"accelerate/rank{rank}"): one["content"]
                     for one in node["files"]}  # fmt: skip
    shared = {path: text for path, text in files.items() if path not in ("etc_hosts", "ssh_config")}
    assert shared == {path: on_nodes[path] for path in shared}
    assert plan["ssh"]["config"].startswith(files["ssh_config"])
    assert all(f"{row['address']}\t{' '.join(row['names'])}\n" in files["etc_hosts"] for row in plan["hosts_entries"])
    assert assumed == []


def test_the_inventory_comes_before_what_is_remembered():
    plan = plan_cluster.make([host(1, [gpu()] * 8), host(2, [gpu()] * 8)], options(), {})
    memory = {node.name: node.remembered() for node in plan["model"].nodes}
    now = wishes(node2={"slots": 4, "address": "192.0.2.9"}, node1={}, node3={"slots": 2})
    cluster, assumed = made(now, places("node1", "node2", "node3"), memory)
    rows = [(node.name, node.address, node.slots) for node in cluster.nodes]
    assert rows == [("node1", "10.0.0.11", 8), ("node2", "192.0.2.9", 4), ("node3", "10.0.0.3", 2)]
    assert "node3 10.0.0.3" in assumed[0] and "node1" not in "".join(assumed)
