# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the nodes at either end of a failed connection say of their own routes and filter rules.

A connection fails at B when B's firewall keeps A out, and just so when A's own rules or routes keep its packets in, or
when B can't answer. So both ends are read before one of them is named.
"""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import node, rows, shorten, text, texts
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.mesh import Pair, tcp_results
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Data, dig, once
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._let_in import by_writer, open_up

# How a packet ends that the kernel of the target drops: it does not answer ARP either, so that there is no way.
UNANSWERED = ("timeout", "no_route")
ROUTE, RULE, PATH, VRF, BRIDGE = "route", "rule", "path", "vrf", "bridge"
# What connect(2) says of a route that is there to refuse; see ip-route(8).
_REFUSALS = {"Invalid argument": "blackhole", "Permission denied": "prohibit", "No route to host": "unreachable"}


class Block(t.NamedTuple):
    """What a node itself keeps back: a route that it lacks or a rule of its own; ``fix`` is a command.

    ``row`` is the rule, and ``peer`` the node whose packets it is about.
    """

    host: str
    kind: str
    evidence: str
    fix: str = ""
    row: Data | None = None
    peer: str = ""


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
    if not refused and not kind and (found_vrf := in_vrf(case, host)):
        return found_vrf
    if refused:
        kind = kind or "unreachable"
        return Block(host, ROUTE, f"{host} has a {kind} route for {refused}", f"ip route del {kind} {refused}")
    if kind:
        look = f"ip rule; ip route show table all match {address}"
        return Block(host, ROUTE, f"{host} has a {kind} route or rule for {address}: {error}", look)
    return Block(host, ROUTE, f"{host} has no route to {address}: {error or 'unknown'}", f"ip route get {address}")


def rules(case: Case, host: str, peer: str, port: str, direction: str, answers: bool = False) -> list[Data]:
    """The rules of a node that keep back what goes to a peer's data address, or comes from it, certain ones first."""
    found = []
    for row in rows(case.fabric.get(host), "filtered"):
        if (
            _is_about(case, row, peer)
            and dig(row, "direction") == direction
            and bool(dig(row, "answers")) is answers
            and holds(row, port)
        ):
            found.append(row)
    return sorted(found, key=lambda row: dig(row, "sure") is not True)


def holds(row: Data, port: str) -> bool:
    """Whether a rule is about a port."""
    spans = dig(row, "ports", [])
    number = int(port) if port.isdigit() else 0
    return any(isinstance(span, list) and len(span) == 2 and span[0] <= number <= span[1] for span in spans)


def own_block(case: Case, pair: Pair, port: str, silent: bool = False) -> Block | None:
    """What explains that a connection to a port failed, other than the target's rules on what comes in.

    ``silent``: there was no answer at all, to ARP or to the call.
    """
    source, target = pair
    if found := no_route(case, source, target) or into_bridge(case, source, target):
        return found
    at_target = [row for row in rules(case, target, source, port, "in") if dig(row, "sure") is True]
    going = [row for row in rules(case, source, target, port, "out") if not _refuted(case, source, row)]
    if going and (dig(going[0], "sure") is True or not at_target):
        return kept_by(source, going[0], target)
    if at_target:
        return None
    if found := no_route(case, target, source) or into_bridge(case, target, source):
        return found
    for host, peer, direction in ((target, source, "out"), (source, target, "in")):
        kept = [row for row in rules(case, host, peer, port, direction, answers=True) if dig(row, "sure") is True]
        if kept:
            return kept_by(host, kept[0], peer)
    if found := in_vrf(case, target):
        return found
    ends = (pair, pair[::-1]) if silent else ()
    return next((found for near, far in ends if (found := _strict_path(case, near, far))), None)


def into_bridge(case: Case, host: str, peer: str) -> Block | None:
    """A route to a peer that leads into a bridge of containers or virtual machines, which has that network too."""
    way = route(case, host, peer)
    name = str(dig(way, "leaves_by") or dig(way, "interface") or "")
    own = str(dig(node(case, host), "address", ""))
    item = next((each for each in rows(case.fabric.get(host), "interfaces") if dig(each, "name") == name), {})
    held = [f"{dig(each, 'address')}/{dig(each, 'prefix')}" for each in dig(item, "addresses", [])]
    ports = [each for each in rows(case.fabric.get(host), "interfaces") if dig(each, "master") == name]
    cabled = any(dig(each, "kind") in ("physical", "bond", "team", "vlan") for each in ports)
    if dig(item, "kind") != "bridge" or cabled or any(each.partition("/")[0] == own for each in held):
        return None
    address = str(dig(node(case, peer), "address", ""))
    return Block(host, BRIDGE, f"the route of {host} to {address} leads into {name} ({', '.join(held)})", name)


def in_vrf(case: Case, host: str) -> Block | None:
    """A data card in a VRF: who is outside, as a job is, has neither its routes nor what comes in by it."""
    facts, address = case.fabric.get(host), str(dig(node(case, host), "address", ""))
    vrfs = {text(item, "name") for item in rows(facts, "interfaces") if dig(item, "kind") == "vrf"}
    for item in rows(facts, "interfaces") if vrfs and dig(facts, "vrf_accepts") is not True else ():
        vrf, card = str(dig(item, "master") or ""), text(item, "name")
        if vrf in vrfs and any(dig(own, "address") == address for own in dig(item, "addresses", [])):
            return Block(host, VRF, f"{host} has {address} on {card}, which is in the VRF {vrf}", card)
    return None


def _strict_path(case: Case, source: str, target: str) -> Block | None:
    """A target that takes in by one card what it would answer by another, with a strict reverse path filter."""
    facts, way = case.fabric.get(target), route(case, target, source)
    back = dig(way, "leaves_by") or dig(way, "interface")
    address = str(dig(node(case, target), "address", ""))
    card = next(
        (
            text(item, "name")
            for item in rows(facts, "interfaces")
            if any(dig(own, "address") == address for own in dig(item, "addresses", []))
        ),
        "",
    )
    if not back or not card or back == card or card not in texts(facts, "strict_reverse_path"):
        return None
    seen = f"{target} has {address} on {card}, where rp_filter is 1, and its route to {source} leads by {back}"
    return Block(target, PATH, seen, "sysctl -w net.ipv4.conf.all.rp_filter=2")


def _refuted(case: Case, source: str, row: Data) -> bool:
    """Whether a rule that may be about these packets let others of the kind through."""
    return dig(row, "sure") is not True and any(
        _is_about(case, row, target) and holds(row, port) for target, port in _gone_through(case).get(source, ())
    )


@once
def _gone_through(case: Case) -> dict[str, set[tuple[str, str]]]:
    """(target, port) of the connections that came about, by their source."""
    found: dict[str, set[tuple[str, str]]] = {}
    for item in tcp_results(case):
        if item.ok and item.source != item.target:
            found.setdefault(item.source, set()).add((item.target, item.what))
    return found


def _is_about(case: Case, row: Data, peer: str) -> bool:
    peers = dig(row, "peers")
    return peers is None or (isinstance(peers, list) and str(dig(node(case, peer), "address", "")) in peers)


def kept_by(host: str, row: Data, peer: str) -> Block:
    """What a rule of a node keeps back of a peer's packets, or may keep back."""
    way = "outgoing" if dig(row, "direction") == "out" else "incoming"
    what = f"{way} {'answers' if dig(row, 'answers') else 'packets'}"
    keeps = "keeps" if dig(row, "sure") is True else "may keep"
    return Block(host, RULE, f"{host} {keeps} back {what} ({peer}): {text(row, 'rule')}", row=row, peer=peer)


_DOCKER = (
    '"bip": "192.168.240.1/24", "default-address-pools": [{"base": "192.168.224.0/20", "size": 24}] in '
    "/etc/docker/daemon.json there (networks that no node is in), then systemctl restart docker."
)


def _other_network(bridge: str) -> str:
    """How the owner of a bridge gets another network."""
    if bridge == "docker0":
        return _DOCKER
    if bridge.startswith("br-"):
        return f"docker network ls, docker network rm that of {bridge}, which compose makes anew; before that {_DOCKER}"
    if bridge.startswith("virbr"):
        return (
            f"virsh net-list, virsh net-edit that of {bridge} there (another network), then net-destroy and net-start."
        )
    return f"ip link set {bridge} down there, if nothing needs it; else give it another network than that of the nodes."


def undo(row: Data, peers: t.Sequence[str]) -> str:
    """The command that lets these packets through, by who manages the rule."""
    written = by_writer(row, peers)
    if written:
        return written
    tool, out = text(row, "tool"), dig(row, "direction") == "out"
    way = "outgoing" if out else "incoming"
    if tool == "ufw" and text(row, "rule").startswith("-P "):
        allow = " && ".join(f"ufw allow {'out to' if out else 'from'} {peer}" for peer in peers)
        return f"{allow}; or ufw default allow {way}"
    if tool == "ufw":
        return f"ufw status numbered, then ufw delete NUMBER of the rule that denies {way} packets"
    if tool == "firewalld":
        return "firewall-cmd --get-active-policies; firewall-cmd --direct --get-all-rules; take that rule out"
    return text(row, "undo") or "take that rule out"


def words(case: Case, blocks: t.Sequence[Block]) -> tuple[str, str]:
    """(cause, remedy) of what one node keeps back."""
    host, kinds = blocks[0].host, {block.kind for block in blocks}
    kept = {text(block.row, "rule"): block.row for block in blocks if block.row}
    peers = list(dict.fromkeys(block.peer for block in blocks if block.row))
    if kinds == {RULE} and all(dig(row, "direction") == "in" for row in kept.values()):
        cause = "Rules of its own firewall keep out what other nodes send it, or what they answer."
        return cause, open_up(case, host, peers, list(kept.values()))
    addresses = [str(dig(node(case, peer), "address", peer)) for peer in peers]
    commands = [block.fix for block in blocks if block.fix] + [undo(row, addresses) for row in kept.values()]
    fixes = shorten(dict.fromkeys(commands))
    if kinds == {ROUTE}:
        cause = (
            "It has no route to the data address of another node, or one that refuses: it neither connects to that "
            "node nor answers it."
        )
        return cause, f"{fixes} on {host}, and in its network configuration; or set trainmesh_address."
    if kinds == {BRIDGE}:
        bridge = blocks[0].fix
        cause = (
            f"A bridge of containers or virtual machines ({bridge}) has the network of other nodes: packets end in it."
        )
        return cause, _other_network(bridge)
    if kinds == {VRF}:
        cause = (
            "Its data card is in a VRF, and jobs are not: listeners outside do not get what comes in by that card, and "
            "its routes are not theirs."
        )
        return cause, (
            f"ip link set dev {blocks[0].fix} nomaster on {host}, and in its network configuration; or have sshd, from "
            "which jobs come, in the VRF (ExecStart=/sbin/ip vrf exec VRF /usr/sbin/sshd -D in a drop-in); for what "
            "listens alone sysctl -w net.ipv4.tcp_l3mdev_accept=1."
        )
    if kinds == {PATH}:
        cause = "Its kernel drops what comes in by one card while the answer would leave by another (rp_filter)."
        return cause, (
            f"{fixes} on {host}, and the same in /etc/sysctl.d; better, let answers leave by the card that is asked "
            "(rules by source: ip rule add from ADDRESS table N), or give the cards networks of their own."
        )
    cause = "Rules of its own firewall keep back what it sends to other nodes, or what they answer."
    return cause, f"{fixes} on {host}, and the same in the configuration that loads the rule."
