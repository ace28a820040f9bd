# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses in sets of nftables and of ipset, by which fail2ban, CrowdSec and others name those kept out.

The list of rules names the sets alone: what is in them is asked for, and only where a rule of a filter needs it.
"""

from __future__ import annotations

import json
import re
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import run

Runner = t.Callable[..., t.Any]
Place = tuple[str, str, str, str]
Elements = dict[Place, list[t.Any]]
_JUDGED = frozenset(("payload", "meta", "concat"))  # what rules compare with the elements, and can be told of a packet

MOST_SETS, MOST_ELEMENTS = 16, 100_000
IPSET_TYPES = frozenset(("hash:ip", "hash:net", "bitmap:ip"))
_NAMED = re.compile(r"--match-set (\S+) (?:src|dst)(?= |\Z)", re.MULTILINE)


def of_nft(nft: str, text: str, limit: float, ask: Runner = run) -> str:
    """The list of rules with the elements of the sets, and of the maps of verdicts, that rules of filters name."""
    try:
        objects = json.loads(text)["nftables"]
        named = [reference for rule in objects for reference in _references(rule)]
        wanted = list(dict.fromkeys(reference.place for reference in named))[:MOST_SETS]
        if not wanted:
            return text
        end, found = time.monotonic() + limit, Elements()
        for place in wanted:
            left = end - time.monotonic()
            answer = ask([nft, "-j", "list", *place], left) if left > 0 else None
            elements = _elements(answer.out, place[0]) if answer is not None and answer.ok else None
            if elements is not None:
                found[place] = elements
        for place, holder, key in named:
            if place in found:
                holder[key] = {"set": found[place], "named": place[3]}
        return json.dumps({"nftables": objects})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return text


class Reference(t.NamedTuple):
    """A set or map that a rule names: kind, family, table and name, and the part of the rule that has the name."""

    place: Place
    holder: dict[str, t.Any]
    key: str


def _references(item: t.Any) -> t.Iterator[Reference]:
    """What a rule compares addresses, ports and interfaces with; what NAT rewrites is no match."""
    rule = item.get("rule") if isinstance(item, dict) else None
    if not isinstance(rule, dict):
        return
    for part in rule.get("expr", []):
        for kind, statement, left, key in (("set", "match", "left", "right"), ("map", "vmap", "key", "data")):
            holder = part.get(statement) or {}
            name = holder.get(key)
            if isinstance(name, str) and name.startswith("@") and _JUDGED & set(holder[left]):
                yield Reference((kind, str(rule["family"]), str(rule["table"]), name[1:]), holder, key)


def _elements(text: str, kind: str) -> list[t.Any] | None:
    listed = [item[kind] for item in json.loads(text)["nftables"] if kind in item]
    found = listed[0].get("elem", []) if listed else None
    return found if isinstance(found, list) and len(found) <= MOST_ELEMENTS else None


def of_ipset(ipset: str | None, text: str, limit: float, ask: Runner = run) -> dict[str, list[str]]:
    """{set: its addresses and networks} of those that rules of iptables name; one of another kind is left out."""
    names = list(dict.fromkeys(_NAMED.findall(text)))[:MOST_SETS]
    end, found = time.monotonic() + limit, {}
    for name in names if ipset else ():
        left = end - time.monotonic()
        answer = ask([ipset, "save", name], left) if left > 0 else None
        members = _members(answer.out, name) if answer is not None and answer.ok else None
        if members is not None:
            found[name] = members
    return found


def _members(text: str, name: str) -> list[str] | None:
    """The members in the answer of ``ipset save``; None where they are more than addresses, or have exceptions."""
    found: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if words[:2] == ["create", name] and (len(words) < 3 or words[2] not in IPSET_TYPES):
            return None
        if words[:2] == ["add", name] and len(words) > 2:
            if "nomatch" in words or len(found) >= MOST_ELEMENTS:
                return None
            found.append(words[2])
    return found
