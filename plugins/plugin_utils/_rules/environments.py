# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new environment that was made and is not in use."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    WARN,
    About,
    Answer,
    Case,
    Finding,
    dig,
    rule,
)


@rule(
    About(
        "env-not-switched",
        layer="versions",
        severity=FAIL,
        also=(WARN,),
        title="The new environment is not in use",
        symptom="jobs go on with the torch of before an upgrade",
        source="trainmesh",
    ),
    applies=lambda case: bool(case.switch),
)
def switched(case: Case) -> t.Iterator[Answer]:
    """All nodes are switched, or none; a node that could not be is named with the reason.

    Running jobs are no fault: with the environment in use the cluster is as good as before.
    """
    if not case.switch:
        return
    refused = {host: row for host, row in case.switch.items() if dig(row, "why")}
    names = {str(row["name"]) for row in case.switch.values()}
    half = [host for host in case.order if dig(case.node(host), "environment.switch") and host not in case.switch]
    who = ", ".join(case.switch) if half else "All nodes"
    what = f"{who} {'goes' if half and len(case.switch) == 1 else 'go'} on with the environment in use instead of "
    what += ", ".join(sorted(names)) + (f", which {', '.join(half)} use by now" if half else "")
    busy = {host: str(row["why"]) for host, row in refused.items() if row["held"]}
    unfit = {host: str(row["why"]) for host, row in refused.items() if not row["held"]}
    if busy and not unfit:
        cause = f"{what}: jobs run from it on {', '.join(busy)}."
        remedy = (
            "Run site.yml again when they have ended (or after trainmesh stop --all): only the switch is left to do."
        )
        yield Finding("env-not-switched", WARN, tuple(busy), busy, cause, remedy)
    if unfit:
        cause = f"{what}: it can't be used on {', '.join(unfit)}."
        remedy = (
            "Run site.yml again when that is mended: only the switch is left to do. Or set the earlier values again "
            "(trainmesh_torch and the like), and nothing is installed."
        )
        yield Finding("env-not-switched", FAIL, tuple(unfit), unfit, cause, remedy)
    lost = tuple(host for host in case.switch if host in case.lost)
    if lost and not refused:
        seen = dict.fromkeys(lost, "it dropped out before it had the new environment; the error of its task is above")
        yield Finding(
            "env-not-switched",
            FAIL,
            lost,
            seen,
            f"{what}: {', '.join(lost)} did not get it.",
            "Mend what the error above says, and run site.yml again.",
        )
