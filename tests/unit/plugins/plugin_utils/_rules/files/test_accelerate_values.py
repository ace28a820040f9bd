# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values in Accelerate's files."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.samples.user_files import BOTH, case, findings, ids, script

FILE = """\
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_GPU
gpu_ids: all
machine_rank: {rank}
main_process_ip: 10.0.0.1
main_process_port: 29500
mixed_precision: bf16
num_machines: 2
num_processes: 16
rdzv_backend: static
same_network: true
use_cpu: false
"""
LAUNCH = script("accelerate launch --config_file /job/a.yaml /t.py")
SIZES = "parallelism_config:\n  parallelism_config_tp_size: {}\n  parallelism_config_dp_shard_size: {}\ngpu_ids"


def files(*changes, only=BOTH):
    """The file of each node, with texts replaced on some of them."""
    found = []
    for rank, node in enumerate(BOTH):
        text = FILE.format(rank=rank)
        for old, new in changes if node in only else ():
            assert old in text
            text = text.replace(old, new)
        found.append(("accelerate", text, node))
    return found


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("static", "c10", "launch-option-misspelt"),
        ("LOCAL_MACHINE", "LOCAL_MACHINES", "launch-option-misspelt"),
        ("MULTI_GPU", "'NO'", "acc-not-distributed"),
        ("gpu_ids: all", "gpu_ids: 0,1", "acc-num-processes-floor"),
        ("gpu_ids", SIZES.format(3, 8), "app-world-size-hardcoded"),
        ("gpu_ids", SIZES.format(2, 4), "app-world-size-hardcoded"),
    ],
)
def test_values_that_accelerate_cannot_use(old, new, found):
    assert ids(case(*files((old, new)))) == {(found, "fail"): BOTH}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("gpu_ids", SIZES.format(2, 8)),
        ("gpu_ids", SIZES.format(1, 1)),
        ("gpu_ids: all", "gpu_ids: 0,1,2,3,4,5,6,7"),
        ("bf16", "'no'"),
        ("MULTI_GPU", "FSDP\nfsdp_config:\n  fsdp_version: 2\n  fsdp_reshard_after_forward: true"),
        ("main_process_ip: 10.0.0.1\n", ""),  # no command is known: it may say so
    ],
)
def test_values_that_it_can(old, new):
    assert ids(case(*files((old, new)))) == {}


def test_several_machines_without_a_master():
    without = files(("main_process_ip: 10.0.0.1\n", ""))
    assert ids(case(*without, LAUNCH)) == {("master-addr-malformed", "fail"): BOTH}
    told = script("accelerate launch --config_file /job/a.yaml --main_process_ip 10.0.0.1 /t.py")
    assert ids(case(*without, told)) == {}
    assert ids(case(*files(), LAUNCH)) == {}


def test_variables_that_nothing_replaces():
    found = findings(case(*files(("10.0.0.1", "${MASTER_ADDR}"))))
    assert [(one.rule, one.severity, one.hosts) for one in found] == [("acc-variable-in-file", "warn", BOTH)]
    assert "${MASTER_ADDR}" in found[0].evidence["node1"]


def test_a_variable_in_the_place_of_a_number_is_of_another_type():
    assert ids(case(*files(("29500", "${MASTER_PORT}")))) == {("acc-wrong-type", "fail"): BOTH}


def test_a_node_whose_file_is_for_one_machine():
    alone = files(("num_machines: 2", "num_machines: 1"), only=("node2",))
    assert ids(case(*alone)) == {("acc-config-differs", "fail"): ("node2",)}
