# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on launch scripts, whichever launcher they use."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import reserved_ports
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import number
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
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.formats import integer
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launch_script import Command
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launchers import (
    ACCELERATE,
    COMPOSER,
    DEEPSPEED,
    PDSH,
    PYTHON,
    TORCHRUN,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files._starts import (
    drawn_ports,
    nodes_of,
    several_nodes,
)

JOBS = (DEEPSPEED, ACCELERATE, TORCHRUN, COMPOSER, PYTHON)
_RANDOM = re.compile(r"\bshuf\b|\bRANDOM\b|random|\bmktemp\b|\bjot\b|urandom")
_PDSH_PLACEHOLDER = re.compile(r"(?<!%)%[hun]\b")
EPHEMERAL = (32768, 60999)  # Linux without a setting of its own: Documentation/networking/ip-sysctl


@rule(
    About(
        "shell-comment-after-backslash",
        layer="launcher",
        severity=FAIL,
        title="A comment ends a continued command line",
        symptom="arguments are lost, `command not found`",
        source="field notes",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def comment_after_backslash(case: Case) -> t.Iterator[Answer]:
    """A comment or a blank that ends a continued command early."""
    said = {
        "comment": "a comment behind the backslash",
        "blank": "a blank behind the backslash",
        "comment_line": "a comment inside the continued command",
    }
    for copy, script in common.scripts(case):
        for problem in script.problems:
            yield finding(
                "shell-comment-after-backslash",
                FAIL,
                copy.host,
                f"{copy.at(problem.line)}: {said[problem.what]}: {problem.text!r}",
                "The command ends there: the arguments below it are lost, or run as a command that is not found.",
                "Take the comment out of the command, and leave nothing behind a backslash; `bash -n` "
                "does not find this.",
            )


def ports(case: Case, alone: bool = True) -> t.Iterator[tuple[common.Copy, str, str]]:
    """(file, where, the port as written) of every port of a rendezvous in scripts and Accelerate's files.

    ``alone``: those of commands that say themselves that they are for one node, too.
    """
    for copy, _script, command in common.commands(case, *JOBS):
        if not alone and command.launcher != DEEPSPEED and nodes_of(command) == 1:
            continue
        for name in ("master_port", "main_process_port"):
            value = command.options.get(name)
            if value:
                yield copy, f"{copy.at(command.line)}: --{name}", value
        endpoint = command.options.get("rdzv_endpoint") or ""
        if re.search(r":\d+$", endpoint):
            yield copy, f"{copy.at(command.line)}: --rdzv_endpoint", endpoint.rpartition(":")[2]
    for copy, script in common.scripts(case):
        variable = script.variables.get("MASTER_PORT")
        if variable and variable.exported:
            yield copy, f"{copy.at(variable.line)}: MASTER_PORT", variable.value
    for copy, data in common.mappings(case, "accelerate"):
        if common.multi_node(data) and data.get("main_process_port") is not None:
            yield copy, f"{copy.path}: main_process_port", str(data["main_process_port"])


@rule(
    About(
        "master-port-random",
        layer="launcher",
        severity=WARN,
        also=(FAIL,),
        title="The master port is random",
        symptom="now and then errno 98, or a firewall",
        source="field notes",
    ),
    needs=("user",),
    applies=common.given("launch_script", "accelerate"),
)
def random_port(case: Case) -> t.Iterator[Answer]:
    """A port that is drawn by lot, or one that the kernel gives away to others."""
    head = case.fabric.get(case.order[0]) if case.order else None
    low = int(number(head, "port_range.low") or EPHEMERAL[0])
    high = int(number(head, "port_range.high") or EPHEMERAL[1])
    cause = "Any connection of the node may hold such a port already, and no firewall rule can name it."
    remedy = f"Take a fixed port below {low}, such as {dig(case.plan, 'master.port', 29500)}."
    by_each = {(start.copy.host, start.copy.path, written) for start, written in drawn_ports(case)}
    for copy, place, value in ports(case, alone=False):
        port = integer(value)
        if (copy.host, copy.path, value) in by_each:
            continue  # each node draws another one: that is told, and is the worse of the two
        if _RANDOM.search(value):
            yield finding("master-port-random", WARN, copy.host, f"{place} {value}", cause, remedy)
        elif port and low <= port <= high and not reserved_ports.holds(dig(head, "port_range.reserved"), port):
            yield finding(
                "master-port-random",
                WARN,
                copy.host,
                f"{place} {port} is among the ephemeral ports {low}-{high}",
                cause,
                remedy,
            )


@rule(
    About(
        "acc-port-is-ssh-port",
        layer="accelerate",
        severity=FAIL,
        title="The port of the rendezvous is that of ssh",
        symptom="`another process is utilizing it`, errno 98, 13 or 110",
        source="field notes, DS#4845",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def ssh_port(case: Case) -> t.Iterator[Answer]:
    """The port of the rendezvous is sshd's, or one for root alone."""
    cause = "This is the port of the rendezvous (TCPStore), not of ssh: rank 0 cannot listen there."
    remedy = f"Take {dig(case.plan, 'master.port', 29500)}; the port of ssh belongs into ~/.ssh/config."
    listening = common.ssh_ports(case)
    head = case.fabric.get(case.order[0]) if case.order else None
    start = number(head, "unprivileged_port_start")
    floor = 1024 if start is None else int(start)
    for copy, place, value in ports(case):
        port = integer(value)
        hosts = [host for host, taken in listening.items() if port in taken]
        if not port:
            continue
        if port == 22 or hosts:
            taken_by = f", on which sshd of {', '.join(hosts)} listens" if hosts else ""
            yield finding("acc-port-is-ssh-port", FAIL, copy.host, f"{place} {port}{taken_by}", cause, remedy)
        elif port < floor and dig(case.plan, "user", "root") != "root":
            yield finding(
                "acc-port-is-ssh-port", FAIL, copy.host, f"{place} {port}, below {floor}: for root alone", cause, remedy
            )


def _addresses(case: Case) -> t.Iterator[tuple[common.Copy, str, str]]:
    """(file, where, the address as written) of every master that is named for several nodes.

    The node of rank 0 serves all of its addresses, and may well call itself 127.0.0.1.
    """
    for copy, _script, command in common.commands(case, *JOBS):
        if not several_nodes(command) or command.written.get("node_rank") == "0":
            continue
        for name in ("master_addr", "main_process_ip", "rdzv_endpoint"):
            value = command.options.get(name)
            if value is not None:
                value = re.sub(r"(?<=[^:]):\d+$", "", value) if name == "rdzv_endpoint" else value
                yield copy, f"{copy.at(command.line)}: --{name}", value
    for copy, script in common.scripts(case):
        variable = script.variables.get("MASTER_ADDR")
        several = any(several_nodes(one) and one.written.get("node_rank") != "0" for one in script.commands)
        if variable and variable.exported and several and not variable.conditional:
            yield copy, f"{copy.at(variable.line)}: MASTER_ADDR", variable.value
    for copy, data in common.mappings(case, "accelerate"):
        if common.multi_node(data) and data.get("main_process_ip") is not None:
            yield copy, f"{copy.path}: main_process_ip", str(data["main_process_ip"])


def malformed(address: str) -> str:
    """Why this cannot be the master of several nodes; empty for one that can, or that is not known before it runs."""
    text = address.strip().strip("[]")
    if "$" in text or "`" in text or "@" in text:
        return ""
    if not text or text.lower() == "none":
        return "is empty"
    if text.lower() in ("localhost", "localhost.localdomain"):
        return "means every node itself"
    if re.fullmatch(r"-?\d+", text):
        return "is a number, which the resolver takes for 0.0.0.N"
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        if re.fullmatch(r"[\d.]+", text):
            return "is no address"
        return "" if re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?", text) else "is no name and no address"
    if found.is_loopback:
        return "means every node itself"
    return "is nobody's address" if found.is_unspecified or text.startswith("0.") else ""


@rule(
    About(
        "master-addr-malformed",
        layer="name",
        severity=FAIL,
        title="The master address is not an address",
        symptom="connects to 0.0.0.5 and the like",
        source="OpenSora#667, GRL#27, ColossalAI-Examples#207",
    ),
    needs=("user",),
    applies=common.given("launch_script", "accelerate"),
)
def master_address(case: Case) -> t.Iterator[Answer]:
    """The address of the master is none, or one that means every node itself."""
    if len(case.order) < 2:
        return
    for copy, place, value in _addresses(case):
        why = malformed(value)
        if why:
            yield finding(
                "master-addr-malformed",
                FAIL,
                copy.host,
                f"{place} {value!r} {why}",
                "The other nodes connect to nothing, or to themselves, and wait.",
                f"Write the data address of the first node: {dig(case.plan, 'master.address', 'ADDRESS')}.",
            )


@rule(
    About(
        "pdsh-brackets-expanded",
        layer="launcher",
        severity=WARN,
        title="pdsh expands brackets or percent signs",
        symptom="`command not found`, hosts that nobody named",
        source="chaos/pdsh#109",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def brackets(case: Case) -> t.Iterator[Answer]:
    """Brackets in filters and %h, %u, %n in arguments, which pdsh replaces."""
    cause = "pdsh makes several hosts of brackets, which DeepSpeed counts as one, and replaces %h, %u and %n."
    remedy = "Write the names out, and %% for a % in an argument."
    for copy, _script, command in common.commands(case, DEEPSPEED):
        if "no_ssh" in command.options or (command.options.get("launcher") or "pdsh") != "pdsh":
            continue
        for name in ("include", "exclude"):
            if "[" in (command.options.get(name) or ""):
                yield finding(
                    "pdsh-brackets-expanded",
                    WARN,
                    copy.host,
                    f"{copy.at(command.line)}: --{name} {command.options[name]}",
                    cause,
                    remedy,
                )
        for word in command.arguments:
            if _PDSH_PLACEHOLDER.search(word):
                yield finding(
                    "pdsh-brackets-expanded", WARN, copy.host, f"{copy.at(command.line)}: {word!r}", cause, remedy
                )


@rule(
    About(
        "pdsh-stdin-hang",
        layer="launcher",
        severity=WARN,
        title="pdsh waits for standard input",
        symptom="the job waits for ever",
        source="pdsh dsh/pipecmd",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def standard_input(case: Case) -> t.Iterator[Answer]:
    """A launcher over ssh whose standard input is something else's."""
    for copy, _script, command in common.commands(case, DEEPSPEED, PDSH):
        if command.feeds:
            yield finding(
                "pdsh-stdin-hang",
                WARN,
                copy.host,
                f"{copy.at(command.line)}: {command.launcher} reads from a pipe or a `while read` loop",
                "ssh takes what it finds there: the loop ends after its first line, or the job waits for "
                "an end of input.",
                "Add </dev/null to the command.",
            )


@rule(
    About(
        "app-world-size-hardcoded",
        layer="precision",
        severity=FAIL,
        title="The script hardcodes its world size",
        symptom="a hang or a mismatch",
        source="field notes",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def hardcoded_world(case: Case) -> t.Iterator[Answer]:
    """A number of ranks in the training script's own arguments."""
    for copy, _script, command in common.commands(case, DEEPSPEED, ACCELERATE, TORCHRUN):
        given = integer(command.argument("world_size"))
        ranks = common.world_size(case, copy.host)
        if given and ranks and given != ranks and not _explicit(command):
            yield finding(
                "app-world-size-hardcoded",
                FAIL,
                copy.host,
                f"{copy.at(command.line)}: --world_size {given}, but the job has {ranks} ranks",
                "The script waits for ranks that nobody starts, or leaves some out.",
                "Leave the argument out, and let the script read WORLD_SIZE, which every launcher sets.",
            )


def _explicit(command: Command) -> bool:
    """Whether the command chooses its own number of ranks, so that the cluster's does not count."""
    return any(name in command.options for name in ("include", "exclude", "num_gpus", "num_nodes", "num_processes"))
