# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that a user put on root's PATH are not root's."""

from __future__ import annotations

import os
import pwd

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command, search_path

NAMES = ["nvidia-smi", "dmesg", "runuser", "hostnamectl"]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of several users")


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A directory first on PATH with one program of each name."""
    directory = tmp_path / "bin"
    directory.mkdir(mode=0o755)
    for name in NAMES:
        (directory / name).write_text("#!/bin/sh\necho mine\n")
        (directory / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"relative:{directory}:{os.environ['PATH']}")
    return directory


def ours(directory):
    return [name for name in NAMES if search_path.which(name) == str(directory / name)]


@as_root
def test_a_directory_of_a_user_is_passed_over(programs):
    assert ours(programs) == NAMES  # root's own
    os.chown(programs, pwd.getpwnam("nobody").pw_uid, -1)
    assert ours(programs) == []
    assert command.run([search_path.path_of("dmesg")], 5).out != "mine\n"


@as_root
@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_a_directory_that_others_write_is_passed_over(programs, mode):
    programs.chmod(mode)
    assert ours(programs) == []


@as_root
def test_the_group_root_may_write_and_others_not(programs):
    programs.chmod(0o775)
    assert ours(programs) == NAMES
    os.chown(programs, -1, pwd.getpwnam("nobody").pw_gid)
    assert ours(programs) == []


@as_root
def test_a_file_of_a_user_is_passed_over_and_so_is_a_link_to_one(programs, tmp_path):
    os.chown(programs / "dmesg", pwd.getpwnam("nobody").pw_uid, -1)
    theirs = tmp_path / "home"
    theirs.mkdir()
    (theirs / "step").symlink_to(programs / "hostnamectl")
    os.chown(theirs, pwd.getpwnam("nobody").pw_uid, -1)
    (programs / "runuser").unlink()
    (programs / "runuser").symlink_to(theirs / "step")  # both ends are root's, the step between is not
    assert ours(programs) == ["nvidia-smi", "hostnamectl"]


@as_root
def test_a_parent_that_is_a_users_spoils_what_is_below(programs, tmp_path):
    os.chown(tmp_path, pwd.getpwnam("nobody").pw_uid, -1)
    assert ours(programs) == []


def test_anybody_else_has_a_path_of_their_own(programs, monkeypatch):
    programs.chmod(0o777)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert ours(programs) == NAMES


def test_what_is_not_there_starts_nothing():
    assert search_path.which("no-such-program") is None
    assert command.run([search_path.path_of("no-such-program")], 5).missing
