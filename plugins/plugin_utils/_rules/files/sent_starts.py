# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on launch scripts that start several nodes themselves, by ssh, pdsh or srun: all at once, and each node once.

Source: torch 2.14 distributed/run.py, Slurm srun(1) and sbatch(1).
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.formats import integer
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launchers import (
    ACCELERATE,
    DEEPSPEED,
    TORCHRUN,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _slurm as slurm
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _starts as by_hand
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files._starts import Start

# They come back at once, or start several themselves.
_DETACHED = frozenset(
    "tmux screen docker podman nerdctl systemd-run sbatch xargs parallel script kubectl at batch mpirun mpiexec".split()
)
# A group, a loop or a function that as a whole may be sent to the background.
_IN_GROUPS = re.compile(
    r"(?:\)|\}|\bdone|\bfi|\besac)[ \t]*&(?!&)|^[ \t]*(?:function[ \t]+)?[\w-]+[ \t]*\(\)", re.MULTILINE
)
# What brings the script itself, or another one with the command, to the nodes.
_STARTS_SCRIPTS = re.compile(
    r"\b(?:srun|mpirun|mpiexec|ssh|pdsh|clush|ibrun|jsrun)\b[^#\n]*"
    r"(?:\$0|\$\{?BASH_SOURCE|\.sh\b|\$\{?[A-Za-z_]*(?:CMD|cmd|COMMAND|SCRIPT|LAUNCH))"
)
_TO_ALL = frozenset(("pdsh", "clush", "parallel-ssh", "pssh"))
_ARGUMENT = re.compile(r"\$\{?[1-9]\}?")  # of the script that calls srun: the same in all tasks
_OF_TASK = re.compile(r"\$\{?SLURM_(?:NODEID|PROCID)\b")
_ASSIGNS = re.compile(r"\s*(?:export\s+|declare\s+(?:-\w+\s+)?|local\s+)?[A-Za-z_]\w*\+?=")


@rule(
    About(
        "launch-one-after-another",
        layer="launcher",
        severity=FAIL,
        also=(INFO,),
        title="A script waits for one node before it starts the next",
        symptom="the first node waits, and gives up after minutes",
        source="torch elastic/rendezvous, bash(1)",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def in_turn(case: Case) -> t.Iterator[Answer]:
    """Starts of several nodes, each in the foreground: the first waits for the others, which wait for its end."""
    for copy, script in common.scripts(case):
        if _IN_GROUPS.search(copy.text):
            continue
        waiting: dict[tuple[str, str | None], Start] = {}
        for command in script.commands:
            start = Start(copy, script, command, by_hand.nodes_of(command))
            if not _waits(start) or ("srun" in command.through and slurm.on_several_nodes(start)):
                continue  # what srun gives to all nodes at once has a rule of its own
            if command.looped and "ssh" in command.through:
                yield _in_turn(FAIL, start, "the loop waits for the end of each ssh")
                continue
            first = waiting.setdefault((start.name, command.script), start)
            if first is not start and _next_node(first, start):
                sent = {"ssh", "srun"} & set(command.through) or common.for_cluster(case, copy)
                yield _in_turn(FAIL if sent else INFO, first, f"line {command.line}, behind it, starts the next node")
                break


def _waits(start: Start) -> bool:
    """Whether a start is one of several nodes, and the script stands still until it has ended."""
    command = start.command
    if command.launcher not in (*by_hand.BY_HAND, DEEPSPEED):
        return False
    if command.background or command.conditional or _DETACHED & set(command.through) or "help" in command.options:
        return False
    if command.launcher == DEEPSPEED:
        return "no_ssh" in command.options
    ranked = (by_hand.rank_text(start) or "0") != "0"
    return start.nodes > 1 or (start.nodes == by_hand.OPEN and ranked)


def _next_node(first: Start, other: Start) -> bool:
    """Whether two starts are the same job on two nodes."""
    ranks = integer(by_hand.rank_text(first)), integer(by_hand.rank_text(other))
    if None not in ranks:
        return ranks[0] != ranks[1]
    return "ssh" in first.command.through and "ssh" in other.command.through


def _in_turn(severity: str, start: Start, seen: str) -> Answer:
    return finding(
        "launch-one-after-another",
        severity,
        start.copy.host,
        f"{start.place}: {start.name} in the foreground: {seen}",
        "Every node of the job waits for the others to come, so that the first never ends and the others are never "
        "started.",
        "& at the end of each start, and wait behind the last one; with Slurm one srun starts all nodes "
        "(--node_rank=$SLURM_NODEID in bash -c '...').",
    )


@rule("node-rank-duplicate", needs=("user",), applies=common.given("launch_script"))
def same_rank_sent(case: Case) -> t.Iterator[Answer]:
    """A rank that one command gives to all nodes that it starts."""
    for copy, script, command in common.commands(case, *by_hand.BY_HAND):
        start = Start(copy, script, command, by_hand.nodes_of(command))
        sender = next((one for one in command.through if one in _TO_ALL or one == "srun"), "")
        number = by_hand.rank_text(start) or ""
        early = sender == "srun" and (_ARGUMENT.fullmatch(number) or _replaced_early(start, number))
        if start.nodes < 2 or not (early or integer(number) is not None) or not by_hand.joins_by_rank(start):
            continue
        if "config_file" in command.options and "rdzv_backend" not in command.options:
            continue  # the file may say that the nodes get their ranks when they meet
        if not sender or (sender == "srun" and not slurm.on_several_nodes(start)):
            continue
        yield finding(
            "node-rank-duplicate",
            FAIL,
            copy.host,
            f"{start.place}: {sender} gives node rank {number} to every node"
            + (": the shell of the batch script puts in its own value, on the first node" if early else ""),
            "Every node needs a node rank of its own, from 0 on; those that have the same one wait for the others.",
            "--node_rank=$SLURM_NODEID inside of one srun bash -c '...' for all nodes (pdsh: %n), which is another "
            "number on each node.",
        )


def _replaced_early(start: Start, written: str) -> bool:
    """Whether the batch script's own shell certainly replaces the rank that Slurm gives to each task."""
    if not _OF_TASK.match(written) or "<<" in start.copy.text:
        return False
    lines = [line for at, line in start.script.lines if at == start.command.line or _ASSIGNS.match(line)]
    found = [not slurm.quoted_for_tasks(line, match.start()) for line in lines for match in _OF_TASK.finditer(line)]
    return bool(found) and all(found)


@rule(
    About(
        "launcher-in-each-task",
        layer="launcher",
        severity=FAIL,
        title="Slurm starts a launcher several times a node",
        symptom="`address already in use`, or more processes than GPUs",
        source="Megatron-LM#1371, NeMo#5819, yolov5#12429",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def launcher_in_tasks(case: Case) -> t.Iterator[Answer]:
    """A launcher that starts a process for each GPU, in each of several tasks that Slurm starts on a node."""
    for copy, script, command in common.commands(case, TORCHRUN, ACCELERATE, DEEPSPEED):
        start = Start(copy, script, command, by_hand.nodes_of(command))
        tasks = slurm.tasks_of_node(start) if "srun" in command.through and not command.conditional else None
        if tasks and tasks > 1 and _starts_several(start):
            yield finding(
                "launcher-in-each-task",
                FAIL,
                copy.host,
                f"{start.place}: srun starts {start.name} in each of {tasks} tasks of a node",
                f"{start.name} starts the processes of all GPUs itself: the second one on a node finds the port and "
                "the GPUs taken.",
                "#SBATCH --ntasks-per-node=1 (srun --ntasks-per-node=1), with --cpus-per-task for all CPUs of a node.",
            )


@rule(
    About(
        "batch-first-node-only",
        layer="launcher",
        severity=FAIL,
        also=(WARN,),
        title="A batch script starts the job on its first node only",
        symptom="the first node waits for the others, `RendezvousTimeoutError`",
        source="llama-cookbook#491, Slurm sbatch(1)",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def without_srun(case: Case) -> t.Iterator[Answer]:
    """A start of several nodes in a Slurm script that nothing brings to the other nodes."""
    for copy, script in common.scripts(case):
        allocated = slurm.number(slurm.NODES, slurm.directives(copy.text, script))
        for command in script.commands if (allocated or 0) > 1 and not _STARTS_SCRIPTS.search(copy.text) else ():
            start = Start(copy, script, command, by_hand.nodes_of(command))
            by_itself = command.launcher in by_hand.BY_HAND and not command.through and not command.looped
            if by_itself and start.nodes > 1 and not command.conditional:
                yield finding(
                    "batch-first-node-only",
                    FAIL,
                    copy.host,
                    f"{start.place}: {start.name} for {start.nodes} nodes without srun",
                    "sbatch runs the script on the first of its nodes alone; only srun starts something on all.",
                    f"srun --ntasks-per-node=1 {start.name} ..., with a rendezvous that all nodes share.",
                )


def _starts_several(start: Start) -> bool:
    """Whether a launcher certainly starts several processes on its node."""
    options = start.command.options
    if start.command.launcher == DEEPSPEED:
        return options.get("num_gpus") != "1"
    if start.command.launcher == ACCELERATE:
        return (integer(options.get("num_processes")) or 0) > (integer(options.get("num_machines")) or 1)
    each = options.get("nproc_per_node") or "1"
    return each in ("gpu", "auto") or (integer(each) or 0) > 1
