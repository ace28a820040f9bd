# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of nftables in the form in which packets are tried against them.

A condition that is not understood leaves the rule unsure: it may be about a packet, or not.
"""

from __future__ import annotations

import json
import shlex
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import packet_filter as pf
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric.iptables_rules import (
    BUILT_IN,
    EVERY_MARK,
    IPTABLES_TABLES,
    LONGEST_TEXT,
)

_STATEMENTS = frozenset(("counter", "log", "comment", "ct helper", "mangle", "notrack", "flow", "last"))


def nftables(text: str) -> dict[str, pf.Chain] | None:
    """The chains in ``nft -j list ruleset``, those of iptables' filter table left out. Format: libnftables-json(5).

    None when the text is no such list.
    """
    try:
        objects = [item for item in json.loads(text)["nftables"] if isinstance(item, dict)]
        heads = [item["chain"] for item in objects if "chain" in item]
        heads = [head for head in heads if head["family"] in ("ip", "ip6", "inet", "netdev")]
        foreign = {_table(head) for head in heads if head["table"] == "filter" and head["name"] in BUILT_IN}
        rules: dict[str, list[pf.Rule]] = {}
        for item in objects:
            if "rule" in item:
                rules.setdefault(_key(item["rule"], item["rule"]["chain"]), []).extend(_understood(item["rule"]))
        for head in heads:  # the packets of the other devices do not come here
            if head["family"] == "netdev" or head.get("dev"):
                own = rules.get(_key(head, head["name"]), [])
                rules[_key(head, head["name"])] = [_on_device(rule, head.get("dev")) for rule in own]
        return {
            _key(head, head["name"]): _nft_chain(head, tuple(rules.get(_key(head, head["name"]), ())))
            for head in heads
            if _table(head) not in foreign
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _understood(item: t.Mapping[str, t.Any]) -> list[pf.Rule]:
    """The rules of one object; one of a form that is not known may be about any packet, and let it through."""
    try:
        return list(_nft_rules(item))
    except (ValueError, KeyError, TypeError, AttributeError):
        return [pf.Rule((), False, pf.ACCEPT)]


def _table(item: t.Mapping[str, t.Any]) -> tuple[str, str]:
    return str(item["family"]), str(item["table"])


def _key(item: t.Mapping[str, t.Any], chain: t.Any) -> str:
    return f"nft {item['family']} {item['table']} {chain}"


def _on_device(rule: pf.Rule, devices: t.Any) -> pf.Rule:
    """A rule for the packets of one device, or several; nft before 1.0.7 does not say of which."""
    if not devices:
        return rule._replace(sure=False)
    names = devices if isinstance(devices, list) else [devices]
    return rule._replace(matches=(*rule.matches, pf.Match("iif", tuple(map(str, names)))))


def _nft_chain(head: t.Mapping[str, t.Any], rules: tuple[pf.Rule, ...]) -> pf.Chain:
    policy = {"drop": pf.BLOCK, "accept": pf.ACCEPT}.get(str(head.get("policy", "")), "")
    table = str(head["table"])
    tool = "firewalld" if table == "firewalld" else "nftables"
    if table in IPTABLES_TABLES and str(head["name"]).isupper():
        tool = "iptables"
    hook = str(head.get("hook") or "") if head.get("type", "filter") in ("filter", "route") else ""
    policy = "" if head["family"] == "netdev" or head.get("dev") else policy
    family = {"ip": "ipv4", "ip6": "ipv6"}.get(str(head["family"]), "")
    place = f"{head['family']} {table} {head['name']}"
    undo = f"nft 'chain {place} {{ policy accept; }}'"
    of_policy = pf.Rule((), True, pf.BLOCK, "", f"{place}: policy drop", undo)
    return pf.Chain(
        f"table {head['family']} {table} chain {head['name']}", tool, hook, policy, rules, of_policy, family
    )


def _nft_rules(item: t.Mapping[str, t.Any]) -> t.Iterator[pf.Rule]:
    """One rule, or one for each element of a verdict map."""
    matches: list[pf.Match] = []
    sure, words, marks, connection_marks = True, [], 0, 0
    place = f"{item['family']} {item['table']} {item['chain']}"
    rule_of = ["nft", "delete", "rule", *(str(item[key]) for key in ("family", "table", "chain")), "handle"]
    undo = shlex.join([*rule_of, str(item.get("handle"))]) if item.get("handle") else ""
    for part in item.get("expr", []):
        name, value = _only(part)
        words.append(_shown(name, value))
        if name == "match":
            match = _nft_match(value)
            sure = sure and match is not None
            matches += [match] if match else []
            if isinstance(value["right"], dict) and "named" in value["right"] and value.get("op") != "!=":
                named = [str(item["family"]), str(item["table"]), str(value["right"]["named"])]
                undo = shlex.join(["nft", "delete", "element", *named, _element(value["left"])])
        elif name == "vmap":
            shown = f"{place}: {' '.join(words)}"[:LONGEST_TEXT]
            for key, verdict in value["data"]["set"] if isinstance(value["data"], dict) else ():
                one = _nft_match({"op": "==", "left": value["key"], "right": key})
                kind, target = _nft_verdict(verdict, item)
                own = (*matches, *([one] if one else []))
                yield pf.Rule(own, sure and one is not None, kind, target, shown, undo)
            if not isinstance(value["data"], dict):  # a map with a name: its own entry has the verdict of each address
                yield pf.Rule(tuple(matches), False, pf.ACCEPT, "", shown, undo)
        elif name == "mangle":
            marks |= _nft_marks(value, "meta")
            connection_marks |= _nft_marks(value, "ct")
        elif name == "xt" and isinstance(value, dict) and value.get("name") in ("MARK", "CONNMARK"):
            marks = EVERY_MARK  # iptables' own words for it, which nft does not show
            connection_marks |= EVERY_MARK if value["name"] == "CONNMARK" else 0
        elif name not in _STATEMENTS:
            verdict_of = _nft_verdict(part, item)
            if verdict_of[0] == pf.PASS:
                sure = False
            else:
                shown = f"{place}: {' '.join(filter(None, words))}"[:LONGEST_TEXT]
                yield pf.Rule(tuple(matches), sure, *verdict_of, shown, undo, marks, connection_marks)
                return
    if marks or connection_marks:
        yield pf.Rule(tuple(matches), sure, pf.PASS, "", "", undo, marks, connection_marks)


def _element(left: t.Mapping[str, t.Any]) -> str:
    """What is written in place of an element of a set: of a concatenation a word for each part."""
    words = {"saddr": "ADDRESS", "daddr": "ADDRESS", "sport": "PORT", "dport": "PORT", "iif": "CARD", "oif": "CARD"}
    parts = left.get("concat", [left])
    return f"{{ {' . '.join(words.get(_named(part), 'VALUE') for part in parts)} }}"


def _nft_marks(value: t.Mapping[str, t.Any], kind: str) -> int:
    """The bits that ``meta mark set`` may set of the packet's mark, and ``ct mark set`` of the connection's."""
    if value.get("key") != {kind: {"key": "mark"}}:
        return 0
    given = value.get("value")
    if isinstance(given, dict) and isinstance(given.get("|"), list):  # mark | 0x1
        given = given["|"][-1]
    return given & EVERY_MARK if isinstance(given, int) else EVERY_MARK


def _nft_verdict(part: t.Mapping[str, t.Any], item: t.Mapping[str, t.Any]) -> tuple[str, str]:
    name, value = _only(part)
    if name in ("jump", "goto"):
        return (pf.JUMP if name == "jump" else pf.GOTO), _key(item, value["target"])
    if name == "queue":  # a program decides
        return pf.JUMP, "queue"
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
    ("meta", "pkttype"): "packet_type",
    ("meta", "mark"): "mark",
    ("ct", "mark"): "connection_mark",
    ("payload", "tcp", "flags"): "flags",
    ("ct", "state"): "state",
    ("ct", "status"): "status",
    ("fib", "daddr"): "daddr_type",
    ("fib", "saddr"): "saddr_type",
}


_BITS = ("flags", "mark", "connection_mark")
_UNKNOWN = pf.Match("not understood", ())
MOST_ALTERNATIVES = 4096
_OTHER_PROTOCOLS = ("udp", "udplite", "icmp", "icmpv6", "igmp", "sctp", "dccp", "esp", "ah")


def _nft_match(value: t.Mapping[str, t.Any]) -> pf.Match | None:
    left, operator = value["left"], value.get("op", "==")
    if operator not in ("==", "!=", "in") or not isinstance(left, dict):
        return None
    kind, what = _only(left)
    if kind == "concat":
        return _nft_concatenation(what, value["right"], operator == "!=")
    if kind == "&" or _named(left) in _BITS:
        return _nft_bits(left, operator, value["right"])
    if kind == "fib" and what.get("result") == "oif" and "saddr" in what.get("flags", ()):
        return pf.Match("reverse_path", (), (value["right"] is False) != (operator == "!="))
    if kind == "payload" and what.get("protocol") in _OTHER_PROTOCOLS:
        return pf.Match("protocol", (what["protocol"],))
    field = _named(left)
    values = _nft_values(field, value["right"])
    if not field or values is None:
        return None
    if field == "ether":
        field, values = "family", tuple({"ip": "ipv4", "ip6": "ipv6"}.get(str(one), "other") for one in values)
    return pf.Match(field, values, operator == "!=")


def _nft_concatenation(parts: list[t.Any], right: t.Any, negated: bool) -> pf.Match | None:
    """``ip saddr . tcp dport { 10.0.0.2 . 22 }``: one alternative an element; None for a set that is not known.

    A part that is not understood may be any: what the others say still counts.
    """
    items = right["set"] if isinstance(right, dict) and "set" in right else [right]
    if not isinstance(items, list) or len(items) > MOST_ALTERNATIVES:
        return None
    found = []
    for item in items:
        element = item.get("elem", item) if isinstance(item, dict) else item
        element = element.get("val", element) if isinstance(element, dict) else element
        if not isinstance(element, dict) or len(element.get("concat", ())) != len(parts):
            return None
        pairs = zip(parts, element["concat"])
        matches = (_nft_match({"op": "==", "left": left, "right": given}) for left, given in pairs)
        found.append(tuple(match or _UNKNOWN for match in matches))
    return pf.Match("any", tuple(found), negated)


def _named(left: t.Mapping[str, t.Any]) -> str:
    """The field that the left side of a match is about; empty for one that is not known."""
    kind, what = _only(left)
    if not isinstance(what, dict):
        return ""
    names: tuple[str, ...] = (kind, str(what.get("protocol")), str(what.get("field")))
    if kind == "fib":
        flags = what.get("flags") or []
        names = (kind, str([flags] if isinstance(flags, str) else flags)[2:-2]) if what.get("result") == "type" else ()
    elif kind != "payload":
        names = (kind, str(what.get("key")))
    return _NFT_FIELDS.get(names, "")


def _nft_bits(left: t.Mapping[str, t.Any], operator: str, right: t.Any) -> pf.Match | None:
    """``tcp flags & (fin|syn) == syn``, ``tcp flags syn`` (any of these), ``meta mark & 0x1 == 0x1``."""
    mask: int | None = None
    if "&" in left and isinstance(left["&"], list) and len(left["&"]) == 2:
        left, mask = left["&"][0], _number(left["&"][1])
        if mask is None:
            return None
    field = _named(left) if isinstance(left, dict) and left else ""
    wanted = _number(right)
    if field not in _BITS or wanted is None:
        return None
    if operator == "in":  # any of these bits
        return pf.Match(field, ((wanted, 0),), True) if field == "flags" else None
    if field == "flags":
        return pf.Match(field, ((EVERY_MARK if mask is None else mask, wanted),), operator == "!=")
    return pf.Match(field, ((wanted, EVERY_MARK if mask is None else mask),), operator == "!=")


def _number(value: t.Any) -> int | None:
    """A number, or the flags of TCP by name, one or several."""
    if isinstance(value, dict) and "|" in value:
        value = value["|"]
    if isinstance(value, list):
        parts = [_number(one) for one in value]
        return None if None in parts else sum(part for part in dict.fromkeys(parts) if part)
    if isinstance(value, str):
        return pf.FLAGS.get(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _nft_values(field: str, right: t.Any) -> tuple[t.Any, ...] | None:
    """The values of the right side as the field has them; None for a named set or anything unknown."""
    if isinstance(right, dict) and "set" in right:
        right = right["set"]
    items = right if isinstance(right, list) else [right]
    values = [_nft_value(field, item.get("elem", item) if isinstance(item, dict) else item) for item in items]
    if None in values:
        return None
    return tuple(sorted(values)) if field in ("saddr", "daddr") else tuple(values)


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


_JOINED = {"&": " & ", "|": "|", "concat": " . "}


def _side(value: t.Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_side, value))
    if not isinstance(value, dict):
        return str(value)
    kind, what = _only(value)
    if "named" in value:
        return f"@{value['named']}"
    if kind == "payload":
        return f"{what.get('protocol')} {what.get('field')}"
    if kind in ("meta", "ct"):
        key = str(what.get("key"))
        return key if key in ("iif", "oif", "iifname", "oifname") else f"{kind} {key}"
    if kind in _JOINED and isinstance(what, list):
        return _JOINED[kind].join(map(_side, what))
    if kind == "elem" and isinstance(what, dict):
        return _side(what.get("val"))
    if kind == "set":
        return "{ " + ", ".join(map(_side, what)) + " }" if isinstance(what, list) else str(what)
    if kind == "prefix":
        return f"{what.get('addr')}/{what.get('len')}"
    if kind == "range":
        return "-".join(map(str, what))
    return str(kind)
