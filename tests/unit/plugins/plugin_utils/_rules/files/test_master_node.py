# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node of rank 0, and the one that the master's address names."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.samples.user_files import BOTH, STANDARD, case, ids, script

RULE = ("master-not-first-node", "fail")
FIRST, LAST = "| head -n 1", "| tail -n 1"


def torch(rank, address="10.0.0.1", more=""):
    ours = f"--node_rank={rank} --master_addr={address} --master_port=29500 {more}"
    return script(f"torchrun --nnodes=2 --nproc_per_node=8 {ours}/t.py")


def test_ranks_that_are_the_wrong_way_round():
    assert ids(case((*torch(1), "node1"), (*torch(0), "node2"))) == {RULE: ("node2",)}
    assert ids(case((*torch(0, "10.0.0.2"), "node1"), (*torch(1, "10.0.0.2"), "node2"))) == {RULE: ("node1",)}
    assert ids(case((*torch(0), "node1"), (*torch(1), "node2"))) == {}
    assert ids(case((*torch(0, "192.168.0.1"), "node1"), (*torch(1, "192.168.0.1"), "node2"))) == {}  # of no node
    c10d = [
        (*torch(rank, more="--rdzv_backend c10d --rdzv_endpoint 10.0.0.1:29500 "), f"node{2 - rank}") for rank in (0, 1)
    ]
    assert ids(case(*c10d)) == {}  # there the address says who listens


def test_the_same_in_the_files_of_accelerate():
    def files(*ranks):
        return [("accelerate", STANDARD.format(rank=rank), f"node{at}") for at, rank in enumerate(ranks, 1)]

    assert RULE in ids(case(*files(1, 0))) and ids(case(*files(1, 0)))[RULE] == ("node2",)
    assert RULE not in ids(case(*files(0, 1)))
    assert RULE not in ids(case(*files(0, 0)))  # two of the same rank are another fault


@pytest.mark.parametrize(
    ("cut", "found"),
    [
        (LAST, {RULE: BOTH}),
        ("| sort -r | head -1", {RULE: BOTH}),
        ("| sed -n 2p", {RULE: BOTH}),
        (FIRST, {}),
        ("| sort", {}),
    ],
)
def test_the_last_of_slurms_nodes(cut, found):
    lines = [
        "#SBATCH --nodes=2",
        f"export MASTER_ADDR=$(scontrol show hostnames $SLURM_JOB_NODELIST {cut})",
        "srun bash -c 'torchrun --nnodes=2 --nproc_per_node=8 --node_rank=$SLURM_NODEID --master_addr=$MASTER_ADDR "
        "--master_port=29500 /t.py'",
    ]
    assert ids(case(script(*lines))) == found
