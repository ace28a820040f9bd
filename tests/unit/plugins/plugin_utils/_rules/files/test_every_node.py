# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Launch scripts that every node runs: what is computed, drawn or defaulted there, and what differs."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.samples.user_files import (
    BOTH,
    HOSTS,
    STANDARD,
    case,
    findings,
    ids,
    script,
    yaml,
)

TORCH = "torchrun --nnodes=2 --nproc_per_node=8 "
STATIC = TORCH + "--node_rank=$NODE_RANK --master_addr=10.0.0.1 --master_port=29500 /t.py"
C10D = TORCH + "--rdzv_backend=c10d --rdzv_endpoint=10.0.0.1:29400 "


def each(*lines):
    """A script of its own for each node."""
    return [(*script(line), node) for line, node in zip(lines, BOTH, strict=True)]


@pytest.mark.parametrize(
    "drawn",
    [
        "$RANDOM",
        "$((RANDOM % 1000))",
        "job-$(shuf -i 1-9999 -n 1)",
        "$(uuidgen)",
        "$(date +%s)",
        "$$",
        "$(cat /proc/sys/kernel/random/uuid)",
        "$(hostname)",
        "$(openssl rand -hex 4)",
        "`date +%Y%m%d_%H%M%S`",
    ],
)
def test_an_id_that_each_node_draws(drawn):
    assert ids(case(script(f"{C10D}--rdzv_id={drawn} /t.py"))) == {("rdzv-id-differs", "fail"): BOTH}
    assert ids(case(script(f"ID={drawn}", f"{C10D}--rdzv-id $ID /t.py"))) == {("rdzv-id-differs", "fail"): BOTH}
    only = (*script(f"{C10D}--rdzv_id={drawn} /t.py"), "node2")
    assert ids(case(only)) == {("rdzv-id-differs", "fail"): ("node2",)}


@pytest.mark.parametrize(
    "lines",
    [
        [C10D + "--rdzv_id=job1 /t.py"],
        [C10D + "--rdzv_id=$JOB_ID /t.py"],
        [C10D + "--rdzv_id=$(date +%Y%m%d) /t.py"],
        ["torchrun --nnodes=1 --rdzv_backend c10d --rdzv_id=$RANDOM --rdzv_endpoint localhost:0 /t.py"],
        ["torchrun --standalone --rdzv_id=$RANDOM /t.py"],
        ["#SBATCH --nodes=2", "srun " + C10D + "--rdzv_id=$RANDOM /t.py"],
        ["srun " + C10D + "--rdzv_id=$RANDOM /t.py"],
        ['ID=$RANDOM; for h in a b; do ssh $h "' + C10D + '--rdzv_id=$ID /t.py" & done'],
        ["echo " + C10D + "--rdzv_id=$RANDOM /t.py"],
        ["cat > run2.sh <<EOF", C10D + "--rdzv_id=$RANDOM /t.py", "EOF"],
        [STATIC],
        [STATIC.replace("$NODE_RANK", "$1")],
        [STATIC.replace("$NODE_RANK", "$SLURM_NODEID")],
        [TORCH + "--node_rank=$1 --master_addr=${2:?which} --master_port=29500 /t.py"],
        [TORCH + "--node_rank=$1 --master_addr=$(getent hosts node1 | cut -d' ' -f1) --master_port=29500 /t.py"],
        [TORCH + "--node_rank=$1 --master_addr=$(ssh node1 hostname -i) --master_port=29500 /t.py"],
    ],
)
def test_what_is_the_same_on_all_nodes(lines):
    assert ids(case(script(*lines))) == {}


def test_an_id_that_only_defaults_to_a_draw():
    assert ids(case(script(C10D + "--rdzv_id=${JOB_ID:-$RANDOM} /t.py"))) == {("rdzv-id-differs", "warn"): BOTH}
    guarded = script('if [ -z "$JOB_ID" ]; then JOB_ID=$RANDOM; fi', C10D + "--rdzv_id=$JOB_ID /t.py")
    assert ids(case(guarded)) == {("rdzv-id-differs", "warn"): BOTH}


@pytest.mark.parametrize(
    "own",
    [
        "$(hostname)",
        "$(hostname -I | awk '{print $1}')",
        "$HOSTNAME",
        "$(ip -4 addr show eth0 | grep -oP 'inet \\K.*')",
    ],
)
def test_each_node_names_itself(own):
    line = TORCH + f"--node_rank=$1 --master_addr={own} --master_port=29500 /t.py"
    assert ids(case(script(line))) == {("master-addr-differs", "fail"): BOTH}
    accelerate = (
        f"accelerate launch --num_machines 2 --machine_rank $1 --main_process_ip {own} --config_file /a.yaml /t.py"
    )
    assert ids(case(script(accelerate))) == {("master-addr-differs", "fail"): BOTH}
    head = (*script(line.replace("$1", "0")), "node1")
    assert ids(case(head)) == {}
    default = line.replace(own, "${MASTER_ADDR:-" + own + "}")
    assert ids(case(script(default))) == {("master-addr-differs", "warn"): BOTH}


def test_each_node_draws_a_port():
    line = TORCH + "--node_rank=$1 --master_addr=10.0.0.1 --master_port=$((29500 + RANDOM % 100)) /t.py"
    found = ids(case(script(line)))
    assert found[("master-port-random", "fail")] == BOTH
    assert ids(case(script("torchrun --nproc_per_node 8 --master_port=$RANDOM /t.py"))) == {}


@pytest.mark.parametrize(
    "before", ["PORT=$(shuf -i 10000-65535 -n 1)", "export MASTER_PORT=$RANDOM\nPORT=$MASTER_PORT"]
)
def test_a_port_that_each_node_draws_is_told_once(before):
    line = TORCH + "--node_rank=$1 --master_addr=10.0.0.1 --master_port=$PORT /t.py"
    given = case(script(*before.split("\n"), line))
    told = [item for item in findings(given) if item.rule == "master-port-random"]
    assert [(item.severity, item.hosts) for item in told] == [("fail", BOTH)]


def test_torchrun_for_two_nodes_without_a_master():
    assert ids(case(script("export MASTER_ADDR=10.0.0.1", TORCH + "--node_rank=$1 /t.py"))) == {
        ("master-addr-malformed", "fail"): BOTH
    }
    swift = "NNODES=2 NODE_RANK=1 NPROC_PER_NODE=8 swift sft --model m"
    assert ids(case((*script(swift), "node2"))) == {("master-addr-malformed", "fail"): ("node2",)}


def test_the_first_node_may_call_itself_by_its_loopback_address():
    first = "NNODES=2 NODE_RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 NPROC_PER_NODE=8 swift sft --model m"
    second = first.replace("NODE_RANK=0", "NODE_RANK=1")
    assert ids(case((*script(first), "node1"))) == {}
    assert ids(case((*script(second), "node2"))) == {("master-addr-malformed", "fail"): ("node2",)}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (STATIC.replace("$NODE_RANK", "0"), STATIC.replace("$NODE_RANK", "0").replace("/t.py", "/t.py --x")),
        (
            "FORCE_TORCHRUN=1 NNODES=2 RANK=0 MASTER_ADDR=10.0.0.1 MASTER_PORT=29500 llamafactory-cli train /a.yaml",
            "FORCE_TORCHRUN=1 NNODES=2 RANK=1 MASTER_ADDR=10.0.0.1 MASTER_PORT=29500 llamafactory-cli train /a.yaml",
        ),
        (
            "NNODES=2 NODE_RANK=1 MASTER_ADDR=10.0.0.1 MASTER_PORT=29500 NPROC_PER_NODE=8 megatron sft --a b",
            "NNODES=2 NODE_RANK=1 MASTER_ADDR=10.0.0.1 MASTER_PORT=29500 NPROC_PER_NODE=8 megatron sft --a c",
        ),
        (
            "axolotl train c.yml --launcher torchrun -- --nnodes 2 --node_rank 0 --master_addr 10.0.0.1",
            "axolotl train c.yml --launcher torchrun -- --nnodes 2 --node_rank 0 --master_addr 10.0.0.1 --tee 3",
        ),
        (
            "NPROC_PER_NODE=8 NNODES=2 NODE_RANK=0 PORT=29500 ADDR=10.0.0.1 xtuner train cfg.py --launcher pytorch",
            "NPROC_PER_NODE=8 NNODES=2 NODE_RANK=0 PORT=29500 ADDR=10.0.0.1 xtuner train cfg.py --deepspeed z2",
        ),
    ],
)
def test_two_nodes_with_one_rank(first, second):
    assert ids(case(*each(first, second))) == {("node-rank-duplicate", "fail"): BOTH}
    for name in ("NODE_RANK=", "--node_rank ", "--node_rank="):
        for rank, other in (("0", "1"), ("1", "0")):
            if f"{name}{rank}" in second and "RANK=1 MASTER_ADDR" not in second:
                apart = second.replace(f"{name}{rank}", f"{name}{other}")
                assert ids(case(*each(first, apart))) == {}


def test_a_rank_that_the_tool_does_not_read():
    line = "FORCE_TORCHRUN=1 NNODES=2 RANK=1 MASTER_ADDR=10.0.0.1 MASTER_PORT=29500 llamafactory-cli train /a.yaml"
    alone = case((*script(line), "node2"))
    assert ids(alone) == {("node-rank-duplicate", "fail"): ("node2",)}
    (one,) = findings(alone)
    assert "RANK=1, which llamafactory-cli does not read" in one.evidence["node2"]
    assert one.remedy.startswith("Set NODE_RANK")
    old = case((*script(line), "node2"))
    old.stack["node2"]["packages"]["llamafactory"] = "0.8.3"
    assert ids(old) == {}


def test_the_same_text_with_a_rank_in_it_is_only_a_warning():
    assert ids(case(script(STATIC.replace("$NODE_RANK", "0")))) == {("node-rank-duplicate", "warn"): BOTH}
    shared = script(STATIC.replace("$NODE_RANK", "0")), script(STATIC.replace("$NODE_RANK", "1"))
    assert ids(case(*shared)) == {}


def test_nobody_says_the_rank():
    assert ids(case(script(STATIC.replace("--node_rank=$NODE_RANK ", "")))) == {("node-rank-duplicate", "fail"): BOTH}
    default = script(STATIC.replace("$NODE_RANK", "${NODE_RANK:-0}"))
    assert ids(case(default)) == {("node-rank-duplicate", "warn"): BOTH}
    assert ids(case((*default, "node1"))) == {("node-rank-duplicate", "info"): ("node1",)}
    given = case(default)
    for number, node in enumerate(BOTH):
        given.stack[node]["login_environment"] = {"variables": {"NODE_RANK": str(number)}}
    assert ids(given) == {}
    given.stack["node2"]["login_environment"]["variables"]["NODE_RANK"] = "0"
    assert ids(given)


def test_ranks_count_from_zero():
    assert ids(case((*script(STATIC.replace("$NODE_RANK", "2")), "node2"))) == {
        ("node-rank-duplicate", "fail"): ("node2",)
    }


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ("${HOSTNAME##*node}", True),
        ("$(hostname | tr -dc 0-9)", True),
        ("$(($(hostname | grep -o '[0-9]*$') - 1))", False),
        ("$(hostname | cut -c5)", True),
        ("$RANDOM", True),
        ("$(cat /etc/rank)", False),
    ],
)
def test_a_rank_of_the_nodes_name(written, wrong):
    cluster = case(script(STATIC.replace("$NODE_RANK", written)))
    for node in BOTH:
        cluster.fabric[node]["hostname"] = node
    assert ids(cluster) == ({("node-rank-duplicate", "fail"): BOTH} if wrong else {})


@pytest.mark.parametrize(
    ("first", "second", "severity"),
    [
        (STATIC, STATIC.replace("29500", "29501"), "fail"),
        (STATIC, STATIC.replace("10.0.0.1", "10.0.0.2"), "fail"),
        (STATIC, STATIC.replace("nnodes=2", "nnodes=3"), "fail"),
        (C10D + "--rdzv_id=a /t.py", C10D + "--rdzv_id=b /t.py", "fail"),
        (STATIC, "export NCCL_ALGO=Ring\n" + STATIC, "warn"),
    ],
)
def test_scripts_that_differ(first, second, severity):
    assert ids(case(*each(first, second))) == {("launch-script-differs", severity): ("node2",)}


def test_scripts_that_may_differ():
    first = "export NCCL_SOCKET_IFNAME=eth0\n" + STATIC.replace("$NODE_RANK", "0")
    second = "export NCCL_SOCKET_IFNAME=eth0  # other\n" + STATIC.replace("$NODE_RANK", "1") + " --log /b"
    assert ids(case(*each(first, second))) == {}


def test_deepspeed_over_ssh_computes_once():
    line = "deepspeed --hostfile /job/hosts --master_addr $(hostname -i) /t.py"
    assert ids(case((*script(line), "node1"), (*HOSTS, "node1"))) == {}


def test_the_nodes_of_accelerate_and_of_deepspeed_without_ssh():
    launch = "accelerate launch --config_file /job/a.yaml --machine_rank {} /t.py"
    config = yaml(text=STANDARD.format(rank=0), num_machines="2")
    assert ids(case(config, *each(launch.format(0), launch.format(1)))) == {}
    assert ids(case(config, *each(launch.format(0), launch.format(0) + " --x"))) == {
        ("node-rank-duplicate", "fail"): BOTH
    }
    start = "deepspeed --hostfile /job/hosts --no_ssh --node_rank {} --master_addr 10.0.0.1 /t.py"
    assert ids(case(HOSTS, *each(start.format(0), start.format(1)))) == {}
    assert ids(case(HOSTS, *each(start.format(1), start.format(1) + " --x"))) == {("node-rank-duplicate", "fail"): BOTH}


def test_a_loop_that_gives_every_host_the_same_rank():
    loop = "for h in node1 node2; do ssh $h '{}' & done"
    same = (*script(loop.format(STATIC.replace("$NODE_RANK", "0"))), "node1")
    assert ids(case(same)) == {("node-rank-duplicate", "fail"): ("node1",)}
    counted = 'i=0; for h in node1 node2; do ssh $h "' + STATIC.replace("$NODE_RANK", "$i") + '" & i=$((i + 1)); done'
    assert ids(case((*script(counted), "node1"))) == {}


def test_a_rank_without_a_number_of_nodes():
    lines = [f"NODE_RANK={rank} MASTER_ADDR=10.0.0.1 NPROC_PER_NODE=8 swift sft --model m" for rank in (0, 1)]
    assert ids(case(*each(*lines))) == {("node-rank-duplicate", "fail"): ("node2",)}


def test_ray():
    head = ["ray start --head --port 6379", "python3 -m verl.trainer.main_ppo trainer.nnodes=2"]
    assert ids(case(script(*head))) == {("ray-head-on-each-node", "fail"): BOTH}
    assert ids(case((*script(*head), "node1"))) == {}
    assert ids(case(script(head[0], "python3 -m verl.trainer.main_ppo trainer.nnodes=1"))) == {}
    joined = ["if [ $1 = 0 ]; then ray start --head; else ray start --address=10.0.0.1:6379; fi", *head[1:]]
    assert ids(case(script(*joined))) == {}


FABRIC = "fabric run --devices=8 --num-nodes=2 --main-address=10.0.0.1 --node-rank={rank} /t.py --lr 1"
COMPOSED = "composer -n 8 --world_size 16 --node_rank {rank} --master_addr 10.0.0.1 --master_port 29500 /t.py"
TUNED = "tune run --nnodes 2 --nproc_per_node 8 --node_rank {rank} --master_addr 10.0.0.1 lora --config /x.yaml"
TRL = (
    "trl sft --config /x.yaml --use_peft --num_machines 2 --machine_rank={rank} --main_process_ip 10.0.0.1 "
    "--main_process_port 29500 --num_processes 16"
)
PLAIN = "MASTER_ADDR=10.0.0.1 MASTER_PORT=29500 NODE_RANK={rank} python /t.py --trainer.num_nodes=2"
RAW = "RANK={rank} WORLD_SIZE=2 MASTER_ADDR=10.0.0.1 MASTER_PORT=29500 python3 -u /t.py"


@pytest.mark.parametrize(
    "line",
    [
        FABRIC,
        "lightning run model /t.py --num_nodes 2 --main-address 10.0.0.1 --node_rank {rank} --devices 8",
        COMPOSED,
        TUNED,
        TRL,
        "nohup composer -n 8 --world_size=16 --base_rank=$((8 * {rank})) --master_addr 10.0.0.1 /t.py &",
        "export NODE_RANK={rank} MASTER_ADDR=10.0.0.1 MASTER_PORT=29500 WORLD_SIZE=16; composer --nproc 8 /t.py",
        PLAIN,
        PLAIN.replace("--trainer.num_nodes=2", "fit --num_nodes 2"),
        "export MASTER_ADDR=10.0.0.1 NODE_RANK={rank}; nohup python -u -m job.train trainer.num_nodes=2 &",
        RAW,
    ],
)
def test_other_ways_to_say_which_node_it_is(line):
    assert ids(case(*each(line.format(rank=0), line.format(rank=1)))) == {}
    assert ids(case(script(line.format(rank="$1")))) == {}
    twice = case(*each(line.format(rank=0), line.format(rank=0) + "\necho other"))
    assert ids(twice) in ({("node-rank-duplicate", "fail"): BOTH}, {}) and (ids(twice) or "$((" in line)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (FABRIC.replace("--main-address=10.0.0.1 ", "").format(rank="$1"), ("master-addr-malformed", "fail")),
        (TUNED.replace("--master_addr 10.0.0.1 ", "").format(rank="$1"), ("master-addr-malformed", "fail")),
        (TRL.replace("10.0.0.1", "$(hostname)").format(rank="$1"), ("master-addr-differs", "fail")),
        (COMPOSED.replace("10.0.0.1", "localhost").format(rank="$1"), ("master-addr-malformed", "fail")),
        (COMPOSED.replace("10.0.0.1", "$(hostname -i)").format(rank="$1"), ("master-addr-differs", "fail")),
        (PLAIN.replace("10.0.0.1", "$(hostname)").format(rank="$1"), ("master-addr-differs", "fail")),
        (COMPOSED.replace("29500", "$RANDOM").format(rank="$1"), ("master-port-random", "fail")),
    ],
)
def test_what_goes_wrong_with_them(line, found):
    assert ids(case(script(line)))[found] == BOTH
    assert {identity for identity, _severity in ids(case(script(line)))} == {found[0]}


@pytest.mark.parametrize("line", [FABRIC, COMPOSED, TUNED, TRL, PLAIN, RAW])
def test_ranks_that_count_from_one(line):
    found = case(*each(line.format(rank=1), line.format(rank=2)))
    assert ids(found) == {("node-rank-duplicate", "fail"): ("node2",)}


@pytest.mark.parametrize(
    "line",
    [
        "fabric run --devices=8 /t.py",
        "fabric run /t.py --strategy ddp --num_nodes=1",
        "fabric consolidate /x --node-rank 1",
        "composer /t.py",
        "nohup tune run lora_finetune_single_device --config /x.yaml &",
        "tune download meta-llama/x --node_rank 0",
        "tune run --nproc_per_node 8 lora --config /x.yaml",
        "trl sft --config /x.yaml",
        "trl chat --machine_rank 0",
        "composer -n 8 /t.py --node_rank 1",
        "nohup composer -n 8 train.py > log 2>&1 &",
        "composer -n 8 --world_size 16 /t.py",
        "composer -n 8 --world_size $WORLD_SIZE --node_rank $NODE_RANK --master_addr $MASTER_ADDR /t.py",
        "export MASTER_ADDR=localhost MASTER_PORT=29511 RANK=0 WORLD_SIZE=1; python /t.py",
        "export MASTER_ADDR=localhost MASTER_PORT=29500; python /t.py",
        "for r in 0 1; do RANK=$r LOCAL_RANK=$r WORLD_SIZE=2 MASTER_ADDR=localhost python /t.py & done",
        "export NODE_RANK=0 MASTER_ADDR=localhost; python /prepare.py",
        "export NODE_RANK=$SLURM_NODEID MASTER_ADDR=$(scontrol show hostnames | head -n 1); srun python /t.py",
        "python /t.py --num_nodes 2",
        "python -c 'import os' --num_nodes 2",
        "NODE_RANK=1 MASTER_ADDR=a python -V",
        "export NODE_RANK=0 MASTER_ADDR=10.0.0.1; python /prepare.py; torchrun --standalone /t.py",
    ],
)
def test_what_is_no_start_on_each_node(line):
    assert ids(case(script(line))) == {}


def test_an_empty_id_is_drawn_by_torchrun():
    assert ids(case(script('ID=""', C10D + "--rdzv_id=$ID /t.py"))) == {("rdzv-id-differs", "fail"): BOTH}
    assert ids(case(script(C10D + "--rdzv_id= /t.py"))) == {("rdzv-id-differs", "fail"): BOTH}
    assert ids(case(script(STATIC.replace("/t.py", "--rdzv_id= /t.py")))) == {}


def test_a_rank_of_0_that_nobody_reads_is_one_all_the_same():
    line = "FORCE_TORCHRUN=1 NNODES=2 RANK={} MASTER_ADDR=10.0.0.1 MASTER_PORT=29500 llamafactory-cli train /a.yaml"
    assert ids(case((*script(line.format(0)), "node1"))) == {}
    assert ids(case((*script(line.format(1)), "node2"))) == {("node-rank-duplicate", "fail"): ("node2",)}


def test_a_first_node_that_calls_itself_localhost():
    first = STATIC.replace("$NODE_RANK", "0").replace("10.0.0.1", "localhost")
    second = STATIC.replace("$NODE_RANK", "1")
    both = case((*script(first), "node1"), (*script(second), "node2"))
    assert ids(both) == {}
    for facts in both.stack.values():
        facts["packages"]["torch"] = "2.1.0"
    assert ids(both) == {("master-addr-malformed", "fail"): ("node1",)}
    for facts in both.stack.values():
        facts["packages"]["torch"] = "2.6.0"
    assert ids(both) == {}
    third = case((*script(first.replace("localhost", "10.0.0.9")), "node1"), (*script(second), "node2"))
    assert ids(third) == {("launch-script-differs", "fail"): ("node2",)}
