# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import value_kinds as kinds

EVERY = [None, True, False, 0, 1, 2, -1, 2.5, 10**400, float("inf"), "x", "", "3", "5e8", [], [1], ["a"], {}, {"a": 1}]


@pytest.mark.parametrize(
    ("kind", "taken", "refused", "misread"),
    [
        ("stage", [0, 3, 2.0, "3", " 2 ", "auto"], [4, -1, "three", None, [3], 1.5], [True]),
        ("natural", [0, 5e8, "500000000", "5_000", "5.0"], ["5e8", "5,000", -1, None, 2.5, {}, "5."], [True]),
        ("truth", [True, 0, 1.0, "true", "OFF", "yes", "auto"], [2, "maybe", "", None, [], " true"], []),
        ("truth_or_null", [None, False], ["x"], []),
        ("number", [0, "0", 1e5, "1e-5"], ["x", None, []], [True]),
        ("share", [0, 1.0, "0.5"], [1.5, -0.1, "x"], [True]),
        ("device", ["cpu", "none", "nvme"], ["CPU", None, True, ["cpu"], {}], []),
        ("path_or_null", [None, "/nvme"], [5, []], []),
        ("text", ["x", "5"], [5, None, [], True], []),
        ("count_or_null", [None, 16, 16.0, "auto"], ["16", 0, -1, 16.5, [], float("inf")], [True]),
        ("plain_number", [1, 0.5, None], ["1.0", [], {}], [True]),
        ("numbers", [[0.9, 0.999], "auto", ["auto", 0.9]], ["[0.9, 0.999]", ["0.9", "0.999"], 0.9], []),
        ("number_or_numbers", [0.1, [0.1, 0.2]], ["1e-5", ["1e-5"]], []),
        ("switch", [True, False, 0, 1, None, "true", ""], [], ["false", "no", "x"]),
        ("operand", [True, False, 1], ["true", "false", None, []], []),
        ("data_type", ["bf16", "FP32", None], [16, True, "float", []], []),
    ],
)
def test_what_becomes_of_a_value(kind, taken, refused, misread):
    refusals = (kinds.REFUSED, kinds.REFUSED_NOW)
    assert [value for value in taken if kinds.judged(kind, value)] == []
    assert [value for value in refused if kinds.judged(kind, value) not in refusals] == []
    assert [value for value in misread if kinds.judged(kind, value) != kinds.MISREAD] == []


def test_every_kind_has_an_answer_to_every_value():
    for kind in kinds.KINDS:
        for value in EVERY:
            assert kinds.judged(kind, value) in ("", kinds.REFUSED, kinds.REFUSED_NOW, kinds.MISREAD)
            assert kinds.judged(f"{kind}_or_null", None) == ""
            assert kinds.proposed(kind, value) and kinds.named(value) and len(kinds.shown(value)) <= 60


@pytest.mark.parametrize(
    ("kind", "value", "proposed"),
    [
        ("natural", "5e8", "500000000"),
        ("natural", "500,000", "500000"),
        ("natural", "x", "500000000"),
        ("stage", "3", "3"),
        ("stage", "7", "2"),
        ("operand", "False", "false"),
        ("device", "CPU", '"cpu"'),
        ("plain_number", "1e-5", "1e-05"),
    ],
)
def test_what_may_stand_there_instead(kind, value, proposed):
    assert kinds.proposed(kind, value) == proposed
