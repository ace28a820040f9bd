# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of iptables in the form in which packets are tried against them.

A condition that is not understood leaves the rule unsure: it may be about a packet, or not.
"""

from __future__ import annotations

import shlex
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import packet_filter as pf

LONGEST_TEXT = 240
IPTABLES_TABLES = frozenset({"filter", "nat", "mangle", "raw", "security"})
BUILT_IN = {"INPUT": "input", "OUTPUT": "output"}
_BUILT_IN_MORE = {**BUILT_IN, "PREROUTING": "prerouting", "POSTROUTING": "postrouting"}
# Beside that of the filter: the first two see the packets before it, and that of NAT may mark connections.
MORE_TABLES = ("mangle", "raw", "nat")
# What goes on: the packet is only marked, counted or logged.
_GOES_ON = frozenset("LOG NFLOG MARK CONNMARK TCPMSS CT NOTRACK TOS DSCP CHECKSUM CLASSIFY SET AUDIT TRACE TTL".split())

Sets = t.Mapping[str, t.Sequence[str]]


def iptables(text: str, program: str = "iptables", sets: Sets | None = None) -> dict[str, pf.Chain]:
    """The chains of a table in the answer of ``iptables -S``. Format: iptables-save(8).

    ``program`` has the table in it where it is not that of the filter: ``iptables -t mangle``. ``sets`` are the members
    of sets of ipset, by name; a rule about any other one is unsure.
    """
    hooks = BUILT_IN if " -t " not in program else {} if program.endswith(" nat") else _BUILT_IN_MORE
    policies: dict[str, str] = {}
    rules: dict[str, list[pf.Rule]] = {}
    for line in text.splitlines():
        try:
            words = shlex.split(line)
        except ValueError:
            continue
        if len(words) >= 3 and words[0] == "-P":
            policies[words[1]] = pf.ACCEPT if words[2] == "ACCEPT" else pf.BLOCK
            rules.setdefault(words[1], [])
        elif len(words) >= 2 and words[0] == "-N":
            rules.setdefault(words[1], [])
        elif len(words) >= 2 and words[0] == "-A":
            rules.setdefault(words[1], []).append(_iptables_rule(words, line.strip(), program, sets or {}))
    found = {}
    for name, own in rules.items():
        of_ufw = name.startswith("ufw") or any(f"{program} ufw-" in rule.target for rule in own)
        hook, place = hooks.get(name, ""), f"{program} {name}"
        policy = pf.Rule((), True, pf.BLOCK, "", f"-P {name} DROP", f"{program} -P {name} ACCEPT")
        tool, default = "ufw" if of_ufw else "iptables", policies.get(name, "") if hook else ""
        family = "ipv6" if program.startswith("ip6") else "ipv4"
        found[place] = pf.Chain(place, tool, hook, default, tuple(own), policy, family)
    return found


def _iptables_rule(words: list[str], line: str, program: str, sets: Sets) -> pf.Rule:
    matches: list[pf.Match] = []
    sure, verdict, target, module, negated, marks, connection_marks = True, pf.PASS, "", "", False, 0, 0
    undo = shlex.join([*program.split(), "-D", *words[1:]])
    rest = iter(words[2:])
    for word in rest:
        if word == "!":
            negated = True
            continue
        if word in ("-j", "-g"):
            name = next(rest, "")
            verdict, target = _iptables_verdict(name, word == "-g")
            target = f"{program} {target}" if target else ""
            marks, connection_marks = _marks_set(name, list(rest))
            break  # what follows belongs to the target
        if word in ("-m", "--match"):
            module = next(rest, "")
        elif word == "--comment":
            next(rest, "")
        elif word == "--match-set":
            name = next(rest, "")
            match = _set_match(name, next(rest, ""), sets)
            undo = shlex.join(["ipset", "del", name, "ADDRESS"]) if match and not negated else undo
            sure = sure and match is not None
            matches += [match._replace(negated=negated)] if match else []
        elif word == "--mark" and module == "connmark":
            match = _mark(next(rest, ""), "connection_mark")
            sure = sure and match is not None
            matches += [match._replace(negated=negated)] if match else []
        elif word in _OPTIONS:
            match = _OPTIONS[word](next(rest, ""))
            sure = sure and match is not None
            matches += [match._replace(negated=negated)] if match else []
        elif word == "--syn":
            matches.append(pf.Match("flags", ((_SYN_MASK, pf.SYN),), negated))
        elif word == "--tcp-flags":
            matches.append(pf.Match("flags", ((_bits(next(rest, "")), _bits(next(rest, ""))),), negated))
        elif word in ("-f", "--fragment"):  # of a packet that came in pieces only the first has ports
            matches.append(pf.Match("never", (), negated))
        else:
            sure = False
        negated = False
    return pf.Rule(tuple(matches), sure, verdict, target, line[:LONGEST_TEXT], undo, marks, connection_marks)


_SYN_MASK = pf.FLAGS["fin"] | pf.SYN | pf.FLAGS["rst"] | pf.ACK
EVERY_MARK = 0xFFFFFFFF


def _bits(text: str) -> int:
    """The bits of ``SYN,ACK``, ``ALL`` or ``NONE``."""
    names = text.lower().split(",")
    return 0x3F if names == ["all"] else sum(pf.FLAGS.get(name, 0) for name in dict.fromkeys(names))


def _marks_set(target: str, words: t.Sequence[str]) -> tuple[int, int]:
    """The bits of the packet's mark, and of its connection's, that a target may set; CONNMARK moves them as well."""
    if target == "CONNMARK" and words[:1] == ["--restore-mark"]:
        return EVERY_MARK, 0
    if target not in ("MARK", "CONNMARK"):
        return 0, 0
    value = words[1].partition("/")[0] if len(words) > 1 else ""
    try:
        bits = int(value, 0) & EVERY_MARK
    except ValueError:
        bits = EVERY_MARK
    return (bits, 0) if target == "MARK" else (0, bits)


def _iptables_verdict(name: str, goes: bool) -> tuple[str, str]:
    if name in ("ACCEPT", "RETURN"):
        return (pf.ACCEPT if name == "ACCEPT" else pf.RETURN), ""
    if name in ("DROP", "REJECT", "TARPIT"):
        return pf.BLOCK, ""
    return (pf.PASS, "") if name in _GOES_ON else (pf.GOTO if goes else pf.JUMP, name)


def _addresses(field: str) -> t.Callable[[str], pf.Match | None]:
    def read(text: str) -> pf.Match | None:
        spans = [pf.span_of(part) for part in text.split(",")]
        return pf.Match(field, tuple(spans)) if None not in spans else None

    return read


def _set_match(name: str, way: str, sets: Sets) -> pf.Match | None:
    field = {"src": "saddr", "dst": "daddr"}.get(way)
    spans = [pf.span_of(member) for member in sets[name]] if field and name in sets else [None]
    return pf.Match(str(field), tuple(sorted(span for span in spans if span))) if None not in spans else None


def _ports(field: str) -> t.Callable[[str], pf.Match | None]:
    def read(text: str) -> pf.Match | None:
        spans = []
        for part in text.split(","):
            low, colon, high = part.partition(":")
            if not (low or "0").isdigit() or not (high or "0").isdigit():
                return None
            spans.append((int(low or 0), int(high or 65535) if colon else int(low or 0)))
        return pf.Match(field, tuple(spans))

    return read


def _words(field: str) -> t.Callable[[str], pf.Match | None]:
    return lambda text: pf.Match(field, tuple(word.lower() for word in text.split(",")))


def _interface(field: str) -> t.Callable[[str], pf.Match | None]:
    return lambda text: pf.Match(field, (text,))


def _uid(text: str) -> pf.Match | None:
    low, _dash, high = text.partition("-")
    return pf.Match("uid", ((int(low), int(high or low)),)) if low.isdigit() and (high or "0").isdigit() else None


def _mark(text: str, field: str = "mark") -> pf.Match | None:
    value, slash, mask = text.partition("/")
    try:
        return pf.Match(field, ((int(value, 0), int(mask, 0) if slash else EVERY_MARK),))
    except ValueError:
        return None


_OPTIONS: dict[str, t.Callable[[str], pf.Match | None]] = {
    "-s": _addresses("saddr"),
    "-d": _addresses("daddr"),
    "--src-range": _addresses("saddr"),
    "--dst-range": _addresses("daddr"),
    "-i": _interface("iif"),
    "-o": _interface("oif"),
    "-p": _words("protocol"),
    "--ctstate": _words("state"),
    "--state": _words("state"),
    "--dst-type": _words("daddr_type"),
    "--src-type": _words("saddr_type"),
    "--uid-owner": _uid,
    "--mark": _mark,
    "--pkt-type": _words("packet_type"),
    **dict.fromkeys(("--dport", "--dports"), _ports("dport")),
    **dict.fromkeys(("--sport", "--sports"), _ports("sport")),
}
