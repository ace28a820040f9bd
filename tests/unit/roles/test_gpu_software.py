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
TASKS, VARS = ROOT / "roles/gpu_software/tasks", ROOT / "roles/gpu_software/vars/main.yml"


def run(
    tmp_path: pathlib.Path, file: str, name: str, facts: dict[str, dict[str, t.Any]]
) -> subprocess.CompletedProcess[str]:
    """The task of this name, on nodes with these facts."""
    tasks = yaml.safe_load((TASKS / file).read_text())
    inner = [one for outer in tasks for key in ("block", "rescue", "always") for one in outer.get(key, [])]
    task = next(one for one in [*tasks, *inner] if one["name"] == name)
    hosts = {host: {"ansible_connection": "local", **values} for host, values in facts.items()}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    play = {"hosts": "all", "gather_facts": False, "vars_files": [str(VARS)], "tasks": [task]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
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


def test_a_node_that_may_not_be_rebooted_is_told_of_and_not_rebooted(tmp_path):
    own = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    needs = {
        "reboot_needed": True,
        "reboot_reason": "nouveau has the GPUs",
        "version": "570.1",
        "boot_id": "x",
        "busy": [],
    }
    drivers = {
        "never": needs,
        "plain": needs,
        "controller": {**needs, "boot_id": own},
        "busy": {**needs, "busy": ["1234 (python3)"]},
        "fine": {**needs, "reboot_needed": False},
    }
    facts = {
        host: {
            "__gpu_software_changed_driver": driver,
            "gpu_software_reboot": "never" if host == "never" else "allowed",
        }
        for host, driver in drivers.items()
    }
    done = run(tmp_path, "driver.yml", "driver | Tell that the node has to be rebooted", facts)
    told = " ".join(done.stdout.split())
    assert (
        done.returncode == 0 and told.count("has to be rebooted before driver 570.1 works: nouveau has the GPUs.") == 3
    )
    assert "Reboot it, or set trainmesh_reboot to allowed" in told
    assert "It is the host of the controller, which a run never reboots" in told
    assert "Processes use its GPUs (1234 (python3)): run again when they have ended" in told
    assert told.count("skipped=1") == 2
    done = run(tmp_path, "driver.yml", "driver | Note that the node is to be rebooted", facts)
    assert done.stdout.count("ok: [") == 1 and "ok: [plain]" in done.stdout


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (
            {"msg": "Timed out waiting for last boot time check (timeout=60)", "rebooted": True},
            "node1 did not come back within 60 s of its reboot (Timed out waiting",
        ),
        (
            {"msg": "Reboot command failed, error was: Failed to connect to bus", "rebooted": False},
            "node1 could not be rebooted (Reboot command failed",
        ),
    ],
)
def test_a_node_that_does_not_come_back_is_named_with_the_reason(tmp_path, result, told):
    facts = {"node1": {"ansible_failed_result": result, "gpu_software_reboot_timeout": 60}}
    done = run(tmp_path, "reboot.yml", "reboot | Fail if the node does not come back", facts)
    assert done.returncode == 2 and told in " ".join(done.stdout.split())
    assert "Nodes after it were not rebooted" in " ".join(done.stdout.split())
