# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
import random

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import folding

NAMES = [f"n{number}" for number in range(10)]
EVERY = tuple(range(10))


def unfolded(blocks):
    """{pair: word}; a pair in two blocks is an error."""
    found = {}
    for block in blocks:
        for pair in itertools.product(block.sources, block.targets):
            assert pair not in found
            found[pair] = block.word
    return found


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95, 1.0])
def test_every_pair_is_in_exactly_one_block_and_no_other(share):
    chance = random.Random(7)
    pairs = [pair for pair in itertools.product(range(12), repeat=2) if chance.random() < share]
    words = {pair: chance.choice(["timeout", "refused"]) for pair in pairs}
    assert unfolded(folding.blocks(words)) == words


def test_equal_rows_and_equal_columns_are_one_block():
    column = {(row, 3): "timeout" for row in EVERY}
    assert folding.blocks(column) == [("timeout", EVERY, (3,))]
    rows = {(row, column): "timeout" for row in (2, 4) for column in EVERY}
    assert folding.blocks(rows) == [("timeout", (2, 4), EVERY)]


def test_a_column_whose_own_node_is_well_stays_one_block_beside_another():
    two = {(row, column): "timeout" for row in EVERY for column in (3, 7) if row != column}
    assert len(folding.blocks(two)) == 2


def test_each_word_has_its_own_blocks():
    assert {block.word for block in folding.blocks({(0, 1): "timeout", (0, 2): "refused"})} == {"timeout", "refused"}


@pytest.mark.parametrize(
    ("numbers", "said"),
    [((0, 1, 2), "n0..n2"), ((0, 1), "n0, n1"), ((5, 0, 4, 3, 9), "n0, n3..n5, n9"), ((), "")],
)
def test_neighbours_are_named_by_the_first_and_the_last(numbers, said):
    assert ", ".join(folding.listed(numbers, NAMES)) == said


def test_hosts_that_have_no_rank_are_named_behind_the_others():
    assert folding.nodes(["away", "n2", "n0", "n1", "n2"], NAMES) == "n0..n2, away"


@pytest.mark.parametrize(
    ("sources", "targets", "said"),
    [
        (EVERY, (3,), ("every node", "n3")),
        ((3,), tuple(number for number in EVERY if number != 3), ("n3", "every other node")),
        (tuple(number for number in EVERY if number not in (2, 5, 8)), (0,), ("every node but n2, n5, n8", "n0")),
        ((1, 2), (1, 2), ("n1, n2", "n1, n2")),
    ],
)
def test_the_ends_of_a_block_in_words(sources, targets, said):
    assert folding.ends(folding.Block("timeout", sources, targets), NAMES) == said
