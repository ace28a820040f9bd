# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scripts for Slurm: directives, numbers of nodes, and who names the master; mpirun in front of a launcher."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.samples.user_files import BOTH, case, ids, script

C10D = "torchrun --nnodes=2 --nproc_per_node=8 --rdzv_backend=c10d --rdzv_id=$SLURM_JOB_ID --rdzv_endpoint="
IGNORED = "batch-directive-ignored"
START = f"srun {C10D}node1:29500 /t.py"
BY_LIST = START[5:].replace("--nnodes=2", "$A")


@pytest.mark.parametrize(
    ("lines", "severity"),
    [
        (["set -e", "#SBATCH --nodes=2", START], "fail"),
        (["set -e", "#SBATCH --gres=gpu:8", START], "fail"),
        (["#SBATCH --nodes=2", "mkdir -p logs", "#SBATCH --output=logs/%j.out", START], "warn"),
        (["#SBATCH --nodes=$NODES", START], "fail"),
        (["#SBATCH --nodes=2", "#SBATCH --output=$HOME/%j.out", START], "warn"),
    ],
)
def test_directives_that_sbatch_does_not_read(lines, severity):
    assert ids(case(script(*lines)))[IGNORED, severity] == BOTH


@pytest.mark.parametrize(
    "lines",
    [
        ["", "# a comment", "#SBATCH --nodes=2", "##SBATCH --gres=gpu:8", "#SBATCH -o %x-%j.out", "set -e", START],
        ["set -e", "sbatch <<EOF", "#!/bin/bash", "#SBATCH --nodes=2", START, "EOF"],
        ["cat > job.sh <<EOF", "#SBATCH --nodes=$1", START, "EOF", "sbatch job.sh"],
    ],
)
def test_directives_that_it_reads_or_that_are_of_another_script(lines):
    assert not [one for one in ids(case(script(*lines))) if one[0] == IGNORED]


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        (["#SBATCH --nodes=4", START], True),
        (["#SBATCH -N 4", START], True),
        (["#SBATCH --nodes=4", f"srun -N 2 {START[5:]}"], False),
        (["#SBATCH --nodes=4", f"srun -w node1,node2 {START[5:]}"], False),
        (["#SBATCH --nodes=2-4", START], False),
        (["#SBATCH --nodes=2", START], False),
        (["#SBATCH --nodes=4", START.replace("--nnodes=2", "--nnodes=$SLURM_NNODES")], False),
        (["#SBATCH --nodes=4", 'A="--nnodes=${SLURM_NNODES:-1}"', f'srun bash -c "{BY_LIST}"'], False),
    ],
)  # fmt: skip
def test_the_nodes_of_the_launcher_and_of_slurm(lines, wrong):
    assert ids(case(script(*lines))) == ({("batch-nodes-differ", "fail"): BOTH} if wrong else {})


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (f"srun bash -c '{C10D}$(hostname):29500 /t.py'", True),
        (f'srun bash -c "{C10D}\\$(hostname -s):29500 /t.py"', True),
        (f"srun bash -c '{C10D}$SLURMD_NODENAME:29500 /t.py'", True),
        (f'srun bash -c "{C10D}$(hostname):29500 /t.py"', False),
        (f"srun {C10D}$(hostname):29500 /t.py", False),
    ],
)
def test_a_master_that_each_task_takes_from_itself(line, wrong):
    found = ids(case(script("#SBATCH --nodes=2", line)))
    assert found == ({("master-addr-differs", "fail"): BOTH} if wrong else {})


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        (["#SBATCH --nodes=2", "source ~/venv/bin/activate", "python train.py --num_nodes 2"], True),
        (["#SBATCH -N 2", "CUDA_DEVICE_MAX_CONNECTIONS=1 python3 -u train.py"], True),
        (["#SBATCH --nodes=1", "python train.py"], False),
        (["#SBATCH --nodes=2", "srun python train.py"], False),
        (["#SBATCH --nodes=2", "python prepare.py", "srun python train.py"], False),
        (["#SBATCH --nodes=2", "python launch.py --hosts $SLURM_JOB_NODELIST"], False),
        (["#SBATCH --nodes=2", "source run_all.sh", "python summary.py"], False),
        (["python train.py --num_nodes 2"], False),
    ],
)
def test_python_on_the_first_node_alone(lines, wrong):
    assert ids(case(script(*lines))) == ({("batch-first-node-only", "warn"): BOTH} if wrong else {})


TORCH = f"{C10D}10.0.0.1:29500 /t.py"


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (f"mpirun -np 16 -H node1:8,node2:8 {TORCH}", True),
        (f"mpirun -np 16 --hostfile /job/hosts {TORCH}", True),
        (f"mpiexec -n 4 {TORCH}", True),
        (f"mpirun -np 2 -H node1:1,node2:1 {TORCH}", False),
        (f"mpirun -np 2 --map-by ppr:1:node {TORCH}", False),
        (f"mpirun -np 16 -npernode 1 {TORCH}", False),
        ("mpirun -np 16 -H node1:8,node2:8 python /t.py", False),
    ],
)
def test_a_launcher_in_each_rank_of_mpirun(line, wrong):
    assert ids(case(script(line))) == ({("launcher-in-each-task", "fail"): BOTH} if wrong else {})
