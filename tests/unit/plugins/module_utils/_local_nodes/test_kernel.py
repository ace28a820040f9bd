# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of the kernel that many embedded nodes share, told before they are made."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes import kernel
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.model import NodeWish


def machine(root: pathlib.Path, instances: str = "128", neighbours: str = "1024") -> Tree:
    for name, value in (
        ("fs/inotify/max_user_instances", instances),
        ("net/ipv4/neigh/default/gc_thresh3", neighbours),
    ):
        path = root / "proc/sys" / name
        path.parent.mkdir(parents=True)
        path.write_text(f"{value}\n")
    return Tree(str(root))


@pytest.mark.parametrize(
    ("systemd", "cluster", "lines"),
    [
        (3, 3, []),
        (14, 14, []),
        (15, 15, ["sysctl -w fs.inotify.max_user_instances=512"]),
        (0, 32, []),
        (0, 33, ["sysctl -w net.ipv4.neigh.default.gc_thresh3=4096"]),
        (64, 64, ["max_user_instances=2048", "gc_thresh3=8192"]),
    ],
)
def test_a_limit_that_is_too_low_is_told_with_the_command(
    tmp_path: pathlib.Path, systemd: int, cluster: int, lines: list[str]
) -> None:
    found = kernel.warnings(systemd, cluster, machine(tmp_path))
    assert len(found) == len(lines)
    assert all(text.endswith(line) for text, line in zip(found, lines))


@pytest.mark.parametrize("text", ["unlimited", ""])
def test_a_limit_that_nobody_knows_is_none(tmp_path: pathlib.Path, text: str) -> None:
    assert kernel.warnings(500, 500, machine(tmp_path, text, text)) == []
    assert kernel.warnings(500, 500, Tree(str(tmp_path / "nothing"))) == []


def test_what_the_command_sets_is_enough(tmp_path: pathlib.Path) -> None:
    assert kernel.warnings(64, 64, machine(tmp_path, "2048", "8192")) == []


def test_only_nodes_with_systemd_watch_files() -> None:
    settings = [NodeWish("a").settings, NodeWish("b", init="sshd").settings, NodeWish("c", ssh_port=2222).settings]
    assert kernel.count_systemd([*settings, "", "null", "no JSON"]) == 5
