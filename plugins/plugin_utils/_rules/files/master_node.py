# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node of rank 0 must be the one that the master's address names.

With the backend static the node of rank 0 listens, whatever the address says; all others go to the address. Source:
torch 2.14 elastic/rendezvous/static_tcp_rendezvous.py, accelerate 1.15 utils/launch.py.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    About,
    Answer,
    Case,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.formats import integer
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _starts as by_hand
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files._starts import Start

_ADDRESS = ("master_addr", "main_process_ip")
_NOT_FIRST = re.compile(
    r"\bscontrol\s+show\s+host(?:name)?s?\b.*\|\s*(?:tail\b|sort\s+-\w*r|tac\b|sed\s+(?:-\w+\s+)*['\"]?(?:\$|[2-9])p)",
    re.DOTALL,
)
_OF_SLURM = re.compile(r"\\?\$\{?SLURM_(?:NODEID|PROCID)\}?\Z")


@rule(
    About(
        "master-not-first-node",
        layer="launcher",
        severity=FAIL,
        title="The master's address is not that of the node of rank 0",
        symptom="errno 111 on all nodes but one, until the rendezvous times out",
        source="torch distributed/run.py, Slurm srun(1)",
    ),
    needs=("user",),
    applies=common.given("launch_script", "accelerate"),
)
def not_first(case: Case) -> t.Iterator[Answer]:
    """Rank 0 on another node than the one that the master's address names."""
    for host, place, address in (*_of_scripts(case), *_of_configurations(case)):
        master = common.node_of(case, address)
        if master is not None and master != host:
            yield _finding(
                host,
                f"{place}: rank 0 is here, and the master is {address} ({master})",
                f"Set the rank to 0 on {master} and to another number here, or the master's address to that of {host}.",
            )
    for copy, script, command in common.commands(case, *by_hand.BY_HAND):
        start = Start(copy, script, command, by_hand.nodes_of(command))
        written = start.written(*_ADDRESS)
        rank = by_hand.rank_text(start) or ""
        if start.nodes > 1 and _OF_SLURM.match(rank) and by_hand.joins_by_rank(start) and _NOT_FIRST.search(written):
            yield _finding(
                copy.host,
                f"{start.place}: the master is the last of Slurm's nodes, and {rank} is 0 on the first one",
                "export MASTER_ADDR=$(scontrol show hostnames $SLURM_JOB_NODELIST | head -n 1) in the batch script.",
            )


def _finding(host: str, seen: str, remedy: str) -> Answer:
    cause = "The node of rank 0 listens for the others, which go to the address of another node, where nobody listens."
    return finding("master-not-first-node", FAIL, host, seen, cause, remedy)


def _of_scripts(case: Case) -> t.Iterator[tuple[str, str, str]]:
    """(node, where, address) of each start that alone has rank 0."""
    groups: dict[tuple[str, str | None], list[Start]] = {}
    for start in by_hand.starts(case):
        if by_hand.joins_by_rank(start) and not by_hand.config_says_rank(case, start) and start.nodes > 1:
            groups.setdefault((start.name, start.command.script), []).append(start)
    for group in groups.values():
        zero = [start for start in group if integer(by_hand.rank_text(start)) == 0]
        others = {start.copy.host for start in group} - {start.copy.host for start in zero}
        conditional = any(start.command.conditional for start in group)
        if len(zero) == 1 and others and not conditional:
            yield zero[0].copy.host, zero[0].place, zero[0].written(*_ADDRESS)


def _of_configurations(case: Case) -> t.Iterator[tuple[str, str, str]]:
    """The same of Accelerate's files, where each node has its own rank."""
    found = [(copy, data) for copy, data in common.mappings(case, "accelerate") if common.multi_node(data)]
    found = [
        (copy, data)
        for copy, data in found
        if common.multinode_launcher(data) in ("", *common.NO_SSH_LAUNCHERS)
        and str(data.get("rdzv_backend") or "static") == "static"
    ]
    ranks = {copy.host: integer(data.get("machine_rank")) for copy, data in found}
    if len(set(ranks.values())) < len(ranks) or len(found) != len(ranks) or len(ranks) < 2:
        return
    if any("machine_rank" in command.options for _copy, _script, command in common.commands(case, *by_hand.BY_HAND)):
        return
    for copy, data in found:
        if ranks[copy.host] == 0 and data.get("main_process_ip"):
            yield copy.host, copy.path, str(data["main_process_ip"])
