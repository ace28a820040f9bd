# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses in sets of nftables and of ipset, by which fail2ban, CrowdSec and others name whom they keep out.

The list of rules names the sets alone: what is in them is asked for, and only where a rule of a filter needs it.
"""

from __future__ import annotations

import json
import re
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import run

Runner = t.Callable[..., t.Any]
Place = tuple[str, str, str]
Elements = dict[Place, list[t.Any]]

MOST_SETS, MOST_ELEMENTS = 16, 100_000
IPSET_TYPES = frozenset(("hash:ip", "hash:net", "bitmap:ip"))
_NAMED = re.compile(r"--match-set (\S+) (?:src|dst)(?= |\Z)", re.MULTILINE)


def of_nft(nft: str, text: str, limit: float, ask: Runner = run) -> str:
    """The list of rules with the elements of the sets that rules of filters compare addresses and ports with."""
    try:
        objects = json.loads(text)["nftables"]
        wanted = list(dict.fromkeys(place for place, _match in _references(objects)))[:MOST_SETS]
        if not wanted:
            return text
        end, found = time.monotonic() + limit, Elements()
        for place in wanted:
            left = end - time.monotonic()
            answer = ask([nft, "-j", "list", "set", *place], left) if left > 0 else None
            elements = _elements(answer.out) if answer is not None and answer.ok else None
            if elements is not None:
                found[place] = elements
        for place, match in _references(objects):
            if place in found:
                match["right"] = {"set": found[place], "named": place[2]}
        return json.dumps({"nftables": objects})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return text


def _references(objects: t.Iterable[t.Any]) -> t.Iterator[tuple[Place, dict[str, t.Any]]]:
    """(family, table and name of a set, the match that compares with it) of the rules; those of nat are left out."""
    rules = [item["rule"] for item in objects if isinstance(item, dict) and "rule" in item]
    for rule in rules:
        for part in rule.get("expr", []):
            match = part.get("match")
            right = match.get("right") if isinstance(match, dict) else None
            if isinstance(right, str) and right.startswith("@") and "payload" in match["left"]:
                yield (str(rule["family"]), str(rule["table"]), right[1:]), match


def _elements(text: str) -> list[t.Any] | None:
    sets = [item["set"] for item in json.loads(text)["nftables"] if "set" in item]
    found = sets[0].get("elem", []) if sets else None
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
