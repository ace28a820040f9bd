# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostfiles and their neighbours, read by Ansible itself with the settings of the checkout and with its own."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[4]


@pytest.fixture
def listed(tmp_path):
    """What ansible-inventory lists of a source: (variables of each host, what it said besides)."""

    def run(source, enabled=None):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        environment |= {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp")}
        environment |= {"ANSIBLE_INVENTORY_ENABLED": enabled} if enabled else {}
        done = subprocess.run(
            [sys.executable, "-m", "ansible", "inventory", "-i", source, "--list", "--export"],
            cwd=tmp_path,
            env={**environment, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        names = (found.get("ungrouped") or {}).get("hosts") or []
        return {name: values(found["_meta"]["hostvars"].get(name) or {}) for name in names}, done.stderr

    return run


def values(found):
    """The variables of a host that some plugin gave it."""
    unsafe = {name: value.get("__ansible_unsafe") for name, value in found.items() if isinstance(value, dict)}
    return {name: unsafe.get(name, value) for name, value in found.items() if name != "ansible_local"}


def test_a_hostfile_is_an_inventory_of_a_checkout(listed, tmp_path):
    (tmp_path / "cluster.hostfile").write_bytes(
        b"\xef\xbb\xbf# two kinds\r\ngpu1 slots=8 max_slots=8\r\n\tbob@10.0.0.3\tslots = 4 # rack\r\n"
        b"[2001:db8::1]:2\r\nGPU9\r\n"
    )
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars/GPU9.yml").write_text("trainmesh_slots: 3\n")
    found, said = listed("cluster.hostfile")
    assert found == {
        "gpu1": {"trainmesh_slots": 8},
        "10.0.0.3": {"trainmesh_slots": 4, "ansible_user": "bob"},
        "2001:db8::1": {"trainmesh_slots": 2},
        "GPU9": {"trainmesh_slots": 3},
    }
    assert list(found) == ["gpu1", "10.0.0.3", "2001:db8::1", "GPU9"], "ranks follow the lines"
    assert said == ""


def test_one_of_a_directory(listed, tmp_path):
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes/hostfile").write_text("gpu1 slots=8\n")
    (tmp_path / "nodes/more.yml").write_text("ungrouped: {hosts: {gpu2: {trainmesh_slots: 4}}}\n")
    assert listed("nodes")[0] == {"gpu1": {"trainmesh_slots": 8}, "gpu2": {"trainmesh_slots": 4}}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hosts", "gpu1 ansible_host=10.0.0.1 slots=8\ngpu2:2222\n"),
        ("hostfile", "gpu1 ansible_host=10.0.0.1 slots=8\ngpu2 ansible_port=2222\n"),
        ("nodes.ini", "gpu1 slots=8 ansible_host=10.0.0.1\ngpu2:2222\n"),
        ("hosts.yml", "ungrouped: {hosts: {gpu1: {slots: 8, ansible_host: 10.0.0.1}, gpu2: {ansible_port: 2222}}}\n"),
    ],
)
def test_other_inventories_are_read_as_before(listed, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    expected = {"gpu1": {"slots": 8, "ansible_host": "10.0.0.1"}, "gpu2": {"ansible_port": 2222}}
    assert listed(name)[0] == listed(name, "host_list,script,auto,yaml,ini,toml")[0] == expected


def test_a_list_of_hosts_on_the_command_line(listed):
    assert listed("gpu1,gpu2,") == ({"gpu1": {}, "gpu2": {}}, "")


@pytest.mark.parametrize("line", ["gpu2 8", "gpu2 slots=eight"])
def test_a_bad_line_is_an_error_with_its_place(listed, tmp_path, line):
    (tmp_path / "hostfile").write_text(f"gpu1 slots=8\n{line}\ngpu1 slots=4\n")
    found, said = listed("hostfile")
    assert found == {}, "no other plugin takes half of it"
    assert f"{tmp_path}/hostfile:2: expected a line such as 'gpu1 slots=8', found '{line.split()[1]}'" in said
    assert f"{tmp_path}/hostfile:3: gpu1 already stands in line 1" in said and "Failed to parse" not in said
