# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key pair of a node; test_ssh_rotation.py has the change of keys."""

from __future__ import annotations

import concurrent.futures
import errno
import os
import pathlib
import pwd
import types

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import ssh_identity as identity_code
from ansible_collections.trainmesh.cluster.plugins.modules import ssh_identity
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules


@pytest.fixture
def key(tmp_path, monkeypatch):
    """The key of a user whose home is empty."""
    account = types.SimpleNamespace(pw_dir=str(tmp_path), pw_name="trainer")
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: account)
    return tmp_path / ".ssh/trainmesh/id_ed25519"


def identity(capsys, **arguments):
    return modules.run(ssh_identity, capsys, comment="trainmesh node1", **arguments)


def test_a_key_is_made_once_and_its_private_half_is_the_users_alone(key, capsys):
    first = identity(capsys)
    assert first["changed"] and first["public_key"].startswith("ssh-ed25519 ")
    assert (key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    second = identity(capsys)
    assert (second["changed"], second["public_key"], second["diff"]) == (False, first["public_key"], [])
    assert (second["user"], second["home"]) == ("trainer", str(key.parents[2]))


def test_in_fips_mode_it_is_a_key_that_this_mode_knows(key, capsys, monkeypatch, tmp_path):
    (tmp_path / "fips_enabled").write_text("1\n")
    monkeypatch.setattr(identity_code, "FIPS", str(tmp_path / "fips_enabled"))
    assert identity(capsys)["public_key"].startswith("ecdsa-sha2-nistp256 ")
    assert key.exists()


def test_a_comment_stays_as_it_is(key, capsys):
    modules.run(ssh_identity, capsys, comment="trainmesh $HOME ~")
    assert pathlib.Path(f"{key}.pub").read_text().endswith(" trainmesh $HOME ~\n")


def test_a_lost_public_half_is_made_from_the_private_one(key, capsys):
    made = identity(capsys)["public_key"]
    os.unlink(f"{key}.pub")
    assert identity(capsys)["public_key"].split()[:2] == made.split()[:2]


def test_nodes_with_one_home_make_one_key_at_the_same_time(tmp_path):
    key = str(tmp_path / ".ssh/trainmesh/id_ed25519")

    def make(_node):
        identity_code._make(key, "trainmesh node", str(tmp_path))
        return pathlib.Path(key).read_text(), pathlib.Path(f"{key}.pub").read_text()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(make, range(8)))) == 1
    assert sorted(os.listdir(os.path.dirname(key))) == ["id_ed25519", "id_ed25519.pub"]


def test_a_file_system_without_links_has_a_key_too(key, capsys, monkeypatch):
    def refused(*_paths):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    assert identity(capsys)["public_key"] and key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("arguments", "changed"), [({"check": True}, True), ({"create": False}, False)])
def test_a_look_makes_nothing(key, capsys, arguments, changed):
    answer = identity(capsys, **arguments)
    assert (answer["changed"], answer["public_key"], os.listdir(key.parents[2])) == (changed, "", [])


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(ssh_identity, monkeypatch)
