# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many ranks a script starts on a node, and which variables reach those of other nodes."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.samples.user_files import BOTH, case, ids, script

TORCH = "torchrun --nnodes=2 --nproc_per_node={} --node_rank=$1 --master_addr=10.0.0.1 --master_port=29500 /t.py"
ACCELERATE = (
    "accelerate launch --num_machines 2 --machine_rank $1 --main_process_ip 10.0.0.1 --main_process_port 29500 "
)
MORE = {("hostfile-slots-exceed-gpus", "fail")}


def test_more_ranks_than_gpus():
    assert ids(case(script(TORCH.format(16)))) == dict.fromkeys(MORE, BOTH)
    assert ids(case(script(TORCH.format(8)), gpus=(8, 4))) == dict.fromkeys(MORE, ("node2",))
    assert ids(case(script("torchrun --standalone --nproc_per_node=16 /t.py"))) == dict.fromkeys(MORE, BOTH)
    for each in ("gpu", "8", "4", "$GPUS"):
        assert ids(case(script(TORCH.format(each)))) == {}
    for line in (f"{TORCH.format(16)} --backend gloo", f"{TORCH.format(16)} --device cpu"):
        assert ids(case(script(line))) == {}
    assert ids(case(script(TORCH.format(16)), gpus=(0, 0))) == {}


@pytest.mark.parametrize(
    ("options", "severity"),
    [
        ("--num_processes 16", None),
        ("--num_processes 8", "warn"),
        ("--num_processes 15", "fail"),
        ("--num_processes 32", "fail"),
        ("--num_processes $N", None),
        ("--cpu --num_processes 32", None),
    ],
)
def test_the_processes_of_accelerate(options, severity):
    found = {
        one: hosts for one, hosts in ids(case(script(f"{ACCELERATE}{options} /t.py"))).items() if "floor" in one[0]
    }
    assert found == ({("acc-num-processes-floor", severity): BOTH} if severity else {})


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        (["export NCCL_SOCKET_IFNAME=eth0", "ssh node2 '{}' &", "{}"], True),
        (["export NCCL_IB_DISABLE=1", 'for h in node1 node2; do ssh $h "{}" & done', "wait"], True),
        (["export NCCL_IB_DISABLE=1", 'ssh node2 "NCCL_IB_DISABLE=1 {}" &', "{}"], False),
        (["export NCCL_IB_DISABLE=1", "ssh -o SendEnv=NCCL_IB_DISABLE node2 '{}' &", "{}"], False),
        (["export NCCL_IB_DISABLE=1", "ssh node2 'source /job/env.sh; {}' &", "{}"], False),
        (["export OUTPUT=/o", "ssh node2 '{}' &", "{}"], False),
        (["ssh node2 '{}' &", "export NCCL_IB_DISABLE=1", "{}"], False),
        (["export NCCL_IB_DISABLE=1", "{}"], False),
    ],
)
def test_variables_that_ssh_leaves_behind(lines, left):
    found = ids(case(script(*(line.format(TORCH.format(8)) for line in lines))))
    assert (("env-not-propagated", "warn") in found) is left
