# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role gpu_software decides over all nodes at once."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import typing as t

import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[3]
TASKS = ROOT / "roles/gpu_software/tasks"


def run(
    tmp_path: pathlib.Path, file: str, name: str, facts: dict[str, dict[str, t.Any]]
) -> subprocess.CompletedProcess[str]:
    """The task of this name, on nodes with these facts."""
    task = next(one for one in yaml.safe_load((TASKS / file).read_text()) if one["name"] == name)
    hosts = {host: {"ansible_connection": "local", **values} for host, values in facts.items()}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    argv = [sys.executable, "-m", "ansible", "playbook", "-i", str(tmp_path / "hosts.json"), str(tmp_path / "play.yml")]
    return subprocess.run(argv, cwd=ROOT, check=False, capture_output=True, text=True, timeout=120)


NCCL = {"libnccl2": "2.27.5-1", "libnccl-dev": "2.27.5-1"}
OLDER = {"libnccl2": "2.26.2-1", "libnccl-dev": "2.26.2-1"}


@pytest.mark.parametrize(("second", "differ"), [(NCCL, False), (OLDER, True)])
def test_libraries_of_two_versions_are_installed_on_no_node(tmp_path, second, differ):
    facts = {
        "node1": {"__gpu_software_libraries": {"versions": NCCL}},
        "node2": {"__gpu_software_libraries": {"versions": second}},
    }
    facts["node3"] = {}  # which has not chosen them
    facts["node3"]["__gpu_software_libraries"] = {"versions": {}}
    done = run(tmp_path, "libraries.yml", "libraries | Fail if the versions differ between nodes", facts)
    assert (done.returncode != 0) is differ
    told = " ".join(done.stdout.split())
    assert ("libnccl2 (node1 2.27.5-1, node2 2.26.2-1)." in told) is differ


@pytest.mark.parametrize("problem", ["", "the number 2001 is that of the user alice here"])
def test_a_number_that_is_taken_on_one_node_is_none_for_all(tmp_path, problem):
    common = {"gpu_software_user": "trainer", "gpu_software_user_uid": 2001}
    facts = {
        "node1": {**common, "__gpu_software_account": {"account_problem": ""}},
        "node2": {**common, "__gpu_software_account": {"account_problem": problem}},
    }
    done = run(tmp_path, "node_base.yml", "node_base | Fail if a node can't have the job user with this number", facts)
    told = " ".join(done.stdout.split())
    assert (told.count("was created on no node: node2: the number 2001 is that of the user alice here") >= 2) is bool(
        problem
    )
    assert done.returncode == (2 if problem else 0)
    assert (told.count("failed=1") == 2) is bool(problem)
