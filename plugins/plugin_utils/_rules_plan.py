# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: what a run that sets the cluster up would refuse, told by one that only looks."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._mesh_view import names, shorten
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rule import INFO, Answer, Case, Finding, rule
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rule_facts import texts

_CLUSTER = "the cluster"


@rule("plan-refused")
def refused(case: Case) -> t.Iterator[Answer]:
    """What site.yml would stop at. Verify judges the machines as they are, whatever the plan says of them."""
    known = set(names(case))
    found: dict[str, list[str]] = {}
    for sentence in texts(case.plan, "refusals"):
        prefix, colon, rest = sentence.partition(": ")
        hosts = [name for name in prefix.split(", ") if name in known] if colon else []
        whole = len(hosts) == len(prefix.split(", "))
        for host in hosts if whole else [_CLUSTER]:
            found.setdefault(host, []).append(rest if whole else sentence)
    if found:
        yield Finding(
            "plan-refused",
            INFO,
            tuple(name for name in found if name in known),
            {name: shorten(sentences) for name, sentences in found.items()},
            "A run that sets the cluster up would stop before it installs anything, for the reasons shown.",
            "Mend it before site.yml is run.",
        )


__all__ = ("refused",)
