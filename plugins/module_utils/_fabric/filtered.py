# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rules of this node's firewalls keep back what goes to its peers, and what comes from them.

Nothing is said of what gets through, so that it costs nothing on a node whose firewall is as it should be.
"""

from __future__ import annotations

import itertools
import os
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import packet_filter as pf
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import saved_rules

MOST_ROWS, MOST_RULES, MOST_PEERS = 24, 4000, 1024
SECONDS = 3.0
Row = dict[str, t.Any]


def rows(
    chains: pf.Chains | None, peers: t.Mapping[str, tuple[str, str]], uid: int | None, seconds: float = SECONDS
) -> list[Row] | None:
    """The rules that keep back packets of jobs; None where the rules could not be read, or are too many to try.

    ``peers`` are address: (own address, interface) on the way there. Each row has ``direction`` (out or in),
    ``answers`` (whether it keeps back the answers alone), ``tool``, ``chain``, ``rule``, ``undo``, ``ports`` (pairs,
    inclusive), ``sure`` and ``peers``, which is null where it is all of them.
    """
    if chains is None:
        return None
    end = time.monotonic() + seconds
    found: dict[tuple[t.Any, ...], list[str]] = {}
    tried = list(itertools.islice(peers.items(), MOST_PEERS))
    for direction in (pf.OUT, pf.IN):
        if not pf.can_block(chains, direction):
            continue
        if pf.count(chains, direction) > MOST_RULES:
            return None
        for address, (own, interface) in tried:
            if time.monotonic() > end:
                return None
            for key in _kept(chains, direction, address, own, interface, uid):
                found.setdefault(key, []).append(address)
    certain_first = sorted(found.items(), key=lambda item: item[0][-1] is not True)
    return [_row(key, kept, len(tried)) for key, kept in certain_first[:MOST_ROWS]]


def at_boot(files: Tree, peers: t.Mapping[str, tuple[str, str]], uid: int | None, limit: float = SECONDS) -> Row | None:
    """What the rules that are loaded at the next boot will keep back: ``file``, ``unit``, ``save`` and ``rows``.

    None where nothing is loaded then; of iptables and nftables what keeps something back. ``save`` is the command that
    keeps the rules of now. ``limit`` in seconds for asking nft.
    """
    by_nft = saved_rules.saved_nft(files, limit) if os.geteuid() == 0 and files.root == "/" else None
    answers = []
    for found in filter(None, (saved_rules.saved(files), by_nft)):
        kept = [row for row in rows(found[1], peers, uid) or () if not row["answers"]]
        answers.append({**found[0]._asdict(), "rows": kept})
    return max(answers, key=lambda answer: bool(answer["rows"]), default=None)


def _kept(
    chains: pf.Chains, direction: str, peer: str, own: str, interface: str, uid: int | None
) -> t.Iterator[tuple[t.Any, ...]]:
    """What is kept back of one peer: the first packets, and answers where a rule is about them alone."""
    for answers in (False, True):
        about: dict[tuple[t.Any, ...], pf.Spans] = {}
        for hit in pf.blocked(chains, pf.Packet(direction, answers, own, peer, interface, uid)):
            key = (direction, answers, hit.chain.tool, hit.chain.place, hit.rule.text, hit.rule.undo, hit.sure)
            about[key] = pf.joined(about.get(key, ()), hit.ports)
        yield from ((*key[:-1], ports, key[-1]) for key, ports in about.items())


def _row(key: tuple[t.Any, ...], kept: list[str], count: int) -> Row:
    direction, answers, tool, chain, rule, undo, ports, sure = key
    kept = list(dict.fromkeys(kept))
    return {
        "direction": direction,
        "answers": answers,
        "tool": tool,
        "chain": chain,
        "rule": rule,
        "undo": undo,
        "ports": [list(span) for span in ports],
        "sure": sure,
        "peers": None if len(kept) == count else kept,
    }
