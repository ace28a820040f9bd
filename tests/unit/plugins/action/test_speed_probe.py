# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller adds to speed_probe."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.action.speed_probe import ActionModule
from ansible_collections.trainmesh.cluster.tests.unit.samples import actions

SPEED = {"speed": {"device": "gpu", "gpus": []}}


@pytest.mark.parametrize(
    ("gpus", "planned", "expected"),
    [
        (["A100"], "bf16", {"device": "gpu", "precision": "bf16"}),
        (["T4"], "fp16", {"device": "gpu", "precision": "fp16"}),
        (["P100"], "no", {"device": "gpu", "precision": "fp32"}),
        ([], "fp32", {"device": "cpu", "precision": "fp32"}),
    ],
)
def test_the_plan_says_what_is_measured_and_the_answer_is_kept(monkeypatch, gpus, planned, expected):
    plan = {**actions.PLAN, "gpus": gpus, "precision": planned}
    result, given = actions.run(monkeypatch, ActionModule, SPEED, variables={"trainmesh_plan": plan})
    assert given == expected
    assert result["ansible_facts"] == {"trainmesh_facts_verify": {"speed": SPEED}}
