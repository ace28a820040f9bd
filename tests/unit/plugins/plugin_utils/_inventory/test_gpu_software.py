# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pathlib

import pytest
import yaml

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import gpu_software
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory.variables import VARIABLES

ROOT = pathlib.Path(__file__).parents[5]


def test_only_hosts_that_chose_a_part_are_visited():
    hosts = {
        "a": {"trainmesh_driver": 570},
        "b": {},
        "c": {"trainmesh_driver": None, "trainmesh_driver_source": "vendor", "trainmesh_reboot": "allowed"},
        "d": {"trainmesh_driver": "absent"},
    }
    assert gpu_software.chosen(hosts) == {"a": ["driver"], "d": ["driver"]}


def test_each_part_is_a_variable_and_a_file_of_tasks():
    for part, names in gpu_software.PARTS.items():
        assert set(names) <= set(VARIABLES), part
        assert (ROOT / f"roles/gpu_software/tasks/{part}.yml").is_file()


def test_the_play_runs_on_the_chosen_hosts_before_the_facts():
    plays = yaml.safe_load((ROOT / "playbooks/plan.yml").read_text())
    names = [play["name"] for play in plays]
    assert names.index("Install the GPU software") < names.index("Gather facts and plan the cluster")
    assert "__plan_installs" not in (ROOT / "playbooks/verify.yml").read_text()


@pytest.mark.parametrize(("value", "read"), [(570, "570"), ("535", "535"), ("absent", "absent")])
def test_a_branch(value, read):
    assert VARIABLES["driver"].read(value) == read


@pytest.mark.parametrize("value", [57, "570.26", "latest", True, ["570"], "5700"])
def test_no_branch(value):
    with pytest.raises(ValueError, match="such as 570"):
        VARIABLES["driver"].read(value)


@pytest.mark.parametrize(
    "toolkit",
    [
        {"version": "12.6"},
        {"version": "12.6.3", "source": "vendor"},
        {"version": "11.8", "runfile": "/srv/cuda.run", "checksum": f"sha256:{'0' * 64}"},
    ],
)
def test_a_toolkit(toolkit):
    assert VARIABLES["cuda_toolkits"].read([toolkit]) == [toolkit]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("12.6", "expected a list"),
        ([12.6], "expected CUDA toolkits with texts"),
        ([{"version": 12.6}], "versions in quotes"),
        ([{"version": "12.6", "path": "/x"}], "expected CUDA toolkits with texts"),
        ([{"source": "vendor"}], "expected the version"),
        ([{"version": "12.6", "source": "conda"}], "expected any, vendor or distribution"),
        ([{"version": "12.6", "runfile": "/srv/cuda.run"}], "expected the checksum of each runfile"),
    ],
)
def test_no_toolkit(value, words):
    with pytest.raises(ValueError, match=words):
        VARIABLES["cuda_toolkits"].read(value)


def test_parts_of_a_node_base():
    assert VARIABLES["node_base"].read(["limits", "ninja"]) == ["limits", "ninja"]
    with pytest.raises(ValueError, match="expected a list of compilers, ninja"):
        VARIABLES["node_base"].read(["gcc"])
    assert gpu_software.chosen({"a": {"trainmesh_user_uid": 2001}}) == {"a": ["node_base"]}
