# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Launch scripts that start several nodes themselves: one behind the other, several times, or all with one rank."""

from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.samples.user_files import BOTH, case, ids, script

TORCH = "torchrun --nproc_per_node=8 --nnodes=2 --master_addr=10.0.0.1 --master_port=29500 "
C10D = "torchrun --nproc_per_node=8 --nnodes=2 --rdzv_backend=c10d --rdzv_endpoint=10.0.0.1:29500 "
IN_TURN = {("launch-one-after-another", "fail"): BOTH}
TASKS = {("launcher-in-each-task", "fail"): BOTH}
SAME = {("node-rank-duplicate", "fail"): BOTH}
FIRST_ONLY = {("batch-first-node-only", "fail"): BOTH}


def whole(*lines):
    """A script that starts the job on the whole cluster."""
    given = case(script(*lines))
    for facts in given.user.values():
        facts["files"] = [{**file, "cluster": True} for file in facts["files"]]
    return dataclasses.replace(given)


@pytest.mark.parametrize(
    "lines",
    [
        ["for h in node1 node2; do", f'  ssh $h "{TORCH}--node_rank=$i /t.py"', "  i=$((i+1))", "done"],
        ["while read -r h _; do", f'  ssh -n $h "{TORCH}--node_rank=$i /t.py"', "  i=$((i+1))", "done < /job/hosts"],
        [f"{TORCH}--node_rank=0 /t.py", f'ssh node2 "{TORCH}--node_rank=1 /t.py"'],
        [f'ssh node1 "{TORCH}--node_rank=0 /t.py" && ssh node2 "{TORCH}--node_rank=1 /t.py"'],
        [f'ssh node1 "{C10D}/t.py"', f'ssh node2 "{C10D}/t.py"'],
        [f"srun -w node1 -N1 {TORCH}--node_rank=0 /t.py", f"srun -w node2 -N1 {TORCH}--node_rank=1 /t.py"],
    ],
)
def test_a_start_that_waits_for_the_one_before(lines):
    assert ids(case(script(*lines))) == IN_TURN


def test_commands_for_two_nodes_in_one_file_are_notes_unless_the_file_starts_the_cluster():
    lines = [f"{TORCH}--node_rank=0 /t.py", f"{TORCH}--node_rank=1 /t.py"]
    assert ids(case(script(*lines))) == {("launch-one-after-another", "info"): BOTH}
    assert ids(whole(*lines)) == IN_TURN


@pytest.mark.parametrize(
    "lines",
    [
        ["for h in node1 node2; do", f'  ssh $h "{TORCH}--node_rank=$i /t.py" &', "  i=$((i+1))", "done", "wait"],
        ["for h in node1 node2; do", f'  ssh $h "{TORCH}--node_rank=$i /t.py" 2>&1 | tee log.$h &', "done", "wait"],
        ["for h in node1 node2; do", f'  (ssh $h "{TORCH}--node_rank=$i /t.py") &', "done", "wait"],
        ["for h in node1 node2; do", f'  ssh -f $h "{TORCH}--node_rank=$i /t.py"', "done"],
        ["for h in node1 node2; do", f'  ssh $h "tmux new -d {TORCH}--node_rank=$i /t.py"', "done"],
        ["for h in node1 node2; do", f'  cd /job && ssh $h "{TORCH}--node_rank=$i /t.py" &', "done", "wait"],
        ["go() {", f'  ssh node$1 "{TORCH}--node_rank=$1 /t.py"', "}", "go 0 &", "go 1 &", "wait"],
        [f'ssh node2 "{TORCH}--node_rank=1 /t.py" &', f"{TORCH}--node_rank=0 /t.py"],
        ["while true; do", f"  {TORCH}--node_rank=$1 /t.py && break", "done"],
        [f"{TORCH}--node_rank=$1 /t.py --stage 1", f"{TORCH}--node_rank=$1 /t.py --stage 2"],
        ['if [ "$1" = 0 ]; then', f"  {TORCH}--node_rank=0 /t.py", "else", f"  {TORCH}--node_rank=1 /t.py", "fi"],
        ["for s in 1 2; do torchrun --nproc_per_node=8 /t.py --seed $s; done"],
    ],
)
def test_starts_that_go_on_at_once(lines):
    assert ids(case(script(*lines))) == {}


def slurm(*lines):
    return case(script("#SBATCH --nodes=2", *lines))


@pytest.mark.parametrize(
    "lines",
    [
        ["#SBATCH --ntasks-per-node=8", f"srun bash -c '{TORCH}--node_rank=$SLURM_NODEID /t.py'"],
        ["#SBATCH -n 16", f"srun bash -c '{TORCH}--node_rank=$SLURM_NODEID /t.py'"],
        ["N=16", f"srun -n $N bash -c '{TORCH}--node_rank=$SLURM_NODEID /t.py'"],
        ["#SBATCH --ntasks-per-node=4", "srun deepspeed --no_ssh --node_rank=$SLURM_NODEID --hostfile /h /t.py"],
        [
            "#SBATCH --tasks-per-node=8",
            "srun bash -c 'accelerate launch --num_machines 2 --num_processes 16 --machine_rank $SLURM_NODEID "
            "--main_process_ip 10.0.0.1 --main_process_port 29500 /t.py'",
        ],
    ],
)
def test_a_launcher_in_each_task(lines):
    assert ids(slurm(*lines)) == TASKS


@pytest.mark.parametrize(
    "lines",
    [
        ["#SBATCH --ntasks-per-node=1", f"srun bash -c '{TORCH}--node_rank=$SLURM_NODEID /t.py'"],
        ["#SBATCH --ntasks-per-node=8", f"srun --ntasks-per-node=1 bash -c '{TORCH}--node_rank=$SLURM_NODEID /t.py'"],
        ["#SBATCH --ntasks-per-node=8", f"srun -n 2 -N 2 bash -c '{TORCH}--node_rank=$SLURM_NODEID /t.py'"],
        ["#SBATCH --ntasks-per-node=8", "srun python /t.py --num_nodes 2"],
        [
            "#SBATCH --ntasks-per-node=8",
            "srun bash -c 'torchrun --nproc_per_node=1 --nnodes=16 --node_rank=$SLURM_PROCID --master_addr=10.0.0.1 "
            "--master_port=29500 /t.py'",
        ],
        [f'srun bash -c "{TORCH}--node_rank=\\$SLURM_NODEID /t.py"'],
        ["for i in 0 1; do", f"  srun -N1 -n1 -w node$i {TORCH}--node_rank=$i /t.py &", "done", "wait"],
    ],
)
def test_one_launcher_a_node(lines):
    assert ids(slurm(*lines)) == {}


def test_one_rank_for_all_nodes():
    assert ids(slurm(f"srun {TORCH}--node_rank=0 /t.py")) == SAME
    assert ids(slurm(f"srun {TORCH}--node_rank=0 /t.py", f"srun {TORCH}--node_rank=1 /t.py")) == SAME
    assert ids(case(script(f'pdsh -w node1,node2 "{TORCH}--node_rank=0 /t.py"'))) == SAME
    assert ids(slurm(f"srun --nodelist=node1 -N1 {TORCH}--node_rank=0 /t.py")) == {}
    assert ids(slurm(f"srun -n1 {TORCH}--node_rank=0 /t.py &", f"srun -n1 {TORCH}--node_rank=1 /t.py &")) == {}


@pytest.mark.parametrize(
    "lines",
    [
        [f"srun {TORCH}--node_rank=$1 /t.py"],
        [f"srun {TORCH}--node_rank=$SLURM_NODEID /t.py"],
        [f"srun {TORCH}--node_rank=${{SLURM_PROCID:-0}} /t.py"],
        [f'srun bash -c "{TORCH}--node_rank=$SLURM_NODEID /t.py"'],
        ["export NODE_RANK=$SLURM_NODEID", f"srun {TORCH}--node_rank=$NODE_RANK /t.py"],
        ["ARGS=(--nproc_per_node 8 --nnodes 2 --node_rank $SLURM_NODEID)", 'srun torchrun "${ARGS[@]}" /t.py'],
        [f'CMD="{TORCH}--node_rank $SLURM_PROCID /t.py"', "srun $CMD"],
    ],
)
def test_a_rank_that_the_batch_script_puts_in_is_one_for_all(lines):
    assert ids(slurm(*lines)) == SAME


@pytest.mark.parametrize(
    "lines",
    [
        [f"srun bash -c '{TORCH}--node_rank=$SLURM_NODEID /t.py'"],
        ["CMD='" + TORCH + "--node_rank=$SLURM_NODEID /t.py'", 'srun bash -c "$CMD"'],
        [f'CMD="{TORCH}--node_rank=\\$SLURM_NODEID /t.py"', 'srun bash -c "$CMD"'],
        ["srun bash <<'END'", f"{TORCH}--node_rank=$SLURM_NODEID /t.py", "END"],
        [f"srun {C10D}--node_rank=$SLURM_NODEID /t.py"],
        [f"srun -w $2 -N1 -n1 {TORCH}--node_rank=$1 /t.py"],
    ],
)
def test_a_rank_that_each_task_puts_in_is_its_own(lines):
    assert ids(slurm(*lines)) == {}


def test_a_batch_script_that_leaves_out_srun():
    c10d = "torchrun --nproc_per_node=8 --nnodes=2 --rdzv_id=7 --rdzv_backend=c10d --rdzv_endpoint=$head:29500 /t.py"
    address = "head=$(srun -N1 -n1 hostname -i)"
    assert ids(slurm(address, c10d)) == FIRST_ONLY
    assert ids(slurm(address, f"srun {c10d}")) == {}
    assert ids(case(script("#SBATCH --nodes=1", c10d))) == {}
    assert ids(slurm(address, 'if [ -n "$SLURM_PROCID" ]; then', f"  {c10d}", "else", "  srun bash $0", "fi")) == {}
    assert ids(slurm(address, "for h in $hosts; do", f'  ssh $h "{c10d}" &', "done", "wait")) == {}
