# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on launch scripts that start the ranks inside of containers, or as another user.

Source: docker run(1), podman-run(1), apptainer exec(1), sudoers(5).
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
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import expansion
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launch_script import (
    Command,
    Script,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launchers import (
    ACCELERATE,
    COMPOSER,
    DEEPSPEED,
    PYTHON,
    TORCHRUN,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files._starts import several_nodes

_JOBS = (TORCHRUN, ACCELERATE, DEEPSPEED, COMPOSER, PYTHON)
_DOCKER = re.compile(r"\b(?:docker|podman|nerdctl)\s+run\b(.*)", re.DOTALL)
_SINGULARITY = re.compile(r"\b(?:apptainer|singularity)\s+(?:exec|run)\b(.*)", re.DOTALL)
_SUDO = re.compile(r"(?:^|[\s;&|(\"'])sudo\s+([^;|&]*)")
_NETWORK = re.compile(r"(?<!\S)--net(?:work)?[= ]")
_MEMORY = re.compile(r"(?<!\S)--(?:ipc|shm-size)[= ]|(?<!\S)(?:-v|--volume|--mount|--tmpfs)[= ]?\S*/dev/shm")
_GPUS = re.compile(r"(?<!\S)--(?:gpus|runtime|device|privileged)\b|NVIDIA_VISIBLE_DEVICES|nvidia\.com/gpu|HIP_VISIBLE")
_NV = re.compile(r"(?<!\S)--(?:nv|nvccli|rocm)\b")
_KEEPS = re.compile(r"(?<!\S)(?:-\w*E|--preserve-env)\b")
_MOST = 2000


def _before(script: Script, command: Command, pattern: re.Pattern[str]) -> str | None:
    """What stands between a runtime and the launcher, expanded; None where that is not known to its end."""
    line = shortened(dict(script.lines).get(command.line, ""), _MOST)
    match = pattern.search(line)
    name = command.tool or command.launcher
    if not match:
        return None
    found = expansion.text(re.split(rf"(?<![\w./-])\S*\b{re.escape(name)}\b", match.group(1))[0], script.variables)
    lists = re.search(r"\$\{?\w*(?:ARGS|OPT|FLAGS|PARAMS|CMD|DOCKER)\w*", found, re.IGNORECASE)
    return None if lists or "$(" in found or "`" in found else found


@rule("ctr-bridge-network", needs=("user",), applies=common.given("launch_script"))
def bridge(case: Case) -> t.Iterator[Answer]:
    """docker run without a network of the host, for a job of several nodes."""
    for copy, script, command in common.commands(case, *_JOBS):
        options = _before(script, command, _DOCKER)
        if options is not None and several_nodes(command) and not _NETWORK.search(options):
            yield finding(
                "ctr-bridge-network",
                FAIL,
                copy.host,
                f"{copy.at(command.line)}: docker run without --network, for several nodes",
                "The container is behind its host's bridge: NCCL and gloo announce an address of the bridge, and "
                "listen at ports that -p does not name, which other nodes can't reach.",
                "docker run --network host --ipc host, on every node; -p is not needed then.",
            )


@rule("shm-too-small", needs=("user",), applies=common.given("launch_script"))
def shared_memory(case: Case) -> t.Iterator[Answer]:
    """docker run leaves 64 MB of shared memory to NCCL and to the workers of the DataLoader."""
    for copy, script, command in common.commands(case, *_JOBS):
        options = _before(script, command, _DOCKER)
        if options is not None and not _MEMORY.search(options):
            yield finding(
                "shm-too-small",
                WARN,
                copy.host,
                f"{copy.at(command.line)}: docker run without --ipc and --shm-size",
                "A container has 64 MB of /dev/shm then, which several ranks, or workers of a DataLoader, use up.",
                "docker run --ipc host, or --shm-size 16g.",
            )


@rule(
    About(
        "ctr-without-gpus",
        layer="launcher",
        severity=WARN,
        title="A container is started without the GPUs",
        symptom="`No CUDA GPUs are available`, `Found no NVIDIA driver`",
        source="NVIDIA Container Toolkit, apptainer exec(1)",
    ),
    needs=("user", "gpu"),
    applies=common.given("launch_script"),
)
def without_gpus(case: Case) -> t.Iterator[Answer]:
    """A container that is not given the GPUs, unless its runtime does so by itself."""
    for copy, script, command in common.commands(case, *_JOBS):
        docker, singularity = (_before(script, command, pattern) for pattern in (_DOCKER, _SINGULARITY))
        text = copy.text
        no_gpus = docker is not None and not _GPUS.search(docker)
        no_nv = singularity is not None and not _NV.search(singularity)
        no_nv = no_nv and not re.search(r"(?:APPTAINER|SINGULARITY)_(?:NV|NVCCLI|ROCM)\b", text)
        if not common.gpu_count(case, copy.host) or not (no_gpus or no_nv):
            continue
        seen = "docker run without --gpus" if no_gpus else "apptainer without --nv"
        yield finding(
            "ctr-without-gpus",
            WARN,
            copy.host,
            f"{copy.at(command.line)}: {seen}",
            "The ranks inside see no GPU, where the runtime of the node does not hand them on by itself.",
            "docker run --gpus all (podman: --device nvidia.com/gpu=all)." if no_gpus else "apptainer exec --nv.",
        )


@rule(
    About(
        "launch-through-sudo",
        layer="launcher",
        severity=WARN,
        title="sudo takes the job's environment away",
        symptom="`torchrun: not found`, another Python, variables that no rank has",
        source="LlamaFactory#5216, sudoers(5)",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def through_sudo(case: Case) -> t.Iterator[Answer]:
    """sudo before a launcher: it has a PATH of its own, and hands no variables on."""
    for copy, script, command in common.commands(case, *_JOBS):
        line = shortened(dict(script.lines).get(command.line, ""), _MOST)
        match = _SUDO.search(line) if "sudo" in command.through else None
        within = {"docker", "podman", "nerdctl"} & set(command.through)
        name = command.tool or command.launcher
        bare = bool(match) and f"/{name}" not in line
        if match and not within and (bare or not _KEEPS.search(match.group(1))):
            yield finding(
                "launch-through-sudo",
                WARN,
                copy.host,
                f"{copy.at(command.line)}: {shortened(match.group(0).strip(), 60)}",
                "sudo replaces PATH (secure_path) and drops the environment (env_reset): the launcher, or what it "
                "starts, "
                "is not found or is another one, and the variables of the script reach no rank, which runs as root.",
                f"{name} without sudo, as the user that owns the job's files.",
            )
