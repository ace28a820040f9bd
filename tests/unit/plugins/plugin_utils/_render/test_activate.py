# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a shell has after it has sourced the file; the launchers' own commands are typed in a scenario."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster, Node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render.node_files import node_files, shared_files

SHELLS = [shell for shell in ("sh", "dash", "bash", "zsh") if shutil.which(shell)]
MODEL = {"user": "u", "master_port": 29500, "precision": "fp32"}


def install(root, gpus=()):
    """The launch files of a node of rank 0 below this directory, and an environment."""
    node = Node("node1", 0, "10.0.0.11", 22, 2, "eth7", "node1", "node1", gpus=gpus)
    for file in [*shared_files(cluster := Cluster((node,), prefix=str(root), **MODEL)), *node_files(cluster, node)]:
        path = root / file["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file["content"])
    (root / "var").mkdir()
    python = root / "env/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)


def sourced(root, shell, then="env", **variables):
    """What the shell prints after it has sourced the file, twice."""
    environment = {"PATH": os.environ["PATH"], **variables}
    command = [shell, "-euc", f". {root}/activate; . {root}/activate; {then}"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=30).stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_what_belongs_to_all_nodes_and_nothing_of_one_rank(tmp_path, shell):
    install(tmp_path)
    shown = sourced(tmp_path, shell, LD_LIBRARY_PATH="/usr/local/cuda/lib64", PYTHONPATH="/mine")
    env = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    assert env["PATH"].startswith(f"{tmp_path}/libexec/path:{tmp_path}/env/bin:{tmp_path}/bin:")
    assert env["PATH"].count(f"{tmp_path}/env/bin") == 1
    assert env["PYTHONPATH"] == f"{tmp_path}/share/cpu:/mine"
    assert (env["TRAINMESH_HOSTFILE"], env["TRAINMESH_NODE_SLOTS"]) == (f"{tmp_path}/etc/hostfile", "2")
    assert env["DS_ACCELERATOR"] == "cpu"
    alone = {"MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME"}
    assert not {*alone, "LD_LIBRARY_PATH"} & {*env}


def test_the_other_nodes_get_the_environments_path_by_a_file_of_this_shell_alone(tmp_path):
    install(tmp_path)
    (tmp_path / "var/activate").mkdir()
    (tmp_path / "var/activate/4194305").touch()  # no process has this number
    shown = sourced(tmp_path, "sh", 'echo "$DS_ENV_FILE"; ls -l "$DS_ENV_FILE"; cat "$DS_ENV_FILE"')
    assert f"PATH={tmp_path}/env/bin:/usr/local/sbin" in shown and "DS_ACCELERATOR=cpu" in shown
    assert shown.count("PATH=") == 1
    (kept,) = (tmp_path / "var/activate").iterdir()
    assert str(kept) in shown and stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_with_gpus_nothing_is_repaired(tmp_path):
    install(tmp_path, gpus=("NVIDIA A10",))
    assert "PYTHONPATH" not in sourced(tmp_path, "sh")


def test_a_node_without_an_environment_says_so(tmp_path):
    install(tmp_path)
    shutil.rmtree(tmp_path / "env")
    done = subprocess.run(["sh", "-c", f". {tmp_path}/activate"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "run the site playbook" in done.stderr
