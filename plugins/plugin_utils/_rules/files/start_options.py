# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on the options of launchers: misspelt, behind the script, not handed on, or without effect.

Source: torch 2.14 distributed/run.py, accelerate 1.15 commands/launch.py, DeepSpeed 0.19 launcher/runner.py.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import variables
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    WARN,
    About,
    Answer,
    Case,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import per_node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.formats import integer
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launch_script import Command
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launchers import (
    ACCELERATE,
    DEEPSPEED,
    TOOLS,
    TORCHRUN,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _starts as by_hand
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files._starts import Start
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files.launch_script import ports
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files.syntax import near

# What says of a launcher's job how many nodes there are, which one this is and where they meet.
ESSENTIAL: t.Mapping[str, tuple[str, ...]] = {
    TORCHRUN: ("nnodes", "nproc_per_node", "node_rank", "master_addr", "master_port", "rdzv_backend", "rdzv_endpoint",
               "rdzv_id", "rdzv_conf", "standalone"),
    ACCELERATE: ("num_machines", "machine_rank", "num_processes", "main_process_ip", "main_process_port", "config_file",
                 "rdzv_backend", "multi_gpu", "same_network", "deepspeed_hostfile", "deepspeed_multinode_launcher"),
    DEEPSPEED: ("hostfile", "include", "exclude", "num_nodes", "num_gpus", "master_addr", "master_port", "node_rank",
                "no_ssh", "launcher", "launcher_args"),
}  # fmt: skip
_OTHERS: t.Mapping[str, tuple[str, ...]] = {
    TORCHRUN: ("run_id", "local_addr", "local_rank", "log_dir", "max_restarts", "module", "node_id", "no_python",
               "start_method", "monitor_interval", "local_ranks_filter", "role", "use_env"),
    ACCELERATE: ("num_cpu_threads_per_process", "main_training_function", "gpu_ids", "use_deepspeed", "use_fsdp",
                 "deepspeed_config_file"),
    DEEPSPEED: ("no_ssh_check", "no_python", "no_local_rank", "module", "save_pid", "ssh_port", "force_multi",
                "min_elastic_nodes", "max_elastic_nodes", "bind_core_list"),
}  # fmt: skip
# Those that no training script has for purposes of its own.
_ONLY_LAUNCHERS: t.Mapping[str, frozenset[str]] = {
    TORCHRUN: frozenset(("nnodes", "nproc_per_node", "node_rank", "rdzv_backend", "rdzv_endpoint", "rdzv_id")),
    ACCELERATE: frozenset(("num_machines", "machine_rank", "main_process_ip", "main_process_port")),
    DEEPSPEED: frozenset(("hostfile", "num_nodes", "node_rank", "include")),
}
_OF_ONE_NODE = frozenset(("nproc_per_node", "num_processes", "multi_gpu"))
_BACKENDS = ("static", "c10d", "etcd", "etcd-v2", "zeus")
_LAUNCHERS = tuple(ESSENTIAL)
_FROM_OUTSIDE = re.compile(
    r"(?:SLURM|PMI|PMIX|OMPI|MPI|PBS|LSB|PET|KUBERNETES|VC|PADDLE|HOST|POD)\w*\Z|(?:NODE_|LOCAL_|GROUP_)?RANK\Z"
    r"|(?:LOCAL_)?WORLD_SIZE\Z|MASTER_(?:ADDR|PORT)\Z|NNODES\Z|NUM_NODES\Z|NPROC_PER_NODE\Z|\d\Z"
)
_REFERENCE = re.compile(r"\"?\$\{?([A-Za-z_]\w*)\}?\"?\Z")
HIGHEST_PORT = 65535


def _own(command: Command) -> bool:
    """Whether a command has the launcher's own options, and not a tool that makes them of its environment."""
    return command.tool not in TOOLS and command.tool not in ("fabric", "axolotl", "trl", "tune")


@rule(
    About(
        "launch-option-misspelt",
        layer="launcher",
        severity=FAIL,
        title="A launcher's option or its value is misspelt",
        symptom="`unrecognized arguments`, `The rendezvous backend 'X' is not registered`",
        source="argparse, torch distributed/run.py",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def misspelt(case: Case) -> t.Iterator[Answer]:
    """Options that are nearly those of the launcher; Python takes the beginning of a name for all of it."""
    for copy, _script, command in common.commands(case, *_LAUNCHERS):
        known = (*ESSENTIAL[command.launcher], *_OTHERS[command.launcher])
        wrong = {}
        for name in command.options if _own(command) else ():
            short = command.launcher != ACCELERATE and any(one.startswith(name) for one in known)
            meant = near(name, ESSENTIAL[command.launcher])
            if len(name) > 3 and name not in known and not short and meant:
                wrong[f"--{name}"] = f"--{meant}"
        backend = command.options.get("rdzv_backend") or "static"
        meant = near(backend, _BACKENDS)
        if backend not in _BACKENDS and meant:
            wrong[f"--rdzv_backend {backend}"] = meant
        if wrong:
            seen = ", ".join(f"{one} ({other} is meant)" for one, other in wrong.items())
            yield finding(
                "launch-option-misspelt",
                FAIL,
                copy.host,
                f"{copy.at(command.line)}: {seen}",
                f"{command.tool or command.launcher} does not know it, and stops before it starts a rank.",
                f"Write {', '.join(wrong.values())}.",
            )


@rule(
    About(
        "launch-option-behind-script",
        layer="launcher",
        severity=WARN,
        title="A launcher's options stand behind the script",
        symptom="`unrecognized arguments`, or every node trains alone",
        source="argparse.REMAINDER, ACC#1217",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def behind_the_script(case: Case) -> t.Iterator[Answer]:
    """Options of the launcher that it takes for arguments of the training script."""
    for copy, _script, command in common.commands(case, *_LAUNCHERS):
        names = [word[2:].partition("=")[0].replace("-", "_") for word in command.arguments if word.startswith("--")]
        late = [name for name in names if name in _ONLY_LAUNCHERS[command.launcher] and name not in command.options]
        if late and _own(command) and (len(late) > 1 or by_hand.nodes_of(command) == 1):
            tool = f"{command.tool or command.launcher}{' launch' if command.tool == ACCELERATE else ''}"
            yield finding(
                "launch-option-behind-script",
                WARN,
                copy.host,
                f"{copy.at(command.line)}: {', '.join(f'--{name}' for name in late)} behind {command.script}",
                f"{tool} hands everything behind the name of the script on to it, and itself takes its defaults: a job "
                "of one node.",
                f"{tool} OPTIONS {command.script} ARGUMENTS: put them before the script.",
            )


@rule("master-addr-malformed", needs=("user",), applies=common.given("launch_script"))
def without_endpoint(case: Case) -> t.Iterator[Answer]:
    """torchrun with a backend that takes no --master_addr, or with --standalone, which knows no other node."""
    for copy, _script, command in common.commands(case, TORCHRUN):
        options = command.options
        several = (integer((options.get("nnodes") or "").rpartition(":")[2]) or 1) > 1
        backend = options.get("rdzv_backend") or "static"
        if not several or not _own(command):
            continue
        if "standalone" in options:
            seen = f"--standalone, with --nnodes {options['nnodes']}"
            cause = "--standalone looks for the rendezvous on the node itself, where the other nodes never come."
        elif backend != "static" and "rdzv_endpoint" not in options and "rdzv_conf" not in options:
            seen = f"--rdzv_backend {backend} without --rdzv_endpoint"
            if "master_addr" in options:
                seen += "; --master_addr counts for the backend static alone"
            cause = "The rendezvous then is on localhost, which means every node itself: each waits alone."
        else:
            continue
        address, port = dig(case.plan, "master.address", "ADDRESS"), dig(case.plan, "master.port", 29500)
        yield finding(
            "master-addr-malformed",
            FAIL,
            copy.host,
            f"{copy.at(command.line)}: {seen}",
            cause,
            f"--rdzv_backend c10d --rdzv_endpoint {address}:{port} --rdzv_id NAME, the same on every node.",
        )


@rule(
    About(
        "master-port-invalid",
        layer="launcher",
        severity=FAIL,
        title="The master port is no port",
        symptom="`port must be 0-65535`, or each node takes another one",
        source="ACC#37, tcp(7)",
    ),
    needs=("user",),
    applies=common.given("launch_script", "accelerate"),
)
def invalid_port(case: Case) -> t.Iterator[Answer]:
    """A port beyond the last one; 0, for which each node takes one of its own, where there are several nodes."""
    for copy, place, value in ports(case, alone=False):
        port = integer(value)
        if port is not None and not 0 < port <= HIGHEST_PORT:
            yield finding(
                "master-port-invalid",
                FAIL,
                copy.host,
                f"{place} {value}",
                f"Ports count from 1 to {HIGHEST_PORT}; for 0 each node takes one of its own, so that they do not "
                f"meet.",
                f"Take a fixed port, the same on every node, such as {dig(case.plan, 'master.port', 29500)}.",
            )


@rule(
    About(
        "launch-nodes-not-passed",
        layer="launcher",
        severity=FAIL,
        also=(WARN,),
        title="The launcher is not told of the other nodes",
        symptom="every node trains alone, with its own GPUs only",
        source="torch distributed/run.py, ACC#1217, DeepSpeed launcher/runner.py",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def not_passed(case: Case) -> t.Iterator[Answer]:
    """A number of nodes that the script sets as a variable, which the launcher does not read."""
    for copy, script, command in common.commands(case, TORCHRUN, ACCELERATE):
        given = {name: one.value for name, one in script.variables.items() if one.exported or name == "NNODES"}
        given.update(command.environment)
        nodes = next((name for name in ("NNODES", "NUM_NODES") if (integer(given.get(name)) or 1) > 1), "")
        said = set(ESSENTIAL[command.launcher]) & set(command.options) - _OF_ONE_NODE
        if not nodes or said or not _own(command) or command.conditional or script.batch:
            continue
        if re.search(rf"\$\{{?{nodes}\b", dict(script.lines).get(command.line, "")):
            continue
        option = "--nnodes" if command.launcher == TORCHRUN else "--num_machines"
        start = Start(copy, script, command, 1)
        yield finding(
            "launch-nodes-not-passed",
            FAIL if by_hand.on_several(case, start) else WARN,
            copy.host,
            f"{start.place}: {start.name} without {option}, though {nodes} is {given[nodes]}",
            f"{start.name} does not read {nodes}, NODE_RANK and MASTER_ADDR of its environment: it starts a job of "
            f"this "
            "node alone.",
            f"{start.name} {option} ${nodes} with the node's rank and the master's address as options, too.",
        )


@rule(
    About(
        "launch-variable-misspelt",
        layer="launcher",
        severity=WARN,
        title="A variable in a launcher's options is set nowhere",
        symptom="the option is empty, or takes the next word for its value",
        source="bash(1)",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def unset(case: Case) -> t.Iterator[Answer]:
    """A variable that the script never sets, while it sets one with nearly the same name, or means a usual one."""
    for copy, script, command in common.commands(case, *_LAUNCHERS):
        looped = {loop.name for loop in script.loops}
        for option, written in command.written.items():
            match = _REFERENCE.match(per_node.without_default(written or ""))
            name = match.group(1) if match and written and ":-" not in written else ""
            if not name or name in script.variables or name in looped or _FROM_OUTSIDE.match(name):
                continue
            meant = near(name, script.variables) or _slip(name)
            read = re.search(rf"\bread\b[^\n;|]*\b{name}\b|\b{name}=|\bsource\s|^\s*\.\s", copy.text, re.MULTILINE)
            if meant and not read and name not in variables(case, copy.host):
                yield finding(
                    "launch-variable-misspelt",
                    WARN,
                    copy.host,
                    f"{copy.at(command.line)}: --{option} ${name} ({meant} is meant)",
                    f"Nothing in the script sets {name}: where it does not come from outside, the option is empty.",
                    f"Write ${meant}; set -u at the top of the script makes bash stop at such names.",
                )


def _slip(name: str) -> str:
    """The usual variable of which a name has the letters in another order, or lacks one in the midst of it."""
    for usual in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "NNODES", "WORLD_SIZE"):
        lacks = any(name == usual[:at] + usual[at + 1 :] for at in range(1, len(usual) - 1))
        if (sorted(name) == sorted(usual) and name != usual) or (lacks and not usual.startswith(name)):
            return usual
    return ""
