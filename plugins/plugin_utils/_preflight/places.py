# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where hosts are for the controller, by its ssh configuration and its resolver. No host is contacted."""

from __future__ import annotations

import functools
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import line_check, resolver
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.threads import WORKERS, in_threads
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.offline import Place
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import ssh_config
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.failures import Stop
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.target import Target

LIMIT = 10.0


def find(targets: t.Iterable[Target]) -> dict[str, Place]:
    """The place of each target by its name; ``problem`` says why an address is empty."""
    jobs = {target.name: functools.partial(_asked, target) for target in targets}
    turns = -(-len(jobs) // WORKERS)
    asked = in_threads(jobs, LIMIT * turns)
    late = Place("", problem=f"ssh -G gave no answer within {LIMIT:g} s")
    places = {name: _place(asked.get(name, late)) for name in jobs}
    names = {place.address for place in places.values() if place.address and not line_check.is_address(place.address)}
    answers, _own = resolver.resolve(names, LIMIT * turns)
    return {name: _resolved(place, answers.get(place.address)) for name, place in places.items()}


def _asked(target: Target) -> Place:
    """What ``ssh -G`` says of a target; the address may still be a name."""
    if target.untested:
        return Place(target.host, problem=target.untested)
    client = ssh_config.read(target, LIMIT)
    return Place(client.hostname, client.port, client.user)


def _place(answer: Place | Exception) -> Place:
    if isinstance(answer, Place):
        return answer
    return Place("", problem=answer.evidence if isinstance(answer, Stop) else f"{type(answer).__name__}: {answer}")


def _resolved(place: Place, answer: t.Mapping[str, t.Any] | None) -> Place:
    if answer is None:
        return place
    if answer["addresses"]:
        return place._replace(address=answer["addresses"][0])
    why = f"the controller can't resolve {place.address} ({answer['error']})"
    return place._replace(address="", problem=place.problem or why)
