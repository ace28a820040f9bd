# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import cluster, expected, state
from ansible_collections.trainmesh.cluster.tests.unit.samples.clusters import host, options

HOSTS = {f"node{number}": f"192.0.2.{number}" for number in range(1, 4)}


def remembered(tmp_path, made):
    """The state file of a run with this plan, as the next run reads it."""
    state.save(str(tmp_path / "cluster.json"), state.text(made["model"], "0123abcd", "all", []))
    return state.load(str(tmp_path / "cluster.json"), "all", HOSTS)


@pytest.mark.parametrize(("topology", "head"), [("mesh", None), ("head", None), ("head", "node2")])
def test_the_next_run_knows_the_keys_that_this_one_hands_out(tmp_path, topology, head):
    made = cluster.make([host(1), host(2), host(3)], options(ssh_topology=topology, head=head), {})
    assert expected.authorized_keys(remembered(tmp_path, made)) == made["ssh"]["authorized_keys"]


def test_addresses_are_those_of_the_last_run_or_where_to_look(tmp_path):
    memory = remembered(tmp_path, cluster.make([host(1), host(3)], options(), {}))
    assert expected.addresses(HOSTS, HOSTS.values(), memory) == ["10.0.0.11", "192.0.2.2", "10.0.0.13"]


def test_without_a_last_run_nothing_is_known(tmp_path):
    memory = state.load(str(tmp_path / "cluster.json"), "all", HOSTS)
    assert expected.authorized_keys(memory) == []
    assert expected.addresses(HOSTS, HOSTS.values(), memory) == [*HOSTS.values()]
