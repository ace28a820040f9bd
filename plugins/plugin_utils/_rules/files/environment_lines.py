# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on what launch scripts do before the job: putting an environment into use, and starting Ray.

Source: conda activate (functions of a shell that no script inherits), Ray start (--block), Slurm srun(1).
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
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common

_LONGEST = 500
_ACTIVATES = re.compile(r"(?:^|&&|;|\bthen\b|\bdo\b|[\"'])\s*(conda|mamba|micromamba)\s+activate\b")
_INITIALIZED = re.compile(
    r"conda\.sh\b|mamba\.sh\b|shell[._](?:bash|posix|zsh)\s+hook|shell\.bash|conda shell\b|mamba shell\b"
    r"|\bconda init\b|"
    r"\.bashrc\b|\.zshrc\b|\.bash_profile\b|\.profile\b|bin/activate\b|^#!.*\s-\w*[li]|bash\s+-\w*[li]\w*\b|"
    r"conda_setup|\bmodule\s+(?:load|add)\b|\bml\s+\w|^\s*(?:source|\.)\s",
    re.MULTILINE,
)
_RAY = re.compile(r"\b(srun|docker run|podman run|apptainer exec|singularity exec)\b.*?\bray\s+start\b([^;&|\"']*)")
_GOES_ON = re.compile(r"(?:&&|;)\s*\S")


@rule(
    About(
        "env-not-activated",
        layer="launcher",
        severity=FAIL,
        also=(WARN,),
        title="The environment of a job is not put into use",
        symptom="`CondaError: Run 'conda init' before 'conda activate'`, `torchrun: command not found`",
        source="conda activate, bash(1)",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def activates(case: Case) -> t.Iterator[Answer]:
    """``conda activate``, a function of the login shell, in a script that does not bring it in."""
    for copy, script in common.scripts(case):
        if _INITIALIZED.search(copy.text):
            continue
        found = ((at, match) for at, line in script.lines if (match := _ACTIVATES.search(shortened(line, _LONGEST))))
        at, match = next(found, (0, None))
        if match and script.commands and at < min(command.line for command in script.commands):
            tool = match.group(1)
            yield finding(
                "env-not-activated",
                WARN,
                copy.host,
                f"{copy.at(at)}: {tool} activate, and nothing before it brings in {tool}'s function",
                f"{tool} activate is a function of the shell in which {tool} was initialized: a script that bash, ssh "
                "or a batch system starts has none, and goes on with another Python.",
                f'eval "$({tool} shell.bash hook)" before it (source PREFIX/etc/profile.d/conda.sh), or the full path '
                "of the environment's torchrun.",
            )


@rule(
    About(
        "ray-start-ends",
        layer="launcher",
        severity=FAIL,
        title="Ray is started in a task that ends at once",
        symptom="nodes that join the Ray cluster and vanish, GPUs that it does not have",
        source="Ray start --block, Slurm srun(1)",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def ray_ends(case: Case) -> t.Iterator[Answer]:
    """``ray start`` without --block as the only thing in a step of Slurm's or in a container."""
    for copy, script in common.scripts(case):
        for at, line in script.lines:
            match = _RAY.search(shortened(line, _LONGEST))
            behind = line[match.end() :] if match else ""
            quoted = match and line[: match.start(2)].count('"') % 2 + line[: match.start(2)].count("'") % 2
            if not match or "--block" in line or "$" in match.group(2)[-2:] or (quoted and _GOES_ON.match(behind)):
                continue
            if re.search(r"\$\{?\w*(?:ARGS|OPT|FLAGS|PARAMS|CMD)\w*", match.group(2), re.IGNORECASE):
                continue
            yield finding(
                "ray-start-ends",
                FAIL,
                copy.host,
                f"{copy.at(at)}: {match.group(1)} with ray start, without --block",
                "ray start puts its processes into the background and ends; with it ends the step of Slurm's or the "
                "container, and all of its processes are killed.",
                "ray start ... --block, with & behind the whole command.",
            )
