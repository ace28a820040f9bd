# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that lies about itself is refused by name, whatever field it lies in; an honest one never is."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import cluster, node_check, nodes, state
from ansible_collections.trainmesh.cluster.tests.unit.samples.clusters import gpu, host, options, public_key

OTHERS = {"name", "rank", "reachable"}  # of the inventory and of this run, not of the node
WRONG: list[t.Any] = ["a\nb", 'a"b', "a,*", "*", "0.0.0.0/0", "x" * 10_000_000, -1, 1e9, {"a": 1}, ["\n"], [7], True]


def refused(*hosts: nodes.Host) -> str:
    """Why site.yml refuses these hosts; empty where it does not."""
    found, problems = nodes.checked(hosts)
    try:
        cluster.make(found, {**options(), "refused": problems}, {})
    except cluster.PlanError as error:
        return "\n".join(error.faults)
    return ""


def test_every_field_of_a_node_is_checked() -> None:
    assert {field.name for field in dataclasses.fields(Node)} - OTHERS == set(node_check.FIELDS)


def test_honest_nodes_pass() -> None:
    one = host(1, gpus=[gpu("NVIDIA H100 80GB HBM3", "9.0")])
    other = host(2, gpus=[gpu()], fabric={"sshd": {"ports": [2222]}, "memory_bytes": 1 << 41, "glibc": "2.34"})
    assert refused(one, other) == ""


@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("name", sorted(node_check.FIELDS))
def test_a_wrong_value_in_a_remembered_field_is_refused(name: str, value: object) -> None:
    node = nodes.build_node(host(1), 0, "trainmesh.internal", use_gpus=True)
    data = {**node.remembered(), name: value}
    with pytest.raises(ValueError, match=f"the memory of node1 is damaged.*{name}") as error:
        state.recall(data, 0)
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)


LIES: dict[str, dict[str, t.Any]] = {
    "a second key": {"identity": {"public_key": f"{public_key('a')}\n{public_key('b')}"}},
    "a pattern in known_hosts": {"identity": {"host_keys": [f"* {public_key('a')}"]}},
    "another user": {"identity": {"user": "root\nHost *"}},
    "a home with a newline": {"identity": {"home": "/root\nx"}},
    "an address for all": {"fabric": {"ssh_session": {"server_address": "0.0.0.0/0"}, "routes": {}}},
    "a loopback address": {"fabric": {"ssh_session": {"server_address": "127.0.0.1"}, "routes": {}}},
    "a further source": {"fabric": {"routes": {"10.0.0.9": {"source": '10.0.0.12"'}}}},
    "loopback in IPv6": {"fabric": {"routes": {"a": {"source": "10.0.0.12"}, "b": {"source": "::ffff:127.0.0.1"}}}},
    "a cluster's name": {"fabric": {"cluster_block": {"id": "abcdef12\n10.0.0.9 node1", "nodes": []}}},
    "a capability": {"gpu": {"gpus": [{"name": "a", "compute_capability": "x.y"}], "status": "ok"}},
    "a GPU with escapes": {"gpu": {"gpus": [{"name": "\x1b]0;a\x07"}], "status": "ok"}},
    "a memory of a GPU that is none": {"gpu": {"gpus": [{"name": "a", "memory_mib": "80GB"}], "status": "ok"}},
    "a limit of memory that is none": {"fabric": {"cgroup_limits": {"memory_bytes": "1G"}}},
    "a word as a port": {"fabric": {"sshd": {"ports": ["22\n"]}}},
    "a port too high": {"fabric": {"sshd": {"ports": [70000]}}},
    "a list for keys": {"fabric": {"routes": []}, "stack": {"base": [1]}},
    "keys for a list": {"fabric": {"interfaces": {"eth0": 1}}},
    "empty entries": {"fabric": {"interfaces": [None]}},
    "an empty route": {"fabric": {"routes": {"10.0.0.9": None}}},
    "an interface without a name": {"fabric": {"interfaces": [{"addresses": []}]}},
    "10 MB": {"stack": {"python": {"path": "x" * 10_000_000}}},
    "many entries": {"identity": {"host_keys": [public_key("a")] * 5000}},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_by_name(lie: str) -> None:
    liar = host(2)
    parts = {part: {**getattr(liar, part), **told} for part, told in LIES[lie].items()}
    told = refused(host(1), liar._replace(**parts))
    assert told and all(line.startswith("node2: ") and len(line) < 400 for line in told.split("\n")), told


@pytest.mark.parametrize("part", node_check.SHAPES)
@pytest.mark.parametrize("value", [["x"], "text", 7, True])
def test_facts_of_another_type_are_refused_by_name(part: str, value: object) -> None:
    told = refused(host(1), host(2)._replace(**{part: value}))
    assert told.startswith(f"node2: what it says of itself can't be used: {part}: expected keys and values")


def test_a_check_goes_on_without_the_liar() -> None:
    found, problems = nodes.checked([host(1), host(2)._replace(fabric={"interfaces": 7})])
    made = cluster.make(found, {**options(), "refused": problems}, {}, strict=False)
    assert made["order"] == ["node1"] and made["left_out"] == ["node2"]
    assert [refusal["hosts"] for refusal in made["refusals"]] == [["node2"]]
