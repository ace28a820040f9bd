# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which status wins."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.kernel import Kernel, PciGpu
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.smi import Answer
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.smi_errors import Failure
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.smi_xml import parse
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.status import PRECEDENCE, judge
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.xid import KernelLog
from ansible_collections.trainmesh.cluster.tests.unit.samples.gpu_recordings import sample

LOG = parse(sample("nvidia_smi_two_a100.xml"))
ADDRESSES = tuple(gpu["pci_bus_id"] for gpu in LOG.gpus)
KERNEL = Kernel(
    tuple(PciGpu(each, 0, "nvidia") for each in ADDRESSES), 0, ADDRESSES, "535.104.05", "closed", False, False
)
GOOD = Answer(LOG, {}, None, None, ())


def failing(*statuses: str) -> Answer:
    return GOOD._replace(failures=tuple(Failure(status, f"because of {status}") for status in statuses))


def test_ok_is_what_is_left() -> None:
    assert judge(KERNEL, GOOD, None) == ("ok", None)


@pytest.mark.parametrize("number", range(len(PRECEDENCE) - 1))
def test_the_worst_wins(number: int) -> None:
    kernel = KERNEL._replace(driver_version=None)
    for second in PRECEDENCE[number + 1 :]:
        for order in ((PRECEDENCE[number], second), (second, PRECEDENCE[number])):
            assert judge(kernel, failing(*order), None)[0] == PRECEDENCE[number]


def test_every_failure_has_a_sentence() -> None:
    for status in PRECEDENCE:
        found, problem = judge(KERNEL._replace(driver_version=None), failing(status), None)
        assert found == status
        assert problem


def test_a_lost_gpu_is_named_with_its_address() -> None:
    broken = {**LOG.gpus[1], "fault": "GPU requires reset"}
    status, problem = judge(KERNEL, GOOD._replace(log=LOG._replace(gpus=(LOG.gpus[0], broken))), None)
    assert status == "gpu_lost"
    assert "1 of 2 GPUs: 00000000:0f:00.0: GPU requires reset" in (problem or "")


def test_an_answer_must_name_its_version_and_its_count() -> None:
    assert judge(KERNEL, GOOD._replace(log=LOG._replace(driver_version=None)), None)[0] == "unknown"
    assert judge(KERNEL, GOOD._replace(log=LOG._replace(attached=None)), None)[0] == "unknown"


def test_nothing_readable_is_not_no_gpu() -> None:
    blind = Kernel(None, 0, None, None, None, False, False)
    assert judge(blind, None, None)[0] == "unknown"


def test_nouveau_explains_a_driver_that_is_not_there() -> None:
    kernel = KERNEL._replace(driver_version=None, driver_gpus=())
    _status, problem = judge(kernel, None, KernelLog(nouveau_devices=3))
    assert "nouveau) holds 3 NVIDIA devices" in (problem or "")
