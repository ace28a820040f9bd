# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launch_script import launch_script

# after the samples that people publish: a port drawn by lot, a comment inside the continued command
NOTE = r"""#!/bin/bash
LR=5e-6
MASTER_PORT=$(shuf -n 1 -i 10000-65535)
export NCCL_NET=IB NCCL_DEBUG=INFO
SEED=1
export SEED

deepspeed --num_gpus=8 --master_port $MASTER_PORT main.py \
    --deepspeed deepspeed.json \
    --bf16 \
    #--fp16 \
    --lr $LR > log.txt 2>&1 &
"""


def test_variables_follow_bash():
    variables = launch_script(NOTE).variables
    assert variables["MASTER_PORT"].value == "$(shuf -n 1 -i 10000-65535)"
    assert (variables["MASTER_PORT"].exported, variables["SEED"].exported) == (False, True)
    assert (variables["NCCL_NET"].value, variables["NCCL_DEBUG"].value) == ("IB", "INFO")
    assert variables["NCCL_NET"].line == 4


def test_a_command_ends_at_the_comment_as_in_bash():
    script = launch_script(NOTE)
    (command,) = script.commands
    assert (command.launcher, command.line, command.script) == ("deepspeed", 8, "main.py")
    assert command.options == {"num_gpus": "8", "master_port": "$(shuf -n 1 -i 10000-65535)"}
    assert command.arguments == ("--deepspeed", "deepspeed.json", "--bf16")
    assert [(one.line, one.what) for one in script.problems] == [(11, "comment_line")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("run --a \\ # why\n  --b\n", [(1, "comment")]),
        ("run --a \\ \n  --b\n", [(1, "blank")]),
        ("run --a \\\n  # why\n  --b\n", [(2, "comment_line")]),
        ("run --a \\\n  --b\n  #--c\n", []),
        ("run --a \\\n  # the last\n", []),
        ("# a \\\n# b\nrun --a\n", []),
        ("echo 'a # b' \\\n  --b\n", []),
    ],
)
def test_broken_continuations(text, found):
    assert [(one.line, one.what) for one in launch_script(text).problems] == found


def test_launchers_in_all_their_forms():
    text = (
        "CUDA_VISIBLE_DEVICES=0,1 nohup /opt/env/bin/torchrun "
        '--nnodes 2 --rdzv-endpoint="10.0.0.1:29400" t.py --x "a b"\n'
        "python3 -m torch.distributed.launch --nproc_per_node=8 old.py && echo ok\n"
        "accelerate launch --config_file a.yaml --multi_gpu -m pkg.train --bf16\n"
        "accelerate config\n"
        "echo deepspeed t.py\n"
    )
    commands = launch_script(text).commands
    assert [(one.launcher, one.script) for one in commands] == [
        ("torchrun", "t.py"),
        ("torchrun", "old.py"),
        ("accelerate", "pkg.train"),
    ]
    assert commands[0].environment == {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert commands[0].options["rdzv_endpoint"] == "10.0.0.1:29400"
    assert commands[0].arguments == ("--x", "a b")
    assert commands[2].argument("bf16") == ""


def test_standard_input():
    text = "while read h; do\n pdsh -w $h date\n deepspeed t.py </dev/null\ndone < hosts\n"
    text += "pdsh -w a date\ncat x | deepspeed t.py\n"
    assert [(one.launcher, one.feeds) for one in launch_script(text).commands] == [
        ("pdsh", True),
        ("deepspeed", False),
        ("pdsh", False),
        ("deepspeed", True),
    ]


@pytest.mark.parametrize("text", ["", "\\", "export", "'", 'deepspeed "unclosed', "a=$(", "deepspeed --hostfile", "\0"])
def test_odd_texts_do_no_harm(text):
    launch_script(text)


@pytest.mark.parametrize("piece", ["$(", '"$(', "${A:-", "`", "a=(", '"`$(', "A=$A$A\n", "\\\n", "cat <<E\n", "{"])
def test_long_and_hostile_texts_take_no_long_time(piece):
    began = time.monotonic()
    launch_script(piece * (20000 // len(piece)))
    assert time.monotonic() - began < 10


COMMAND = "torchrun --nnodes=2 --node_rank={} --master_addr=a /t.py"


@pytest.mark.parametrize(
    ("lines", "rank", "through"),
    [
        (["C='" + COMMAND.format(1) + "'", 'ssh node2 "$C"'], "1", ("ssh",)),
        (['C="' + COMMAND.format("$1") + '"', 'bash -c "cd /job && $C"'], "$1", ("bash",)),
        (['C="' + COMMAND.format("\\$SLURM_NODEID") + '"', 'srun bash -c "$C"'], "$SLURM_NODEID", ("srun", "bash")),
        (["for i in 0 1; do", '  C="' + COMMAND.format("$i") + '"', '  ssh node$i "$C" &', "done"], "$i", ("ssh",)),
        (["i=0", "for h in a b; do", '  C="' + COMMAND.format("$i") + '"', '  ssh $h "$C"', "  i=$((i+1))", "done"],
         "$i", ("ssh",)),
        (["T='" + COMMAND.format("RANK") + "'", "for i in 0 1; do", '  ssh node$i "${T/RANK/$i}" &', "done"],
         "$i", ("ssh",)),
    ],
)  # fmt: skip
def test_commands_that_are_kept_in_variables(lines, rank, through):
    (command,) = launch_script("\n".join(lines) + "\n").commands
    assert (command.written["node_rank"], command.through) == (rank, through)
    assert command.looped is any(line.startswith("for") for line in lines)


def test_what_grows_with_each_turn_of_a_loop_is_not_known_in_it():
    text = "R=0\nfor h in a b; do\n R=$((R+1))\n ssh $h " + COMMAND.format("$R") + "\ndone\n"
    assert launch_script(text).commands[0].written["node_rank"] == "$R"
    text = "for ((i=0; i<2; i++)); do\n C='" + COMMAND.format("R") + '\'\n ssh n$i "${C/=R/=$i}"\ndone\n'
    assert launch_script(text).commands[0].written["node_rank"] == "$i"
    grown = launch_script('A="--nnodes=2"\nfor x in a b; do\n A="$A --tee 3"\ndone\ntorchrun $A /t.py\n')
    assert grown.commands[0].options["nnodes"] == "2"
