# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits: the table itself, what a user changes, and what depends on the GPU."""

from __future__ import annotations

import ast
import pathlib
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import facts, thresholds
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case


def test_each_entry_says_what_it_is_and_where_it_comes_from() -> None:
    for name, entry in thresholds.entries().items():
        assert set(entry) == {"name", "default", "unit", "by", "source", "meaning"}, name
        assert entry["unit"] and entry["source"] and entry["meaning"].endswith("."), name
        assert (entry["default"] is None) == (entry["by"] is not None), name
        numbers = [entry["default"]] if entry["by"] is None else [each for each in entry["by"].values() if each]
        assert all(isinstance(each, (int, float)) and each >= 0 for each in numbers), name


def constants(argument: ast.expr) -> set[str]:
    """The texts that an argument may be: itself, or both branches of a condition."""
    branches = (argument.body, argument.orelse) if isinstance(argument, ast.IfExp) else (argument,)
    return {each.value for each in branches if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def test_each_limit_that_a_rule_asks_for_is_in_the_table() -> None:
    asked = set()
    for path in (pathlib.Path(thresholds.__file__).parents[1] / "_rules").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(call, "func", None)
            if isinstance(call, ast.Call) and getattr(name, "id", getattr(name, "attr", "")) == "limit":
                asked |= {(path.name, text) for arg in call.args[1:2] for text in constants(arg)}
    assert asked
    assert {(file, name) for file, name in asked if name not in thresholds.entries()} == set()


def test_no_limit_is_there_for_nothing() -> None:
    code = "".join(
        path.read_text(encoding="utf-8") for path in pathlib.Path(thresholds.__file__).parents[1].rglob("*.py")
    )
    assert [name for name in thresholds.entries() if f'"{name}"' not in code] == []


def test_the_defaults_are_accepted_as_overrides() -> None:
    plain = {name: entry["default"] for name, entry in thresholds.entries().items() if entry["by"] is None}
    assert thresholds.read(plain) == thresholds.read()


def test_an_override_takes_the_place_of_the_default() -> None:
    limits = thresholds.read({"clock_skew_warn_s": "0.5", "shm_fail_bytes": 100})
    assert thresholds.limit(limits, "clock_skew_warn_s") == 0.5
    assert thresholds.limit(limits, "shm_fail_bytes") == 100
    assert thresholds.limit(limits, "clock_skew_fail_s") == 30
    assert thresholds.limit({}, "clock_skew_fail_s") == 30


@pytest.mark.parametrize(
    ("gpu", "links"),
    [
        ("A100-SXM4-80GB", 12),
        ("NVIDIA A100-SXM4-40GB", 12),
        ("Tesla V100-SXM2-16GB", 6),
        ("A100 80GB PCIe", None),
        ("H100 80GB HBM3", 18),
        ("H100 PCIe", None),
        ("H200", 18),
        ("H200 NVL", None),
        ("GeForce RTX 4090", None),
        ("", None),
    ],
)
def test_a_limit_by_gpu(gpu: str, links: float | None) -> None:
    assert thresholds.limit({}, "nvlink_links", gpu) == links


def test_a_limit_by_gpu_is_changed_for_one_or_for_all() -> None:
    one = thresholds.read({"nvlink_links": {"A100-SXM": 8, "H200": None}})
    assert [thresholds.limit(one, "nvlink_links", gpu) for gpu in ("A100-SXM4-80GB", "H200", "B200")] == [8, None, 18]
    every = thresholds.read({"nvlink_links": 4})
    assert [thresholds.limit(every, "nvlink_links", gpu) for gpu in ("A100-SXM4-80GB", "GeForce RTX 3090")] == [4, 4]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"clock_skew_warn": 1}, "unknown threshold clock_skew_warn; did you mean clock_skew_warn_s"),
        ({"zzz": 1}, "unknown threshold zzz; those that exist: ssh_slow_s"),
        ({"clock_skew_warn_s": "soon"}, "clock_skew_warn_s: expected a number, found 'soon'"),
        ({"clock_skew_warn_s": True}, "expected a number, found True"),
        ({"clock_skew_warn_s": None}, "expected a number, found None"),
        ({"clock_skew_warn_s": -1}, "expected a number of s that is not negative"),
        ({"clock_skew_warn_s": float("inf")}, "not negative"),
        ({"clock_skew_warn_s": float("nan")}, "not negative"),
        ({"link_share_of_best": 15}, "expected a share from 0 to 1"),
        ({"clock_skew_warn_s": {"A100": 1}}, "expected one number"),
        ({"nvlink_links": {"A100": "x"}}, r"nvlink_links\.A100: expected a number"),
        ([1], "expected a mapping"),
    ],
)
def test_a_wrong_value_is_refused(value: t.Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        thresholds.read(value)


def test_what_is_usual_in_the_cluster_is_the_median() -> None:
    assert thresholds.median([1, None, 3, 9]) == 3
    assert thresholds.median([1, 9]) is None
    assert thresholds.below({"a": 10, "b": 9, "c": 4, "d": None}, 0.5) == {"c": 4}
    assert thresholds.above({"a": 10, "b": 9, "c": 40}, 3) == {"c": 40}
    assert thresholds.below({"a": 10, "b": 1}, 0.5) == {}
    assert thresholds.above({}, 2) == {}


def test_a_check_asks_for_a_limit_by_its_name_alone():
    assert facts.limit(Case(plan={}), "clock_skew_warn_s") == thresholds.entries()["clock_skew_warn_s"]["default"]
    assert facts.limit(Case(plan={}, thresholds={"clock_skew_warn_s": 7}), "clock_skew_warn_s") == 7
    with pytest.raises(KeyError):
        facts.limit(Case(plan={}), "no_such_limit")
