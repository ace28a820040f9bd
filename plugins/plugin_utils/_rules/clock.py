# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule on clocks that differ.

A node's ``clock.epoch`` was read some time after the controller had begun to gather
(``clock.controller_started``) and before it had the answer (``clock.controller_epoch``). So its offset
from the controller's clock lies between two bounds, and what the gathering itself took accuses nobody.
"""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import absent, limit, number
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    Untested,
    dig,
    finding,
    rule,
)

Bounds = tuple[float, float]
_REMEDY = (
    "systemctl enable --now chrony (chronyd on EL; trainmesh_node_base: [chrony] installs it), then chronyc makestep"
)


def bounds(row: t.Any) -> Bounds | None:
    """Least and greatest offset of a node's clock from the controller's, in seconds; None when it is not known.

    ``row`` is that of reach_check, which read the clock between two moments of its own.
    """
    epoch, begun, ended = (number(row, f"clock.{key}") for key in ("epoch", "started", "ended"))
    if epoch is None or begun is None or ended is None or ended < begun:
        return None
    return epoch - ended, epoch - begun


def distance(at: float, span: Bounds) -> float:
    """How far a point is from an interval; 0 within it."""
    return max(span[0] - at, at - span[1], 0.0)


def reference(spans: t.Collection[Bounds]) -> float:
    """The offset that most clocks can have; among several the one nearest to the controller's.

    That way a controller with a wrong clock does not accuse the nodes that agree with each other.
    """
    points = [0.0, *(edge for span in spans for edge in span)]
    return max(points, key=lambda at: (sum(distance(at, span) == 0 for span in spans), -abs(at)))


@rule(
    About(
        "rdzv-clock-skew",
        layer="network",
        severity=INFO,
        also=(FAIL, WARN),
        title="Clocks differ between nodes",
        symptom="a node is dropped and comes back, in a loop",
        source="torch dynamic_rendezvous.py",
    ),
    needs=("fabric",),
)
def clock_skew(case: Case) -> t.Iterable[Answer]:
    """Clocks that differ by more than torch's rendezvous and file time stamps bear."""
    live = {name: facts for name, facts in case.fabric.items() if name not in absent(case)}
    found = {name: bounds(case.reach.get(name)) for name in live}
    known = {name: span for name, span in found.items() if span is not None}
    unknown = tuple(name for name, span in found.items() if span is None)
    if unknown:
        yield Untested("rdzv-clock-skew", unknown, "its clock could not be read")
    common, wrong = reference(known.values()), set()
    for name, span in known.items():
        off = distance(common, span)
        if off <= limit(case, "clock_skew_warn_s"):
            continue
        wrong.add(name)
        side = "ahead of" if span[0] > common else "behind"
        daemon = dig(live[name], "clock.source", "no time daemon runs")
        cause = "Its clock is wrong: torch's rendezvous drops nodes whose messages look old, and file times mislead."
        severity = FAIL if off > limit(case, "clock_skew_fail_s") else WARN
        yield finding(
            "rdzv-clock-skew", severity, name, f"{off:.1f} s {side} the other clocks; {daemon}", cause, _REMEDY
        )
    for name, facts in live.items():
        free = dig(facts, "clock.synchronised") is False and not dig(facts, "clock.source")
        if free and not dig(facts, "container") and name not in wrong:
            cause = "Nothing keeps its clock right, so that it will drift away from the others."
            yield finding("rdzv-clock-skew", INFO, name, "no time daemon, not synchronised", cause, _REMEDY)
