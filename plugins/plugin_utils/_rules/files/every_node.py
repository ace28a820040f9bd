# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on launch scripts that are run on every node: what has to be equal there, and what must not be.

Source: torch 2.14 distributed/run.py and elastic/rendezvous, accelerate 1.15 commands/launch.py.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import at_least
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import shortened
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import own_rank, per_node, shell
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.formats import integer
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launchers import (
    ACCELERATE,
    PYTHON,
    TOOLS,
    TORCHRUN,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _starts as by_hand
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files._starts import Start

_ADDRESS = ("master_addr", "main_process_ip", "rdzv_endpoint")
_MASTER = ("master_addr", "main_process_ip")
_LOOPBACK = re.compile(r"(?:127\.\d{1,3}\.\d{1,3}\.\d{1,3}|localhost|::1)\Z")
OWN_ADDRESS_SINCE = "2.4"  # before, torchrun gives the master address of the first node to all of them
_PORT = ("master_port", "main_process_port", "rdzv_endpoint")
# what the nodes have to agree on; with c10d each may start another number of ranks
_EQUAL = (
    "nnodes", "num_machines", "num_processes", "master_addr", "main_process_ip", "master_port", "main_process_port",
    "rdzv_id", "rdzv_backend", "rdzv_endpoint", "mixed_precision",
)  # fmt: skip
_OWN_VARIABLES = re.compile(r"\w*_IFNAME$|NCCL_IB_HCA$|NCCL_HOSTID$|NCCL_TOPO_FILE$|NCCL_DEBUG\w*$|NCCL_CONF_FILE$")
_STEERING = re.compile(r"NCCL_|GLOO_|TORCH_(?:NCCL|DISTRIBUTED)_")
_SENT = frozenset(("ssh", "pdsh"))
_SEVERAL_IN_RAY = re.compile(r"\b(?:nnodes|num_nodes|num-nodes)[=\s]+['\"]?(?:[2-9]|[1-9]\d+)\b")
RENAMED = "0.8.4"  # LLaMA-Factory reads NODE_RANK in the place of RANK


@rule(
    About(
        "rdzv-id-differs",
        layer="launcher",
        severity=FAIL,
        also=(WARN,),
        title="Each node takes another rendezvous id",
        symptom="`RendezvousTimeoutError`, another `run_id` on each node",
        source="pytorch/examples#1254, PT#82160",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def rendezvous_id(case: Case) -> t.Iterator[Answer]:
    """A rendezvous id that is drawn, timed or named on each node."""
    for start in by_hand.starts(case):
        written = start.written("rdzv_id", "run_id")
        how = per_node.computed(written)
        if not written and {"rdzv_id", "run_id"} & set(start.command.written) and not by_hand.joins_by_rank(start):
            yield finding(
                "rdzv-id-differs",
                by_hand.severity(case, start, "$RANDOM"),
                start.copy.host,
                f"{start.place}: --rdzv_id is empty",
                "torchrun then draws an id by lot, on each node another one, so that the nodes wait for each other "
                "until the rendezvous times out.",
                "--rdzv_id=NAME with one fixed word for the job, the same on every node.",
            )
        if how:
            yield finding(
                "rdzv-id-differs",
                by_hand.severity(case, start, written),
                start.copy.host,
                f"{start.place}: --rdzv_id {shortened(written, 80)} is {how}",
                "Each node that runs the script gets another id and waits for the others under it, until the "
                "rendezvous times out.",
                "Set --rdzv_id to one fixed word for the job, the same on every node, or pass it to all of them as an "
                "argument.",
            )


@rule(
    About(
        "master-addr-differs",
        layer="launcher",
        severity=FAIL,
        also=(WARN,),
        title="Each node names itself as the master",
        symptom="every node waits for the others, errno 111",
        source="PT#67742, torch distributed/run.py",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def master(case: Case) -> t.Iterator[Answer]:
    """A master that each node takes from itself."""
    for start in by_hand.starts(case):
        written = start.written(*_ADDRESS)
        how = per_node.computed(written)
        if how and not (by_hand.joins_by_rank(start) and by_hand.rank_text(start) == "0"):
            yield finding(
                "master-addr-differs",
                by_hand.severity(case, start, written),
                start.copy.host,
                f"{start.place}: the master is {shortened(written, 80)}, {how}",
                "Every node that runs the script takes itself for the master, so that each waits alone.",
                f"Write the address of the first node: {dig(case.plan, 'master.address', 'ADDRESS')}, the same on "
                "every node.",
            )


@rule("master-port-random", needs=("user",), applies=common.given("launch_script"))
def master_port(case: Case) -> t.Iterator[Answer]:
    """A port that each node draws for itself."""
    cause = "Each node that runs the script gets another port, so that the nodes do not meet."
    remedy = f"Take a fixed port, the same on every node, such as {dig(case.plan, 'master.port', 29500)}."
    for start, written in by_hand.drawn_ports(case):
        how = per_node.computed(written, own=False)
        seen = f"{start.place}: the master's port {shortened(written, 80)} is {how} on each node"
        yield finding("master-port-random", FAIL, start.copy.host, seen, cause, remedy)
    for start in by_hand.starts(case):
        if start.name == "llamafactory-cli" and start.nodes > 1 and not start.written(*_PORT):
            seen = f"{start.place}: MASTER_PORT is not set, and llamafactory-cli draws a free port on each node"
            yield finding("master-port-random", FAIL, start.copy.host, seen, cause, remedy)


@rule("master-addr-malformed", needs=("user",), applies=common.given("launch_script"))
def no_master(case: Case) -> t.Iterator[Answer]:
    """torchrun for several nodes without a master takes 127.0.0.1; it does not read MASTER_ADDR."""
    for start in by_hand.starts(case):
        if start.nodes < 2 or start.command.launcher != TORCHRUN or set(_ADDRESS) & set(start.command.written):
            continue
        tool = start.name in TOOLS
        if tool and by_hand.rank_text(start) in ("0", None):
            continue  # its variables may come from outside
        fabric = start.name == "fabric"
        lacks = "MASTER_ADDR is not set" if tool else "no --master_addr and no --rdzv_endpoint"
        lacks = "no --main-address" if fabric else lacks
        exported = "MASTER_ADDR" in start.script.variables and not tool
        yield finding(
            "master-addr-malformed",
            FAIL,
            start.copy.host,
            f"{start.place}: {start.name} for {start.nodes} nodes, {lacks}"
            + (f"; {start.name} does not read MASTER_ADDR" if exported else ""),
            "The master then is 127.0.0.1, which means every node itself: each waits alone.",
            f"{'--main-address' if fabric else '--master_addr'} {dig(case.plan, 'master.address', 'ADDRESS')} "
            f"{'--main-port' if fabric else '--master_port'} {dig(case.plan, 'master.port', 29500)}, on every node.",
        )


@rule("master-addr-malformed", needs=("user",), applies=common.given("launch_script"))
def loopback_master(case: Case) -> t.Iterator[Answer]:
    """A first node that calls itself by its loopback address, which an older torch hands on to the others."""
    for start in by_hand.starts(case):
        have = common.version(case, start.copy.host, "torch")
        elastic = start.command.launcher in (TORCHRUN, ACCELERATE)
        itself = next((name for name in _MASTER if _names_itself(start, name)), "")
        if elastic and itself and start.nodes > 1 and common.older(have, OWN_ADDRESS_SINCE):
            yield finding(
                "master-addr-malformed",
                FAIL,
                start.copy.host,
                f"{start.place}: --{itself} {start.written(itself)} on the node of rank 0 (torch {have})",
                f"torch before {OWN_ADDRESS_SINCE} gives the address that the first node has for itself to all nodes: "
                "they look for the master at themselves.",
                f"Write the data address of the first node: {dig(case.plan, 'master.address', 'ADDRESS')}, on every "
                "node.",
            )


@rule(
    About(
        "node-rank-duplicate",
        layer="launcher",
        severity=FAIL,
        also=(WARN, INFO),
        title="Two nodes have the same node rank",
        symptom="a hang, `DistStoreError: Socket Timeout`",
        source="LlamaFactory#6154, LlamaFactory#9350, torch distributed/run.py",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def ranks(case: Case) -> t.Iterator[Answer]:
    """Ranks that two nodes have, or that no node may have."""
    yield from _looped(case)
    yield from _without_nodes(case)
    groups: dict[tuple[t.Any, ...], list[Start]] = {}
    for start in by_hand.starts(case):
        if _reads_old_name(case, start) or (start.command.looped and _SENT & set(start.command.through)):
            continue
        if by_hand.joins_by_rank(start) and not (
            by_hand.rank_text(start) is None and (start.nodes == by_hand.OPEN or by_hand.config_says_rank(case, start))
        ):
            yield from _out_of_range(start)
            groups.setdefault((start.name, start.command.script), []).append(start)
    for group in groups.values():
        yield from _same_rank(case, group)
        yield from _computed_ranks(case, group)


def _looped(case: Case) -> t.Iterator[Answer]:
    """A loop over hosts that gives each of them the same rank."""
    for copy, script, command in common.commands(case, *by_hand.BY_HAND):
        start = Start(copy, script, command, by_hand.nodes_of(command))
        number = integer(by_hand.rank_text(start))
        sent = command.looped and _SENT & set(command.through)
        if sent and number is not None and start.nodes != 1 and by_hand.joins_by_rank(start):
            yield _finding(FAIL, start, f"the loop starts node rank {number} on every host")


def _without_nodes(case: Case) -> t.Iterator[Answer]:
    """A node with a rank above 0 in a job of one node."""
    for copy, script, command in common.commands(case, TORCHRUN):
        start = Start(copy, script, command, by_hand.nodes_of(command))
        number = integer(by_hand.rank_text(start))
        if number and start.nodes == 1 and "standalone" not in command.options:
            option = "NNODES" if start.name in TOOLS else "--nnodes"
            yield finding(
                "node-rank-duplicate",
                FAIL,
                copy.host,
                f"{start.place}: node rank {number}, and {option} is 1 or not given",
                "Without the number of nodes the job has one, and a node with another rank than 0 has no place in it.",
                f"Set {option} to the number of nodes, the same on every node.",
            )


def _reads_old_name(case: Case, start: Start) -> bool:
    """Whether the tool takes its rank from RANK, which a launch script's NODE_RANK says nothing of."""
    have = common.version(case, start.copy.host, "llamafactory")
    return start.name == "llamafactory-cli" and bool(have) and not at_least(have, RENAMED)


def _out_of_range(start: Start) -> t.Iterator[Answer]:
    number = integer(by_hand.rank_text(start))
    if number is not None and 1 < start.nodes <= number:
        yield finding(
            "node-rank-duplicate",
            FAIL,
            start.copy.host,
            f"{start.place}: node rank {number} of {start.nodes} nodes",
            "Node ranks count from 0 to the number of nodes less one: the first node, which the others wait for, is "
            "missing.",
            "Count the node ranks from 0.",
        )


def _same_rank(case: Case, group: t.Sequence[Start]) -> t.Iterator[Answer]:
    """Nodes for which the scripts leave the same rank alone."""
    possible: dict[str, set[int | None]] = {}
    for start in group:
        possible.setdefault(start.copy.host, set()).add(by_hand.rank(case, start))
    certain = {host: {rank for rank in found if rank is not None} for host, found in possible.items()}
    certain = {host: found for host, found in certain.items() if None not in possible[host]}
    clash = _without_a_rank(certain)
    for start in group:
        said = _said(start)
        default = per_node.default_of(by_hand.rank_text(start) or "")
        if start.copy.host in clash:
            yield _duplicate(case, start, group, said)
        elif said.startswith("RANK=") and not said.startswith("RANK=0,") and start.nodes > 1:
            yield _finding(FAIL, start, said)
        elif default and integer(default[1]) == 0 and by_hand.rank(case, start) is None and start.nodes > 1:
            severity = WARN if by_hand.on_several(case, start) else INFO
            yield _finding(severity, start, f"{said}: every node on which nobody sets ${default[0]} has node rank 0")


def _without_a_rank(certain: t.Mapping[str, set[int]]) -> set[str]:
    """The hosts that can't all have a rank of their own: those of a rank that more hosts need than one."""
    taken: dict[int, str] = {}

    def place(host: str, tried: set[int]) -> bool:
        for number in certain[host] - tried:
            tried.add(number)
            if number not in taken or place(taken[number], tried):
                taken[number] = host
                return True
        return False

    short = [host for host in certain if not place(host, set())]
    needed = {number for host in short for number in certain[host]}
    return {host for host, found in certain.items() if found & needed} if short else set()


def _duplicate(case: Case, start: Start, group: t.Sequence[Start], said: str) -> Answer:
    """The finding on a node whose rank another one has; a text that all have in common may yet be changed there."""
    same = {other.copy.text for other in group if other.copy.host != start.copy.host}
    literal = by_hand.rank_text(start) is not None
    severity = WARN if (literal and same == {start.copy.text}) or start.nodes == by_hand.OPEN else FAIL
    others = [other.copy.host for other in group if other.copy.host != start.copy.host]
    number = by_hand.rank(case, start)
    beside = f"node rank {number}, as on {', '.join(dict.fromkeys(others))}"
    return _finding(severity, start, f"{said}: {beside}" if said else beside)


def _finding(severity: str, start: Start, seen: str) -> Answer:
    tool = start.name in TOOLS or start.command.launcher == PYTHON
    option = "NODE_RANK (RANK where that counts the processes)" if start.command.launcher == PYTHON else "NODE_RANK"
    option = option if tool else "--machine_rank" if start.command.launcher == ACCELERATE else "--node_rank"
    return finding(
        "node-rank-duplicate",
        severity,
        start.copy.host,
        f"{start.place}: {seen}",
        "Every node needs a node rank of its own, from 0 on; two that have the same one wait for each other until "
        "the store times out.",
        f"Set {option} on each node to another number: 0 on the node of the master, then 1, 2 and so on.",
    )


def _said(start: Start) -> str:
    """What a start says of its rank, if it is more than a number."""
    written = by_hand.rank_text(start)
    if written is not None:
        return "" if integer(written) is not None else f"node rank {shortened(written, 60)}"
    environment = {name: one.value for name, one in start.script.variables.items() if one.exported}
    environment.update(start.command.environment)
    if start.name not in TOOLS:
        return f"{start.name} for several nodes says no node rank"
    if "RANK" in environment:
        old = " (0.8.3 and older did)" if start.name == "llamafactory-cli" else ""
        return f"RANK={environment['RANK']}, which {start.name} does not read{old}, and NODE_RANK is not set"
    return "NODE_RANK is not set"


def _computed_ranks(case: Case, group: t.Sequence[Start]) -> t.Iterator[Answer]:
    """Ranks that each node makes of its own name."""
    for start in group:
        written = by_hand.rank_text(start)
        how = per_node.computed(written or "", own=False)
        if how:
            yield _finding(FAIL, start, f"node rank {shortened(str(written), 60)} is {how}")
            continue
        names = {host: str(dig(case.fabric.get(host), "hostname") or "") for host in case.order}
        found = {host: own_rank.of(written or "", name) for host, name in names.items() if name}
        if len(found) < 2 or len(found) < len(case.order) or None in found.values():
            continue
        listed = ", ".join(f"{number} on {host}" for host, number in found.items())
        if len(set(found.values())) < len(found) or min(t.cast("list[int]", list(found.values()))) > 0:
            yield _finding(FAIL, start, f"node rank {shortened(str(written), 60)} is {listed}")


@rule(
    About(
        "launch-script-differs",
        layer="launcher",
        severity=FAIL,
        also=(WARN,),
        title="The nodes start the job with other settings",
        symptom="nodes wait for each other, or for nobody",
        source="torch distributed/run.py",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def differing(case: Case) -> t.Iterator[Answer]:
    """Settings of the same job that are not those of the other nodes."""
    groups: dict[tuple[t.Any, ...], dict[str, list[Start]]] = {}
    for start in by_hand.starts(case):
        hosts = groups.setdefault((start.name, (start.command.script or "").rsplit("/", 1)[-1]), {})
        hosts.setdefault(start.copy.host, []).append(start)
    for hosts in groups.values():
        single = {host: found[0] for host, found in hosts.items() if len(found) == 1}
        if len(single) < 2 or len({start.copy.text for start in single.values()}) < 2:
            continue
        yield from _unlike(single, FAIL, _agreed, "--")
        yield from _unlike(single, WARN, _steering, "")


def _agreed(start: Start) -> dict[str, str | None]:
    """What all nodes have to agree on; None for the first node that calls itself by its loopback address."""
    itself = {name for name in _MASTER if _names_itself(start, name)}
    return {name: None if name in itself else start.written(name) for name in _EQUAL}


def _names_itself(start: Start, name: str) -> bool:
    return by_hand.rank_text(start) == "0" and bool(_LOOPBACK.match(start.written(name)))


def _steering(start: Start) -> dict[str, str | None]:
    """The variables that steer what all ranks do together."""
    given = {name: one.written for name, one in start.script.variables.items() if one.exported}
    given.update(start.command.environment)
    return {name: value for name, value in given.items() if _STEERING.match(name) and not _OWN_VARIABLES.match(name)}


def _unlike(
    single: t.Mapping[str, Start], severity: str, of: t.Callable[[Start], t.Mapping[str, str | None]], dashes: str
) -> t.Iterator[Answer]:
    """The hosts whose value is not that of most others, or of the first."""
    settings = {host: of(start) for host, start in single.items()}
    for name in dict.fromkeys(name for found in settings.values() for name in found):
        given = {host: found.get(name, "") for host, found in settings.items()}
        values = {host: value for host, value in given.items() if value is not None}
        if any(per_node.outside(value) for value in values.values()):
            continue
        listed = list(values.values())
        usual = max(listed, key=listed.count)
        same = next((host for host, value in values.items() if value == usual), "")
        for host, value in values.items():
            if value != usual:
                yield finding(
                    "launch-script-differs",
                    severity,
                    host,
                    f"{single[host].place}: {dashes}{name} {value or 'not given'}, on {same} {usual or 'not given'}",
                    "All nodes of a job need the same number of nodes, master and rendezvous, and the same settings of "
                    "NCCL and Gloo; only the node rank and names of interfaces may differ.",
                    "Copy one script to all nodes, and give it the node rank as an argument.",
                )


@rule(
    About(
        "ray-head-on-each-node",
        layer="launcher",
        severity=FAIL,
        title="Each node starts a Ray head of its own",
        symptom="the job waits for nodes that never join",
        source="Ray, starting a cluster by hand",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def ray_heads(case: Case) -> t.Iterator[Answer]:
    """A script for several nodes with nothing but ``ray start --head``, on several nodes."""
    heads: dict[str, tuple[common.Copy, int]] = {}
    for copy in common.copies(case, "launch_script"):
        steps = [one for one in shell.simple_commands(copy.text) if one.words[:2] == ("ray", "start")]
        several = _SEVERAL_IN_RAY.search(copy.text) or common.for_cluster(case, copy)
        if steps and several and all("--head" in one.words and not one.conditional for one in steps):
            heads.setdefault(copy.host, (copy, steps[0].line))
    for copy, line in heads.values() if len(heads) > 1 else ():
        yield finding(
            "ray-head-on-each-node",
            FAIL,
            copy.host,
            f"{copy.at(line)}: ray start --head, as on {', '.join(host for host in heads if host != copy.host)}",
            "Each node that runs the script is the head of a Ray cluster of its own, and none joins another.",
            f"ray start --address={dig(case.plan, 'master.address', 'ADDRESS')}:6379 on all nodes but the first.",
        )
