# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say much in little: runs of names, and the pairs of a matrix as products of sources and targets.

Nothing is dropped: every name lies in a run, every pair in exactly one block. Nodes are their ranks.
"""

from __future__ import annotations

import typing as t

Data = t.Mapping[str, t.Any]
Pairs = t.Collection[tuple[int, int]]

# Fewer neighbours are named one by one.
_SHORTEST_RUN = 3


class Block(t.NamedTuple):
    """The same word for every pair of a source and a target."""

    word: str
    sources: tuple[int, ...]
    targets: tuple[int, ...]


def blocks(words: t.Mapping[tuple[int, int], str]) -> list[Block]:
    """The pairs (source, target) with their words, as few blocks as equal rows, or else equal columns, make."""
    by_word: dict[str, list[tuple[int, int]]] = {}
    for pair, word in words.items():
        by_word.setdefault(word, []).append(pair)
    found = []
    for word, pairs in by_word.items():
        of_rows = _equal_rows(pairs)
        of_columns = [(rows, columns) for columns, rows in _equal_rows([(column, row) for row, column in pairs])]
        chosen = of_rows if len(of_rows) <= len(of_columns) else of_columns
        found += [Block(word, rows, columns) for rows, columns in chosen]
    return found


def _equal_rows(pairs: Pairs) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(rows, columns): rows that have the same columns, together."""
    columns: dict[int, list[int]] = {}
    for row, column in sorted(pairs):
        columns.setdefault(row, []).append(column)
    rows: dict[tuple[int, ...], list[int]] = {}
    for row, known in columns.items():
        rows.setdefault(tuple(known), []).append(row)
    return [(tuple(which), known) for known, which in rows.items()]


def runs(numbers: t.Iterable[int]) -> list[tuple[int, int]]:
    """Numbers as (first, last) of neighbours."""
    found: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def listed(numbers: t.Iterable[int], names: t.Sequence[str]) -> list[str]:
    """The names of these ranks, neighbours as ``first..last``."""
    parts: list[str] = []
    for first, last in runs(numbers):
        together = last - first + 1 >= _SHORTEST_RUN
        parts += [f"{names[first]}..{names[last]}"] if together else names[first : last + 1]
    return parts


def nodes(hosts: t.Iterable[str], names: t.Sequence[str]) -> str:
    """These hosts in the order of ``names``, neighbours as ``first..last``; any others behind them."""
    rank = {name: number for number, name in enumerate(names)}
    known = list(dict.fromkeys(hosts))
    others = [host for host in known if host not in rank]
    return ", ".join([*listed([rank[host] for host in known if host in rank], names), *others])


def ends(block: Block, names: t.Sequence[str]) -> tuple[str, str]:
    """The sources and the targets of a block in words."""
    return _side(block.sources, block.targets, names), _side(block.targets, block.sources, names)


def _side(chosen: tuple[int, ...], opposite: tuple[int, ...], names: t.Sequence[str]) -> str:
    rest = set(range(len(names))) - set(chosen)
    if not rest:
        return "every node"
    if rest == set(opposite) and len(rest) == 1:
        return "every other node"
    said, without = ", ".join(listed(chosen, names)), f"every node but {', '.join(listed(rest, names))}"
    return min(said, without, key=len)
