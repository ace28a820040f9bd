# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on what launch scripts do around the launcher: nohup, loops over hostfiles, and ending processes."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import shortened
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
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import expansion, formats, shell
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launch_script import (
    Command,
    Script,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launchers import (
    ACCELERATE,
    COLOSSALAI,
    PDSH,
    TORCHRUN,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common

_LONGEST = 500  # characters of a line that are searched: a pattern may take long on more
_OWN_SESSION = frozenset(("setsid", "tmux", "screen", "systemd-run", "sbatch", "srun", "docker", "podman", "kubectl"))
_NOHUP_SCRIPT = re.compile(r"\bnohup\s+(?:(?:bash|sh|zsh)\s+(?:-\w+\s+)*|\./|/|~/)\S*?([\w.-]+\.(?:sh|bash))\b")
_EVERY_PYTHON = r"(?:-[\w-]+(?:=\S+)?\s+)*['\"]?\.?\*?(?:python|torchrun|deepspeed|accelerate|train)"
_ENDS_ALL = re.compile(
    r"\bpkill\s+"
    + _EVERY_PYTHON
    + r"|\bkillall\s+"
    + _EVERY_PYTHON
    + r"|\bkill\s+(?:(?:-\w+\s+)+(?:--\s+)?|--\s+)-1(?!\w)"
    r"|/dev/nvidia.*\bkill\b|\bkill\b.*/dev/nvidia|\bfuser\s+(?:-\w+\s+)*-\w*k\w*\s.*/dev/nvidia|\bfuser\b.*/dev/nvidia\S*\s+-\w*k"
    r"|\bps\s+\S+.*\bgrep\b.*(?:python|torchrun|deepspeed|accelerate).*\bkill\b|\bkill\b.*\bps\s+\S+.*\bgrep\b.*python"
    r"|\bnvidia-smi\b.*(?:compute-apps|pmon).*\bkill\b|\bkill\b.*\bnvidia-smi\b.*compute-apps|\bpgrep\b.*python.*\bkill\b"
    r"|\bkill\b.*\bpgrep\b.*python"
)
_WORDS_OF = re.compile(
    r"^\"?(?:\$\(|`)\s*(?:cat\s+|<\s*|grep\s+(?:-\w+\s+)*(?:'[^']*'|\"[^\"]*\"|\S+)\s+)([^|;)`\s]+)"
    r"(?:\s*\|\s*(?:grep|egrep|sort|uniq|head|tail|tac)\b[^|;`]*)*\s*[)`]\"?$"
)
_UPPER = re.compile(r"[A-Z_][A-Z0-9_]*")
_PSSH = re.compile(r"\b(?:parallel-ssh|pssh|parallel-scp|pscp|prsync)\b.*?\s(?:-h|--hosts)[ =]?(\S+)")


@rule(
    About(
        "launch-ends-with-terminal",
        layer="launcher",
        severity=WARN,
        title="nohup does not keep torchrun alive",
        symptom="`Received Signals.SIGHUP death signal`, `got signal: 1`",
        source="SparK#19, LlamaFactory#5297, torch elastic/multiprocessing/api.py",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def hangup(case: Case) -> t.Iterator[Answer]:
    """nohup in front of torchrun, whose own handler for SIGHUP undoes it."""
    elastic = {copy.path.rsplit("/", 1)[-1] for copy, _script, one in common.commands(case, TORCHRUN) if _elastic(one)}
    for copy, script in common.scripts(case):
        places = [
            (command.line, f"nohup {command.tool or command.launcher}")
            for command in script.commands
            if _elastic(command) and "nohup" in command.through and not _OWN_SESSION & set(command.through)
        ]
        for number, line in script.lines:
            inner = _NOHUP_SCRIPT.search(line[:_LONGEST])
            if inner and inner.group(1) in elastic and not _OWN_SESSION & set(line.split()):
                places.append((number, f"nohup {inner.group(1)}, which runs torchrun"))
        for number, seen in places:
            yield finding(
                "launch-ends-with-terminal",
                WARN,
                copy.host,
                f"{copy.at(number)}: {seen}",
                "torchrun installs a handler of its own for SIGHUP, which undoes that of nohup: the job ends when the "
                "terminal or the ssh session that started it is closed.",
                "Start it in tmux or screen, or with setsid or systemd-run --user --scope, in the place of nohup.",
            )


def _elastic(command: Command) -> bool:
    """Whether a command runs torchrun's agent in its own process."""
    handled = command.options.get("signals_to_handle")
    if handled and "SIGHUP" not in handled:
        return False
    if command.launcher == ACCELERATE:
        return "cpu" not in command.options and command.options.get("num_processes") != "1"
    return command.launcher in (TORCHRUN, COLOSSALAI)


@rule(
    About(
        "hostfile-read-as-words",
        layer="launcher",
        severity=WARN,
        also=(FAIL,),
        title="A loop takes slots=N for a host",
        symptom="`Could not resolve hostname slots=8`",
        source="bash(1), pdsh(1)",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def hostfile_words(case: Case) -> t.Iterator[Answer]:
    """A hostfile with slots that is read word by word, by a loop or by another program."""
    for copy, script in common.scripts(case):
        for line, path, reader in _readings(script):
            words = _words_beside_names(case, script, path)
            if words:
                yield finding(
                    "hostfile-read-as-words",
                    WARN,
                    copy.host,
                    f"{copy.at(line)}: {reader} {path}, whose lines have more than a name: {words}",
                    "Every word of the file becomes a host, slots=N too: ssh tries to reach a host of that name.",
                    f"while read -r host _; do ...; done < {path}, with ssh -n inside the loop; or "
                    f"for host in $(awk '!/^#/ && NF {{print $1}}' {path}).",
                )


def _readings(script: Script) -> t.Iterator[tuple[int, str, str]]:
    """(line, path, how it is read) of each file that is taken for a list of hosts word by word."""
    for loop in script.loops:
        for raw in loop.words:
            match = _WORDS_OF.match(expansion.text(raw, script.variables, written=True))
            if match and len(loop.words) == 1 and not raw.startswith('"'):
                yield loop.line, _known(script, match.group(1).strip("\"'")), "a for loop over the words of"
    for command in script.commands:
        names = command.options.get("w") or command.environment.get("WCOLL") or ""
        if command.launcher == PDSH and (names.startswith("^") or "WCOLL" in command.environment):
            yield command.line, names.lstrip("^"), "pdsh takes its hosts from"
    for number, line in script.lines:
        match = _PSSH.search(line[:_LONGEST])
        if match:
            yield number, _known(script, match.group(1)), "parallel-ssh takes its hosts from"


def _known(script: Script, path: str) -> str:
    """A path with the script's own variables put in."""
    return expansion.text(path, script.variables)


def _words_beside_names(case: Case, script: Script, path: str) -> str:
    """What stands beside the names in a hostfile, as far as it is known; DeepSpeed's has to have slots."""
    name = path.rsplit("/", 1)[-1]
    for other in common.copies(case, "hostfile"):
        if other.path == path or other.path.rsplit("/", 1)[-1] == name:
            hosts = formats.hostfile(other.text).hosts
            return f"{hosts[0].name} slots={hosts[0].slots}" if hosts else ""
    used = [command.options.get("hostfile") for command in script.commands if command.launcher == "deepspeed"]
    if any(one and one.rsplit("/", 1)[-1] == name for one in used):
        return "NAME slots=N, as deepspeed --hostfile wants them"
    return ""


@rule("ds-abort-kills-other-jobs", needs=("user",), applies=common.given("launch_script"))
def ends_everything(case: Case) -> t.Iterator[Answer]:
    """Lines that end the processes of everybody, or all jobs of the user."""
    for copy, script in common.scripts(case):
        for number, line in script.lines:
            if _ENDS_ALL.search(line[:_LONGEST]):
                yield finding(
                    "ds-abort-kills-other-jobs",
                    INFO,
                    copy.host,
                    f"{copy.at(number)}: {shortened(line, 100)}",
                    "The line ends every process of its kind on the node, other jobs of the user among them, and as "
                    "root those of everybody.",
                    "kill $(cat job.pid), where the script itself wrote job.pid when it started the job (echo $! > "
                    "job.pid).",
                )


@rule(
    About(
        "shell-assignment-blanks",
        layer="launcher",
        severity=FAIL,
        title="An assignment has blanks around its equals sign",
        symptom="`command not found`, `not a valid identifier`, and the variable stays empty",
        source="bash(1)",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def blanks_around_equals(case: Case) -> t.Iterator[Answer]:
    """``NAME = value``, which runs NAME as a command, and ``export NAME = value``."""
    for copy in common.copies(case, "launch_script"):
        for simple in shell.simple_commands(copy.text.replace("\r\n", "\n")):
            words = list(simple.words)
            declares = words[:1] in (["export"], ["declare"], ["readonly"], ["local"])
            name, *rest = words[declares : declares + 3] or [""]
            if _UPPER.fullmatch(name) and rest and (rest[0] == "=" or (declares and rest[0].startswith("="))):
                yield finding(
                    "shell-assignment-blanks",
                    FAIL,
                    copy.host,
                    f"{copy.at(simple.line)}: {shortened(' '.join(words), 60)}",
                    "bash takes no blanks around the sign: it runs the name as a command, or exports a word = of its "
                    "own, and the variable stays as it was.",
                    f"{'export ' if declares else ''}{name}=VALUE, without blanks.",
                )
