# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The N×N results of a run, from every node to every node.

A matrix has ``names`` (rank order) and ``cells``, one row for each source, one column for each target.
"""

from __future__ import annotations

import statistics
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    login_sources,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.mesh import (
    Attempt,
    Pair,
    connectivity,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Data, Hosts, dig

OK, SLOW, NOT_TRIED, NOT_PLANNED = "ok", "slow", "", "not_planned"
# Beyond this many times the median (latency), or below this part of it (bandwidth), a pair stands out.
FAR_ABOVE, FAR_BELOW = 2.0, 0.5


def build(case: Case) -> dict[str, t.Any]:
    """``ssh`` and ``tcp`` (a word a cell), ``latency_us`` and ``mbps`` (a number a cell), each with what failed.

    A word is ``ok``, ``slow`` (it went well, late), empty (not tried), ``not_planned`` (the source is not meant to log
    in to others), or the failure that failed first.
    """
    names, found = list(case.order), connectivity(case)
    return {
        "ssh": _planned(_attempts(found.ssh, names), login_sources(case)),
        "tcp": _attempts(found.tcp, names),
        "latency_us": {**_numbers(case.links, names, "latency_us"), "large_is_bad": True},
        "mbps": {**_numbers(case.links, names, "mbps"), "large_is_bad": False},
    }


def _attempts(found: t.Mapping[Pair, t.Sequence[Attempt]], names: list[str]) -> dict[str, t.Any]:
    """One word for all attempts of a pair: a node is asked under several names, or on several ports."""
    cells = [[_word(found.get((source, target), ())) for target in names] for source in names]
    failed = [
        {"from": source, "to": target, "what": item.what, "failure": item.failure or "other", "evidence": item.evidence}
        for source in names
        for target in names
        for item in sorted(found.get((source, target), ()))
        if not item.ok
    ]
    return {"names": names, "cells": cells, "failed": failed}


def _planned(matrix: dict[str, t.Any], sources: t.Collection[str]) -> dict[str, t.Any]:
    """The matrix of logins with a word of its own where none is meant to be."""
    rows = zip(matrix["names"], matrix["cells"])
    cells = [row if name in sources else [cell or NOT_PLANNED for cell in row] for name, row in rows]
    return {**matrix, "cells": cells}


def _word(attempts: t.Sequence[Attempt]) -> str:
    for item in attempts:
        if not item.ok:
            return item.failure or "other"
    if any(item.failure == SLOW for item in attempts):
        return SLOW
    return OK if attempts else NOT_TRIED


def _failure(source: str, target: str, result: Data) -> dict[str, str]:
    failure, evidence = str(result.get("failure") or "other"), str(result.get("evidence") or "")
    return {"from": source, "to": target, "what": "", "failure": failure, "evidence": evidence}


def _numbers(links: Hosts, names: list[str], key: str) -> dict[str, t.Any]:
    """A quantity of each link, None where none was measured; the same failures stand in both quantities."""
    cells: list[list[float | None]] = []
    failed = []
    for source in names:
        row: list[float | None] = []
        for target in names:
            result = dig(links.get(source), target)
            value = dig(result, key)
            row.append(float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None)
            if isinstance(result, t.Mapping) and not result.get("ok"):
                failed.append(_failure(source, target, result))
        cells.append(row)
    return {"names": names, "cells": cells, "failed": failed}


def numbers(matrix: Data) -> list[float]:
    """Every number of a matrix, in order of size."""
    return sorted(value for row in matrix["cells"] for value in row if value is not None)


def tried(matrix: Data) -> bool:
    """Whether a matrix has anything to show."""
    return any(cell not in (None, NOT_TRIED, NOT_PLANNED) for row in matrix["cells"] for cell in row)


def of_words(matrix: Data) -> bool:
    """Whether the cells are words, not numbers."""
    return "large_is_bad" not in matrix


def far(value: float, median: float, large_is_bad: bool) -> bool:
    """Whether a quantity is far from the median in the bad direction: a large latency, or a small bandwidth."""
    if not median:
        return False
    return value > FAR_ABOVE * median if large_is_bad else value < FAR_BELOW * median


def median_of(matrix: Data) -> float | None:
    """The median of a matrix of numbers, None of one that has none."""
    found = numbers(matrix) if not any(isinstance(cell, str) for row in matrix["cells"] for cell in row) else []
    return statistics.median(found) if found else None
