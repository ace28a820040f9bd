# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one host registers is its own, also after a task that ran once for all."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import yaml

PLAYBOOKS = pathlib.Path(__file__).parents[3] / "playbooks"
FIRST = "trainmesh.cluster.own_variables"
PLAYS = """
- ansible.builtin.import_playbook: {first}
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact: {{shared: 1}}
      run_once: true
    - ansible.builtin.command: echo {{{{ inventory_hostname }}}}
      register: own
    - ansible.builtin.setup: {{gather_subset: ["!all", "!min"], filter: none}}
    - ansible.builtin.assert:
        that: hostvars[item].own.stdout == item
      loop: "{{{{ ansible_play_hosts }}}}"
"""


def test_registers_of_one_host_are_not_those_of_all(tmp_path: pathlib.Path) -> None:
    (tmp_path / "plays.yml").write_text(PLAYS.format(first=PLAYBOOKS / "own_variables.yml"))
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "a,b,c,", "-c", "local"]
    command += ["-e", f"ansible_python_interpreter={sys.executable}", str(tmp_path / "plays.yml")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def registers_once(path: pathlib.Path) -> bool:
    """Whether a task of this playbook runs once for all and keeps its answer."""
    plays = yaml.safe_load(path.read_text())
    tasks = [task for play in plays for task in play.get("tasks") or []]
    return any(task.get("run_once") and "register" in task for task in tasks)


def test_playbooks_that_begin_with_a_task_for_all_keep_the_hosts_apart_first() -> None:
    begin = {}
    for path in PLAYBOOKS.glob("*.yml"):
        imported = [play.get("ansible.builtin.import_playbook") for play in yaml.safe_load(path.read_text())]
        if registers_once(path) and "trainmesh.cluster.plan" not in imported:
            begin[path.stem] = imported[0]
    assert begin.pop("verification", None) is None, "which follows a plan"
    assert set(begin) == {"bootstrap", "plan", "sync", "teardown"} and set(begin.values()) == {FIRST}
