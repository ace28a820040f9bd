# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The N×N results of many nodes: a square in which every pair is drawn, and sentences that say what is not plain."""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import folding, matrices
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import text as words

Data = t.Mapping[str, t.Any]

# Where the shades of numbers begin, as fractions of the median; not at 1, around which most values are.
SHADES = (0.75, 0.9, 1.1)
# Pixels of a cell, at least of a square, and at most; of still more nodes, and on a narrow screen, the cells shrink.
_CELL, _LEAST, _MOST = 7, 448, 1536
_FAR, _UNTESTED = "far from the median", ("not tested", "not planned", "not measured")


def kinds(matrix: Data) -> list[list[str]]:
    """What each cell is drawn as: ok, slow, bad, none (not tested), or scale-0 to scale-3."""
    if matrices.of_words(matrix):
        known = {word: _kind(word) for row in matrix["cells"] for word in row}
        return [[known[word] for word in row] for row in matrix["cells"]]
    median = matrices.median_of(matrix) or 0
    drawn = [[_shade(value, median, matrix["large_is_bad"]) for value in row] for row in matrix["cells"]]
    for row, column in _failures(matrix):
        drawn[row][column] = "bad"
    return drawn


def _kind(word: str) -> str:
    if word in (matrices.OK, matrices.SLOW):
        return word
    return "none" if word in (matrices.NOT_TRIED, matrices.NOT_PLANNED) else "bad"


def _shade(value: float | None, median: float, large_is_bad: bool) -> str:
    if value is None:
        return "none"
    if matrices.far(value, median, large_is_bad):
        return "bad"
    return f"scale-{sum(value > step * median for step in SHADES)}"


def _failures(matrix: Data) -> dict[tuple[int, int], str]:
    """How the pairs failed that a matrix of numbers has no number of."""
    rank = {name: number for number, name in enumerate(matrix["names"])}
    return {(rank[row["from"]], rank[row["to"]]): row["failure"] for row in matrix["failed"]}


def square(matrix: Data) -> dict[str, t.Any]:
    """The drawing: a ground for the kind of most pairs, and a path of strokes for every other kind."""
    cells = kinds(matrix)
    count = len(cells)
    ground = collections.Counter(kind for row in cells for kind in row).most_common(1)[0][0]
    strokes: dict[str, list[str]] = {}
    for number, row in enumerate(cells):
        for kind, line in _strokes(number, row, ground).items():
            strokes.setdefault(kind, []).append(line)
    step = next(step for step in (8, 16, 32, 64, 128, 256, count) if count <= 8 * step or step == count)
    return {
        "count": count,
        "side": min(max(_CELL * count, _LEAST), _MOST),
        "ground": ground,
        "paths": [(kind, "".join(lines)) for kind, lines in sorted(strokes.items())],
        "ticks": [(rank, f"{100 * (rank + 0.5) / count:.2f}%") for rank in range(0, count, step)],
        "grid": "".join(f"M0 {at}h{count}M{at} 0v{count}" for at in range(step, count, step)),
    }


def _strokes(number: int, row: t.Sequence[str], ground: str) -> dict[str, str]:
    """One row: for each kind a line of strokes and gaps."""
    found: dict[str, str] = {}
    ends: dict[str, int] = {}
    column = 0
    while column < len(row):
        start, kind = column, row[column]
        while column < len(row) and row[column] == kind:
            column += 1
        if kind != ground:
            begin = f"m{start - ends[kind]} 0" if kind in ends else f"M{start} {number}"
            found[kind] = f"{found.get(kind, '')}{begin}h{column - start}"
            ends[kind] = column
    return found


def sentences(kind: str, matrix: Data) -> list[str]:
    """What the square shows, in words: how many pairs are plain, and every other pair in exactly one sentence.

    The pair of a node with itself is no pair where it was not tested.
    """
    cells, failures = kinds(matrix), {} if matrices.of_words(matrix) else _failures(matrix)
    plain: list[t.Any] = []
    odd: dict[tuple[int, int], str] = {}
    for row, line in enumerate(cells):
        for column, what in enumerate(line):
            if what == "ok" or what.startswith("scale"):
                plain.append(matrix["cells"][row][column])
            elif what != "none" or row != column:
                odd[row, column] = failures.get((row, column)) or _word(matrix, row, column)
    untried = {row for row, line in enumerate(cells) if line[row] == "none"}
    found = sorted(
        _blocks(odd, untried, len(cells)),
        key=lambda block: (block.word in _UNTESTED, -len(block.sources) * len(block.targets)),
    )
    first = f"{len(plain):,} of {len(plain) + len(odd):,} pairs: {_range(kind, matrix, plain)}"
    return [first, *(_sentence(kind, matrix, block) for block in found)]


def _blocks(odd: t.Mapping[tuple[int, int], str], untried: t.Collection[int], count: int) -> t.Iterator[folding.Block]:
    """The pairs as blocks; ``untried`` nodes, not tested with themselves, do not keep equal rows apart by that."""
    near: dict[int, collections.Counter[str]] = {}
    for (row, column), word in odd.items():
        for end in (row, column):
            near.setdefault(end, collections.Counter())[word] += 1
    most = {end: near[end].most_common(1)[0] for end in untried if end in near}
    selves = {(end, end): word for end, (word, found) in most.items() if found >= count - 1}  # a whole row, or column
    for block in folding.blocks({**odd, **selves}):
        sources, targets = block.sources, block.targets
        if len(sources) == 1 and (*sources, *sources) in selves:
            targets = tuple(end for end in targets if end not in sources)
        elif len(targets) == 1 and (*targets, *targets) in selves:
            sources = tuple(end for end in sources if end not in targets)
        if sources and targets:
            yield folding.Block(block.word, sources, targets)


def _word(matrix: Data, row: int, column: int) -> str:
    word: t.Any = matrix["cells"][row][column]
    if not matrices.of_words(matrix):
        return "not measured" if word is None else _FAR
    return {matrices.NOT_TRIED: "not tested", matrices.NOT_PLANNED: "not planned"}.get(word, str(word))


def _range(kind: str, matrix: Data, values: t.Sequence[t.Any]) -> str:
    if matrices.of_words(matrix) or not values:
        return "ok"
    return f"{span(kind, values)}, median {quantity(kind, matrices.median_of(matrix))}"


def _sentence(kind: str, matrix: Data, block: folding.Block) -> str:
    source, target = folding.ends(block, matrix["names"])
    if block.word == _FAR:
        cells = (matrix["cells"][row][column] for row in block.sources for column in block.targets)
        values = [value for value in cells if value is not None]
        limit = "more than twice" if matrix["large_is_bad"] else "less than half of"
        what = f"{span(kind, values)}, {limit} the median"
    elif block.word in _UNTESTED:
        what = block.word
    else:
        known = words.LAYERS.get(block.word)
        what = known[1] if known else f"failed ({words.one_line(block.word, 40)})"
    return f"{source} → {target}: {what}"


def span(kind: str, values: t.Sequence[float]) -> str:
    """``21.2 Gbit/s to 24 Gbit/s``, or the one value."""
    low, high = quantity(kind, min(values)), quantity(kind, max(values))
    return low if low == high else f"{low} to {high}"


def quantity(kind: str, value: float | None) -> str:
    """A latency or a bandwidth with its unit."""
    if kind == "mbps":
        return words.bandwidth(value)
    return "-" if value is None else f"{value:.3g} µs"
