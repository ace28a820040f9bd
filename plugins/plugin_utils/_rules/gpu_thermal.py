# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on GPUs that are hot, or slowed down by heat or by their power supply."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    has_gpus,
    limit,
    number,
    rows,
    text,
    texts,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    WARN,
    About,
    Answer,
    Case,
    Data,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.gpu_health import each_gpu


def _slowed(gpu: Data) -> list[str]:
    """Why the hardware slows a GPU down; empty when it does not."""
    bad = ("hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown")
    return [each for each in bad if each in texts(gpu, "throttle_reasons")]


def _computes(gpu: Data) -> bool:
    """Whether a process computes on a GPU, which then may well be hot and slowed down."""
    return any("C" in text(process, "type") for process in rows(gpu, "processes"))


@rule(
    About(
        "gpu-throttle",
        layer="gpu",
        severity=WARN,
        title="A GPU is throttled while idle",
        symptom="heat or power brake: one slow node sets the pace of all",
        source="NVIDIA System Management Interface",
    ),
    needs=("gpu",),
    applies=has_gpus,
)
def throttle(case: Case) -> t.Iterator[Answer]:
    """The hardware slows a GPU down while nothing runs. Idle clocks and a power cap are normal."""
    cause = "A GPU is slowed down by heat or by its power supply although no job runs: every rank will wait for it."
    remedy = "Look at nvidia-smi -q -d TEMPERATURE,POWER,PERFORMANCE, at the fans, and at the power cables."
    for host, gpu, at in each_gpu(case):
        if _slowed(gpu) and not _computes(gpu):
            yield finding("gpu-throttle", WARN, host, at + ", ".join(_slowed(gpu)), cause, remedy)


@rule(
    About(
        "gpu-temperature",
        layer="gpu",
        severity=WARN,
        title="A GPU is hot while idle",
        symptom="clocks fall under load, one rank is slower than the others",
        source="sichek",
    ),
    needs=("gpu",),
    applies=has_gpus,
)
def temperature(case: Case) -> t.Iterator[Answer]:
    """A GPU that is hot with nothing to do; one that computes may be, and one that is slowed down is told as that."""
    most = limit(case, "gpu_temperature_warn_c")
    cause = (
        "A GPU is hot although it has nothing to do: under load it will be slowed down, and every rank waits for it."
    )
    remedy = "Look at nvidia-smi -q -d TEMPERATURE,POWER there, at the fans, the air filters and the room's cooling."
    for host, gpu, at in each_gpu(case):
        now = number(gpu, "temperature_c")
        if now is not None and now > most and not _computes(gpu) and not _slowed(gpu):
            seen = f"{at}{now:g} C while no process computes on it (limit {most:g} C)"
            yield finding("gpu-temperature", WARN, host, seen, cause, remedy)
