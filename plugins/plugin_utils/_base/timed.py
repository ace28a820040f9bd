# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows that a node has told once for all and with the times of each: module_utils _base/alike, fold_timed().

There is one for each pair of nodes, a million at 1,024 nodes. So what is the same in all of them is one object, which
nobody may change, and the form is read once.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import alike

NAME, ADDRESS, SECONDS = (json.loads(mark) for mark in (alike.NAME, alike.ADDRESS, alike.SECONDS))


def restored(common: t.Mapping[str, t.Any], expected: t.Mapping[str, alike.Own]) -> dict[str, t.Any]:
    """The rows that fold_timed() left out. Raises ValueError for what it does not make."""
    form, seconds = str(common.get("form")), common.get("seconds")
    if not alike.is_sound(form) or not isinstance(seconds, t.Mapping):
        raise ValueError("the common form of rows is too large, or has no seconds")
    pattern, rows = json.loads(form), {}
    same = _same(pattern, {})
    for name, told in seconds.items():
        if name not in expected or not isinstance(told, list):
            raise ValueError("the seconds are not those of the common form")
        times = iter([float(time) for time in told])
        try:
            rows[name] = _row(pattern, same, expected[name], times)
        except StopIteration:
            raise ValueError("there are too few seconds for the common form") from None
        if next(times, None) is not None:
            raise ValueError("there are too many seconds for the common form")
    return rows


def _same(pattern: t.Any, found: dict[int, bool]) -> dict[int, bool]:
    """Whether each part of the form, by its identity, is the same in all rows."""
    if isinstance(pattern, dict):
        parts = [*pattern, *pattern.values()]
    elif isinstance(pattern, list):
        parts = pattern
    else:
        found[id(pattern)] = pattern not in (NAME, ADDRESS, SECONDS)
        return found
    for part in parts:
        _same(part, found)
    found[id(pattern)] = all(found[id(part)] for part in parts)
    return found


def _row(pattern: t.Any, same: t.Mapping[int, bool], own: alike.Own, times: t.Iterator[float]) -> t.Any:
    """The form with the node's name, its address, and the next times in place of the words for them."""
    if same[id(pattern)]:
        return pattern
    if isinstance(pattern, dict):
        return {_row(key, same, own, times): _row(value, same, own, times) for key, value in pattern.items()}
    if isinstance(pattern, list):
        return [_row(each, same, own, times) for each in pattern]
    if pattern == SECONDS:
        return next(times)
    return own[0] if pattern == NAME else own[1]
