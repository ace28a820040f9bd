# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on how many ranks a launch script starts on a node, and which variables reach them.

Source: torch 2.14 distributed/run.py, accelerate 1.15 utils/launch.py, ssh_config(5) SendEnv.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    WARN,
    Answer,
    Case,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.formats import integer
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launch_script import Command
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launchers import (
    ACCELERATE,
    TORCHRUN,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _starts as by_hand

_NO_GPU = re.compile(
    r"\bgloo\b|--(?:use_)?cpu\b|\bno_cuda\b|use_cpu|device[= ]+['\"]?cpu"
    r"|CUDA_VISIBLE_DEVICES=['\"]*\s|CUDA_MPS"
)
_STEERING = re.compile(
    r"NCCL_|GLOO_|TORCH_(?:NCCL|DISTRIBUTED)_|CUDA_VISIBLE_DEVICES$|LD_LIBRARY_PATH$|PYTHONPATH$"
    r"|HF_HOME$"
)


def _on_gpus(copy: common.Copy, command: Command) -> bool:
    """Whether a command is for GPUs of its own, as far as the script tells."""
    return "cpu" not in command.options and not _NO_GPU.search(copy.text)


@rule("hostfile-slots-exceed-gpus", needs=("user", "gpu"), applies=common.given("launch_script"))
def more_ranks_than_gpus(case: Case) -> t.Iterator[Answer]:
    """--nproc_per_node beyond the GPUs of a node that has the script."""
    gpus = common.gpus_of(case)
    for copy, _script, command in common.commands(case, TORCHRUN):
        each = integer(command.written.get("nproc_per_node"))
        have = gpus.get(copy.host, 0)
        remote = {"ssh", "pdsh", "srun", "mpirun"} & set(command.through)
        if each and have and each > have and not remote and not command.conditional and _on_gpus(copy, command):
            yield finding(
                "hostfile-slots-exceed-gpus",
                FAIL,
                copy.host,
                f"{copy.at(command.line)}: --nproc_per_node {each}, and {copy.host} has {have} GPUs",
                "Ranks without a GPU stop with `invalid device ordinal`, and the others wait for them.",
                "--nproc_per_node gpu takes as many as the node has (nvidia-smi -L).",
            )


@rule("acc-num-processes-floor", needs=("user", "gpu"), applies=common.given("launch_script"))
def processes(case: Case) -> t.Iterator[Answer]:
    """accelerate launch --num_processes counts all ranks, and is divided by --num_machines without a rest."""
    gpus = common.gpus_of(case)
    for copy, _script, command in common.commands(case, ACCELERATE):
        total = integer(command.written.get("num_processes"))
        machines = integer(command.written.get("num_machines")) or 1
        have = gpus.get(copy.host, 0)
        if not total or machines < 2 or not _on_gpus(copy, command):
            continue
        share = total // machines
        text = f"{copy.at(command.line)}: --num_processes {total} on {machines} machines is {share} on each"
        if total % machines:
            seen, severity = f"{text}, {total % machines} are lost", FAIL
        elif have and share > have:
            seen, severity = f"{text}, but {copy.host} has {have} GPUs", FAIL
        elif have and share < have and machines == len(case.order) and len(set(gpus.values())) == 1:
            seen, severity = f"{text}, but every node has {have} GPUs", WARN
        else:
            continue
        yield finding(
            "acc-num-processes-floor",
            severity,
            copy.host,
            seen,
            "num_processes is the total over all nodes, and each gets num_processes // num_machines of them.",
            "Set --num_processes to --num_machines times the GPUs of one node.",
        )


@rule("env-not-propagated", needs=("user",), applies=common.given("launch_script"))
def left_behind(case: Case) -> t.Iterator[Answer]:
    """Variables that a script exports before it starts the ranks of other nodes by ssh."""
    for copy, script, command in common.commands(case, *by_hand.BY_HAND):
        if "ssh" not in command.through or {"docker", "podman", "kubectl"} & set(command.through):
            continue
        line = dict(script.lines).get(command.line, "")
        names = [
            name
            for name, one in script.variables.items()
            if one.exported and one.line < command.line and _STEERING.match(name)
        ]
        left = [name for name in names if not re.search(rf"\b{name}\b", line)]
        if (
            left
            and "SendEnv" not in copy.text
            and not re.search(
                r"\bsource\b|\.sh\b|\benv\b|<<|\$\{?\w*(?:ENV"
                r"|CMD)",
                line,
            )
        ):
            yield finding(
                "env-not-propagated",
                WARN,
                copy.host,
                f"{copy.at(command.line)}: {', '.join(left[:6])} exported before ssh",
                "ssh takes none of the script's variables along: the ranks on the other node run without them.",
                f'ssh HOST "{left[0]}=${left[0]} {command.tool} ...": write them into the command (trainmesh_env '
                f"puts "
                "them into the environment of all nodes).",
            )
