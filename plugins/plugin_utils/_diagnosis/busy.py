# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a busy node explains that something took long between two nodes."""

from __future__ import annotations

import math
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, dig, once

# Kept from the processors by its control group for more than this share of the time, and then for a long time at once,
# a node's times say nothing about networks, sshd or disks. Of what a hypervisor steals, a little is usual.
THROTTLED, STOLEN = 0.05, 0.1
# A load of twice the processors may make a thing take four times as long: a slice to wait for at each of its steps,
# on both ends.
POWER = 2


class Busy(t.NamedTuple):
    """``slack``: times by which a measurement may be worse than on idle nodes (1 for idle ones); ``words``: why."""

    slack: float
    words: str

    @property
    def at_all(self) -> bool:
        """Whether either end was busy."""
        return self.slack > 1


@once
def node(case: Case, name: str, probe: str) -> Busy:
    """How busy a node was during a probe, ``mesh`` or ``links``; idle where that is not known."""
    found = dig(dig(case.load, name, {}), probe, {})
    load, cores = _number(dig(found, "load1")), _number(dig(found, "cores"))
    held, stolen = _number(dig(found, "throttled")), _number(dig(found, "stolen"))
    words = []
    slack = 1.0
    if cores and load > cores:
        slack = load / cores
        words.append(f"load {load:.1f} on {cores:.0f} processors")
    if stolen > STOLEN:
        slack /= max(0.01, 1 - stolen)
        words.append(f"{stolen:.0%} of its processor time was stolen by the hypervisor")
    slack **= POWER
    if held > THROTTLED:
        slack = math.inf
        words.append(f"its control group was throttled for {held:.0%} of the time")
    return Busy(slack, f"{name}: {', '.join(words)}" if words else "")


def ends(case: Case, names: t.Iterable[str], probe: str) -> Busy:
    """How busy the busiest of some nodes was, and what is known of each that was."""
    found = [node(case, name, probe) for name in dict.fromkeys(names)]
    return Busy(max((busy.slack for busy in found), default=1.0), "; ".join(busy.words for busy in found if busy.words))


def ever(case: Case, names: t.Iterable[str]) -> Busy:
    """How busy the busiest of some nodes was during either probe."""
    wanted = list(names)
    return max((ends(case, wanted, probe) for probe in ("links", "mesh")), key=lambda busy: busy.slack)


def _number(value: t.Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0
