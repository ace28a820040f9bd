# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on the ports of a rendezvous and on the firewalls that close them."""

from __future__ import annotations

import math
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import busy as diagnosis_busy
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    absent,
    live,
    names,
    node,
    rows,
    shorten,
    text,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.mesh import (
    Attempt,
    Pair,
    address_taken,
    attribute,
    by_pair,
    tcp_results,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
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
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._either_end import (
    ROUTE,
    UNANSWERED,
    Block,
    holds,
    kept_by,
    own_block,
    rules,
    words,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._let_in import (
    TOOLS,
    active,
    lets_all_in,
    open_up,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.pdsh import (
    held_by_orphans,
    port_holder,
    processes,
)

PORT_TAKEN = "rdzv-errno-98"
"""While a job runs no other one can be started: what could not be tested under this id says so."""

EADDRINUSE, EADDRNOTAVAIL, EACCES = 98, 99, 13
# errno 113, 111 and 110 are what connect(2) says of a REJECT, of a closed port or reset, and of a DROP.
_IDS = {"no_route": "rdzv-errno-113", "refused": "rdzv-errno-111", "timeout": "rdzv-errno-110"}
_CAUSES = {
    "no_route": "Connections to the ports of a job are rejected (No route to host), mostly by the node's firewall.",
    "refused": "Connections to the ports of a job are refused although something listens there for the test.",
    "timeout": "Connections to the ports of a job get no answer: a firewall or the network drops the packets.",
    "ephemeral": "Only the rendezvous port is open; gloo and NCCL use high ports in both directions, and hang.",
}


def _ports_tried(case: Case) -> bool:
    return bool(case.listeners or case.mesh)


def blocked(case: Case) -> dict[Pair, tuple[str, list[Attempt]]]:
    """The pairs whose connections failed on the way: (what kind, the failed attempts).

    A port that the target could not listen on proves nothing, nor does one whose listener had ended, and an answer by
    somebody else is no block.
    """
    away, elsewhere = unheard(case), address_taken(case)
    master = str(dig(case.plan, "master.port", ""))
    found: dict[Pair, tuple[str, list[Attempt]]] = {}
    for pair, items in by_pair(tcp_results(case)).items():
        if pair in elsewhere:
            continue
        not_listening = case.listeners.get(pair[1]) or {}
        heard = [item for item in items if item.what not in not_listening and (pair[1], item.what) not in away]
        bad = [item for item in heard if not item.ok and item.failure in (*_IDS, "other")]
        if bad and diagnosis_busy.ends(case, pair, "mesh").slack == math.inf:
            bad = [item for item in bad if item.failure != "timeout"]
        if bad:
            only_high = any(item.ok and item.what == master for item in heard)
            found[pair] = ("ephemeral" if only_high else bad[0].failure, bad)
    return found


def unheard(case: Case) -> dict[tuple[str, str], str]:
    """The listeners that did not answer their own node, by (node, port), and what was seen."""
    return {
        (item.target, item.what): item.evidence
        for item in tcp_results(case)
        if item.source == item.target and not item.ok and item.failure == "no_listener"
    }


def _left_open(case: Case) -> t.Iterator[Untested]:
    """Ports about which no answer was had, though no firewall need be in the way."""
    for (host, port), seen in unheard(case).items():
        yield Untested("rdzv-connect-failed", (host,), f"port {port} of {host} was not tested: {seen}")
    for item in tcp_results(case):
        if item.failure not in ("silent", "timeout") or item.what in (case.listeners.get(item.target) or {}):
            continue  # a port that could not be listened on is told of
        busy = diagnosis_busy.ends(case, item.pair, "mesh")
        if item.failure == "silent" or busy.slack == math.inf:
            said = f" ({busy.words})" if busy.at_all else ""
            yield Untested("rdzv-connect-failed", item.pair, f"{item.evidence}: not tested{said}")


@rule(
    About(
        "rdzv-errno-113",
        layer="network",
        severity=FAIL,
        title="No route to a node, or a firewall rejects the rendezvous",
        symptom="`errno: 113 - No route to host`",
        source="field notes, sglang#3820",
    ),
    About(
        "rdzv-errno-111",
        layer="network",
        severity=FAIL,
        title="The rendezvous connection is refused",
        symptom="`errno: 111 - Connection refused`",
        source="LlamaFactory#5864, LlamaFactory#1630",
    ),
    About(
        "rdzv-errno-110",
        layer="network",
        severity=FAIL,
        title="The rendezvous gets no answer",
        symptom="`errno: 110 - Connection timed out`",
        source="PT#124380, DS#4845",
    ),
    About(
        "rdzv-connect-failed",
        layer="network",
        severity=FAIL,
        title="The rendezvous failed in another way",
        symptom="an error of connect that is not one of the usual",
        source="connect(2)",
    ),
    "fw-ephemeral-blocked",
    "fw-wrong-tool",
    needs=("mesh",),
)
def ports_closed(case: Case) -> t.Iterable[Answer]:
    """Ports that were listened on and could not be reached, each with the firewall that is in force there."""
    yield from _left_open(case)
    failed = blocked(case)
    bad = dict(failed)
    for host, explained in _explained(case, failed).items():
        yield _own_block(case, host, explained, failed)
        for pair in explained:
            bad.pop(pair, None)
    tried = list(by_pair(tcp_results(case)))
    all_shut = _nobody_gets_through(case, bad, tried)
    for host, pairs in attribute(list(bad), tried).items():
        for kind in dict.fromkeys(bad[pair][0] for pair in pairs):
            yield from _closed(case, host, [pair for pair in pairs if bad[pair][0] == kind], bad, all_shut)


def _explained(case: Case, bad: t.Mapping[Pair, t.Any]) -> dict[str, dict[Pair, Block]]:
    """The failed pairs that routes or rules of a node's own explain: {node: {pair: what it is}}."""
    found: dict[str, dict[Pair, Block]] = {}
    for pair, (_kind, items) in bad.items():
        blocks = [block for item in items if (block := own_block(case, pair, item.what, item.failure in UNANSWERED))]
        if blocks:
            found.setdefault(blocks[0].host, {})[pair] = blocks[0]
    known, towards = {pair for explained in found.values() for pair in explained}, dict[str, list[Pair]]()
    for pair in bad:
        towards.setdefault(pair[1], []).append(pair)
    for host, explained in found.items():  # what keeps the answers of others out mostly keeps their own calls out too
        told = {text(block.row, "rule") for block in explained.values() if block.row}
        for pair in [pair for pair in towards.get(host, ()) if pair not in known]:
            kept = [row for row in _kept(case, host, [pair], bad) if text(row, "rule") in told]
            if kept:
                explained[pair] = kept_by(host, kept[0], pair[0])
    return found


def _own_block(case: Case, host: str, explained: t.Mapping[Pair, Block], bad: t.Mapping[Pair, t.Any]) -> Finding:
    """One fault for all that a node itself keeps back, in both directions."""
    blocks = list(explained.values())
    first = min(explained, key=lambda pair: pair[0] != host)  # what the node itself saw
    kind = "no_route" if any(block.kind == ROUTE for block in blocks) else bad[first][0]
    failed = (f"{item.source} to {item.target}: {item.evidence}" for pair in explained for item in bad[pair][1])
    seen = f"{shorten(block.evidence for block in blocks)}; {shorten(failed)}"
    rule_id = "fw-ephemeral-blocked" if kind == "ephemeral" else _IDS.get(kind, "rdzv-connect-failed")
    return finding(rule_id, FAIL, host, seen, *words(case, blocks))


def _closed(
    case: Case, host: str, pairs: t.Sequence[Pair], bad: t.Mapping[Pair, t.Any], all_shut: bool
) -> t.Iterator[Finding]:
    """Failed pairs of one kind, attributed to one node."""
    kind = bad[pairs[0]][0]
    inbound = [source for source, target in pairs if target == host]
    seen = shorten(f"{item.source} to {item.target}: {item.evidence}" for pair in pairs for item in bad[pair][1])
    if not inbound:
        cause = "It does not get through to any other node, while others do."
        remedy = (
            "Look at its route (ip route get ADDRESS), at rules on outgoing packets, and at its cable and switch port."
        )
        yield finding(_IDS.get(kind, "rdzv-connect-failed"), FAIL, host, seen, cause, remedy)
        return
    found, tool = active(case, host), str(dig(case.plan, "firewall", ""))
    if gone := _flushed(case, host):
        yield finding("fw-flushed", FAIL, host, f"{gone[0]}; {seen}", *_reload(gone[1], True))
        return
    seen += f"; active there: {', '.join(found)}" if found else ""
    kept = _kept(case, host, pairs, bad)
    seen += f": {shorten(text(row, 'rule') for row in kept)}" if kept else ""
    perhaps = [row for row in kept if dig(row, "sure") is not True]
    kept = [row for row in kept if dig(row, "sure") is True]
    if tool in TOOLS and tool not in found and found and not lets_all_in(case, host):
        cause = f"trainmesh_firewall opens {tool}, which is not the firewall that is in force there."
        yield finding("fw-wrong-tool", FAIL, host, seen, cause, open_up(case, host, inbound, kept))
        return
    rule_id = "fw-ephemeral-blocked" if kind == "ephemeral" else _IDS.get(kind, "rdzv-connect-failed")
    if not kept and not perhaps and all_shut:
        yield finding(rule_id, FAIL, host, seen, *_BETWEEN_ALL)
        return
    cause = _CAUSES.get(kind, "Connections to the ports of a job fail.")
    yield finding(rule_id, FAIL, host, seen, cause, open_up(case, host, inbound, kept, perhaps))


_BETWEEN_ALL = (
    "No connection between any two nodes gets through on the ports of jobs, and no rule or route of theirs keeps it "
    "back: what is between them does.",
    "Allow all TCP between the nodes in their security group (AWS: a rule whose source is the group itself; Azure: the "
    "network security group; Google Cloud: a firewall rule with their tag; OpenStack: the group as remote), in the "
    "firewall of the hypervisor, or on the switch (private VLAN, isolation of ports).",
)


def _nobody_gets_through(case: Case, bad: t.Mapping[Pair, t.Any], tried: t.Iterable[Pair]) -> bool:
    """Whether every connection between two of several nodes fails, and none of them is known to keep another out."""
    between = {pair for pair in tried if pair[0] != pair[1]}
    hosts = {host for pair in between for host in pair}
    return len(hosts) > 2 and between == {*bad} and all(lets_all_in(case, host) for host in hosts)


def _kept(case: Case, host: str, pairs: t.Sequence[Pair], bad: t.Mapping[Pair, t.Any]) -> list[Data]:
    """The rules by which the node keeps these connections out; of those that may, where none is certain, the first.

    What one chain lets in the next one may still keep out: each certain rule has to let them in.
    """
    found: dict[tuple[str, str], Data] = {}
    for pair in [pair for pair in pairs if pair[1] == host]:
        for item in bad[pair][1]:
            every = rules(case, host, pair[0], item.what, "in")
            for row in [row for row in every if dig(row, "sure") is True] or every[:1]:
                found[text(row, "chain"), text(row, "rule")] = row
    return list(found.values())


def _flushed(case: Case, host: str) -> tuple[str, str] | None:
    """(what was seen, the tool) of a firewall that is on while its rules are gone."""
    for item in dig(case.fabric.get(host), "firewalls", []):
        if dig(item, "flushed") is True:
            return f"{dig(item, 'name')}: {dig(item, 'evidence')}", str(dig(item, "name"))
    return None


def _reload(tool: str, shut: bool) -> tuple[str, str]:
    """(cause, remedy) of a firewall whose rules were flushed; with ``shut`` what is left lets nobody in."""
    left = "The policy that drops was left, so that nobody gets in." if shut else "Nothing is filtered until then."
    cause = f"A firewall says that it is active, and its rules were flushed: its next reload brings them back. {left}"
    # ufw takes chains that are there, though empty, for loaded ones: they have to go first
    anew = "iptables -P INPUT ACCEPT && iptables -F && iptables -X && ufw disable && ufw --force enable"
    command = anew if tool == "ufw" else "firewall-cmd --reload"
    return cause, f"{command}, which loads its rules again, then run site.yml, which lets the nodes in."


@rule(
    About(
        "fw-flushed",
        layer="network",
        severity=WARN,
        also=(FAIL,),
        title="A firewall is active, but its rules were flushed",
        symptom="`iptables -F` and nobody gets in, or everybody does",
        source="iptables(8), nft(8)",
    ),
    needs=("fabric",),
)
def flushed(case: Case) -> t.Iterable[Answer]:
    """A firewall that is on without its rules, although nothing is blocked now."""
    hit = {pair[1] for pair in blocked(case)}
    for host in live(case):
        gone = _flushed(case, host)
        if gone and host not in hit:
            yield finding("fw-flushed", WARN, host, gone[0], *_reload(gone[1], False))


@rule(
    About(
        "fw-comes-back-at-boot",
        layer="network",
        severity=WARN,
        title="Saved firewall rules shut the nodes out at the next boot",
        symptom="all is well until the reboot, then errno 113",
        source="netfilter-persistent(8), canonical-ubuntu images of Oracle",
    ),
    needs=("fabric",),
)
def comes_back(case: Case) -> t.Iterable[Answer]:
    """Rules that are not loaded now, and will be at the next boot."""
    hit = {host for pair in blocked(case) for host in pair}
    for host in [name for name in live(case) if name not in hit and len(names(case)) > 1]:
        saved = dig(case.fabric[host], "filtered_at_boot", {})
        now = {text(row, "rule") for row in rows(case.fabric[host], "filtered")}
        peers = {str(dig(node(case, name), "address")) for name in names(case) if name != host}
        kept = [
            text(row, "rule")
            for row in rows(saved, "rows")
            if dig(row, "sure") is True and _of_jobs(case, row, peers) and text(row, "rule") not in now
        ]
        if kept and isinstance(dig(case.fabric[host], "filtered"), list):
            yield finding(
                "fw-comes-back-at-boot",
                WARN,
                host,
                f"{dig(saved, 'file')}, loaded by {dig(saved, 'unit')}: {shorten(kept)}",
                "The rules that are loaded at boot keep the other nodes out, and those of now do not.",
                f"{dig(saved, 'save')} keeps the rules of now; or take that line out of {dig(saved, 'file')}.",
            )


def _of_jobs(case: Case, row: Data, peers: set[str]) -> bool:
    """Whether a rule keeps other nodes from ports that jobs use."""
    meant = dig(row, "peers") is None or bool(peers & {str(peer) for peer in dig(row, "peers", [])})
    return meant and any(holds(row, str(port)) for port in dig(case.plan, "probe_ports", []))


@rule(
    About(
        "fw-wrong-tool",
        layer="network",
        severity=FAIL,
        also=(WARN,),
        title="A firewall other than the configured one is active",
        symptom='"disabled" and still blocked',
        source="field notes",
    ),
    needs=("fabric",),
)
def wrong_tool(case: Case) -> t.Iterable[Answer]:
    """The firewall that site.yml is told to open is off, and another one is on, although nothing is blocked yet.

    Rules by hand that let all nodes in are their owner's business; firewalld and ufw would keep an added node out.
    """
    tool = str(dig(case.plan, "firewall", ""))
    hit = {pair[1] for pair in blocked(case)}
    for host in case.fabric:
        found = active(case, host)
        by_hand = not set(found) & set(TOOLS) and lets_all_in(case, host)
        if tool in TOOLS and found and tool not in found and not by_hand and host not in hit | absent(case):
            cause = (
                f"trainmesh_firewall opens {tool}, which is not the firewall that is in force there: a node that is "
                "added would not be let in."
            )
            evidence = f"active: {', '.join(found)}"
            yield finding(
                "fw-wrong-tool", WARN, host, evidence, cause, "Set trainmesh_firewall: auto in the inventory."
            )


@rule(
    About(
        "rdzv-errno-98",
        layer="network",
        severity=FAIL,
        also=(WARN,),
        title="The port of the rendezvous is taken",
        symptom="`errno: 98 - Address already in use`",
        source="DS#1923",
    ),
    About(
        "rdzv-errno-13",
        layer="network",
        severity=FAIL,
        title="The port of the rendezvous is privileged",
        symptom="`errno: 13 - Permission denied`",
        source="field notes",
    ),
    About(
        "rdzv-errno-99",
        layer="network",
        severity=FAIL,
        title="The master address is not the head's own",
        symptom="`errno: 99 - Cannot assign requested address`",
        source="bind(2)",
    ),
    About(
        "fw-ephemeral-blocked",
        layer="network",
        severity=FAIL,
        title="Only the master port is open",
        symptom="the rendezvous works, NCCL hangs or is aborted",
        source="NT#162, NC#1515",
    ),
    applies=_ports_tried,
)
def ports_taken(case: Case) -> t.Iterable[Answer]:
    """Ports that could not be had for the test; those that an abandoned run holds are told with that run."""
    head, master = str(dig(case.plan, "head", "")), str(dig(case.plan, "master.port", ""))
    for host in [name for name in case.listeners if name not in absent(case)]:
        for port, problem in (case.listeners[host] or {}).items():
            number, text = (problem[0], str(problem[-1])) if problem else (None, "unknown")
            if number == EADDRINUSE and str(port) in held_by_orphans(case, host):
                continue
            if str(port) != master:
                yield Untested("fw-ephemeral-blocked", (host,), f"port {port} could not be listened on: {text}")
                continue
            severity = FAIL if host == head else WARN
            yield from _taken(case, severity, host, str(port), number, text)
    yield from _strangers(case)


def _taken(case: Case, severity: str, host: str, port: str, number: t.Any, text: str) -> t.Iterator[Answer]:
    if number == EADDRINUSE:
        holder = port_holder(case, host, port)
        pid = dig(holder, "pid")
        who = f"pid {pid} of {dig(holder, 'user')}: {dig(holder, 'command')}" if pid else "by an unknown process"
        cause = "The port of the rendezvous is taken."
        check = dig(holder, "check")
        if check:
            cause = (
                "A check run of this collection, of another run of it or of one that was interrupted, still goes on."
            )
            remedy = (
                f"Wait for it, or {dig(case.plan, 'prefix', '/opt/trainmesh')}/bin/trainmesh-stop {check} on {host}."
            )
            yield finding("rdzv-errno-98", severity, host, f"port {port} is held, {who}", cause, remedy)
            return
        if pid and pid in {
            dig(item, "pid") for item in processes(case, host)
        }:  # those of dead runs were left out above
            yield Untested(
                PORT_TAKEN, (host,), f"a job runs, and holds port {port}: {who}; verify again when it has ended"
            )
            return
        stop = (
            f"kill {pid} on {host} if it is left over" if pid else f"ss -ltnp 'sport = :{port}' on {host} tells by whom"
        )
        remedy = f"{stop}; or choose another trainmesh_master_port."
        yield finding("rdzv-errno-98", severity, host, f"port {port} is held, {who}", cause, remedy)
    elif number == EACCES:
        first = dig(case.fabric.get(host), "unprivileged_port_start", 1024)
        cause = "The job user may not listen on the port of the rendezvous."
        remedy = f"Choose trainmesh_master_port from {first} on, such as 29500."
        evidence = f"port {port}: {text}; ports below {first} are root's"
        yield finding("rdzv-errno-13", severity, host, evidence, cause, remedy)
    elif number != EADDRNOTAVAIL:
        yield Untested("rdzv-connect-failed", (host,), f"port {port} could not be listened on: {text}")
    elif str(dig(node(case, host), "address", "")) in _held(case, host):
        cause = "The port of the rendezvous can't be listened on."
        yield finding("rdzv-errno-99", severity, host, f"port {port}: {text}", cause, "See the system's message.")


def _held(case: Case, host: str) -> list[str]:
    """The node's addresses, the planned one too when the facts do not tell: others' rules judge a missing one."""
    rows = dig(case.fabric.get(host), "interfaces", [])
    found = [str(dig(own, "address")) for row in rows for own in dig(row, "addresses", [])]
    return found or [str(dig(node(case, host), "address", ""))]


def _strangers(case: Case) -> t.Iterator[Answer]:
    """A port on which another program answered the test."""
    for item in tcp_results(case):
        if item.failure == "stranger" and item.what not in (case.listeners.get(item.target) or {}):
            cause = "Another program answers on a port of the job."
            remedy = f"ss -ltnp 'sport = :{item.what}' on {item.target} tells which; or change trainmesh_master_port."
            yield finding("rdzv-errno-98", FAIL, item.target, f"from {item.source}: {item.evidence}", cause, remedy)
