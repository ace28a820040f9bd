# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the nodes at either end of a failed connection say of their own routes and filter rules.

A connection fails at B when B's firewall keeps A out, and just so when A's own rules or routes keep its packets in, or
when B can't answer. So both ends are read before one of them is named.
"""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import node, rows, shorten, text
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.mesh import Pair
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Data, dig

ROUTE, RULE = "route", "rule"
# What connect(2) says of a route that is there to refuse; see ip-route(8).
_REFUSALS = {"Invalid argument": "blackhole", "Permission denied": "prohibit", "No route to host": "unreachable"}


class Block(t.NamedTuple):
    """What a node itself keeps back: a route that it lacks or a rule of its own; ``fix`` is a command."""

    host: str
    kind: str
    evidence: str
    fix: str


def route(case: Case, host: str, peer: str) -> Data:
    """What a node says of its way to a peer's data address."""
    address = str(dig(node(case, peer), "address", ""))
    routes = dig(case.fabric.get(host), "routes", {})
    found = routes.get(address) if isinstance(routes, t.Mapping) else None
    return found if isinstance(found, t.Mapping) else {}


def no_route(case: Case, host: str, peer: str) -> Block | None:
    """A route that the node lacks, or one that refuses."""
    found = route(case, host, peer)
    if dig(found, "reachable") is not False:
        return None
    address, error = str(dig(node(case, peer), "address", "")), str(dig(found, "error", ""))
    refused, kind = dig(found, "refused_by"), _REFUSALS.get(error)
    if refused:
        kind = kind or "unreachable"
        return Block(host, ROUTE, f"{host} has a {kind} route for {refused}", f"ip route del {kind} {refused}")
    if kind:
        look = f"ip rule; ip route show table all match {address}"
        return Block(host, ROUTE, f"{host} has a {kind} route or rule for {address}: {error}", look)
    return Block(host, ROUTE, f"{host} has no route to {address}: {error or 'unknown'}", f"ip route get {address}")


def rules(case: Case, host: str, peer: str, port: str, direction: str, answers: bool = False) -> list[Data]:
    """The rules of a node that keep back what goes to a peer's data address, or comes from it, certain ones first."""
    address = str(dig(node(case, peer), "address", ""))
    found = []
    for row in rows(case.fabric.get(host), "filtered"):
        peers = dig(row, "peers")
        meant = peers is None or (isinstance(peers, list) and address in peers)
        if meant and dig(row, "direction") == direction and bool(dig(row, "answers")) is answers and holds(row, port):
            found.append(row)
    return sorted(found, key=lambda row: dig(row, "sure") is not True)


def holds(row: Data, port: str) -> bool:
    """Whether a rule is about a port."""
    spans = dig(row, "ports", [])
    number = int(port) if port.isdigit() else 0
    return any(isinstance(span, list) and len(span) == 2 and span[0] <= number <= span[1] for span in spans)


def own_block(case: Case, pair: Pair, port: str) -> Block | None:
    """What explains that a connection to a port failed, other than the target's rules on what comes in."""
    source, target = pair
    if found := no_route(case, source, target):
        return found
    at_target = [row for row in rules(case, target, source, port, "in") if dig(row, "sure") is True]
    going = rules(case, source, target, port, "out")
    if going and (dig(going[0], "sure") is True or not at_target):
        return _by(source, going, target)
    if at_target:
        return None
    if found := no_route(case, target, source):
        return found
    for host, peer, direction in ((target, source, "out"), (source, target, "in")):
        kept = [row for row in rules(case, host, peer, port, direction, answers=True) if dig(row, "sure") is True]
        if kept:
            return _by(host, kept, peer)
    return None


def _by(host: str, found: t.Sequence[Data], peer: str) -> Block:
    row = found[0]
    way = "outgoing" if dig(row, "direction") == "out" else "incoming"
    what = f"{way} {'answers' if dig(row, 'answers') else 'packets'}"
    return Block(host, RULE, f"{host} keeps back {what} ({peer}): {text(row, 'rule')}", undo(row))


def undo(row: Data) -> str:
    """The command that lets these packets through, by who manages the rule."""
    tool, out = text(row, "tool"), dig(row, "direction") == "out"
    way = "outgoing" if out else "incoming"
    if tool == "ufw" and text(row, "rule").startswith("-P "):
        return f"ufw default allow {way}, or ufw allow {'out to' if out else 'from'} PEER"
    if tool == "ufw":
        return f"ufw status numbered, then ufw delete NUMBER of the rule that denies {way} packets"
    if tool == "firewalld":
        return "firewall-cmd --get-active-policies; firewall-cmd --direct --get-all-rules; take that rule out"
    return text(row, "undo") or "take that rule out"


def words(blocks: t.Sequence[Block]) -> tuple[str, str]:
    """(cause, remedy) of what one node keeps back."""
    host, kinds = blocks[0].host, {block.kind for block in blocks}
    fixes = shorten(dict.fromkeys(block.fix for block in blocks))
    if kinds == {ROUTE}:
        cause = (
            "It has no route to the data address of another node, or one that refuses: it neither connects to that "
            "node nor answers it."
        )
        return cause, f"{fixes} on {host}, and in its network configuration; or set trainmesh_address."
    cause = "Rules of its own firewall keep back what it sends to other nodes, or what they answer."
    return cause, f"{fixes} on {host}, and the same in the configuration that loads the rule."
