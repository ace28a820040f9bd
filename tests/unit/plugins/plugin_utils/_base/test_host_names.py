# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.host_names import (
    host_name,
    is_host_name,
    is_reserved,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster, Node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render import env, ssh


@pytest.mark.parametrize(
    ("name", "wanted", "given"),
    [
        ("node1", None, "node1"),
        ("node1.example.com", None, "node1"),
        ("node_1", "node-1", "node-1"),
        ("10.0.0.1", None, "node-10-0-0-1"),
        ("10.0.0.1", "gpu1", "gpu1"),
        ("fd42::1", None, "node-fd42-0-0-0-0-0-0-1"),
        ("::1", None, "node-0-0-0-0-0-0-0-1"),
        ("fe80::1%eth0", None, "node-fe80-0-0-0-0-0-0-1"),
    ],
)
def test_the_host_name_of_a_line(name, wanted, given):
    assert host_name(name, wanted) == given
    assert is_host_name(given)


def test_two_addresses_have_two_names():
    assert host_name("fd00:0:1::") != host_name("fd00::1:0")


@pytest.mark.parametrize(
    "name", ["localhost", "LOCALHOST", "localhost4", "localhost.localdomain", "a.localhost", "ip6-allnodes", "all"]
)
def test_names_of_every_host_are_reserved(name):
    assert is_reserved(name)


@pytest.mark.parametrize("name", ["localhost1", "mylocalhost", "allgpus", "ip6", "local"])
def test_names_that_look_alike_are_not(name):
    assert not is_reserved(name)


def _cluster(*names):
    nodes = tuple(
        Node(
            name=name,
            rank=rank,
            address=f"10.0.0.{rank + 1}",
            ssh_port=22,
            slots=1,
            interface="eth0",
            hostname=hostname,
            fqdn=f"{hostname}.trainmesh.internal",
        )
        for rank, (name, hostname) in enumerate(names)
    )
    return Cluster(nodes=nodes, user="root", prefix="/opt/trainmesh", master_port=29500, precision="fp32")


def test_files_name_nodes_by_what_resolves():
    cluster = _cluster(("10.0.0.1", "node-10-0-0-1"), ("gpu_2", "gpu-2"), ("gpu3.example.com", "gpu3"))
    assert env.hostfile(cluster) == "node-10-0-0-1 slots=1\ngpu-2 slots=1\ngpu3.example.com slots=1\n"
    names = [name for entry in ssh.hosts_entries(cluster) for name in entry["names"]]
    assert "10.0.0.1" not in names and "gpu_2" not in names and "gpu-2" in names
    assert "Host gpu-2 gpu-2.trainmesh.internal 10.0.0.2" in ssh.client_config(cluster)
