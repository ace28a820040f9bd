# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of iptables and nftables in the form in which packets are tried against them.

A condition that is not understood leaves the rule unsure: it may be about a packet, or not.
"""

from __future__ import annotations

import json
import shlex
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import packet_filter as pf

LONGEST_TEXT, LARGEST_SAVED = 240, 256 * 1024
IPTABLES_TABLES = frozenset({"filter", "nat", "mangle", "raw", "security"})
_BUILT_IN = {"INPUT": "input", "OUTPUT": "output"}
# What goes on: the packet is only marked, counted or logged.
_GOES_ON = frozenset("LOG NFLOG MARK CONNMARK TCPMSS CT NOTRACK TOS DSCP CHECKSUM CLASSIFY SET AUDIT TRACE TTL".split())
_STATEMENTS = frozenset(("counter", "log", "comment", "ct helper", "mangle", "notrack", "flow"))


def iptables(text: str, program: str = "iptables") -> dict[str, pf.Chain]:
    """The chains of the filter table in the answer of ``iptables -S``. Format: iptables-save(8)."""
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
            rules.setdefault(words[1], []).append(_iptables_rule(words, line.strip(), program))
    found = {}
    for name, own in rules.items():
        of_ufw = name.startswith("ufw") or any(f"{program} ufw-" in rule.target for rule in own)
        hook, place = _BUILT_IN.get(name, ""), f"{program} {name}"
        policy = pf.Rule((), True, pf.BLOCK, "", f"-P {name} DROP", f"{program} -P {name} ACCEPT")
        found[place] = pf.Chain(
            place, "ufw" if of_ufw else "iptables", hook, policies.get(name, "") if hook else "", tuple(own), policy
        )
    return found


class Saved(t.NamedTuple):
    """Rules that are loaded at the next boot: from which file, by which service, and the command that saves them."""

    file: str
    unit: str
    save: str


SAVED = (
    Saved("/etc/iptables/rules.v4", "netfilter-persistent.service", "netfilter-persistent save"),
    Saved("/etc/iptables/iptables.rules", "iptables.service", "iptables-save -f /etc/iptables/iptables.rules"),
    Saved("/etc/sysconfig/iptables", "iptables.service", "iptables-save > /etc/sysconfig/iptables"),
)


def saved(files: Tree) -> tuple[Saved, dict[str, pf.Chain]] | None:
    """The filter rules of iptables that come back at boot; None where no enabled service loads any."""
    wants = [name for name in files.names("/etc/systemd/system") if name.endswith((".wants", ".requires"))]
    for place in SAVED:
        text = files.text(place.file, LARGEST_SAVED)
        if text and any(files.has(f"/etc/systemd/system/{name}/{place.unit}") for name in wants):
            return place, iptables(_as_listed(text))
    return None


def _as_listed(text: str) -> str:
    """The filter table of a file of iptables-save(8), as ``iptables -S`` lists it."""
    found, inside = [], False
    for line in text.splitlines():
        if line.startswith("*"):
            inside = line.strip() == "*filter"
        elif inside and line.startswith(":"):
            name, policy = [*line[1:].split(), "-"][:2]
            found.append(f"-N {name}" if policy == "-" else f"-P {name} {policy}")
        elif inside and line.startswith("-"):
            found.append(line)
    return "\n".join(found)


def _iptables_rule(words: list[str], line: str, program: str) -> pf.Rule:
    matches: list[pf.Match] = []
    sure, verdict, target, negated = True, pf.PASS, "", False
    rest = iter(words[2:])
    for word in rest:
        if word == "!":
            negated = True
            continue
        if word in ("-j", "-g"):
            name = next(rest, "")
            verdict, target = _iptables_verdict(name, word == "-g")
            target = f"{program} {target}" if target else ""
            break  # what follows belongs to the target
        if word in ("-m", "--match", "--comment"):
            next(rest, "")
        elif word in _OPTIONS:
            match = _OPTIONS[word](next(rest, ""))
            sure = sure and match is not None
            matches += [match._replace(negated=negated)] if match else []
        elif word == "--syn":
            matches.append(pf.Match("state", ("new",), negated))
        else:
            sure = False
        negated = False
    undo = shlex.join([program, "-D", *words[1:]])
    return pf.Rule(tuple(matches), sure, verdict, target, line[:LONGEST_TEXT], undo)


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
    **dict.fromkeys(("--dport", "--dports"), _ports("dport")),
    **dict.fromkeys(("--sport", "--sports"), _ports("sport")),
}


def nftables(text: str) -> dict[str, pf.Chain] | None:
    """The chains in ``nft -j list ruleset``, those of iptables' filter table left out. Format: libnftables-json(5).

    None when the text is no such list.
    """
    try:
        objects = [item for item in json.loads(text)["nftables"] if isinstance(item, dict)]
        heads = [item["chain"] for item in objects if "chain" in item]
        heads = [head for head in heads if head["family"] in ("ip", "ip6", "inet")]
        foreign = {_table(head) for head in heads if head["table"] == "filter" and head["name"] in _BUILT_IN}
        rules: dict[str, list[pf.Rule]] = {}
        for item in objects:
            if "rule" in item:
                rules.setdefault(_key(item["rule"], item["rule"]["chain"]), []).extend(_nft_rules(item["rule"]))
        return {
            _key(head, head["name"]): _nft_chain(head, tuple(rules.get(_key(head, head["name"]), ())))
            for head in heads
            if _table(head) not in foreign
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _table(item: t.Mapping[str, t.Any]) -> tuple[str, str]:
    return str(item["family"]), str(item["table"])


def _key(item: t.Mapping[str, t.Any], chain: t.Any) -> str:
    return f"nft {item['family']} {item['table']} {chain}"


def _nft_chain(head: t.Mapping[str, t.Any], rules: tuple[pf.Rule, ...]) -> pf.Chain:
    policy = {"drop": pf.BLOCK, "accept": pf.ACCEPT}.get(str(head.get("policy", "")), "")
    table = str(head["table"])
    tool = "firewalld" if table == "firewalld" else "nftables"
    if table in IPTABLES_TABLES and str(head["name"]).isupper():
        tool = "iptables"
    hook = str(head.get("hook") or "") if head.get("type", "filter") == "filter" else ""
    place = f"{head['family']} {table} {head['name']}"
    undo = f"nft 'chain {place} {{ policy accept; }}'"
    of_policy = pf.Rule((), True, pf.BLOCK, "", f"{place}: policy drop", undo)
    return pf.Chain(f"table {head['family']} {table} chain {head['name']}", tool, hook, policy, rules, of_policy)


def _nft_rules(item: t.Mapping[str, t.Any]) -> t.Iterator[pf.Rule]:
    """One rule, or one for each element of a verdict map."""
    matches: list[pf.Match] = []
    if item["family"] in ("ip", "ip6"):
        matches.append(pf.Match("family", ("ipv4" if item["family"] == "ip" else "ipv6",)))
    sure, words = True, []
    place = f"{item['family']} {item['table']} {item['chain']}"
    undo = f"nft delete rule {place} handle {item.get('handle')}" if item.get("handle") else ""
    for part in item.get("expr", []):
        name, value = _only(part)
        words.append(_shown(name, value))
        if name == "match":
            match = _nft_match(value)
            sure = sure and match is not None
            matches += [match] if match else []
        elif name == "vmap":
            shown = f"{place}: {' '.join(words)}"[:LONGEST_TEXT]
            for key, verdict in value["data"]["set"] if isinstance(value["data"], dict) else ():
                one = _nft_match({"op": "==", "left": value["key"], "right": key})
                kind, target = _nft_verdict(verdict, item)
                own = (*matches, *([one] if one else []))
                yield pf.Rule(own, sure and one is not None, kind, target, shown, undo)
            if not isinstance(value["data"], dict):
                sure = False
        elif name not in _STATEMENTS:
            verdict_of = _nft_verdict(part, item)
            if verdict_of[0] == pf.PASS:
                sure = False
            else:
                shown = f"{place}: {' '.join(filter(None, words))}"[:LONGEST_TEXT]
                yield pf.Rule(tuple(matches), sure, *verdict_of, shown, undo)
                return


def _nft_verdict(part: t.Mapping[str, t.Any], item: t.Mapping[str, t.Any]) -> tuple[str, str]:
    name, value = _only(part)
    if name in ("jump", "goto"):
        return (pf.JUMP if name == "jump" else pf.GOTO), _key(item, value["target"])
    kinds = {"accept": pf.ACCEPT, "drop": pf.BLOCK, "reject": pf.BLOCK, "return": pf.RETURN}
    if name == "xt" and isinstance(value, dict) and value.get("type") == "target":
        return {"REJECT": pf.BLOCK, "DROP": pf.BLOCK, "ACCEPT": pf.ACCEPT}.get(str(value.get("name")), pf.PASS), ""
    return kinds.get(name, pf.PASS), ""


def _only(part: t.Mapping[str, t.Any]) -> tuple[str, t.Any]:
    """The key and the value of an object that has just one. Raises ValueError."""
    for name, value in part.items():
        return name, value
    raise ValueError("an empty object")


_NFT_FIELDS: dict[tuple[str, ...], str] = {
    **{("payload", proto, side): side for proto in ("ip", "ip6") for side in ("saddr", "daddr")},
    **{("payload", proto, side): side for proto in ("tcp", "th") for side in ("sport", "dport")},
    ("payload", "ip", "protocol"): "protocol",
    ("payload", "ip6", "nexthdr"): "protocol",
    ("meta", "l4proto"): "protocol",
    ("meta", "nfproto"): "family",
    ("meta", "protocol"): "ether",
    **{("meta", name): name[:3] for name in ("iifname", "oifname", "iif", "oif")},
    ("meta", "skuid"): "uid",
    ("ct", "state"): "state",
    ("ct", "status"): "status",
    ("fib", "daddr"): "daddr_type",
    ("fib", "saddr"): "saddr_type",
}


_OTHER_PROTOCOLS = ("udp", "udplite", "icmp", "icmpv6", "igmp", "sctp", "dccp", "esp", "ah")


def _nft_match(value: t.Mapping[str, t.Any]) -> pf.Match | None:
    left, operator = value["left"], value.get("op", "==")
    if operator not in ("==", "!=", "in") or not isinstance(left, dict):
        return None
    kind, what = _only(left)
    if kind == "payload" and what.get("protocol") in _OTHER_PROTOCOLS:
        return pf.Match("protocol", (what["protocol"],))
    names: tuple[str, ...] = (kind, str(what.get("protocol")), str(what.get("field")))
    if kind == "fib":
        flags = what.get("flags") or []
        names = (kind, str([flags] if isinstance(flags, str) else flags)[2:-2]) if what.get("result") == "type" else ()
    elif kind != "payload":
        names = (kind, str(what.get("key")))
    field = _NFT_FIELDS.get(names, "")
    values = _nft_values(field, value["right"])
    if not field or values is None:
        return None
    if field == "ether":
        field, values = "family", tuple({"ip": "ipv4", "ip6": "ipv6"}.get(str(one), "other") for one in values)
    return pf.Match(field, values, operator == "!=")


def _nft_values(field: str, right: t.Any) -> tuple[t.Any, ...] | None:
    """The values of the right side as the field has them; None for a named set or anything unknown."""
    if isinstance(right, dict) and "set" in right:
        right = right["set"]
    items = right if isinstance(right, list) else [right]
    values = [_nft_value(field, item.get("elem", item) if isinstance(item, dict) else item) for item in items]
    return None if None in values else tuple(values)


def _nft_value(field: str, item: t.Any) -> t.Any:
    if isinstance(item, dict) and "val" in item:
        item = item["val"]
    if field in ("saddr", "daddr"):
        if isinstance(item, dict) and "prefix" in item:
            return pf.span_of(f"{item['prefix']['addr']}/{item['prefix']['len']}")
        if isinstance(item, dict) and "range" in item:
            return pf.span_of("-".join(map(str, item["range"])))
        return pf.span_of(str(item)) if isinstance(item, str) else None
    if field in ("sport", "dport", "uid"):
        if isinstance(item, dict) and "range" in item:
            low, high = item["range"]
            return (low, high) if isinstance(low, int) and isinstance(high, int) else None
        return (item, item) if isinstance(item, int) else None
    if not isinstance(item, (str, int)):
        return None
    return str(item) if field in ("iif", "oif") else str(item).lower()


def _shown(name: str, value: t.Any) -> str:
    """One part of a rule, near to what ``nft list`` writes."""
    if name == "match":
        operator = "" if value.get("op") in ("==", "in") else f"{value.get('op')} "
        return f"{_side(value.get('left'))} {operator}{_side(value.get('right'))}"
    if name in ("accept", "drop", "return"):
        return name
    if name == "reject":
        return f"reject with {value['type']} {value.get('expr', '')}".strip() if isinstance(value, dict) else "reject"
    if name in ("jump", "goto"):
        return f"{name} {value['target']}"
    if name == "vmap":
        return f"{_side(value.get('key'))} vmap"
    return "" if name in _STATEMENTS else str(name)


def _side(value: t.Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_side, value))
    if not isinstance(value, dict):
        return str(value)
    kind, what = _only(value)
    if kind == "payload":
        return f"{what.get('protocol')} {what.get('field')}"
    if kind in ("meta", "ct"):
        key = str(what.get("key"))
        return key if key in ("iif", "oif", "iifname", "oifname") else f"{kind} {key}"
    if kind == "set":
        return "{ " + ", ".join(map(_side, what)) + " }" if isinstance(what, list) else str(what)
    if kind == "prefix":
        return f"{what.get('addr')}/{what.get('len')}"
    if kind == "range":
        return "-".join(map(str, what))
    return str(kind)
