# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this machine cannot hold is told before nodes are made."""

from __future__ import annotations

import contextlib
import pathlib
import types

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes import limits
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.docker import LocalNodesError


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
    found = limits.warnings(systemd, cluster, machine(tmp_path))
    assert len(found) == len(lines)
    assert all(text.endswith(line) for text, line in zip(found, lines))


@pytest.mark.parametrize("text", ["unlimited", ""])
def test_a_limit_that_nobody_knows_is_none(tmp_path: pathlib.Path, text: str) -> None:
    assert limits.warnings(500, 500, machine(tmp_path, text, text)) == []
    assert limits.warnings(500, 500, Tree(str(tmp_path / "nothing"))) == []


def test_what_the_command_sets_is_enough(tmp_path: pathlib.Path) -> None:
    assert limits.warnings(64, 64, machine(tmp_path, "2048", "8192")) == []


@pytest.mark.parametrize(
    ("memory", "disk_bytes", "message"),
    [
        (2 * limits.GIB, 9 * limits.GIB, None),
        (2 * limits.GIB - 1024, 9 * limits.GIB, "too little memory: 2.0 GiB available, 2 new nodes .* need 2 GiB"),
        (2 * limits.GIB, 8 * limits.GIB, "too little disk: .* has 8.0 GiB free, 2 new nodes .* need 9 GiB"),
    ],
)
def test_disk_and_memory_refuse_what_they_cannot_hold(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, memory: int, disk_bytes: int, message: str | None
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable:   {memory // 1024} kB\nMemFree: 1 kB\n")
    asked: list[str] = []

    def statvfs(path: str) -> types.SimpleNamespace:
        asked.append(path)
        return types.SimpleNamespace(f_bavail=disk_bytes // 4096, f_frsize=4096)

    monkeypatch.setattr(limits.os, "statvfs", statvfs)
    with pytest.raises(LocalNodesError, match=message) if message else contextlib.nullcontext():
        limits.check_resources(2, str(tmp_path / "not/yet/made"), Tree(str(tmp_path)))
    assert asked == [str(tmp_path)]
