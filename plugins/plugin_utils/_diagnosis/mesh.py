# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attempts between nodes as rules want to see them, and the nodes that failed pairs are attributed to."""

from __future__ import annotations

import collections
import typing as t
from collections import abc

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import absent, number, rows
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Data, dig, once

Pair = tuple[str, str]


class Attempt(t.NamedTuple):
    """One login or connection: from where, to where, by which name or port, and what came of it.

    ``answered_as`` is the host name of a wrong machine, ``config_error`` what ssh has against its configuration.
    """

    source: str
    target: str
    what: str
    ok: bool
    failure: str
    evidence: str
    seconds: float
    answered_as: str = ""
    config_error: str = ""

    @property
    def pair(self) -> Pair:
        """(source, target)."""
        return self.source, self.target


class Connectivity(t.NamedTuple):
    """Every attempt of mesh_probe by pair: logins by each name, connections to each port."""

    ssh: dict[Pair, t.Sequence[Attempt]]
    tcp: dict[Pair, t.Sequence[Attempt]]


@once
def connectivity(case: Case) -> Connectivity:
    """What came of all attempts, those towards lost and unreachable nodes among them.

    Of a million pairs at 1,024 nodes: so each has one key for both, and tuples, which take half of what lists do.
    """
    found = Connectivity({}, {})
    for source, target, results in _rows(case):
        pair = (source, target)
        for kind, pairs in (("ssh", found.ssh), ("tcp", found.tcp)):
            attempts = dig(results, kind, {})
            if isinstance(attempts, abc.Mapping):
                pairs[pair] = tuple([_attempt(source, target, str(what), result) for what, result in attempts.items()])
    return found


def _rows(case: Case) -> t.Iterator[tuple[str, str, Data]]:
    for source, row in case.mesh.items():
        for target, results in row.items() if isinstance(row, abc.Mapping) else ():
            if isinstance(results, abc.Mapping):
                yield source, target, results


def _attempt(source: str, target: str, what: str, result: t.Any) -> Attempt:
    known = result if isinstance(result, abc.Mapping) else {}
    texts = {key: str(known.get(key) or "") for key in ("failure", "evidence", "answered_as", "config_error")}
    ok, seconds = bool(known.get("ok")), number(known, "seconds") or 0.0
    return Attempt(source=source, target=target, what=what, ok=ok, seconds=seconds, **texts)


def _between_present(case: Case, pairs: t.Mapping[Pair, t.Sequence[Attempt]]) -> list[Attempt]:
    away = absent(case)
    return [item for pair, items in pairs.items() if not away & {*pair} for item in items]


@once
def ssh_results(case: Case, *failures: str) -> list[Attempt]:
    """Every ssh login between nodes that take part; with ``failures`` only those that failed, or were slow, so.

    What another machine at the address of a node says is left out of these: net-address-taken.
    """
    if not failures:
        return _between_present(case, connectivity(case).ssh)
    elsewhere = address_taken(case)
    return [item for item in ssh_results(case) if item.failure in failures and item.pair not in elsewhere]


@once
def tcp_results(case: Case) -> list[Attempt]:
    """Every TCP connection between nodes that take part; ``what`` is the port."""
    return _between_present(case, connectivity(case).tcp)


@once
def address_taken(case: Case) -> dict[Pair, str]:
    """{pair: hardware address} of connections that failed, and led to a card that the target does not have.

    What is found for several nodes, and is no node's, is a network that answers for all, as clouds have it.
    """
    away, found = absent(case), dict[Pair, str]()
    for source, target, results in _rows(case):
        seen = str(results.get("neighbour") or "").lower()
        if seen and source != target and not away & {source, target}:
            own = [str(dig(item, "mac") or "").lower() for item in rows(case.fabric.get(target), "interfaces")]
            if any(own) and seen not in own:
                found[source, target] = seen
    targets: dict[str, set[str]] = {}
    for (_source, target), seen in found.items():
        targets.setdefault(seen, set()).add(target)
    nodes = {
        str(dig(item, "mac") or "").lower()
        for facts in (case.fabric.values() if found else ())
        for item in rows(facts, "interfaces")
    }
    return {pair: seen for pair, seen in found.items() if seen in nodes or len(targets[seen]) == 1}


def pair_results(case: Case, key: str) -> t.Iterator[tuple[str, str, Data]]:
    """(source, target, result) of another part of the mesh, such as ``mtu`` or ``session``, where there is one."""
    away = absent(case)
    for source, target, results in _rows(case):
        result = results.get(key)
        if isinstance(result, abc.Mapping) and not away & {source, target}:
            yield source, target, result


def by_pair(attempts: t.Iterable[Attempt]) -> dict[Pair, list[Attempt]]:
    """The attempts of each (source, target)."""
    found: dict[Pair, list[Attempt]] = {}
    for item in attempts:
        found.setdefault(item.pair, []).append(item)
    return found


def attribute(bad: t.Collection[Pair], tried: t.Collection[Pair], tie: str = "target") -> dict[str, list[Pair]]:
    """The nodes that the failed pairs are attributed to: {node: its pairs}, each pair once where one node explains it.

    A node explains its pairs when all that was tried towards it, or all that it tried, went wrong (itself left
    out). Nodes that explain most go first. Where nothing decides, ``tie`` does: ``target``, ``source`` or ``both``.
    """
    left = {pair for pair in bad if pair[0] != pair[1]}
    ordered, side = sorted(left), 0 if tie == "source" else 1
    explaining, pairs_of = _explaining(left, tried), _by_node(left)
    at_first = {name: len(pairs) for name, pairs in pairs_of.items()}
    found: dict[str, list[Pair]] = {pair[0]: [pair] for pair in bad if pair[0] == pair[1]}
    while scores := {name: (len(pairs_of[name]), at_first[name]) for name in explaining if pairs_of[name]}:
        best = max(scores.values())
        leaders = {name for name, score in scores.items() if score == best}
        pair = next(item for item in ordered if item in left and leaders & {*item})
        if len(leaders) > 1 and tie != "both":
            chosen = {pair[side]}
            explained = {item for item in pairs_of[pair[side]] if item[side] == pair[side]}
        else:
            chosen = leaders & {*pair}
            explained = set().union(*(pairs_of[name] for name in chosen))
        for name in sorted(chosen):
            found.setdefault(name, []).extend(sorted(explained & pairs_of[name]))
        left -= explained
        for source, target in explained:
            pairs_of[source].discard((source, target))
            pairs_of[target].discard((source, target))
    for pair in ordered:  # no node explains the rest
        if pair in left:
            for name in sorted(pair) if tie == "both" else [pair[side]]:
                found.setdefault(name, []).append(pair)
    return found


def _explaining(bad: set[Pair], tried: t.Collection[Pair]) -> set[str]:
    """Nodes towards which, or from which, all that was tried went wrong (itself left out)."""
    pairs = {pair for pair in tried if pair[0] != pair[1]}
    found: set[str] = set()
    for side in (0, 1):
        all_of = collections.Counter(pair[side] for pair in pairs)
        bad_of = collections.Counter(pair[side] for pair in pairs if pair in bad)
        found |= {name for name, count in all_of.items() if bad_of[name] == count}
    return found


def _by_node(pairs: set[Pair]) -> dict[str, set[Pair]]:
    """The pairs of each node that is in one."""
    found: dict[str, set[Pair]] = {}
    for pair in pairs:
        for name in pair:
            found.setdefault(name, set()).add(pair)
    return found
