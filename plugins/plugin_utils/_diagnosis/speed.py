# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the speed of the GPUs is to be measured, and which of the measurements may be compared."""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    cpu_torch_only,
    gpus,
    has_gpus,
    mapping,
    number,
    rows,
    text,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Data, dig, once


class Row(t.NamedTuple):
    """A measured GPU: its node, the answer of that node, the row of the GPU, and how it was under load."""

    host: str
    answer: Data
    gpu: Data
    load: Data


def wanted(case: Case, mode: str) -> bool:
    """Whether to measure. ``mode`` is that of ``trainmesh_verify_speed``: auto, true or false.

    On its own it only loads GPUs with which nobody works, on any node; the module looks again at each.
    """
    if mode != "auto":
        return mode == "true"
    if not has_gpus(case) or cpu_torch_only(case):
        return False
    for host, facts in case.gpu.items():
        if dig(facts, "replayed_from"):
            return False  # a recorded machine has no GPUs to load
        if any("C" in text(process, "type") for gpu in gpus(case, host) for process in rows(gpu, "processes")):
            return False
    return True


@once
def measured(case: Case) -> list[Row]:
    """Every GPU that was measured."""
    return [
        Row(host, answer, gpu, mapping(gpu, "under_load"))
        for host, answer in case.speed.items()
        for gpu in rows(answer, "gpus")
        if not text(gpu, "reason")
    ]


@once
def shared(case: Case) -> set[str]:
    """Nodes that run on one kernel with others: containers of one machine, measured at the same time."""
    by_boot: dict[str, list[str]] = collections.defaultdict(list)
    for host, answer in case.speed.items():
        by_boot[text(answer, "boot") or host].append(host)
    return {host for hosts in by_boot.values() if len(hosts) > 1 for host in hosts}


def twice(case: Case) -> set[str]:
    """UUIDs of GPUs that more than one node has measured, at the same time."""
    seen = collections.Counter(text(row.gpu, "uuid") for row in measured(case))
    return {uuid for uuid, count in seen.items() if count > 1}


def kind(case: Case, row: Row) -> tuple[t.Hashable, ...]:
    """GPUs with the same are as fast as each other, but for their power limit."""
    facts = next((each for each in gpus(case, row.host) if text(each, "uuid") == text(row.gpu, "uuid")), {})
    memory = number(row.gpu, "memory_mib")
    size = None if memory is None else round(memory / 2048)  # drivers before 510 leave out what is reserved
    versions = (text(row.answer, "torch"), text(row.answer, "precision"))
    return (text(row.gpu, "name"), size, text(facts, "ecc.mode"), *versions)


def power_limit(row: Row) -> float | None:
    """W that the GPU may draw."""
    return number(row.load, "power_limit_w") or number(row.gpu, "power_limit_w")


def capped(row: Row) -> bool:
    """Whether somebody has lowered the power limit."""
    limit = power_limit(row)
    default = number(row.load, "power_default_w") or number(row.gpu, "power_default_w")
    return limit is not None and default is not None and limit < default
