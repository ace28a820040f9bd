# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which failures of the probes are tested again before anybody is told of them.

What is wrong with one node is wrong with that node. What the probes alone have seen wrong with most nodes at once may
as well be the probes themselves, which all nodes run at the same time.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine, options
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import FAIL, Case, Finding

FEWEST_NODES = 3


def checks(case: Case, findings: t.Sequence[Finding], wishes: options.Options) -> list[str]:
    """Ids of the checks that failed on more than half of the probed nodes, and would not have without the probes."""
    failed = _on_most(case, findings)
    if not failed:
        return []
    unprobed = dataclasses.replace(case, mesh={}, listeners={}, links={}, views={})
    return sorted(failed - _on_most(case, engine.judge(unprobed, wishes).findings))


def _on_most(case: Case, findings: t.Sequence[Finding]) -> set[str]:
    failed = {finding.rule for finding in findings if finding.severity == FAIL}
    hosts: dict[str, set[str]] = {}
    for finding in findings:
        if finding.rule in failed:  # a port that is taken, say, is a failure of the head and a warning elsewhere
            hosts.setdefault(finding.rule, set()).update(finding.hosts)
    least = max(FEWEST_NODES, len(case.mesh) // 2 + 1)
    return {rule for rule, names in hosts.items() if len(names) >= least}
