# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nvidia-smi says instead of an answer."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.smi_errors import CODES, TEXTS, classify
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.status import PRECEDENCE
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.text import bus_id
from ansible_collections.trainmesh.cluster.tests.unit.samples.gpu_recordings import expected_in, recorded

# The recordings name this class by its text, the module by its status word.
STATUS = {"driver_library_mismatch": "library_mismatch"}


@pytest.mark.parametrize(("name", "want"), expected_in("nvidia_smi_errors"))
def test_recorded_texts(name: str, want: dict[str, t.Any]) -> None:
    failure = classify(recorded("nvidia_smi_errors", name))
    assert failure is not None
    assert failure.status == STATUS.get(want["class"], want["class"])
    assert failure.bus_id == bus_id(want.get("bus_id"))
    assert failure.nvml_library == want.get("nvml_library")


@pytest.mark.parametrize(
    ("text", "status", "address"),
    [
        (
            "Unable to determine the device handle for GPU0: 0000:B3:00.0: Unknown Error\nNo devices were found\n",
            "gpu_lost",
            "b3:00.0",
        ),
        ("Unable to determine the device handle for GPU0: Unknown Error", "gpu_lost", None),
        (
            "Unable to determine the device handle for GPU 00000000:B3:00.0:\nGPU is lost.  Reboot the system",
            "gpu_lost",
            "b3:00.0",
        ),
        ("Unable to determine the device handle for GPU 0000:0B:00.0: Insufficient Permissions", "no_permission", None),
        ("Failed to initialize NVML: GPU is lost", "gpu_lost", None),
        ("Failed to initialize NVML: Driver/library\nversion mismatch", "library_mismatch", None),
        ("Failed to initialize NVML: Driver Not Loaded", "driver_not_loaded", None),
        (
            "NVIDIA-SMI has failed because it couldn\u2019t communicate with the\nNVIDIA driver.",
            "driver_not_loaded",
            None,
        ),
        ("NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure", "no_driver", None),
        ("Failed to initialize NVML: Insufficient Permissions", "no_permission", None),
        ("Failed to initialize NVML: GPU access blocked by the operating system", "no_permission", None),
        ("Failed to initialize NVML: Unknown Error", "unknown", None),
        ("No devices were found", "no_devices", None),
    ],
)
def test_texts_that_were_not_recorded(text: str, status: str, address: str | None) -> None:
    failure = classify(text)
    assert failure is not None
    assert failure.status == status
    if address:
        assert failure.bus_id == f"00000000:{address}"


def test_the_sentence_holds_the_evidence_and_a_remedy() -> None:
    failure = classify(
        "Some warning. Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.178\n"
    )
    assert failure is not None
    assert "Driver/library version mismatch" in failure.problem
    assert "reboot" in failure.problem
    assert "\n" not in failure.problem


def test_the_exit_status_decides_where_the_text_is_new() -> None:
    failure = classify("A sentence that nobody has seen.", 15)
    assert failure is not None
    assert failure.status == "gpu_lost"
    assert "15" in failure.problem
    assert "nobody has seen" in failure.problem


@pytest.mark.parametrize(
    "text", ["", "\x00\x01", "Insufficient Permissions", "GPU is lost", "Unknown Error", "all is well"]
)
def test_a_word_that_healthy_gpus_print_too_is_no_failure(text: str) -> None:
    assert classify(text) is None
    assert classify(text, 255) is None


def test_every_status_has_a_place() -> None:
    assert {status for _pattern, status, _remedy in TEXTS} | {status for status, _remedy in CODES.values()} <= set(
        PRECEDENCE
    )
