# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose home a node leaves, and how it tells its own."""

from __future__ import annotations

import os

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.textfile import edited
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import shared_home

KEY, OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOne", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAITwo"
HERE, AWAY = "127.0.0.1", "192.0.2.77"


def line(source, key, names):
    return f'restrict,pty,from="{source}" {key} trainmesh {names}'


@pytest.mark.parametrize(
    ("lines", "others"),
    [
        ([], []),
        ([line(HERE, KEY, "gpu1"), line(AWAY, OTHER, "gpu2"), line("127.0.0.0/8,::1", KEY, "gpu1")], []),
        # a star: this node logs in to nobody
        ([line(AWAY, OTHER, "gpu2"), line("127.0.0.0/8,::1", KEY, "gpu1")], []),
        ([line(HERE, KEY, "gpu1"), line(AWAY, KEY, "gpu2"), line("127.0.0.0/8,::1", KEY, "gpu1 gpu2")],
         ["gpu1", "gpu2"]),
        # the writer has taken this node out already
        ([line(AWAY, KEY, "gpu2"), line("127.0.0.0/8,::1", KEY, "gpu2")], ["gpu2"]),
        ([line("::1", KEY, "gpu1"), line("2001:db8::7", OTHER, "gpu2"), line("127.0.0.0/8,::1", KEY, "gpu1")], []),
    ],
)  # fmt: skip
def test_who_else_has_the_home(tmp_path, lines, others):
    (tmp_path / ".ssh").mkdir()
    path = tmp_path / ".ssh/authorized_keys"
    path.write_text("ssh-rsa AAAA somebody\n")
    path.write_text(edited(str(path), lines))
    assert shared_home.others_in(str(tmp_path)) == others


def test_a_home_without_ssh_files(tmp_path):
    assert shared_home.others_in(str(tmp_path)) == []
    assert shared_home.directory_of(str(tmp_path))["inode"] == os.stat(tmp_path).st_ino
    (tmp_path / "real").mkdir()
    os.symlink("real", tmp_path / ".ssh")
    found = shared_home.directory_of(str(tmp_path))
    assert (found["inode"], found["device"]) == (os.stat(tmp_path / "real").st_ino, os.stat(tmp_path).st_dev)
    assert found["machine"] and found["fs_type"] and isinstance(found["local"], bool)
