# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exports from inventories as people write them, by ansible-playbook itself; no host is contacted."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest

from ansible_collections.trainmesh.cluster.plugins.action import cluster_export

ROOT = pathlib.Path(__file__).parents[4]
HOSTFILE = "192.0.2.11 slots=8\nbob@[2001:db8::12]:4\n"
NO_CONNECTION = '#!/bin/sh\n[ "$1" = -G ] && exec /usr/bin/ssh "$@"\necho "$@" >> {0}/contacted\nexit 255\n'


@pytest.fixture
def export(tmp_path):
    """Runs export.yml with an ssh that tells of every attempt to connect; ``run`` is (status, what was printed)."""
    (tmp_path / "ssh").write_text(NO_CONNECTION.format(tmp_path))
    (tmp_path / "ssh").chmod(0o755)

    def run(source="cluster.hostfile", *arguments):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        environment |= {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp")}
        environment |= {"ANSIBLE_SSH_EXECUTABLE": str(tmp_path / "ssh"), "ANSIBLE_NOCOLOR": "1"}
        words = ["playbook", str(ROOT / "playbooks/export.yml"), "-i", source, "-e", "trainmesh_user=train", *arguments]
        done = subprocess.run(
            [sys.executable, "-m", "ansible", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not (tmp_path / "contacted").exists()
        return done.returncode, f"{done.stdout}{done.stderr}"

    return run


def changed(text):
    return int(re.findall(r"changed=(\d+)", text)[0])


def content(place):
    return {str(path.relative_to(place)): path.read_text() for path in sorted(place.rglob("*")) if path.is_file()}


def test_a_hostfile_becomes_the_launch_configuration(export, tmp_path):
    (tmp_path / "cluster.hostfile").write_text(HOSTFILE)
    status, text = export("cluster.hostfile", "--check", "--diff")
    assert status == 0 and "+node-192-0-2-11 slots=8" in text and not (tmp_path / "trainmesh-export").exists()
    status, text = export()
    assert (status, changed(text)) == (0, 1) and "each slot is a GPU" in text
    files = content(tmp_path / "trainmesh-export")
    second = "node-2001-db8-0-0-0-0-0-12"
    assert files["hostfile"] == f"node-192-0-2-11 slots=8\n{second} slots=4\n"
    assert (
        f"Host {second} {second}.trainmesh.internal 2001:db8::12\n  HostName 2001:db8::12\n  User train\n"
        in (files["ssh_config"])
    )
    assert f"2001:db8::12\t{second}.trainmesh.internal {second}\n" in files["etc_hosts"]
    for rank, slots in ((0, 16), (1, 8)):
        settings = files[f"accelerate/rank{rank}/multi_gpu.yaml"]
        assert f"machine_rank: {rank}\n" in settings and f"num_processes: {slots}\n" in settings
        assert 'main_process_ip: "192.0.2.11"' in settings
    assert "deepspeed/auto/zero2.json" in files
    status, text = export("cluster.hostfile", "--diff")
    assert (status, changed(text)) == (0, 0) and content(tmp_path / "trainmesh-export") == files


def test_a_rank_that_is_no_more_takes_its_files_along(export, tmp_path):
    (tmp_path / "cluster.hostfile").write_text(HOSTFILE)
    place = tmp_path / "here"
    assert export("cluster.hostfile", "-e", "trainmesh_export_dir=here")[0] == 0
    (place / "accelerate/rank0/mine.yaml").write_text("mine")
    (tmp_path / "cluster.hostfile").write_text(HOSTFILE.splitlines()[0])
    assert export("cluster.hostfile", "-e", "trainmesh_export_dir=here", "--check")[0] == 0
    assert (place / "accelerate/rank1").exists()
    assert export("cluster.hostfile", "-e", "trainmesh_export_dir=here")[0] == 0
    assert sorted(os.listdir(place / "accelerate")) == ["deepspeed_pdsh.yaml", "rank0"]
    assert (place / "accelerate/rank0/mine.yaml").read_text() == "mine"


def test_what_is_missing_is_told_and_nothing_is_written(export, tmp_path):
    (tmp_path / "hosts.yml").write_text(
        "all:\n  hosts:\n    gpu1: {ansible_host: 192.0.2.1}\n    old: {trainmesh_state: absent}\n"
        "    head: {ansible_connection: local, trainmesh_slots: 1}\n"
    )
    status, text = export("hosts.yml")
    assert status == 2 and "(2 reason(s)); nothing was written" in text
    assert "1. gpu1: trainmesh_slots is missing" in text and "2. head: trainmesh_address is missing, and its" in text
    assert not (tmp_path / "trainmesh-export").exists()


def test_a_bad_inventory_is_refused(export, tmp_path):
    (tmp_path / "cluster.hostfile").write_text("gpu1 slots=8\ngpu2 eight\n")
    status, text = export()
    assert status == 2 and "cluster.hostfile:2: expected a line such as" in text


def test_a_directory_of_somebody_else_is_left_alone(tmp_path):
    refuse = cluster_export.refuse
    (tmp_path / "new").mkdir()
    for good in ("new", "none", "none/deeper"):
        refuse(str(tmp_path / good), ["gpu1,", str(tmp_path / "cluster.hostfile")])
    (tmp_path / "other").mkdir()
    (tmp_path / "other/hostfile").write_text("mine slots=1\n")
    for bad, inventory in ((".", "cluster.hostfile"), ("nodes/export", "nodes"), ("other", "other/hostfile")):
        with pytest.raises(ValueError, match="would mix: set trainmesh_export_dir"):
            refuse(str(tmp_path / bad), [str(tmp_path / inventory)])
    with pytest.raises(ValueError, match=r"holds other files \(hostfile\)"):
        refuse(str(tmp_path / "other"), [])
    with pytest.raises(ValueError, match="holds other files"):
        refuse("/etc/ssh", [])
