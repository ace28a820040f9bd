# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ssh files of the job user; nothing is written of a line that is more than it seems to be."""

from __future__ import annotations

import pwd
import types

import pytest

from ansible_collections.trainmesh.cluster.plugins.modules import ssh_mesh
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0m0xH9nVfY2m3cX3n8Q8zZk5uFq0bXkqkXWJ5m1q2r"
LINE = f'restrict,pty,from="10.0.0.1" {KEY} a'
NOT_YET = "ssh-ed25519 (made on the node by the run) trainmesh node1"


@pytest.fixture
def home(tmp_path, monkeypatch):
    account = types.SimpleNamespace(pw_dir=str(tmp_path), pw_name="trainer")
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: account)
    return tmp_path


def join(capsys, keys, hosts=(), **more):
    wish = {"authorized_keys": keys, "known_hosts": list(hosts), "config": "Host node1\n  User trainer\n", **more}
    return modules.run(ssh_mesh, capsys, backup=False, **wish)


@pytest.mark.parametrize(
    ("keys", "hosts"),
    [
        ([f"{KEY} a\n{KEY}"], []),
        ([f"{KEY} a", f'from="*" {KEY} b'], []),
        ([NOT_YET], []),
        ([f"{KEY} a"], [f"* {KEY}"]),
        ([f"{KEY} a"], [f"node1 {KEY}\n* {KEY}"]),
    ],
)
def test_no_file_is_written(home, capsys, keys, hosts):
    assert "nothing was written" in join(capsys, keys, hosts)["msg"]
    assert not (home / ".ssh").exists()


def test_the_files_get_right_lines_once(home, capsys):
    assert join(capsys, [LINE], [f"node1,10.0.0.1 {KEY}"])["changed"]
    assert KEY in (home / ".ssh/authorized_keys").read_text()
    assert (home / ".ssh").stat().st_mode & 0o777 == 0o700
    assert not join(capsys, [LINE], [f"node1,10.0.0.1 {KEY}"])["changed"]


def test_check_mode_shows_the_key_that_is_still_to_be_made_and_writes_nothing(home, capsys):
    answer = join(capsys, [NOT_YET], check=True)
    assert answer["changed"] and f"{home}/.ssh/authorized_keys" in answer["files"]
    assert not (home / ".ssh").exists()


def test_a_configuration_that_ssh_refuses_is_not_written(home, capsys):
    answer = join(capsys, [LINE], config="Host node1\n  NoSuchWord yes\n")
    assert answer["failed"] and "ssh refuses the client configuration" in answer["msg"]
    assert not (home / ".ssh").exists()


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(ssh_mesh, monkeypatch)
