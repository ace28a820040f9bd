# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only the plan knows: what site.yml would refuse, and keys that were removed."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    names,
    rows,
    shorten,
    text,
    texts,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    INFO,
    WARN,
    About,
    Answer,
    Case,
    Finding,
    finding,
    rule,
)

_CLUSTER = "the cluster"


@rule(
    About(
        "plan-refused",
        layer="job",
        severity=INFO,
        title="site.yml would refuse this cluster",
        symptom="site.yml stops at its plan, before anything is installed",
        source="docs/architecture.md",
    )
)
def refused(case: Case) -> t.Iterator[Answer]:
    """What site.yml would stop at. Verify judges the machines as they are, whatever the plan says of them."""
    known = set(names(case))
    found: dict[str, list[str]] = {}
    for refusal in rows(case.plan, "refusals"):
        for host in [name for name in texts(refusal, "hosts") if name in known] or [_CLUSTER]:
            found.setdefault(host, []).append(text(refusal, "text"))
    if found:
        yield Finding(
            "plan-refused",
            INFO,
            tuple(name for name in found if name in known),
            {name: shorten(sentences) for name, sentences in found.items()},
            "A run that sets the cluster up would stop before it installs anything, for the reasons shown.",
            "Fix it before site.yml is run.",
        )


@rule(
    About(
        "ssh-key-removed-kept",
        layer="ssh",
        severity=WARN,
        title="A removed key may still be authorized on a node",
        symptom="nothing, until somebody uses the key",
        source="OpenSSH sshd(8) authorized_keys",
    )
)
def kept_keys(case: Case) -> t.Iterator[Answer]:
    """Nodes that were not changed since a key was removed: who has it gets in there."""
    found: dict[str, list[str]] = {}
    for key in case.plan.get("removed_keys") or []:
        for host in key["nodes"]:
            found.setdefault(host, []).append(f"{key['name']} ({key['fingerprint']})")
    for host, keys in found.items():
        yield finding(
            "ssh-key-removed-kept",
            WARN,
            host,
            f"may still let in the old key of {shorten(sorted(keys))}",
            "The key was removed from the cluster, and these nodes were not seen without it since.",
            "Run site.yml when they are up, without --limit: it takes the key from them.",
        )
