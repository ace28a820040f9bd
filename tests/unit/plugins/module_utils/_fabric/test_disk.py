# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disk space along a mount table, with mounts that must not be touched."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import disk

TABLE = """22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:5 / /proc rw - proc proc rw
24 22 0:30 / /dev/shm rw,nosuid - tmpfs tmpfs rw,size=65536k
25 22 254:0 /x/hosts /etc/hosts rw - ext4 /dev/vda rw
26 22 0:40 / /data/with\\040blank ro - xfs /dev/sdb1 rw
27 22 0:41 / /home rw - nfs4 server:/export/home rw,hard
28 22 0:42 / /data rw - xfs /dev/sdc1 ro
29 28 0:43 / /data rw shared:7 master:3 - btrfs /dev/sdd1 rw
not a line of the table
"""
MOUNTS = disk.parse_mountinfo(TABLE)


def test_the_mount_table_is_parsed_with_escapes_and_optional_fields() -> None:
    assert len(MOUNTS) == 8
    assert MOUNTS[4] == disk.Mount("/data/with blank", "xfs", "/dev/sdb1", True)
    assert MOUNTS[6].readonly is True
    assert MOUNTS[7] == disk.Mount("/data", "btrfs", "/dev/sdd1", False)


@pytest.mark.parametrize(
    ("path", "fs_type"),
    [("/", "ext4"), ("/opt/x", "ext4"), ("/homework", "ext4"), ("/home/dev", "nfs4"), ("/data/y", "btrfs")],
)
def test_a_path_lies_on_the_last_of_the_longest_mounts(path: str, fs_type: str) -> None:
    mount = disk.mount_of(MOUNTS, path)
    assert mount is not None
    assert mount.fs_type == fs_type


def test_mounted_files_are_seen() -> None:
    assert disk.is_mounted(MOUNTS, "/etc/hosts")
    assert not disk.is_mounted(MOUNTS, "/etc/hostname")


def test_a_missing_path_is_measured_at_its_nearest_parent(tmp_path: Path) -> None:
    given_path = str(tmp_path / "a/b/c")
    found = disk.disks(disk.mounts(Tree()), [given_path], 5)[given_path]
    assert found["existing"] == str(tmp_path)
    assert found["total_bytes"] >= found["free_bytes"] >= 0
    assert found["fs_type"]
    assert found["error"] is None


def test_the_answer_keeps_the_path_as_it_was_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = disk.disks(disk.mounts(Tree()), ["~/.cache"], 5)
    assert found["~/.cache"]["path"] == str(tmp_path / ".cache")


def local_table(*remote: Path) -> list[disk.Mount]:
    table = [disk.Mount("/", "ext4", "/dev/vda", False)]
    return table + [disk.Mount(str(place), "nfs4", "server:/x", False) for place in remote]


def test_links_are_followed_but_not_onto_a_network_file_system(tmp_path: Path) -> None:
    (tmp_path / "real/inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "remote").symlink_to(tmp_path / "share/deep")
    table = local_table(tmp_path / "share")
    assert disk.follow(table, str(tmp_path / "link/inner/new")) == (str(tmp_path / "real/inner"), True)
    assert disk.follow(table, str(tmp_path / "remote/new")) == (str(tmp_path / "share/deep/new"), False)


def test_a_ring_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    place, local = disk.follow(local_table(), str(tmp_path / "a/x"))
    assert local
    assert place.startswith(str(tmp_path))


def test_a_network_file_system_is_measured_by_a_child(tmp_path: Path) -> None:
    found = disk.disks(local_table(tmp_path), [str(tmp_path / "new")], 20)[str(tmp_path / "new")]
    assert (found["local"], found["fs_type"], found["existing"]) == (False, "nfs4", str(tmp_path))
    assert found["total_bytes"] > 0
    assert found["error"] is None


def test_a_file_system_that_hangs_costs_the_limit_and_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(disk, "CHILD", "import time; time.sleep(60)")
    started = time.monotonic()
    found = disk.disks(local_table(tmp_path), [str(tmp_path), "/"], 0.5)
    assert time.monotonic() - started < 10
    assert found[str(tmp_path)]["error"] == "the file system did not answer within 0.5 seconds"
    assert found[str(tmp_path)]["total_bytes"] is None
    assert found["/"]["total_bytes"] > 0


def test_one_file_system_that_hangs_does_not_hide_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad", tmp_path / "good"
    good.mkdir()
    sleep = "import sys, time\nif sys.argv[1].endswith('bad'): time.sleep(60)\n"
    monkeypatch.setattr(disk, "CHILD", sleep + disk.CHILD)
    found = disk.disks(local_table(bad, good), [str(bad), str(good)], 4)
    assert found[str(bad)]["error"] == "the file system did not answer within 2 seconds"
    assert found[str(good)]["total_bytes"] > 0


@pytest.mark.parametrize("child", ["print('noise')", "print('7')", "print('[]')", "raise SystemExit('broken')", ""])
def test_a_child_that_says_something_else_gives_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, child: str
) -> None:
    monkeypatch.setattr(disk, "CHILD", child)
    found = disk.disks(local_table(tmp_path), [str(tmp_path)], 20)[str(tmp_path)]
    assert found["error"]
    assert found["total_bytes"] is None


def test_shared_memory_is_null_unless_it_is_mounted() -> None:
    assert disk.shared_memory(disk.parse_mountinfo(TABLE.replace("/dev/shm", "/dev/xxx"))) is None
    found = disk.shared_memory(MOUNTS)
    if os.path.isdir("/dev/shm"):
        assert found is not None
        assert found["total_bytes"] >= found["free_bytes"]


def test_without_a_mount_table_nothing_is_touched_in_process() -> None:
    assert disk.follow([], "/opt/x") == ("/opt/x", False)


@settings(max_examples=150, deadline=None, database=None)
@given(st.text(max_size=200), st.integers(0, len(TABLE)))
def test_damaged_mount_tables_never_raise(text: str, cut: int) -> None:
    for sample in (text, TABLE[:cut] + text):
        table = disk.parse_mountinfo(sample)
        disk.mount_of(table, "/data/x")
        disk.is_mounted(table, "/etc/hosts")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("~/.cache", "/home/trainer/.cache"),
        ("~", "/home/trainer"),
        ("/data/../x", "/x"),
        ("~root", os.path.expanduser("~root")),
    ],
)
def test_the_home_of_another_user_is_that_of_the_tilde(path: str, expected: str) -> None:
    assert disk.expanded(path, "/home/trainer") == expected
    assert disk.expanded("~/.cache", None) == os.path.expanduser("~/.cache")
