# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the demo cluster is written."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

DEFAULTS = pathlib.Path(__file__).parents[3] / "roles/local_nodes/defaults/main.yml"
PLAY = f"""
- hosts: localhost
  gather_facts: false
  vars_files: [{DEFAULTS}]
  tasks:
    - ansible.builtin.debug: {{msg: "FOUND {{{{ local_nodes_inventory_dir }}}} FOUND"}}
"""


@pytest.mark.parametrize(
    ("place", "written"),
    [("my_ansible_collections/trainmesh", "{place}"), ("ansible_collections/trainmesh/cluster", "started-here")],
)
def test_nothing_is_written_into_an_installed_collection(tmp_path, place, written):
    (tmp_path / place / "playbooks").mkdir(parents=True)
    (tmp_path / place / "playbooks/local.yml").write_text(PLAY)
    (tmp_path / "started-here").mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", str(tmp_path / place / "playbooks/local.yml")],
        cwd=tmp_path / "started-here",
        env={**environment, "PWD": str(tmp_path / "started-here"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert f"FOUND {tmp_path}/{written.format(place=place)}/inventories/local FOUND" in done.stdout, done.stderr
