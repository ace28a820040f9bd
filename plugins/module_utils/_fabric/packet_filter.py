# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a set of filter rules does with the TCP packets to and from one peer.

A rule of a firewall keeps somebody out only if no earlier one has let that packet through. So the chains are walked
with a packet whose ports are left open, and what is blocked is told with its ports and with the rule that does it.
"""

from __future__ import annotations

import bisect
import ipaddress
import typing as t

Span = tuple[int, int]
Spans = tuple[Span, ...]

EVERY_PORT: Spans = ((1, 65535),)
# Where the other end of a connection of a job mostly is: net.ipv4.ip_local_port_range of Linux.
EPHEMERAL: Span = (32768, 60999)
OUT, IN = "out", "in"
ACCEPT, BLOCK, JUMP, GOTO, RETURN, PASS = "accept", "block", "jump", "goto", "return", ""
YES, NO, MAYBE = 1, 0, -1
DEEPEST, MANY = 32, 64
# Bits of a TCP header's flags, by the names that iptables and nft have for them.
FLAGS = {name: 1 << bit for bit, name in enumerate(("fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"))}
SYN, ACK = FLAGS["syn"], FLAGS["ack"]


class Match(t.NamedTuple):
    """One condition of a rule: ``values`` are spans of numbers, or words; ``negated`` turns it round.

    Of ``any`` they are alternatives, each of several conditions that hold together.
    """

    field: str
    values: tuple[t.Any, ...]
    negated: bool = False


class Rule(t.NamedTuple):
    """One rule: its conditions, whether these are all of them (``sure``), and what becomes of the packet.

    ``text`` is the rule as its tool writes it, ``undo`` the command that takes it away. ``marks`` are the bits of the
    packet's mark that it may set, ``connection_marks`` those of the connection's.
    """

    matches: tuple[Match, ...]
    sure: bool
    verdict: str
    target: str = ""
    text: str = ""
    undo: str = ""
    marks: int = 0
    connection_marks: int = 0


class Chain(t.NamedTuple):
    """The rules of a chain; ``hook`` (input, output, ...) and ``policy`` are empty for one that others jump to.

    ``tool`` is who manages it: iptables, nftables, ufw or firewalld; ``place`` names it in words. ``of_policy`` is the
    policy as a rule. ``family`` (ipv4, ipv6) is empty for a chain that sees the packets of both.
    """

    place: str
    tool: str
    hook: str
    policy: str
    rules: tuple[Rule, ...]
    of_policy: Rule = Rule((), True, BLOCK, text="policy drop")
    family: str = ""


class Packet(t.NamedTuple):
    """A TCP packet to (``out``) or from (``in``) a peer: the first of a connection, or an answer on one.

    ``interface`` is empty and ``uid`` None where it is not known. The ports of the service are left open.
    """

    direction: str
    answer: bool
    own: str
    peer: str
    interface: str = ""
    uid: int | None = None


class Blocked(t.NamedTuple):
    """What is kept back: by which rule of which chain, on what ports of the service, and whether that is certain."""

    chain: Chain
    rule: Rule
    ports: Spans
    sure: bool


Chains = t.Mapping[str, Chain]
_HOOKS = {OUT: ("output", "postrouting"), IN: ("ingress", "prerouting", "input")}


def can_block(chains: Chains, direction: str) -> bool:
    """Whether anything on the way of such packets drops or rejects at all."""
    reached = _reached(chains, direction)
    rules = (rule for name in reached for rule in chains[name].rules)
    return any(rule.verdict == BLOCK for rule in rules) or any(chains[name].policy == BLOCK for name in reached)


def count(chains: Chains, direction: str) -> int:
    """How many rules there are on the way of such packets."""
    return sum(len(chains[name].rules) for name in _reached(chains, direction))


def _reached(chains: Chains, direction: str) -> list[str]:
    todo = [name for name, chain in chains.items() if chain.hook in _HOOKS[direction]]
    found: dict[str, None] = {}
    while todo:
        name = todo.pop()
        if name in chains and name not in found:
            found[name] = None
            todo += [rule.target for rule in chains[name].rules if rule.target]
    return list(found)


def blocked(chains: Chains, packet: Packet) -> list[Blocked]:
    """What the rules keep back of such packets; what one chain has accepted the next one may still drop."""
    found: list[Blocked] = []
    marks = Marks(_marks(chains, packet.direction), _connection_marks(chains))
    for chain in chains.values():
        if chain.hook in _HOOKS[packet.direction] and chain.family in ("", _family(packet)):
            walk = _Walk(chains, packet, found, marks)
            walk.chain(chain, 0)
            if chain.policy == BLOCK:
                walk.block(chain, chain.of_policy, EVERY_PORT, True)
    return found


def _marks(chains: Chains, direction: str) -> int:
    """The bits of the mark that rules on the way may set: a packet begins with none."""
    bits = 0
    for name in _reached(chains, direction):
        for rule in chains[name].rules:
            bits |= rule.marks
    return bits


def _connection_marks(chains: Chains) -> int:
    """The bits of a connection's mark that rules may set, on whatever way; a connection begins with none."""
    bits = 0
    for chain in chains.values():
        for rule in chain.rules:
            bits |= rule.connection_marks
    return bits


def _family(packet: Packet) -> str:
    return "ipv6" if ":" in packet.peer else "ipv4"


class Marks(t.NamedTuple):
    """The bits of the packet's mark, and of its connection's, that some rule may have set."""

    packet: int
    connection: int


class _Walk:
    """One packet on its way: ``left`` are the ports that nobody has judged, ``doubt`` those that may be let through."""

    def __init__(self, chains: Chains, packet: Packet, found: list[Blocked], marks: Marks) -> None:
        self.chains, self.packet, self.found, self.marks = chains, packet, found, marks
        self.left: Spans = EVERY_PORT
        self.doubt: Spans = ()

    def chain(self, chain: Chain, depth: int) -> None:
        """Go through the rules of one chain; ports that a rule returns are judged by nobody below it."""
        returned: tuple[Spans, Spans] = ((), ())
        perhaps: list[tuple[Spans, int]] = []  # what may have been returned, and what was kept back until then
        for rule in chain.rules:
            if not self.left and not self.doubt:
                break
            answer, ports = _fits(rule, self.packet, self.marks)
            if answer == NO or not ports:
                continue
            sure = answer == YES
            if rule.verdict == BLOCK:
                self.block(chain, rule, ports, sure)
            elif rule.verdict == ACCEPT:
                self.accept(ports, sure)
            elif rule.verdict == RETURN and sure:
                returned = self.give_back(returned, ports)
            elif rule.verdict == RETURN:
                perhaps.append((_both(self.left, ports), len(self.found)))
                self.accept(ports, False)
            elif rule.verdict in (JUMP, GOTO) and rule.target in self.chains and depth < DEEPEST:
                self.below(rule, ports, sure, depth)
                if rule.verdict == GOTO and sure:  # what comes back from there goes on above this chain
                    returned = self.give_back(returned, ports)
            elif rule.verdict != PASS:
                self.accept(ports, False)
        self.left, self.doubt = joined(self.left, returned[0]), joined(self.doubt, returned[1])
        for ports, start in perhaps:
            self.come_back(ports, start)

    def come_back(self, ports: Spans, start: int) -> None:
        """Of ports that may have been returned those go on unjudged that nothing let through behind that rule."""
        let = _without(_without(ports, self.left), self.doubt)
        for hit in self.found[start:]:
            let = _without(let, hit.ports)
        self.left, self.doubt = joined(self.left, _without(ports, let)), joined(_without(self.doubt, ports), let)

    def give_back(self, returned: tuple[Spans, Spans], ports: Spans) -> tuple[Spans, Spans]:
        """These ports leave the chain unjudged, beside those that have left it."""
        found = joined(returned[0], _both(self.left, ports)), joined(returned[1], _both(self.doubt, ports))
        self.accept(ports, True)
        return found

    def below(self, rule: Rule, ports: Spans, sure: bool, depth: int) -> None:
        """Into another chain, with the ports of the rule alone."""
        outside = _without(self.left, ports), _without(self.doubt, ports)
        inside, start = (_both(self.left, ports), _both(self.doubt, ports)), len(self.found)
        self.left, self.doubt = inside
        self.chain(self.chains[rule.target], depth + 1)
        if not sure:  # what is let through there may be; what is kept back there may go on here
            let = _without(inside[0], self.left)
            for hit in self.found[start:]:
                let = _without(let, hit.ports) if hit.sure else let
            self.found[start:] = [hit._replace(sure=False) for hit in self.found[start:]]
            self.left, self.doubt = _without(inside[0], let), joined(inside[1], let)
        self.left, self.doubt = joined(self.left, outside[0]), joined(self.doubt, outside[1])

    def block(self, chain: Chain, rule: Rule, ports: Spans, sure: bool) -> None:
        """Note what the rule keeps back; where it may not be about them, they go on to the next."""
        hit = _both(self.left, ports)
        perhaps = _without(_both(self.doubt, ports), hit)
        if hit:
            self.found.append(Blocked(chain, rule, hit, sure))
        if perhaps:
            self.found.append(Blocked(chain, rule, perhaps, False))
        if sure:
            self.accept(ports, True)

    def accept(self, ports: Spans, sure: bool) -> None:
        """These ports are judged, or may be."""
        if sure:
            self.left, self.doubt = _without(self.left, ports), _without(self.doubt, ports)
        else:
            self.doubt = joined(self.doubt, _both(self.left, ports))
            self.left = _without(self.left, ports)


def _fits(rule: Rule, packet: Packet, marks: Marks) -> tuple[int, Spans]:
    """(whether the rule is about the packet, on what ports of the service)."""
    answer, ports = _hold(rule.matches, packet, marks)
    return MAYBE if answer == YES and not rule.sure else answer, ports


def _hold(matches: t.Sequence[Match], packet: Packet, marks: Marks) -> tuple[int, Spans]:
    """(whether all these conditions hold, on what ports of the service)."""
    answer, ports = YES, EVERY_PORT
    for match in matches:
        if match.field == "any":
            fits, spans = _any(match, packet, marks)
            answer, ports = MAYBE if fits == MAYBE else answer, _both(ports, spans)
            continue
        if match.field == ("sport" if packet.answer else "dport"):
            spans = t.cast(Spans, match.values)
            ports = _without(ports, spans) if match.negated else _both(ports, spans)
            continue
        if match.field in ("mark", "connection_mark"):
            fits = _marked(match.values[0], marks.packet if match.field == "mark" else marks.connection)
        else:
            fits = _condition(match, packet)
        if match.negated and fits != MAYBE:
            fits = NO if fits == YES else YES
        if fits == NO:
            return NO, ()
        answer = MAYBE if fits == MAYBE else answer
    return answer, ports


def _any(match: Match, packet: Packet, marks: Marks) -> tuple[int, Spans]:
    """(YES or MAYBE, ports) of alternatives: on these ports one of them holds, or none where it is negated."""
    certain, perhaps = list[Span](), list[Span]()
    for alternative in match.values:
        answer, ports = _hold(alternative, packet, marks)
        if answer != NO:
            (certain if answer == YES else perhaps).extend(ports)
    yes, maybe = _sorted(certain), _without(_sorted(perhaps), _sorted(certain))
    found = _without(EVERY_PORT, yes) if match.negated else joined(yes, maybe)
    return MAYBE if maybe else YES, found


def _condition(match: Match, packet: Packet) -> int:
    field, values = match.field, match.values
    if field in ("saddr", "daddr"):
        address = packet.peer if (field == "daddr") == (packet.direction == OUT) else packet.own
        return _in_networks(address, values)
    if field in ("sport", "dport"):
        return _in_range(EPHEMERAL, t.cast(Spans, values))
    if field in ("iif", "oif"):
        return _on_interface(field, values, packet)
    if field == "protocol":
        return YES if {"tcp", "6", "all"} & set(map(str, values)) else NO
    if field == "state":
        return YES if ("established" if packet.answer else "new") in values else NO
    if field == "family":
        return YES if _family(packet) in values else NO
    if field == "uid":
        return MAYBE if packet.uid is None or packet.answer else _number_in(packet.uid, values)
    return _of_the_kind(field, values, packet)


def _of_the_kind(field: str, values: t.Sequence[t.Any], packet: Packet) -> int:
    """Conditions that all packets of jobs meet alike, or none of them."""
    if field == "status":  # what NAT has done to it; nobody redirects the connections of jobs
        return NO if {"dnat", "snat"} & set(values) else MAYBE
    if field in ("daddr_type", "saddr_type"):
        local = (field == "daddr_type") == (packet.direction == IN)
        return YES if ("local" if local else "unicast") in values else NO
    if field == "flags":
        mask, wanted = values[0]
        return YES if (SYN | ACK if packet.answer else SYN) & mask == wanted else NO
    if field == "packet_type":
        return YES if {"host", "unicast", "0"} & set(values) else NO
    if field == "reverse_path":  # whether there is a route to where the packet came from
        return YES
    return NO if field == "never" else MAYBE


def _marked(wanted: tuple[int, int], marks: int) -> int:
    """Whether the packet's mark is (value, mask), by the bits that some rule on the way may have set."""
    value, mask = wanted
    if value & ~marks or value & ~mask:
        return NO
    return MAYBE if mask & marks else YES


def _in_networks(address: str, values: t.Sequence[tuple[int, int, int]]) -> int:
    """Whether an address is in one of the spans (IP version, first, last); MAYBE where it is not known.

    Where there are many they are those of a set: sorted, and none in another one.
    """
    if not address:
        return MAYBE
    try:
        known = ipaddress.ip_address(address.split("%", 1)[0])
    except ValueError:
        return MAYBE
    number = int(known)
    if len(values) > MANY:
        at = bisect.bisect_right(values, (known.version, number, 1 << 128))
        values = values[max(0, at - 1) : at]
    return YES if any(version == known.version and low <= number <= high for version, low, high in values) else NO


def _in_range(span: Span, values: Spans) -> int:
    """Whether a port somewhere in ``span`` is among the values."""
    inside = _both((span,), values)
    return NO if not inside else YES if inside == (span,) else MAYBE


def _on_interface(field: str, values: t.Sequence[str], packet: Packet) -> int:
    if (field == "oif") != (packet.direction == OUT):
        return NO
    named = [str(value) for value in values]
    if packet.interface:
        fits = any(
            packet.interface.startswith(name[:-1]) if name.endswith(("+", "*")) else name == packet.interface
            for name in named
        )
        return YES if fits else NO
    return NO if named == ["lo"] else MAYBE


def _number_in(number: int, values: t.Iterable[t.Any]) -> int:
    for value in values:
        low, high = value if isinstance(value, tuple) else (value, value)
        if isinstance(low, int) and low <= number <= high:
            return YES
    return NO


def span_of(text: str) -> tuple[int, int, int] | None:
    """(IP version, first, last) of an address, a network, or ``first-last``; None for anything else."""
    try:
        if "-" in text:
            ends = [ipaddress.ip_address(end.strip()) for end in text.split("-", 1)]
            return ends[0].version, int(ends[0]), int(ends[1])
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    return network.version, int(network.network_address), int(network.broadcast_address)


def _both(one: Spans, other: Spans) -> Spans:
    pairs = ((max(a, c), min(b, d)) for a, b in one for c, d in other)
    return _sorted(pair for pair in pairs if pair[0] <= pair[1])


def _without(one: Spans, other: Spans) -> Spans:
    left = list(one)
    for low, high in other:
        rest: list[Span] = []
        for start, end in left:
            rest += [(start, min(end, low - 1))] if start < low else []
            rest += [(max(start, high + 1), end)] if end > high else []
        left = rest
    return _sorted(left)


def joined(one: Spans, other: Spans) -> Spans:
    """Both together."""
    return _sorted((*one, *other))


def _sorted(spans: t.Iterable[Span]) -> Spans:
    found: list[Span] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)
