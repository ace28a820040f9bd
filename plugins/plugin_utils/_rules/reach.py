# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on what the controller saw of each host, and on hosts that were lost on the way."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    Data,
    Finding,
    Untested,
    dig,
    finding,
    rule,
)

RULES = {
    "config": "reach-config",
    "name": "reach-name",
    "tcp_refused": "reach-tcp-refused",
    "tcp_timeout": "reach-tcp-timeout",
    "no_route": "reach-no-route",
    "banner": "reach-banner",
    "hostkey_unknown": "reach-hostkey-unknown",
    "hostkey_changed": "reach-hostkey-changed",
    "auth": "reach-auth",
    "sudo": "reach-sudo",
    "python": "reach-python",
    "tmp": "reach-tmp",
}
# A step that this version does not know is at least a host that the controller could not use.
OTHER = "reach-banner"
MOST = 4
# Steps at which the nodes may know more than the controller.
SILENT = ("tcp_refused", "tcp_timeout", "no_route", "banner")
_SEEN = {
    "open": "answers",
    "refused": "is refused",
    "no_route": "has no route",
    "timeout": "gives no answer",
    "name": "can't be resolved",
}


@rule(
    About(
        "reach-config",
        layer="reach",
        severity=FAIL,
        title="ssh refuses its own configuration",
        symptom="`Bad configuration option`, nothing is contacted",
        source="OpenSSH ssh_config(5)",
    ),
    About(
        "reach-name",
        layer="reach",
        severity=FAIL,
        title="The host's name does not resolve on the controller",
        symptom="`Could not resolve hostname`",
        source="OpenSSH, getaddrinfo(3)",
    ),
    About(
        "reach-tcp-refused",
        layer="reach",
        severity=FAIL,
        title="Nothing listens on the ssh port",
        symptom="`Connection refused`",
        source="connect(2)",
    ),
    About(
        "reach-tcp-timeout",
        layer="reach",
        severity=FAIL,
        title="The ssh port does not answer",
        symptom="`Connection timed out`",
        source="connect(2)",
    ),
    About(
        "reach-no-route",
        layer="reach",
        severity=FAIL,
        title="No route to the host's ssh port",
        symptom="`No route to host`",
        source="connect(2)",
    ),
    About(
        "reach-banner",
        layer="reach",
        severity=FAIL,
        title="The port answers, but no ssh server does",
        symptom="`kex_exchange_identification`, a hang before the login",
        source="OpenSSH sshd_config(5) MaxStartups",
    ),
    About(
        "reach-hostkey-unknown",
        layer="reach",
        severity=FAIL,
        title="The host key is unknown to the controller",
        symptom="`Host key verification failed.`",
        source="OpenSSH sshd(8) known_hosts",
    ),
    About(
        "reach-hostkey-changed",
        layer="reach",
        severity=FAIL,
        title="The host key has changed",
        symptom="`REMOTE HOST IDENTIFICATION HAS CHANGED`",
        source="OpenSSH sshd(8) known_hosts",
    ),
    About(
        "reach-auth",
        layer="reach",
        severity=FAIL,
        title="The host refuses the login user",
        symptom="`Permission denied (publickey)`",
        source="OpenSSH sshd(8)",
    ),
    About(
        "reach-sudo",
        layer="reach",
        severity=FAIL,
        title="The login user cannot become root",
        symptom="`sudo: a password is required`",
        source="sudo(8)",
    ),
    About(
        "reach-python",
        layer="reach",
        severity=FAIL,
        title="No usable Python on the host",
        symptom="`/usr/bin/python3: not found`, or no command runs at all",
        source="Ansible's documentation of interpreter discovery",
    ),
    About(
        "reach-tmp",
        layer="reach",
        severity=FAIL,
        title="/tmp on the host is not writable",
        symptom="`Failed to create temporary directory`, `No space left on device`, `Read-only file system`",
        source="Ansible's documentation of remote_tmp; mktemp(1)",
    ),
    needs=("reach",),
)
def unreached(case: Case) -> t.Iterator[Answer]:
    """One finding for all hosts of the same step, cause and remedy; the row brings the words."""
    groups: dict[tuple[str, str, str], dict[str, str]] = {}
    untested: dict[str, list[str]] = {}
    for name, row in case.reach.items():
        step = str(dig(row, "step", ""))
        if step == "untested":
            untested.setdefault(str(dig(row, "evidence", "no reason given")), []).append(name)
        elif failed(row):
            cause, remedy, seen = _with_nodes(case, name, step, str(dig(row, "cause", "")), str(dig(row, "remedy", "")))
            evidence = "; ".join(filter(None, (str(dig(row, "evidence", step)), seen)))
            groups.setdefault((RULES.get(step, OTHER), cause, remedy), {})[name] = evidence
    for (rule_id, cause, remedy), found in groups.items():
        for host, evidence in found.items():
            yield finding(rule_id, FAIL, host, evidence, cause, remedy)
    for why, names in untested.items():
        rule_id = "reach-sudo" if all(dig(case.reach[name], "ok") is True for name in names) else "reach"
        yield Untested(rule_id, tuple(names), why)


def _with_nodes(case: Case, name: str, step: str, cause: str, remedy: str) -> tuple[str, str, str]:
    """Cause and remedy with what the reachable nodes know of the host, and what they saw of it."""
    rows = [(node, row) for node, seen in case.unreached.items() for row in dig(seen, name, [])]
    if step not in SILENT or not rows:
        return cause, remedy, ""
    by_sight: dict[str, list[str]] = {}
    for node, row in rows:
        by_sight.setdefault(_sight(row), []).append(node)
    seen = "; ".join(
        f"from {', '.join(nodes[:MOST])}{' and others' if nodes[MOST:] else ''}: {sight}"
        for sight, nodes in by_sight.items()
    )
    results, answers = {dig(row, "result") for _node, row in rows}, [dig(row, "neighbour") for _node, row in rows]
    if "open" in results:
        return (
            "The nodes reach its ssh port, only the controller does not: the machine is well, and the way from the "
            "controller to it is shut.",
            "open the way from the controller: its route or VPN, ansible_host and ansible_port, and firewalls between "
            "it and the machine",
            seen,
        )
    said = cause.rstrip(".")
    if "refused" in results:
        return f"{said}. It answers the nodes, so it is up, but nothing listens on its ssh port.", remedy, seen
    if True in answers:
        return (
            f"{said}. It answers on the nodes' own network, so it is up, but its firewall keeps ssh shut.",
            remedy,
            seen,
        )
    if results == {"timeout"} and False not in answers:
        return f"{said}. The nodes get no answer from it either.", remedy, seen
    if results <= {"timeout", "no_route"}:
        return f"{said}. The nodes get no answer from it either: it is off, or its address is wrong.", remedy, seen
    return cause, remedy, seen


def _sight(row: Data) -> str:
    """What one node saw of one address, in words."""
    said = _SEEN.get(str(dig(row, "result", "")), "it can't be tried")
    known = {True: ", but the machine answers as a neighbour", False: ", and no neighbour answers"}
    answers = dig(row, "neighbour")
    return (
        f"{dig(row, 'address', '')} port {dig(row, 'port', '')} {said}{'' if answers is None else known[bool(answers)]}"
    )


def failed(row: t.Any) -> bool:
    """Whether the controller could not use the host; null is untested."""
    return isinstance(row, t.Mapping) and row.get("ok") is False


@rule(
    About(
        "reach-hostkey-unchecked",
        layer="reach",
        severity=INFO,
        also=(WARN,),
        title="Host keys are not checked",
        symptom="nothing: a machine in the middle is not noticed",
        source="Ansible ssh connection plugin host_key_checking; OpenSSH ssh_config(5) StrictHostKeyChecking",
    ),
    needs=("reach",),
)
def unchecked(case: Case) -> t.Iterator[Finding]:
    """Hosts whose key nobody compares; where a password is sent, it is sent to whoever answers."""
    open_ = {name: row for name, row in case.reach.items() if dig(row, "host_key_checked") is False}
    remedy = (
        "Set host_key_checking = True in ansible.cfg (ANSIBLE_HOST_KEY_CHECKING, ansible_host_key_checking), and take "
        "StrictHostKeyChecking and UserKnownHostsFile out of ansible_ssh_common_args and ~/.ssh/config."
    )
    for severity, sent in ((WARN, True), (INFO, False)):
        what = "a password is sent to it" if sent else "the login is by key, no password is sent"
        found = {name: what for name, row in open_.items() if bool(dig(row, "password")) is sent}
        cause = "Ansible takes any host key: a machine in the middle goes unnoticed, and its keys are handed out."
        for host, evidence in found.items():
            yield finding("reach-hostkey-unchecked", severity, host, evidence, cause, remedy)


@rule(
    About(
        "reach-node-lost",
        layer="reach",
        severity=FAIL,
        title="A node dropped out during the run",
        symptom="tasks that never end, or `UNREACHABLE` in the midst of a run",
        source="field notes",
    )
)
def lost(case: Case) -> t.Iterator[Finding]:
    """Nodes that left the run although the controller had reached them, or had not tried."""
    found = {name: str(reason) for name, reason in case.lost.items() if not failed(_row(case, name))}
    for host, evidence in found.items():
        yield finding(
            "reach-node-lost",
            FAIL,
            host,
            evidence,
            "the node left the run on the way: it froze, went down, lost its network, or a task on it failed",
            "look at the error of its last task above and at the machine's console (dmesg -T, uptime), then run again "
            "with --limit and the node's name",
        )


def _row(case: Case, name: str) -> Data:
    row: Data = case.reach.get(name) or {}
    return row
