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
