# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import environments

OLD, NEW, CPU = "torch-2.13.0-cu126-py3.11", "torch-2.14.0-cu126-py3.11", "torch-2.14.0-cpu-py3.11"
STACK = {
    "requirements": ["torch==2.14.0+cu126", "deepspeed==0.19.8"],
    "torch_build": "cu126",
    "python_env": "venv",
    "python_version": "3.11",
}


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({}, NEW),
        ({"requirements": ["torchvision==0.29.0", "torch==2.13.0"]}, OLD),
        ({"python_env": "conda"}, "torch-2.14.0-cu126-conda-py3.11"),
        ({"python_version": ""}, ""),
        ({"requirements": ["torch>=2"]}, ""),
        ({"requirements": []}, ""),
    ],
)
def test_the_name_of_what_the_plan_asks_for(more, name):
    assert environments.wanted({**STACK, **more}) == name


def told(**more):
    found = {"linked": "", "content": OLD, "fixed": False, "whole": [], **more}
    return {"of": ["train", "/opt/trainmesh"], "torch_stack": {"environments": found}}


def plan(*names, **stack):
    return {"user": "train", "prefix": "/opt/trainmesh", "stack": {**STACK, **stack}, "nodes": {n: {} for n in names}}


def test_each_node_gets_its_target_and_those_that_were_not_read_keep_what_they_have():
    cluster = plan("node1", "node2", "node3")
    faults = environments.enter(cluster, {"node1": told(), "node2": told(linked=OLD, whole=[NEW])}, {})
    assert faults == []
    found = {name: node["environment"] for name, node in cluster["nodes"].items()}
    assert found["node1"] == {"name": NEW, "switch": NEW, "before": OLD, "kept": False}
    assert found["node2"] == {"name": NEW, "switch": NEW, "before": OLD, "kept": True}
    assert found["node3"] == {"name": "", "switch": "", "before": "", "kept": False}


@pytest.mark.parametrize(
    "present",
    [
        None,
        "nothing",
        {},
        {**told(), "of": ["other", "/opt/trainmesh"]},
        {**told(), "torch_stack": {"unknown": "OSError"}},
        told(whole=None),
        told(linked=["x"]),
        told(content=3),
        told(content="torch-2.13.0; rm -rf /"),
        told(linked="../../etc"),
    ],
)
def test_a_node_that_says_nothing_sensible_is_not_switched(present):
    cluster = plan("node1")
    assert environments.enter(cluster, {"node1": present}, {"node1": 0}) == []
    assert cluster["nodes"]["node1"]["environment"] == environments.NONE._asdict()


def test_room_is_asked_for_where_a_second_one_is_made():
    nodes = {name: told() for name in ("full", "roomy", "untold")}
    nodes |= {"kept": told(whole=[NEW, CPU]), "first": told(content="")}
    free = {"full": 4 << 30, "kept": 0, "roomy": 9 << 30, "first": 0}
    (fault,) = environments.enter(plan(*nodes), nodes, free)
    assert fault.hosts == ("full",) and f"made in environments ({NEW}) needs about 8192 MiB" in fault
    assert "rm -rf /opt/trainmesh/env/*" in fault
    assert environments.enter(plan(*nodes, torch_build="cpu"), nodes, free) == []


def with_own(*names):
    present = told(content=NEW)
    return {**present, "torch_stack": {**present["torch_stack"], "own": {name: {} for name in names}}}


def test_environments_of_the_users_need_room_where_they_are_new():
    nodes, free = {"new": with_own(), "old": with_own("nlp", "vision")}, {"new": 15 << 30, "old": 0}
    cluster = plan(*nodes, environments=[{"name": "vision"}, {"name": "nlp"}])
    (fault,) = environments.enter(cluster, nodes, free)
    assert fault.hosts == ("new",) and "(vision, nlp) needs about 16384 MiB" in fault and "rm -rf" not in fault


def test_environments_that_are_named_no_more_are_told():
    nodes = {"node1": with_own("nlp", "vision", "x; reboot"), "node2": with_own("nlp"), "node3": None, "node4": told()}
    cluster = plan(*nodes, environments=[{"name": "vision"}])
    (reason,) = environments.left(cluster, nodes)
    assert "names nlp no more, and it stays on node1, node2: rm -rf /opt/trainmesh/environments/nlp" in reason
