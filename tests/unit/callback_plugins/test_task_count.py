# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the task counter: a skipped task counts, a loop counts once, an include and its task count twice."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]

PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - {name: Run, ansible.builtin.debug: {}}
    - {name: Skip, ansible.builtin.debug: {}, when: false}
    - {name: Loop, ansible.builtin.debug: {}, loop: [1, 2, 3]}
    - {name: Include, ansible.builtin.include_tasks: inner.yml}
    - {name: Meta, ansible.builtin.meta: end_host, when: false}
    - {name: Once, ansible.builtin.debug: {}, run_once: true}
    - {name: Fail, ansible.builtin.fail: {}, ignore_errors: true}
    - {name: Change, ansible.builtin.debug: {}, changed_when: inventory_hostname == 'b'}
"""


def test_every_execution_is_counted_on_its_host(tmp_path: pathlib.Path) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "inner.yml").write_text("- {name: Inner, ansible.builtin.debug: {}}\n")
    env = {
        **os.environ,
        "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests" / "callback_plugins"),
        "ANSIBLE_CALLBACKS_ENABLED": "task_count",
        "TRAINMESH_TASK_COUNT": str(tmp_path / "count.json"),
    }
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "a,b", "-c", "local", "play.yml"]
    subprocess.run(command, cwd=tmp_path, env=env, check=True, timeout=120, capture_output=True)
    content = json.loads((tmp_path / "count.json").read_text())
    assert content["counts"] == {"a": 8, "b": 7}
    assert content["tasks"]["b"] == ["Run", "Skip", "Loop", "Include", "Inner", "Fail", "Change"]
    assert [content["recap"][host]["changed"] for host in "ab"] == [0, 1]
    assert [content["recap"][host]["unreachable"] for host in "ab"] == [0, 0]
