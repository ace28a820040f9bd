# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of launch scripts that have to be given on every node, and what they say of nodes and ranks."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import variables
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import FAIL, WARN, Case, dig, once
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import launch_script, per_node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.formats import integer
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launch_script import Command
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launchers import (
    ACCELERATE,
    COMPOSER,
    DEEPSPEED,
    PYTHON,
    TORCHRUN,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common

OPEN = 0
"""The number of nodes is set from outside."""

BY_HAND = (TORCHRUN, ACCELERATE, COMPOSER, PYTHON)
_NODES = {TORCHRUN: "nnodes", COMPOSER: "nnodes", PYTHON: "nnodes", ACCELERATE: "num_machines"}
_RANK = {**dict.fromkeys((TORCHRUN, COMPOSER, PYTHON, DEEPSPEED), "node_rank"), ACCELERATE: "machine_rank"}


class Start(t.NamedTuple):
    """A command that each node needs one of; ``nodes`` is for how many it is, OPEN where that is set from outside."""

    copy: common.Copy
    script: launch_script.Script
    command: Command
    nodes: int

    @property
    def place(self) -> str:
        """Where it is written, for a person."""
        return self.copy.at(self.command.line)

    @property
    def name(self) -> str:
        """The command as people say it."""
        return self.command.tool or self.command.launcher

    def written(self, *names: str) -> str:
        """The first of these options that is given, with what comes from outside as references."""
        return next((str(value) for name in names if (value := self.command.written.get(name)) is not None), "")


def nodes_of(command: Command) -> int:
    """For how many nodes a command is: 1 for one that says nothing, OPEN where that is set from outside."""
    if "standalone" in command.options:
        return 1
    if command.launcher == DEEPSPEED:
        return OPEN if "no_ssh" in command.options else 1
    value = command.written.get(_NODES.get(command.launcher, ""))
    if value is None:
        return 1
    default = per_node.default_of(value)
    number = (default[1] if default else value).rpartition(":")[2]
    found = integer(number)
    return OPEN if found is None else max(found, 1)


def several_nodes(command: Command) -> bool:
    """Whether a command is certainly for several nodes."""
    if command.launcher == DEEPSPEED:
        options = command.options
        if options.get("num_nodes") == "1":
            return False
        more = (integer(options.get("num_nodes")) or 0) > 1 or "@" in (options.get("include") or "")
        return bool(options.get("hostfile")) or more or "no_ssh" in options
    return nodes_of(command) > 1


@once
def starts(case: Case) -> list[Start]:
    """The commands that are given on every node by hand; not those that one node sends to the others."""
    found = []
    for copy, script in common.scripts(case):
        if script.batch or any(command.once for command in script.commands):
            continue
        for command in script.commands:
            by_hand = command.launcher in BY_HAND or "no_ssh" in command.options
            nodes = _nodes(case, copy, command)
            if by_hand and nodes != 1 and "help" not in command.options:
                found.append(Start(copy, script, command, nodes))
    return found


def _nodes(case: Case, copy: common.Copy, command: Command) -> int:
    """For how many nodes a command is, by its hostfile or Accelerate's configuration where it does not say so."""
    if command.launcher == ACCELERATE and "num_machines" not in command.options and "machine_rank" in command.options:
        given = [data for other, data in common.mappings(case, "accelerate") if other.host == copy.host]
        return next((integer(data.get("num_machines")) or 1 for data in given), OPEN)
    if command.launcher == DEEPSPEED and "no_ssh" in command.options:
        hosts = common.hostfile_of(case, copy.host)
        return len(hosts.hosts) if hosts and hosts.hosts else len(case.order)
    return nodes_of(command)


def joins_by_rank(start: Start) -> bool:
    """Whether the nodes of a start have ranks; with c10d or etcd they get them when they meet."""
    if start.command.launcher == TORCHRUN and start.command.tool == "llamafactory-cli":
        return "rdzv_id" not in start.command.options
    return (start.command.options.get("rdzv_backend") or "static") == "static"


def rank_text(start: Start) -> str | None:
    """The node's rank as it is written; None where the command does not say it."""
    return start.command.written.get(_RANK[start.command.launcher])


def rank(case: Case, start: Start) -> int | None:
    """The rank of the node on which a start is written; None where it is set from outside."""
    written = rank_text(start)
    if written is None:
        return 0
    name = re.fullmatch(r"\$([A-Za-z_]\w*)", per_node.without_default(written))
    if name:
        return integer(variables(case, start.copy.host).get(name.group(1)))
    return integer(written)


def config_says_rank(case: Case, start: Start) -> bool:
    """Whether a configuration of Accelerate gives the rank, or may give it."""
    if start.command.launcher != ACCELERATE:
        return False
    default = dig(case.user.get(start.copy.host), "accelerate_default")
    return "config_file" in start.command.options or bool(default)


def on_several(case: Case, start: Start) -> bool:
    """Whether a start is meant for more than one node: several have the script, or it was named as the cluster's."""
    path = start.copy.path
    have = {copy.host for copy in common.copies(case, "launch_script") if copy.path == path}
    return len(have) > 1 or common.for_cluster(case, start.copy)


def severity(case: Case, start: Start, written: str) -> str:
    """FAIL for what differs whatever is set from outside, and several nodes run it; WARN for what may."""
    if not per_node.computed(per_node.without_default(written)):
        return WARN
    return FAIL if start.nodes > 1 or on_several(case, start) else WARN


@once
def drawn_ports(case: Case) -> list[tuple[Start, str]]:
    """Starts of which each node draws a port of its own for the master, and the port as it is written."""
    found = []
    for start in starts(case):
        written = start.written("master_port", "main_process_port", "rdzv_endpoint")
        written = written.rpartition(":")[2] if "rdzv_endpoint" in start.command.written else written
        if per_node.computed(written, own=False) and severity(case, start, written) == FAIL:
            found.append((start, written))
    return found
