# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When GPUs are loaded to measure them."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import speed
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import healthy_case


def on(case: t.Any, **more: t.Any) -> t.Any:
    """The case with facts of the GPUs of its first node changed."""
    first = next(iter(case.gpu))
    return dataclasses.replace(case, gpu={**case.gpu, first: {**case.gpu[first], **more}})


def test_idle_gpus_are_measured_by_themselves_and_processors_only_on_request():
    assert speed.wanted(healthy_case(gpus=2), "auto")
    assert [speed.wanted(healthy_case(), mode) for mode in ("auto", "true", "false")] == [False, True, False]
    assert not speed.wanted(healthy_case(gpus=2), "false")


@pytest.mark.parametrize(("kind", "expected"), [("C", False), ("C+G", False), ("G", True)])
def test_nobody_s_job_is_disturbed(kind, expected):
    case = healthy_case(gpus=2)
    gpus = [dict(each) for each in next(iter(case.gpu.values()))["gpus"]]
    gpus[-1]["processes"] = [{"pid": 4242, "type": kind, "memory_mib": 12}]
    assert speed.wanted(on(case, gpus=gpus), "auto") is expected
    assert speed.wanted(on(case, gpus=gpus), "true"), "on request; the module leaves that GPU alone"


def test_recorded_machines_and_builds_without_cuda_have_nothing_to_load():
    assert not speed.wanted(on(healthy_case(gpus=2), replayed_from="/srv/recordings/eight"), "auto")
    case = healthy_case(gpus=2)
    cpu = {
        name: {**facts, "torch": {"version": "2.13.0+cpu", "cuda": None, "hip": None}}
        for name, facts in case.stack.items()
    }
    assert not speed.wanted(dataclasses.replace(case, stack=cpu), "auto")
