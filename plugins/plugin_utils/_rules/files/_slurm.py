# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a script of Slurm's asks for, in its directives and in the options of srun."""

from __future__ import annotations

import re

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import shortened
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import expansion
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.formats import integer
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launch_script import Script
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files._starts import Start

NODES = re.compile(r"(?<!\S)(?:-N[= ]*|--nodes[= ]+)(\S+)")
_DIRECTIVE = re.compile(r"^#SBATCH[ \t]+([^#\n]*)", re.MULTILINE)
_EACH = re.compile(r"(?<!\S)--(?:n?tasks-per-node)[= ]+(\S+)")
_TASKS = re.compile(r"(?<!\S)(?:-n[= ]*|--ntasks[= ]+)(\S+)")
_CHOSEN = re.compile(r"(?<!\S)(?:-w|--nodelist|-r|--relative|-x|--exclude)\b")


def directives(text: str, script: Script) -> str:
    """The options of all #SBATCH lines."""
    return expansion.text(" ".join(_DIRECTIVE.findall(text)), script.variables)


def of_srun(start: Start) -> str:
    """The options of srun, as far as they stand before the launcher."""
    lines = dict(start.script.lines)
    line = lines.get(start.command.line, "")
    behind = line.partition("srun")[2]
    name = start.name if start.name in behind else "python"
    return expansion.text(shortened(behind.partition(name)[0], 500), start.script.variables)


def number(pattern: re.Pattern[str], *texts: str) -> int | None:
    """The number that the first of these texts gives to an option; of a range the lower end."""
    found = next((match for text in texts if (match := pattern.search(text))), None)
    return integer(found.group(1).partition("-")[0]) if found else None


def nodes(start: Start) -> int | None:
    """On how many nodes srun starts a command; None where it chooses them, or where that is not known."""
    own, given = of_srun(start), directives(start.copy.text, start.script)
    found = next((match.group(1) for text in (own, given) if (match := NODES.search(text))), "")
    return None if _CHOSEN.search(own) else integer(found)


def tasks_of_node(start: Start) -> int | None:
    """How many tasks srun starts on a node; None where that is not known."""
    own, given = of_srun(start), directives(start.copy.text, start.script)
    several = number(NODES, own, given)
    for text in (own, given):
        each, tasks = number(_EACH, text), number(_TASKS, text)
        if tasks and several:
            return -(-tasks // several)
        if each:
            return min(each, tasks or each)
    return None


def on_several_nodes(start: Start) -> bool:
    """Whether srun certainly starts its command on several nodes."""
    own, given = of_srun(start), directives(start.copy.text, start.script)
    if _CHOSEN.search(own):
        return False
    tasks = number(_TASKS, own, given)
    return (number(NODES, own, given) or 1) > 1 and (tasks is None or tasks > 1)


def quoted_for_tasks(line: str, at: int) -> bool:
    """Whether the shell of the batch script leaves a place of a line alone: in single quotes, behind a backslash."""
    quote, skip = "", False
    for sign in line[:at]:
        if skip:
            skip = False
        elif sign == "\\" and quote != "'":
            skip = True
        elif quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
    return skip or quote == "'"
