# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of launchers that are misspelt, behind the script, not handed on, or without effect."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.samples.user_files import (
    BOTH,
    STANDARD,
    case,
    findings,
    ids,
    script,
)

MEETS = "--master_addr=10.0.0.1 --master_port=29500"
ACCELERATE = "accelerate launch --config_file /job/a.yaml"


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        (f"torchrun --nnodes=2 --nproc-per-nodes=8 --node_rank=$1 {MEETS} /t.py", "--nproc_per_node"),
        (f"torchrun --nnodes=2 --nproc_per_node=8 --node_rnak=$1 --node_rank=$1 {MEETS} /t.py", "--node_rank"),
        ("torchrun --nnodes=2 --nproc_per_node=8 --rdzv_backend c10 --rdzv_endpoint 10.0.0.1:29500 /t.py", "c10d"),
        ("deepspeed --host_file /job/hosts --hostfile /job/hosts /t.py", "--hostfile"),
        ("accelerate launch --num_machine 2 --num_processes 16 --machine_rank $1 /t.py", "--num_machines"),
    ],
)
def test_options_that_are_nearly_those_of_the_launcher(line, meant):
    (found,) = [one for one in findings(case(script(line))) if one.rule == "launch-option-misspelt"]
    assert found.hosts == BOTH and found.remedy == f"Write {meant}."


@pytest.mark.parametrize(
    "line",
    [
        f"torchrun --nnode=2 --nproc-per-node=8 --node_rank=$1 {MEETS} /t.py",  # Python completes the name
        f"torchrun --nnodes=2 --nproc_per_node=8 --node_rank=$1 --local_addr=10.0.0.2 --rdzv_conf=x=1 {MEETS} /t.py",
        f"torchrun --nnodes=2 --nproc_per_node=8 --node_rank=$1 {MEETS} --log_dir=/l --max_restarts=3 --tee 3 /t.py",
        "deepspeed --hostfile /job/hosts --master_addr 10.0.0.1 --no_ssh_check --save_pid --num_nodes 2 /t.py",
        "torchrun --nnodes=2 --nproc_per_node=8 --rdzv_backend=etcd-v2 --rdzv_endpoint 10.0.0.1:2379 /t.py",
    ],
)
def test_options_that_launchers_have(line):
    assert ids(case(script(line))) == {}


@pytest.mark.parametrize(
    "line",
    [
        f"torchrun --nproc_per_node 8 /t.py --nnodes 2 --node_rank $1 {MEETS}",
        "accelerate launch /t.py --num_machines 2 --machine_rank $1 --main_process_ip 10.0.0.1",
        "deepspeed /t.py --hostfile /job/hosts --num_nodes 2",
    ],
)
def test_options_behind_the_script(line):
    assert ids(case(script(line)))["launch-option-behind-script", "warn"] == BOTH


def test_arguments_that_a_script_has_itself():
    for line in (
        f"torchrun --nnodes=2 --nproc_per_node=8 --node_rank=$1 {MEETS} /t.py --master_port 1 --num_nodes 2 --nnodes 2",
        "torchrun --nproc_per_node 8 /t.py --master_addr 10.0.0.1 --world_size 16",
        "llamafactory-cli train --nnodes 2 --node_rank 1",
    ):
        assert ("launch-option-behind-script", "warn") not in ids(case(script(line)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (f"--rdzv_id=7 --rdzv_backend=c10d --node_rank=0 {MEETS}", "--master_addr counts for the backend static alone"),
        ("--rdzv_id=7 --rdzv_backend=etcd", "--rdzv_backend etcd without --rdzv_endpoint"),
        ("--standalone", "--standalone, with --nnodes 2"),
    ],
)
def test_torchrun_that_looks_for_the_others_at_itself(options, words):
    found = findings(case(script(f"torchrun --nnodes=2 --nproc_per_node=8 {options} /t.py")))
    assert {(one.rule, one.hosts) for one in found} == {("master-addr-malformed", BOTH)}
    assert any(words in one.evidence["node1"] for one in found)


def test_ports_that_are_none():
    wrong = "torchrun --nnodes=2 --nproc_per_node=8 --node_rank=$1 --master_addr=10.0.0.1 --master_port=99999 /t.py"
    assert ids(case(script(wrong))) == {("master-port-invalid", "fail"): BOTH}
    assert ids(case(script(wrong.replace("99999", "0")))) == {("master-port-invalid", "fail"): BOTH}
    assert ids(case(script("torchrun --nproc_per_node=8 --master_port=0 /t.py"))) == {}
    given = case(("accelerate", STANDARD.format(rank=0).replace("29500", "70000"), "node1"))
    assert ids(given)["master-port-invalid", "fail"] == ("node1",)


@pytest.mark.parametrize(
    "lines",
    [
        ["export NNODES=2 NODE_RANK=$1 MASTER_ADDR=10.0.0.1", "torchrun --nproc_per_node=8 /t.py"],
        ["NNODES=2 NODE_RANK=$1 MASTER_ADDR=10.0.0.1 torchrun --nproc_per_node=8 /t.py"],
        ["NNODES=2", "accelerate launch --multi_gpu --num_processes 8 /t.py"],
    ],
)
def test_nodes_that_the_launcher_is_not_told_of(lines):
    assert ids(case(script(*lines))) == {("launch-nodes-not-passed", "fail"): BOTH}


@pytest.mark.parametrize(
    "lines",
    [
        ["NNODES=2", f"torchrun --nnodes=$NNODES --nproc_per_node=8 --node_rank=$1 {MEETS} /t.py"],
        ["NNODES=2", 'ARGS="--nnodes $NNODES --node_rank $1 ' + MEETS + '"', "torchrun $ARGS --nproc_per_node=8 /t.py"],
        ["export NNODES=${NNODES:-1}", "torchrun --nproc_per_node=8 /t.py"],
        ["export NNODES=1", "torchrun --nproc_per_node=8 /t.py"],
        ["export PET_NNODES=2 PET_NODE_RANK=$1 PET_MASTER_ADDR=10.0.0.1", "torchrun --nproc_per_node=8 /t.py"],
        ["export NNODES=2 NODE_RANK=$1 MASTER_ADDR=10.0.0.1 MASTER_PORT=29500", "swift sft --model x"],
        ["NNODES=2", "torchrun --nproc_per_node=8 /t.py --num_nodes $NNODES"],
    ],
)
def test_nodes_that_the_launcher_is_told_of(lines):
    assert ids(case(script(*lines))) == {}


@pytest.mark.parametrize("name", ["MASTER_ADR", "NODE_RNAK", "MASTR_PORT"])
def test_a_variable_that_nothing_sets(name):
    line = f"torchrun --nnodes=2 --nproc_per_node=8 --node_rank=$1 {MEETS} --rdzv_id=${name} /t.py"
    assert ids(case(script(line))) == {("launch-variable-misspelt", "warn"): BOTH}


@pytest.mark.parametrize(
    "lines",
    [
        ["JOB_ID=7", "torchrun --nnodes=2 --nproc_per_node=8 --node_rank=$NODE_RANK --rdzv_id=$SLURM_JOB_ID {} /t.py"],
        ["GPUS=8", "torchrun --nnodes=2 --nproc_per_node=${{GPU:-8}} --node_rank=$RANK {} /t.py"],
        [
            "read -r PORT < /port",
            "PORTS=1",
            "torchrun --nnodes=2 --nproc_per_node=8 --node_rank=$1 {} --role $PORT /t.py",
        ],
        ["source env.sh", "PORTS=1", "torchrun --nnodes=2 --nproc_per_node=8 --node_rank=$1 {} --role $PORT /t.py"],
    ],
)
def test_variables_that_come_from_outside(lines):
    assert ids(case(script(*(line.format(MEETS) for line in lines)))) == {}
