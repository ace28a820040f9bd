# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import hosts_file

HOSTS = """127.0.0.1\tlocalhost
127.0.1.1 node1.example.org Node1 # written by the installer
# 10.0.0.9 node1
10.0.0.1 node1
10.0.0.2 node2 node1-ib
::1 ip6-localhost

10.0.0.3
"""
ENTRIES = [("10.0.0.11", ["node1.x", "node1"]), ("10.0.0.12", ["node2.x", "node2"])]


def test_block_comes_first_and_foreign_lines_stay():
    text = hosts_file.plan("127.0.0.1 localhost\n192.0.2.9 printer # office\n", ENTRIES).text
    lines = text.splitlines()
    assert lines[1:3] == ["10.0.0.11\tnode1.x node1", "10.0.0.12\tnode2.x node2"]
    assert lines[4:] == ["127.0.0.1 localhost", "192.0.2.9 printer # office"]


def test_own_name_leaves_the_loopback_line():
    have = "127.0.0.1 localhost\n127.0.1.1 node1.x node1\n127.0.1.1 node2 old # mine\n"
    text = hosts_file.plan(have, ENTRIES).text
    assert "127.0.1.1 node1" not in text
    assert "127.0.1.1\told # mine" in text
    assert "127.0.0.1 localhost" in text


def test_second_run_changes_nothing():
    once = hosts_file.plan("127.0.0.1 localhost\n", ENTRIES).text
    assert hosts_file.plan(once, ENTRIES).text == once


def test_removed_node_leaves_the_block():
    once = hosts_file.plan("127.0.0.1 localhost\n", ENTRIES).text
    assert "node2" not in hosts_file.plan(once, ENTRIES[:1]).text


def test_no_entries_restore_the_file():
    once = hosts_file.plan("127.0.0.1 localhost\n", ENTRIES).text
    assert hosts_file.plan(once, []).text == "127.0.0.1 localhost\n"


def test_a_foreign_line_with_another_address_is_kept_and_named():
    plan = hosts_file.plan("192.0.2.7 node2\n", ENTRIES)
    assert "192.0.2.7 node2" in plan.text
    assert plan.conflicts == ["'192.0.2.7 node2' names node2 too"]


def test_localhost_names_stay_on_the_loopback_even_if_a_node_is_called_so():
    plan = hosts_file.plan(
        "127.0.1.1 localhost.localdomain node1\n", [("10.0.0.11", ["localhost.localdomain", "node1"])]
    )
    assert "127.0.1.1\tlocalhost.localdomain" in plan.text


def test_hosts_entries_that_name_the_node_or_loopback_are_kept() -> None:
    kept = hosts_file.own_entries(hosts_file.parse_hosts(HOSTS), {"node1", "NODE1.example.org", ""})
    assert [(entry["line"], entry["address"]) for entry in kept] == [
        (1, "127.0.0.1"),
        (2, "127.0.1.1"),
        (4, "10.0.0.1"),
    ]
    assert kept[1]["names"] == ["node1.example.org", "Node1"]


@settings(max_examples=100, deadline=None, database=None)
@given(st.text(max_size=400))
def test_random_hosts_files_never_raise(text: str) -> None:
    for entry in hosts_file.own_entries(hosts_file.parse_hosts(text + HOSTS), {"node1"}):
        assert entry["names"]
