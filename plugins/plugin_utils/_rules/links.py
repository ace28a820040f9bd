# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on what passes between two nodes: packet sizes, speed, latency."""

from __future__ import annotations

import collections
import math
import shlex
import statistics
import typing as t
from collections import abc

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import busy as diagnosis_busy
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    absent,
    data_interface,
    limit,
    names,
    number,
    shorten,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.mesh import (
    Pair,
    attribute,
    pair_results,
    tcp_results,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    WARN,
    About,
    Answer,
    Case,
    Data,
    Untested,
    dig,
    finding,
    once,
    rule,
)


@once
def links(case: Case) -> dict[Pair, Data]:
    """The measured links between nodes that take part."""
    away = absent(case)
    return {
        (source, target): result
        for source, row in case.links.items()
        for target, result in (row or {}).items()
        if source != target and not {source, target} & away and isinstance(result, abc.Mapping)
    }


@once
def _too_big(case: Case) -> dict[Pair, Data]:
    """Pairs between which small packets pass and large ones do not."""
    return {
        (source, target): result for source, target, result in pair_results(case, "mtu") if dig(result, "ok") is False
    }


@rule(
    About(
        "net-mtu-mismatch",
        layer="network",
        severity=FAIL,
        also=(WARN,),
        title="Large packets do not get through",
        symptom="small messages work, large tensors hang",
        source="PT#130739, NC#1957",
    ),
    needs=("fabric",),
)
def mtu(case: Case) -> t.Iterable[Answer]:
    """Packets of the interface's size that do not arrive, or interfaces that differ before it comes to that."""
    bad = _too_big(case)
    tried = [(source, target) for source, target, _result in pair_results(case, "mtu")]
    sizes = {name: number(data_interface(case, name), "mtu") for name in names(case) if name not in absent(case)}
    known = {name: int(size) for name, size in sizes.items() if size}
    odd = _deviating(known)
    for host, pairs in _mtu_attributed(list(bad), tried, odd).items():
        seen = [f"{source} to {target}: {_sizes(bad[source, target])}" for source, target in pairs]
        name = dig(data_interface(case, host), "name", "the data interface")
        cause = "Large packets are lost on the way: small messages pass, and the first large tensor hangs."
        remedy = (
            f"Give all data interfaces and the switches between them one MTU: ip link set {shlex.quote(str(name))} mtu "
            f"{_common(known) or 1500} there, and keep it in the network configuration."
        )
        yield finding("net-mtu-mismatch", FAIL, host, shorten(seen), cause, remedy)
    for host in odd if not bad else ():
        name = dig(data_interface(case, host), "name")
        others = sorted({size for other, size in known.items() if other != host} - {known[host]})
        cause = "The data interfaces do not have one MTU: large packets may be lost on the way."
        remedy = "ip link set INTERFACE mtu SIZE with one size on all nodes that the switches pass too."
        evidence = f"{name} has MTU {known[host]}, others {', '.join(map(str, others))}"
        yield finding("net-mtu-mismatch", WARN, host, evidence, cause, remedy)


def _sizes(result: Data) -> str:
    """Which packets pass and which do not, as far as the probe could tell."""
    passed, failed = dig(result, "passed"), dig(result, "failed")
    shown = [f"packets of {passed} bytes pass"] if passed else []
    shown += [f"those of {failed} do not"] if failed else []
    shown += [f"MTU {dig(result, 'interface_mtu')}"] if dig(result, "interface_mtu") else []
    return ", ".join([*shown, str(dig(result, "evidence", ""))])


def _common(sizes: t.Mapping[str, int]) -> int | None:
    """The size that most nodes have, the smallest among equals."""
    counted = collections.Counter(sizes.values())
    return min(counted, key=lambda size: (-counted[size], size), default=None)


def _deviating(sizes: t.Mapping[str, int]) -> list[str]:
    """The nodes whose size is not that of the majority; all of them where there is no majority."""
    counted = collections.Counter(sizes.values())
    if len(counted) < 2:
        return []
    most = max(counted.values())
    usual = [size for size, count in counted.items() if count == most]
    return [name for name, size in sizes.items() if len(usual) > 1 or size != usual[0]]


def _mtu_attributed(bad: t.Sequence[Pair], tried: t.Sequence[Pair], odd: t.Sequence[str]) -> dict[str, list[Pair]]:
    """Nodes with an MTU of their own first, else those that all bad pairs have in common."""
    found: dict[str, list[Pair]] = {}
    rest = []
    for pair in bad:
        named = [name for name in pair if name in odd]
        for name in named:
            found.setdefault(name, []).append(pair)
        rest += [] if named else [pair]
    for name, pairs in attribute(rest, tried, "both").items():
        found.setdefault(name, []).extend(pairs)
    return found


@rule(
    About(
        "link-failed",
        layer="network",
        severity=FAIL,
        title="A bandwidth test between two nodes failed",
        symptom="no number where the others have one",
        source="field notes",
    ),
    needs=("links",),
)
def link_failed(case: Case) -> t.Iterable[Answer]:
    """A transfer that broke off or hung between nodes whose ports are open to each other."""
    found = links(case)
    explained = {
        frozenset(pair) for pair in (*(item.pair for item in tcp_results(case) if not item.ok), *_too_big(case))
    }
    bad = []
    for pair, seen in found.items():
        if dig(seen, "ok") is not False or frozenset(pair) in explained:
            continue
        busy = diagnosis_busy.ends(case, pair, "links")
        if dig(seen, "failure") != "stalled":
            why = f"the link from {pair[0]} to {pair[1]} was not measured: {dig(seen, 'evidence', 'no answer')}"
            yield Untested("link-slow", pair, why)
        elif busy.at_all:
            yield Untested("link-failed", pair, f"busy nodes ({busy.words}): {dig(seen, 'evidence', 'stalled')}")
        else:
            bad.append(pair)
    for host, pairs in attribute(bad, list(found), "both").items():
        evidence = shorten(f"{pair[0]} to {pair[1]}: {dig(found[pair], 'evidence', 'failed')}" for pair in pairs)
        cause = "Connections to it are made, yet a transfer of data does not come through."
        remedy = (
            "tracepath PEER shows the MTU on the way, ip -s link errors and drops; look at cable, switch port and "
            "rules that limit rates."
        )
        yield finding("link-failed", FAIL, host, evidence, cause, remedy)


@once
def _usual(case: Case) -> tuple[float, float]:
    """(median, upper quartile) of what the links reach, in Mb/s."""
    speeds = list(_measured(case, "mbps").values())
    return statistics.median(speeds), _quantile(speeds, 0.75)


def expected(case: Case, pair: Pair) -> tuple[float, str]:
    """(Mb/s that a link should reach, why): by the slower of its two interfaces, else by the other links.

    What one process can prove is bounded (``link_provable_mbps``): a slower result on a 100 Gb/s network says
    something about the processor and not about the network. Where interfaces tell no speed, as virtual ones,
    half the median counts, a quarter of the best links (one slow node makes most of few links slow), and at
    any rate what Gigabit Ethernet reaches by far; but no more than ``link_unknown_mbps``, since above it busy
    processors make such links look unlike.
    """
    known = [speed for name in pair if (speed := number(data_interface(case, name), "speed_mbps"))]
    if len(known) == len(pair):
        share = limit(case, "link_share_of_speed")
        return share * min(*known, limit(case, "link_provable_mbps")), f"the interfaces have {min(known):.0f} Mb/s"
    middle, best = _usual(case)
    most = limit(case, "link_unknown_mbps")
    wishes = [
        (min(most, limit(case, "link_share_of_median") * middle), f"the median is {middle:.0f} Mb/s"),
        (min(most, limit(case, "link_share_of_best") * best), f"the best links have {best:.0f} Mb/s"),
        (limit(case, "link_floor_mbps"), "less than Gigabit Ethernet gives"),
    ]
    return max(wishes)


def _quantile(values: t.Sequence[float], share: float) -> float:
    """The value below which ``share`` of the values lie, rounded to the side of the extreme one."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return ordered[math.ceil(share * last) if share > 0.5 else math.floor(share * last)]


@once
def _measured(case: Case, key: str) -> dict[Pair, float]:
    found = {pair: number(result, key) for pair, result in links(case).items() if dig(result, "ok")}
    return {pair: value for pair, value in found.items() if value is not None}


@rule(
    About(
        "link-slow",
        layer="network",
        severity=WARN,
        title="The link between two nodes is slow",
        symptom="the whole job runs at the pace of one link",
        source="field notes",
    ),
    needs=("links",),
)
def link_slow(case: Case) -> t.Iterable[Answer]:
    """Links far below what their interfaces, or the other links, can do."""
    speeds, bad = _measured(case, "mbps"), {}
    far = {frozenset(pair) for pair in _far(case)}
    for pair, speed in speeds.items():
        wanted, why = expected(case, pair)
        if speed < wanted and frozenset(pair) not in far:  # a long way alone makes a link slow
            busy = diagnosis_busy.ends(case, pair, "links")
            if busy.at_all and speed * busy.slack >= wanted:
                said = f"{speed:.0f} Mb/s, at least {wanted:.0f} expected"
                yield Untested("link-slow", pair, f"busy nodes ({busy.words}): {pair[0]} to {pair[1]} had {said}")
                continue
            bad[pair] = f"{pair[0]} to {pair[1]}: {speed:.0f} Mb/s, at least {wanted:.0f} expected ({why})"
    for host, pairs in attribute(list(bad), list(speeds), "both").items():
        remedy = (
            "ip -s link and ethtool INTERFACE (speed, duplex, errors) there, tc qdisc for a limit on the rate, then "
            "cable and switch port; iperf3 between the two nodes measures it again."
        )
        cause = "Every step of a training waits for the slowest link."
        yield finding("link-slow", WARN, host, shorten(bad[pair] for pair in pairs), cause, remedy)


@once
def _far(case: Case) -> dict[Pair, str]:
    """Links whose messages take many times longer than those of the fast ones, or longer than within a site."""
    times = _measured(case, "latency_us")
    if not times:
        return {}
    usual, most = _quantile(list(times.values()), 0.25), _latency_limit(case, times)
    return {
        pair: f"{pair[0]} to {pair[1]}: {time:.0f} us, the fast links have {usual:.0f}"
        for pair, time in times.items()
        if time > most
    }


def _latency_limit(case: Case, times: t.Mapping[Pair, float]) -> float:
    """Microseconds from which on a link counts as far."""
    usual = _quantile(list(times.values()), 0.25)
    most = max(limit(case, "link_latency_factor") * usual, limit(case, "link_latency_floor_us"))
    return min(most, limit(case, "link_latency_warn_us"))


@rule(
    About(
        "link-latency",
        layer="network",
        severity=WARN,
        title="The link between two nodes has high latency",
        symptom="every exchange waits for the slowest way",
        source="field notes",
    ),
    needs=("links",),
)
def link_latency(case: Case) -> t.Iterable[Answer]:
    """Links with a far longer way than the others, or than a training can bear."""
    bad, times = dict(_far(case)), _measured(case, "latency_us")
    most = _latency_limit(case, times) if bad else 0.0
    for pair in list(bad):
        busy = diagnosis_busy.ends(case, pair, "links")
        if busy.at_all and times[pair] < busy.slack * most:
            yield Untested("link-latency", pair, f"busy nodes ({busy.words}): {bad.pop(pair)}")
    for host, pairs in attribute(list(bad), list(times), "both").items():
        cause = "Small messages take long on the way: a farther network, a tunnel, or a busy machine."
        remedy = "ping and tracepath to the other nodes; ip route get PEER; top there; tc qdisc for a delay."
        yield finding("link-latency", WARN, host, shorten(bad[pair] for pair in pairs), cause, remedy)
