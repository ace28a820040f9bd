# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller keeps of job_records."""

from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.action.job_records import ActionModule
from ansible_collections.trainmesh.cluster.tests.unit.samples import actions


def test_the_records_are_kept_with_what_the_probes_have_found(monkeypatch):
    variables = {"trainmesh_plan": actions.PLAN, "ansible_facts": {"trainmesh_facts_verify": {"mesh": {"row": {}}}}}
    told = {"prefix": "/opt/trainmesh", "runs": ["a"]}
    result, given = actions.run(monkeypatch, ActionModule, {"records": [{"rank": 0}]}, variables=variables, **told)
    assert given == told
    kept = {"mesh": {"row": {}}, "records": {"records": [{"rank": 0}]}}
    assert result["ansible_facts"] == {"trainmesh_facts_verify": kept}
