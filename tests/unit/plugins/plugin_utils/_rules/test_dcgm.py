# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on the output of dcgmi: whose fault each message is, and what says nothing against a GPU."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import REGISTRY, Case, Finding, Untested
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import dcgm

PLAN = {
    "order": ["node1", "node2"],
    "nodes": {
        name: {"name": name, "address": f"10.0.0.1{name[-1]}", "hostname": f"gpu{name[-1]}"}
        for name in ("node1", "node2")
    },
}


def facts(name: str, count: int = 2) -> dict[str, t.Any]:
    return {"node1": {"status": "ok", "gpus": [{"index": index, "name": name} for index in range(count)]}}


def answers(text: str, gpu: dict[str, t.Any] | None = None) -> list[t.Any]:
    case = Case(
        plan=PLAN, user={"node1": {"files": [{"kind": "dcgm", "path": "/tmp/diag", "text": text}]}}, gpu=gpu or {}
    )
    rules = [each for each in REGISTRY if each.judge.__module__ == dcgm.__name__]
    return engine.merged((answer for each in rules for answer in each.judge(case)), case.order)


def told(text: str, gpu: dict[str, t.Any] | None = None) -> list[tuple[str, str, tuple[str, ...]]]:
    found = answers(text, gpu)
    return [(each.rule, each.severity, each.hosts) for each in found if isinstance(each, Finding)]


def diag(message: str, status: str = "Fail") -> str:
    warnings = [{"warning": message, "error_id": 1}] if message else []
    result = {"entity_group": "GPU", "entity_id": 3, "status": status, "warnings": warnings}
    tests = [{"name": "memory", "results": [result]}]
    return json.dumps({"DCGM Diagnostic": {"test_categories": [{"category": "Hardware", "tests": tests}]}})


@pytest.mark.parametrize(
    ("message", "identity", "severity"),
    [
        ("GPU 3 has fallen off the bus", "gpu-lost-from-bus", "fail"),
        ("GPU 3 had uncorrectable memory errors and row remapping failed.", "gpu-row-remap", "fail"),
        ("GPU 3 had memory errors and row remappings are pending", "gpu-row-remap", "fail"),
        ("GPU 3 had uncorrectable memory errors and 2 rows were remapped", "gpu-ecc", "warn"),
        ("Detected 4 volatile double-bit ECC error(s) in GPU 3.", "gpu-ecc", "fail"),
        ("More than 5 single-bit ECC error(s) detected in GPU 3 Volatile SBEs: 9", "gpu-ecc", "warn"),
        ("A pending retired page has been detected in GPU 3.", "gpu-retired-pages", "warn"),
        ("GPU 3 requires a reset to recover from a fault. Recovery action: 1 (GPU_RESET).", "gpu-recovery", "fail"),
        ("GPU 3 operating at reduced capacity. Recovery action: 4 (DRAIN_AND_RESET).", "gpu-recovery", "fail"),
        ("Detected XID 79 for GPU 3", "gpu-xid", "fail"),
        ("Detected XID 43 for GPU 3", "gpu-xid", "info"),
        ("GPU had an uncontained error (XID 95)", "gpu-xid", "fail"),
        ("Detected fatal NvSwitch SXID 20034", "gpu-xid", "fail"),
        ("Detected nonfatal errors on NvSwitch 3 link 4", "gpu-xid", "info"),
        ("GPU 3's NvLink link 2 is currently down", "gpu-nvlink", "fail"),
        ("Only 12 NvLinks are up out of the expected 18", "gpu-nvlink", "fail"),
        (
            "Detected 1 datalink layer CRC error counter NvLink errors on GPU 3's NVLink (should be 0)",
            "gpu-nvlink",
            "info",
        ),
        ("Detected 2 link recovery failed events counter NvLink errors on GPU 3's NVLink", "gpu-nvlink", "fail"),
        ("Detected 3 replay NvLink errors on GPU 3's NVLink (should be 0)", "gpu-nvlink", "fail"),
        (
            "Fabric Manager (Cluster UUID: x, Clique ID: 0, Health Mask: 0): training failed.",
            "drv-fabricmanager",
            "fail",
        ),
        ("IMEX daemon status is -3 (not READY)", "gpu-imex", "warn"),
        ("Detected more than 8 PCIe replays per minute for GPU 3 : 13", "pcie-errors", "warn"),
        ("GPU 3 is running at PCI link width 8X, which is below the minimum allowed", "gpu-pcie-narrow", "info"),
        ("Detected clocks event due to thermal violation in GPU 3.", "gpu-throttle", "warn"),
        ("Detected clocks event due to power violation in GPU 3.", "gpu-power-cap", "info"),
        ("Persistence mode for GPU 3 is disabled.", "gpu-persistence", "info"),
        ("Found driver on the denylist: nouveau", "gpu-nouveau", "fail"),
        ("A corrupt InfoROM has been detected in GPU 3.", "gpu-dcgm", "warn"),
        ("Max stress level of 12.0 did not reach desired stress level of 19.0 for GPU 3", "gpu-dcgm", "warn"),
        ("Found CUDA performance-limiting environment variable 'CUDA_LAUNCH_BLOCKING'.", "gpu-dcgm", "warn"),
        ("API call cudaStreamCreate failed: 'CUDA-capable device(s) is/are busy or unavailable'", "gpu-dcgm", "warn"),
        ("GPU 3 had uncorrectable memory errors and rowremapping failed.", "gpu-row-remap", "fail"),
        ("words that nobody knows", "gpu-dcgm", "fail"),
        ("", "gpu-dcgm", "fail"),
    ],
)
def test_messages(message: str, identity: str, severity: str) -> None:
    assert told(diag(message)) == [(identity, severity, ("node1",))]
    assert told(diag(message, "Pass")) == told(diag(message, "Skip")) == []


@pytest.mark.parametrize(
    "message",
    [
        "GPU 0 was not idle: MCUTIL > 10% before the test",
        "Couldn't allocate at least 75.0% of GPU memory on GPU 3",
        "ECC Memory is not turned on or is unsupported. Skipping test.",
    ],
)
def test_a_gpu_in_use_is_not_tested(message: str) -> None:
    assert [type(each) for each in answers(diag(message))] == [Untested]


def test_what_does_not_fit_the_machine() -> None:
    assert told(diag("GPU 3's NvLink link 2 is currently down"), facts("A100-PCIE-40GB")) == []
    assert told(diag("IMEX daemon status is -3 (not READY)"), facts("H100 80GB HBM3")) == []
    assert told(diag("IMEX daemon status is -3 (not READY)"), facts("GB200")) == [("gpu-imex", "warn", ("node1",))]
    down = "GPUs:\n    gpuId 0:\n        D D\n    gpuId 1:\n        D D\n"
    assert told(down, facts("A100-PCIE-40GB")) == told(down) == []
    assert told(down, facts("H100 80GB HBM3")) == [("drv-fabricmanager", "fail", ("node1",))]
    assert told(down.replace("D D", "U D", 1), facts("A100-PCIE-40GB")) == [("gpu-nvlink", "fail", ("node1",))]


def test_the_line_of_a_whole_test_is_told_by_its_gpus() -> None:
    text = "| memory | Fail |\n|  | GPU0: Pass |\n|  | GPU3: Fail |\n| Warning: GPU3 | GPU 3 has fallen off the bus |\n"
    assert told(text) == [("gpu-lost-from-bus", "fail", ("node1",))]


def test_dcgm_that_could_not_ask() -> None:
    (untested,) = answers("Error: unable to establish a connection to the specified host: localhost\nError: Unable to "
                          "connect to host engine. Host engine connection invalid/disconnected.\n")  # fmt: skip
    assert isinstance(untested, Untested) and "nvidia-dcgm" in untested.why
    assert told("4 GPUs found.\n", facts("A100", 8)) == [("gpu-dcgm", "warn", ("node1",))]
    assert answers("8 GPUs found.\n", facts("A100", 8)) == []
    assert told("".join(f"gpu2: {line}\n" for line in diag("GPU 3 has fallen off the bus").splitlines())) == [
        ("gpu-lost-from-bus", "fail", ("node2",))
    ]
