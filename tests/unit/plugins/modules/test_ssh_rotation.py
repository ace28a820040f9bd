# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new key comes into use when the other nodes are told of it, and not before."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from unittest import mock

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import ssh_files
from ansible_collections.trainmesh.cluster.plugins.modules import ssh_identity, ssh_mesh


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Runs a module for a user whose home is empty; gives its answer."""
    account = mock.Mock(pw_dir=str(tmp_path), pw_name="trainer")

    def call(module, **arguments):
        monkeypatch.setattr(pwd, "getpwuid", lambda uid: account)
        with patch_module_args({"_ansible_remote_tmp": str(tmp_path), **arguments}), pytest.raises(SystemExit):
            module.main()
        return json.loads(capsys.readouterr().out)

    return call


def identity(run, **arguments):
    return run(ssh_identity, comment="trainmesh n", **arguments)


def mesh(run, *keys, **arguments):
    lines = [f'restrict,pty,from="10.0.0.1" {key} trainmesh n' for key in keys]
    return run(ssh_mesh, authorized_keys=lines, known_hosts=[], config="", **arguments)


def in_use(home):
    """The public part of the private key that ssh would use."""
    command = ["ssh-keygen", "-y", "-f", str(home / ".ssh/trainmesh/id_ed25519")]
    return ssh_files.key_line(subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout)


def test_the_new_key_is_used_when_the_others_are_told_of_it(run, tmp_path):
    old = identity(run)["public_key"]
    rotated = identity(run, rotate=True)
    new = rotated["public_key"]
    assert rotated["changed"] and new not in ("", old) and in_use(tmp_path) == old
    assert identity(run)["public_key"] == old, "a run that does not rotate goes on with the old one"
    mesh(run, old)
    assert in_use(tmp_path) == old, "the plan of another run"
    assert mesh(run, new, _ansible_check_mode=True)["changed"] and in_use(tmp_path) == old
    assert mesh(run, new)["changed"] and in_use(tmp_path) == new
    assert identity(run)["public_key"] == new and not mesh(run, new)["changed"]
    assert sorted(os.listdir(tmp_path / ".ssh/trainmesh")) == ["config", "id_ed25519", "id_ed25519.pub", "known_hosts"]
    assert (tmp_path / ".ssh/trainmesh/id_ed25519").stat().st_mode & 0o777 == 0o600


def test_a_rotation_that_was_refused_goes_on_with_the_same_key(run):
    identity(run)
    assert identity(run, rotate=True)["public_key"] == identity(run, rotate=True)["public_key"]


def test_check_mode_and_a_run_that_only_looks_make_no_key(run, tmp_path):
    old = identity(run)["public_key"]
    asked = identity(run, rotate=True, _ansible_check_mode=True)
    assert asked["changed"] and asked["public_key"] == old
    assert identity(run, rotate=True, create=False)["public_key"] == old
    assert sorted(os.listdir(tmp_path / ".ssh/trainmesh")) == ["id_ed25519", "id_ed25519.pub"]


def test_the_first_key_of_a_node_needs_no_rotation(run, tmp_path):
    assert identity(run, rotate=True)["public_key"] == in_use(tmp_path)


def test_a_switch_that_was_interrupted_is_ended(run, tmp_path):
    identity(run)
    new = identity(run, rotate=True)["public_key"]
    key = tmp_path / ".ssh/trainmesh/id_ed25519"
    os.replace(f"{key}.new", key)
    assert identity(run)["public_key"] == new == in_use(tmp_path)
    assert not os.path.exists(f"{key}.new.pub")
