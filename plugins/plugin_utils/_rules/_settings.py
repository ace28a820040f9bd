# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job sees of NCCL's and Gloo's variables, those among them that user files export."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import Setting, rows, setting, text
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, once
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import (
    formats,
    launch_script,
    launchers,
    per_node,
)

_SENT = ("NCCL", "PYTHON", "MV2", "UCX")
"""Prefixes of the variables that DeepSpeed sends to the other nodes (launcher/runner.py)."""

_PREFIXES = ("NCCL_", "GLOO_", "TP_")
_RANKS = ("node_rank", "machine_rank")


def of(case: Case, host: str, name: str, reach: bool = False) -> list[Setting]:
    """Every value of a variable that some job on a node sees: of its environment first, then of each user file.

    ``reach``: also those of files on other nodes that reach this one.
    """
    found = [wish for wish in (setting(case, host, name), *in_files(case, host, name, reach)) if wish]
    return [wish for at, wish in enumerate(found) if wish.value not in [one.value for one in found[:at]]]


def first(case: Case, host: str, name: str) -> Setting | None:
    """The first of them."""
    return next(iter(of(case, host, name, reach=True)), None)


def in_files(case: Case, host: str, name: str, reach: bool = False) -> list[Setting]:
    """The values in launch scripts and environment files of this node, and of others if they ``reach`` it."""
    found = []
    for home, exported in _exports(case).items():
        for variable, wish, sent, path in exported:
            mine = home == host
            other = reach and sent and not _has(case, host, path)
            if variable == name and (mine or other):
                found.append(wish if mine else Setting(wish.value, f"{wish.where} of {home}"))
    return found


Export = tuple[str, Setting, bool, str]


@once
def _exports(case: Case) -> dict[str, list[Export]]:
    """(variable, its setting, whether it reaches the other nodes, path) in each node's files."""
    found: dict[str, list[Export]] = {}
    for host in case.order:
        for file in rows(case.user.get(host), "files"):
            kind, path, content = text(file, "kind"), text(file, "path"), text(file, "text")
            if kind == "launch_script":
                found.setdefault(host, []).extend(_of_script(path, launch_script.launch_script(content)))
            elif kind == "deepspeed_env":
                for name, value in formats.environment_file(content)[0].items():
                    found.setdefault(host, []).append((name, Setting(value, path), False, path))
    return found


def _of_script(path: str, script: launch_script.Script) -> t.Iterator[Export]:
    """What a script exports for certain, puts in front of its jobs, and writes into DeepSpeed's environment file."""
    sends = any(_sends(command) for command in script.commands)
    every = any(_for_every_node(command) for command in script.commands)
    for name, one in script.variables.items():
        certain = one.exported and not one.conditional and not per_node.outside(one.written)
        if certain and name.startswith(_PREFIXES):
            reaches = every or (sends and name.startswith(_SENT))
            yield name, Setting(one.value, f"{path} line {one.line}"), reaches, path
    for command in script.commands:
        for name, value in command.environment.items():
            if name.startswith(_PREFIXES) and "$" not in value and "`" not in value:
                reaches = _for_every_node(command) or (_sends(command) and name.startswith(_SENT))
                yield name, Setting(value, f"{path} line {command.line}"), reaches, path
    for row in script.writes:
        name, equals, value = row.text.partition("=")
        if row.path.endswith(".deepspeed_env") and equals and "$" not in value:
            yield name.strip(), Setting(value.strip(), f"{path} line {row.line}"), sends, path


def _sends(command: launch_script.Command) -> bool:
    """Whether a command hands variables on to other nodes."""
    return command.launcher == launchers.DEEPSPEED and bool(command.options.get("hostfile"))


def _for_every_node(command: launch_script.Command) -> bool:
    """Whether the same script is run on every node: it is told the rank, or draws it."""
    given = [command.written.get(name) for name in _RANKS]
    return any(value is not None and per_node.outside(value) for value in given)


def _has(case: Case, host: str, path: str) -> bool:
    """Whether a node has the file itself."""
    return any(text(file, "path") == path and file.get("text") for file in rows(case.user.get(host), "files"))
