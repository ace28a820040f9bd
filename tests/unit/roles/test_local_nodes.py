# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the demo cluster is written, and when that is removed again."""

from __future__ import annotations

import json
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


ROLES = DEFAULTS.parents[2]
DOWN = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: trainmesh.cluster.local_nodes}
"""
STUB = "#!/usr/bin/python\nprint('%s')\n"


def down(place, looked, purge):
    """Run the role where the module for Docker is one that only answers; its exit status and what it printed."""
    modules = place / "ansible_collections/trainmesh/cluster/plugins/modules"
    modules.mkdir(parents=True)
    (modules.parents[1] / "roles").symlink_to(ROLES)
    answer = {"changed": False, "looked": looked, "summary": "what was removed"}
    (modules / "docker_nodes.py").write_text(STUB % json.dumps(answer))
    (place / "down.yml").write_text(DOWN)
    directory = {"local_nodes_inventory_dir": str(place / "inventory"), "local_nodes_state": "down"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ansible", "playbook", str(place / "down.yml")),
            *("-e", json.dumps({**directory, "local_nodes_purge": purge})),
        ],
        env={**environment, "ANSIBLE_COLLECTIONS_PATH": str(place), "ANSIBLE_NOCOLOR": "1"},
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    return done.returncode, done.stdout + done.stderr


def write_inventory(place):
    (place / "inventory/.trainmesh-local").mkdir(parents=True)
    (place / "inventory/.trainmesh-local/id_ed25519").touch()
    (place / "inventory/hosts.yml").touch()


@pytest.mark.parametrize(
    ("looked", "purge", "kept"), [(True, False, False), (False, False, True), (False, True, False)]
)
def test_keys_are_removed_only_where_their_nodes_were_looked_for(tmp_path, looked, purge, kept):
    write_inventory(tmp_path)
    status, output = down(tmp_path, looked, purge)
    assert ((status != 0), "Start Docker and run the same command again" in output) == (kept, kept), output
    left = [str(path.relative_to(tmp_path / "inventory")) for path in sorted((tmp_path / "inventory").rglob("*"))]
    assert left == ([".trainmesh-local", ".trainmesh-local/id_ed25519", "hosts.yml"] if kept else [])


def test_where_nothing_was_written_there_is_nothing_to_keep(tmp_path):
    assert down(tmp_path, looked=False, purge=False)[0] == 0
