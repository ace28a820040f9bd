# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on scripts for Slurm: what sbatch reads of them, and how many nodes and tasks the launcher gets.

Source: Slurm 25 sbatch(1) and srun(1), mpirun(1).
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import shortened
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    WARN,
    About,
    Answer,
    Case,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import expansion, per_node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.formats import integer
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launchers import (
    ACCELERATE,
    TORCHRUN,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _slurm as slurm
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _starts as by_hand
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files._starts import Start

_DIRECTIVE = re.compile(r"#SBATCH\s")
_DECIDES = re.compile(r"\s(?:-[NnG]\b|--(?:nodes|n?tasks|n?tasks-per-node|gpus\S*|gres|nodelist)(?![\w-]))")
_GIVEN_NODES = re.compile(r"SLURM_(?:JOB_)?N(?:UM_)?NODES")
_ADDRESSES = ("rdzv_endpoint", "master_addr", "main_process_ip")
_ITSELF = re.compile(r"\$\([^()]{0,60}\bhostname\b|`[^`]{0,60}\bhostname\b|\$\{?HOST(?:NAME)?\b|\$\{?SLURMD_NODENAME\b")
_PYTHON = re.compile(r"(?:[A-Za-z_]\w*=\S*\s+)*(?:exec\s+)?python[\d.]*\s+(?:-\w\s+)*[^-\s]\S*\.py\b")
_BRINGS = re.compile(
    r"\b(?:srun|mpirun|mpiexec|ibrun|jsrun|ssh|pdsh|clush|ray|dask\S*|submitit|parallel|torchrun|deepspeed|accelerate|"
    r"composer|source|bash|sh|python[\d.]* -m)\b|^\s*\.\s|\.sh\b|SLURM_(?:JOB_)?NODELIST",
    re.MULTILINE,
)
_MPI_RANKS = re.compile(r"(?<!\S)(?:-np|-n|--np|-c)[= ]+(\d+)")
_MPI_HOSTS = re.compile(r"(?<!\S)(?:-H|--?host)[= ]+(\S+)")
_MPI_SPREAD = re.compile(r"(?<!\S)(?:-N|--?npernode|-ppn|--?map-by|-pernode|--pernode|--?bynode)\b|ppr:")


@rule(
    About(
        "batch-directive-ignored",
        layer="launcher",
        severity=FAIL,
        also=(WARN,),
        title="sbatch does not read a directive of the script",
        symptom="one node, one task and no GPU, whatever the script says",
        source="Slurm sbatch(1)",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def directives(case: Case) -> t.Iterator[Answer]:
    """#SBATCH lines behind the first command, and variables in them."""
    for copy, _script in common.scripts(case):
        lines = list(enumerate(copy.text.split("\n"), 1))
        first = next((at for at, line in lines if line.strip() and not line.lstrip().startswith("#")), len(lines) + 1)
        ours = [(at, line.strip()) for at, line in lines if _DIRECTIVE.match(line)]
        written = next((at for at, line in lines if "<<" in line), len(lines) + 1)  # a script that writes another one
        late = [(at, line) for at, line in ours if first < at < written]
        open_ones = [(at, line) for at, line in ours if at < first and re.search(r"\$\{?[A-Za-z_]|\$\(", line)]
        for found, seen, cause in (
            (late, "behind the first command", "sbatch reads directives up to the first command of the script only"),
            (open_ones, "with a variable", "sbatch puts no variables into directives: it takes them as they are"),
        ):
            if found:
                decides = [(at, line) for at, line in found if _DECIDES.search(line)]
                at, line = (decides or found)[0]
                yield finding(
                    "batch-directive-ignored",
                    FAIL if decides else WARN,
                    copy.host,
                    f"{copy.at(at)}: {shortened(line, 80)}, {seen}"
                    + (f" (and {len(found) - 1} more)" * (len(found) > 1)),
                    f"{cause}; the job gets what the partition gives to those who ask for nothing.",
                    "Move all #SBATCH lines right below the first line of the script, with plain values (or give "
                    "them to sbatch as options).",
                )


@rule(
    About(
        "batch-nodes-differ",
        layer="launcher",
        severity=FAIL,
        title="The launcher and Slurm differ in the number of nodes",
        symptom="`RendezvousTimeoutError`, or nodes that stay idle",
        source="Slurm srun(1), torch distributed/run.py",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def nodes(case: Case) -> t.Iterator[Answer]:
    """A number of nodes in the launcher's options that is not the one of the batch script."""
    for copy, script, command in common.commands(case, TORCHRUN, ACCELERATE):
        start = Start(copy, script, command, by_hand.nodes_of(command))
        given = slurm.nodes(start) if script.batch and "srun" in command.through else None
        name = "num_machines" if command.launcher == ACCELERATE else "nnodes"
        wanted = None if _GIVEN_NODES.search(copy.text) else integer(command.written.get(name))
        possible = (given, (given or 0) * (slurm.tasks_of_node(start) or 1))  # a launcher in each task
        if given and wanted and wanted not in possible and not command.conditional and not command.looped:
            yield finding(
                "batch-nodes-differ",
                FAIL,
                copy.host,
                f"{start.place}: --{name} {wanted}, and Slurm starts it on {given} nodes",
                "The launcher waits for nodes that nobody starts, or some of them find no place in the job.",
                f"--{name} $SLURM_NNODES, which is always the number that Slurm gives.",
            )


@rule("master-addr-differs", needs=("user",), applies=common.given("launch_script"))
def own_master(case: Case) -> t.Iterator[Answer]:
    """A master that each task of srun takes from itself: single quotes leave it to the task."""
    for copy, script, command in common.commands(case, TORCHRUN, ACCELERATE):
        start = Start(copy, script, command, by_hand.nodes_of(command))
        written = start.written(*_ADDRESSES)
        sent = "srun" in command.through and slurm.on_several_nodes(start)
        if not sent or start.nodes == 1 or per_node.computed(written) != per_node.OWN:
            continue
        line = dict(script.lines).get(command.line, "")
        places = [match.start() for match in _ITSELF.finditer(line)]
        if places and all(slurm.quoted_for_tasks(line, at) for at in places):
            yield finding(
                "master-addr-differs",
                FAIL,
                copy.host,
                f"{start.place}: the master is {shortened(written, 60)}, in quotes that leave it to each task",
                "Every node takes itself for the master, so that each waits alone.",
                "export MASTER_ADDR=$(scontrol show hostnames $SLURM_JOB_NODELIST | head -n 1) in the batch script, "
                "and $MASTER_ADDR in the command.",
            )


@rule("batch-first-node-only", needs=("user",), applies=common.given("launch_script"))
def plain_python(case: Case) -> t.Iterator[Answer]:
    """python in a Slurm script of several nodes, with nothing that starts anything on the others."""
    for copy, script in common.scripts(case):
        allocated = slurm.number(slurm.NODES, slurm.directives(copy.text, script))
        lines = [(at, line) for at, line in script.lines if line]
        if (allocated or 0) < 2 or any(
            _BRINGS.search(shortened(line, 500)) for _at, line in _without_environment(lines)
        ):
            continue
        python = [(at, line) for at, line in lines if _PYTHON.match(shortened(line, 500))]
        if python:
            at, line = python[-1]
            yield finding(
                "batch-first-node-only",
                WARN,
                copy.host,
                f"{copy.at(at)}: {shortened(line, 60)} in a script for {allocated} nodes, without srun",
                "sbatch runs the script on the first of its nodes alone; only srun starts something on all.",
                "srun python ..., with --ntasks-per-node of the GPUs of a node (Lightning takes its ranks from Slurm).",
            )


def _without_environment(lines: t.Iterable[tuple[int, str]]) -> t.Iterator[tuple[int, str]]:
    """The lines but those that put an environment into use."""
    for at, line in lines:
        if not re.match(r"(?:source|\.)\s+\S*(?:activate|conda\.sh|bashrc|profile)\b", line):
            yield at, line


@rule("launcher-in-each-task", needs=("user",), applies=common.given("launch_script"))
def in_each_rank(case: Case) -> t.Iterator[Answer]:
    """torchrun or accelerate in each of more ranks than mpirun has nodes."""
    for copy, script, command in common.commands(case, TORCHRUN, ACCELERATE):
        line = expansion.text(shortened(dict(script.lines).get(command.line, ""), 1000), script.variables)
        mpi = next((name for name in ("mpirun", "mpiexec") if name in command.through), "")
        own = line.partition(mpi)[2].partition(command.tool or command.launcher)[0] if mpi else ""
        ranks, hosts = _MPI_RANKS.search(own), _MPI_HOSTS.search(own)
        if not ranks or _MPI_SPREAD.search(own):
            continue
        several = len(hosts.group(1).split(",")) if hosts else len(case.order)
        each = integer(command.options.get("nproc_per_node")) or 0
        if int(ranks.group(1)) > several and (each > 1 or command.options.get("nproc_per_node") in ("gpu", "auto")):
            yield finding(
                "launcher-in-each-task",
                FAIL,
                copy.host,
                f"{copy.at(command.line)}: {mpi} starts {command.tool} {ranks.group(1)} times on {several} nodes",
                f"{command.tool} starts the processes of all GPUs itself: the second one on a node finds the port and "
                "the GPUs taken.",
                f"{mpi} -np {several} --map-by ppr:1:node {command.tool} ..., once a node; or {mpi} with python alone.",
            )
