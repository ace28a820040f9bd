# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan refuses beside interpreters: prefixes of others, and commands that may not be installed."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import cluster
from ansible_collections.trainmesh.cluster.tests.unit.samples.clusters import host, options

THEIRS = "/opt/trainmesh/env is there and was not made by this collection"


def faults(*bases, **wish):
    hosts = [host(number)._replace(stack={"base": base}) for number, base in enumerate(bases, 1)]
    made = cluster.make(hosts, options(**wish), {}, strict=False)["refusals"]
    return [(", ".join(refusal["hosts"]), refusal["text"]) for refusal in made]


def test_a_prefix_of_others_is_refused_with_its_nodes():
    taken = {"prefix_problem": THEIRS}
    assert faults({"prefix_problem": None}, taken, taken) == [("node2, node3", THEIRS)]


@pytest.mark.parametrize(
    ("launchers", "expected"),
    [
        (["torchrun"], [("node1", "pdsh, rsync"), ("node2", "rsync")]),
        (["mpirun"], [("node1, node2", "mpirun, rsync")]),
        (["mpirun", "deepspeed"], [("node1", "mpirun, pdsh, rsync"), ("node2", "mpirun, rsync")]),
    ],
)
def test_commands_that_nobody_may_install(launchers, expected):
    base = {"missing_commands": ["rsync", "pdsh", "mpirun"]}
    found = faults(base, base, launchers=launchers, packages_install=False)
    assert [(hosts, text.partition(" is missing")[0]) for hosts, text in found] == expected
    assert all("trainmesh_packages_install is false" in text for _hosts, text in found)
    assert faults(base, base, launchers=launchers) == []


def test_a_node_has_what_it_needs_or_nothing_is_known_of_it():
    assert faults({"missing_commands": ["mpirun"]}, None, {}, packages_install=False) == []
