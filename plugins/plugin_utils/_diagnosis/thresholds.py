# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits that rules compare with, and what a user has put in their place.

The defaults with unit, source and meaning are ``data/thresholds.json``; a user changes them with
``trainmesh_thresholds``.
"""

from __future__ import annotations

import difflib
import functools
import math
import pathlib
import statistics
import typing as t
from collections import abc

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import table

Limits = dict[str, t.Any]
DATA = pathlib.Path(__file__).parent / "data"


@functools.cache
def entries() -> dict[str, dict[str, t.Any]]:
    """The table of thresholds by name; treat it as read-only."""
    return {entry["name"]: entry for entry in table("thresholds", DATA)["thresholds"]}


def read(overrides: t.Mapping[str, t.Any] | None = None) -> Limits:
    """Every limit in force by name: a number, or for one by GPU a mapping of name to number (None: no limit).

    ``overrides`` is ``trainmesh_thresholds``; raises ValueError naming the entry that is wrong. A plain
    number for a limit by GPU holds for every GPU; a mapping adds to the table.
    """
    changes = check(overrides)
    return {name: _merged(entry, changes.get(name)) for name, entry in entries().items()}


def check(overrides: t.Any) -> Limits:
    """``trainmesh_thresholds`` as numbers; raises ValueError with what was expected."""
    if overrides is None:
        return {}
    if not isinstance(overrides, abc.Mapping):
        raise ValueError("expected a mapping of threshold: number")
    return {str(name): _changed(str(name), value) for name, value in overrides.items()}


def limit(limits: t.Mapping[str, t.Any], name: str, gpu: str = "") -> float | None:
    """One limit; ``gpu`` is the name of the GPU where it depends on that. None: there is no limit.

    ``limits`` may lack the name: then its default holds. Raises KeyError for a name that no table has.
    """
    value = limits[name] if limits.get(name) is not None else _merged(entries()[name], None)
    if not isinstance(value, abc.Mapping):
        return None if value is None else float(value)
    for vendor in ("NVIDIA ", "Tesla "):
        gpu = gpu.removeprefix(vendor)
    # an empty name is the beginning of every GPU's: it stands for "all others"
    matching = [beginning for beginning in value if gpu.startswith(beginning)]
    found = value[max(matching, key=len)] if matching else None
    return None if found is None else float(found)


def median(values: t.Iterable[float | None]) -> float | None:
    """The median of what is known; None for less than three values, which say nothing of what is usual."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if len(known) >= 3 else None


def below(values: t.Mapping[str, float | None], share: float) -> dict[str, float]:
    """Those that reach less than ``share`` of the median of all; {} where no median can be taken."""
    usual = median(values.values())
    if usual is None:
        return {}
    return {name: value for name, value in values.items() if value is not None and value < share * usual}


def above(values: t.Mapping[str, float | None], times: float) -> dict[str, float]:
    """Those above ``times`` the median of all; {} where no median can be taken."""
    usual = median(values.values())
    if usual is None:
        return {}
    return {name: value for name, value in values.items() if value is not None and value > times * usual}


def _merged(entry: t.Mapping[str, t.Any], change: t.Any) -> t.Any:
    if entry["by"] is None:
        return entry["default"] if change is None else change
    if change is None or isinstance(change, abc.Mapping):
        return {**entry["by"], **(change or {})}
    return {"": change}


def _changed(name: str, value: t.Any) -> t.Any:
    entry = entries().get(name)
    if entry is None:
        near = difflib.get_close_matches(name, entries(), 3, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"those that exist: {', '.join(entries())}"
        raise ValueError(f"unknown threshold {name}; {hint}")
    if isinstance(value, abc.Mapping):
        if entry["by"] is None:
            raise ValueError(f"{name}: expected one number ({entry['unit']}), not a mapping")
        return {str(kind): None if each is None else _number(f"{name}.{kind}", each) for kind, each in value.items()}
    return _number(name, value)


def _number(name: str, value: t.Any) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError
        found = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected a number, found {value!r}") from None
    unit = entries()[name.partition(".")[0]]["unit"]
    highest = 1.0 if unit == "share" else math.inf
    if not 0 <= found <= highest or math.isinf(found):
        wanted = "a share from 0 to 1" if unit == "share" else f"a number of {unit} that is not negative"
        raise ValueError(f"{name}: expected {wanted}, found {value!r}")
    return int(found) if found.is_integer() else found
