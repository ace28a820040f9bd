# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Python nodes with unlike ones get."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import common_python
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.common_python import Node

SPAN = ("3.10", "3.14")


def node(number, *pythons, made=""):
    return Node(f"n{number}", frozenset(pythons), made)


@pytest.mark.parametrize(
    ("nodes", "version", "lacking"),
    [
        ([node(1, "3.9", "3.12"), node(2, "3.12", "3.13")], "3.12", ()),
        ([node(1, "3.11", "3.12"), node(2, "3.11", "3.12")], "3.11", ()),  # the tested one before a newer one
        ([node(1, "3.12", "3.13"), node(2, "3.12", "3.13")], "3.13", ()),  # else the newest
        ([node(1, "3.10", "3.9"), node(2, "3.10", "3.9")], "3.10", ()),  # as a number, and what torch has wheels for
        ([node(1, "3.11"), node(2, "3.13"), node(3, "3.13")], "3.13", ("n1",)),  # the fewest installations
        ([node(1, "3.9"), node(2, "3.8")], "3.11", ("n1", "n2")),  # neither can be used at all
        ([node(1, "3.12", made="3.12"), node(2, "3.11"), node(3, "3.11")], "3.12", ("n2", "n3")),  # what is made stays
        ([node(1, "3.13", made="3.11"), node(2, "3.11", "3.13")], "3.11", ()),  # the environment needs no interpreter
        ([node(1)], "3.11", ("n1",)),
    ],
)
def test_the_version_that_all_have_or_the_fewest_lack(nodes, version, lacking):
    assert common_python.choose(nodes, SPAN, "3.11") == (version, lacking)


def test_an_unknown_torch_takes_any_and_words_of_a_node_are_no_version():
    assert common_python.choose([node(1, "3.6", "3.99\n; rm", "../3.7")], None, "3.11") == ("3.6", ())


def test_nodes_with_the_same_pythons_are_named_together():
    said = common_python.have([node(1, "3.9"), node(2), node(3, "3.9")])
    assert said == "n1 and n3 have 3.9; n2 has no other Python"
