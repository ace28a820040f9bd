# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster's block of the hosts file; nothing is written of a line that is more than it seems to be."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.modules import hosts_entries
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules

THEIRS = "127.0.0.1 localhost\n"
NODE = {"address": "10.0.0.1", "names": ["node1"]}


@pytest.fixture
def path(tmp_path):
    (tmp_path / "hosts").write_text(THEIRS)
    return tmp_path / "hosts"


def write(capsys, path, entry, **more):
    return modules.run(hosts_entries, capsys, path=str(path), entries=[entry], **{"backup": False, **more})


@pytest.mark.parametrize(
    ("entry", "more"),
    [
        ({"address": "10.0.0.1", "names": ["node1\n10.0.0.9 node2"]}, {}),
        ({"address": "10.0.0.1 node1\n10.0.0.9", "names": ["node2"]}, {}),
        ({"address": "0.0.0.0", "names": ["node1"]}, {}),
        (NODE, {"cluster": "abcdef12, head a\n10.0.0.9 node2 #"}),
        (NODE, {"cluster": "abcdef12", "head": "a\n10.0.0.9"}),
    ],
)
def test_the_file_is_left_as_it_is(capsys, path, entry, more):
    answer = write(capsys, path, entry, **more)
    assert answer["failed"] and "\n" not in answer["msg"]
    assert path.read_text() == THEIRS


def test_the_file_gets_right_entries_once(capsys, path):
    entry = {"address": "fe80::1%eth0", "names": ["node1.example.com", "node1"]}
    assert write(capsys, path, entry, cluster="abcdef12", head="node1")["changed"]
    assert "fe80::1%eth0\tnode1.example.com node1\n" in path.read_text() and THEIRS in path.read_text()
    assert not write(capsys, path, entry, cluster="abcdef12", head="node1")["changed"]


def test_check_mode_shows_the_block_and_writes_nothing(capsys, path):
    answer = write(capsys, path, NODE, check=True)
    assert answer["changed"] and "10.0.0.1\tnode1" in answer["diff"][0]["after"]
    assert path.read_text() == THEIRS


def test_the_file_of_before_is_kept_where_that_is_wished(capsys, path):
    write(capsys, path, NODE, backup=True)
    assert path.with_name("hosts.before-trainmesh").read_text() == THEIRS


def test_a_line_that_says_otherwise_is_named(capsys, path):
    path.write_text(f"{THEIRS}10.0.0.9 node1\n")
    assert "10.0.0.9 node1" in str(write(capsys, path, NODE)["conflicts"])


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(hosts_entries, monkeypatch)
