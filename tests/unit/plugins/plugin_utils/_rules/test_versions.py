# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules on versions and on what compiles and loads libraries, as the report asks them."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Finding
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import versions, versions_equal, versions_node
from ansible_collections.trainmesh.cluster.tests.unit.samples import checks
from ansible_collections.trainmesh.cluster.tests.unit.samples.checks import ODD, paths
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import NAMES, gpu_case, put

RULES = checks.rules_of(versions, versions_equal, versions_node)


def said(case: Case) -> list[tuple[str, str, tuple[str, ...]]]:
    return checks.said(case, RULES)


def test_sound_nodes_are_not_accused() -> None:
    assert said(gpu_case()) == []
    assert said(gpu_case(1)) == []
    assert said(Case(plan=gpu_case().plan)) == []


def test_the_comparison_answers_with_findings_of_the_engine_for_ids_that_are_registered() -> None:
    case = gpu_case()
    case.stack["node2"]["packages"]["deepspeed"] = "0.14.0"
    case.gpu["node3"]["driver_version"] = "470.57.02"
    found = checks.answers(case, RULES)
    assert all(isinstance(each, Finding) for each in found)
    registered = {identity for rule in RULES for identity in rule.ids}
    assert {each.rule for each in found} == {"ver-python-torch-differs", "drv-too-old"}
    assert {each.rule for each in found} <= registered


def test_the_majority_is_counted_in_the_order_of_ranks() -> None:
    case = gpu_case(2)
    case.plan["order"] = ["node2", "node1"]
    case.stack["node1"]["packages"]["torch"] = "2.12.1+cu126"
    assert said(case) == [("ver-python-torch-differs", "fail", ("node1",))]


@pytest.mark.parametrize(
    ("path", "value", "rule", "severity"),
    [
        ("tools/ninja", None, "build-ninja-missing", "warn"),
        ("tools/ninja/on_path", False, "build-ninja-missing", "warn"),
        ("compilers/g++", None, "build-cpu-adam", "info"),
        ("python/headers", False, "build-cpu-adam", "info"),
        ("libaio/header", None, "build-aio-missing", "info"),
        ("login_environment/variables/LD_PRELOAD", "/usr/lib/libnccl.so.2", "nccl-system-install-unneeded", "warn"),
        (
            "nccl",
            [{"path": "/opt/nccl/libnccl.so.2", "place": "library_path", "version": "2.18.3"}],
            "nccl-system-install-unneeded",
            "warn",
        ),
        (
            "library_path_cuda",
            [{"library": "libcudart", "path": "/usr/local/cuda-12.1/lib64/libcudart.so.12", "version": "12.1.105"}],
            "env-ldpath-cuda-clash",
            "warn",
        ),
    ],
)
def test_a_fault_is_found_on_its_node(path: str, value: t.Any, rule: str, severity: str) -> None:
    case = gpu_case()
    put(case.stack["node2"], path, value)
    assert said(case) == [(rule, severity, ("node2",))]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("deepspeed", None),
        ("deepspeed/installed_ops", ["cpu_adam", "async_io"]),
        ("nccl", [{"path": "/usr/lib/libnccl.so.2", "place": "system", "version": "2.18.3"}]),
        ("library_path_cuda", [{"library": "libcudart", "path": "/c/libcudart.so.12", "version": "12.8.57"}]),
        ("library_path_cuda", [{"library": "libcudart", "path": "/c/libcudart.so.11.0", "version": "11.4.148"}]),
        ("library_path_cuda", [{"library": "libcublas", "path": "/c/libcublas.so.12", "version": "12.1.3.1"}]),
        ("library_path_cuda", None),
        ("tools", None),
    ],
)
def test_what_does_no_harm_or_is_unknown_is_no_fault(path: str, value: t.Any) -> None:
    case = gpu_case()
    for host in NAMES:
        put(case.stack[host], path, value)
    assert said(case) == []


def test_an_import_that_worked_proves_that_no_library_clashes() -> None:
    case = gpu_case()
    older = {"library": "libcudart", "path": "/usr/local/cuda-12.1/lib64/libcudart.so.12", "version": "12.1.105"}
    case.stack["node2"].update(library_path_cuda=[older], torch_import={"ok": True})
    assert said(case) == []
    case.stack["node2"]["torch_import"] = None
    case.plan["managed"] = True
    assert said(case) == [("env-ldpath-cuda-clash", "info", ("node2",))]


def test_our_own_scripts_find_the_ninja_of_the_environment() -> None:
    case = gpu_case()
    for facts in case.stack.values():
        facts["tools"]["ninja"]["on_path"] = False
    case.plan["managed"] = True
    assert said(case) == []


@pytest.mark.parametrize(("version", "severity"), [("3.8.10", "warn"), ("3.7.16", "warn"), ("3.10.12", "info")])
def test_a_python_that_has_ended(version: str, severity: str) -> None:
    case = gpu_case()
    for facts in case.stack.values():
        facts["python"]["version"] = version
    assert ("ver-python-eol", severity, NAMES) in said(case)


def test_another_torch_than_the_plans() -> None:
    case = gpu_case()
    case.plan["stack"] = {"requirements": ["torch==2.13.0", "deepspeed==0.19.8"]}
    case.plan["managed"] = True
    assert said(case) == []
    case.plan["stack"]["requirements"][0] = "torch==2.12.1+cu126"
    assert said(case) == [("ver-torch-silently-replaced", "warn", NAMES)]
    case.plan["managed"] = False
    assert said(case) == []
    case.plan["managed"] = True
    case.stack["node3"]["packages"]["torch"] = "2.12.1+cu126"
    assert said(case) == [("ver-python-torch-differs", "fail", ("node3",))]


def test_another_build_is_not_accused_beside_what_asks_for_it() -> None:
    case = gpu_case()
    case.plan["managed"] = True
    case.plan["stack"] = {"requirements": ["torch==2.13.0+cu118"]}
    for host in NAMES:
        case.gpu[host]["driver_version"] = "450.80.02"
    found = said(case)
    assert [rule for rule, _severity, _hosts in found] == ["drv-too-old"]
    case.gpu["node1"]["driver_version"] = "580.95.05"
    assert said(case) == [("drv-too-old", "fail", ("node2", "node3"))]
    case.plan["stack"]["requirements"][0] = "torch==2.12.1+cu118"
    assert "ver-torch-silently-replaced" in [rule for rule, _severity, _hosts in said(case)]


def test_one_cache_for_unlike_gpus() -> None:
    case = gpu_case()
    for host in ("node1", "node2"):
        case.user[host]["caches"]["triton"] = {"path": "/home/u/.triton", "local": False, "fs_type": "nfs4"}
    assert said(case) == []  # the GPUs are alike
    for gpu in case.gpu["node2"]["gpus"]:
        gpu["compute_capability"] = "7.0"
    assert said(case) == [("build-ext-mixed-arch", "fail", ("node1", "node2"))]
    case.plan["managed"] = True
    assert said(case) == []


PLACES = sorted(paths({part: getattr(gpu_case(1), part)["node1"] for part in ("stack", "user")}))


@settings(max_examples=200, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([place for place in PLACES if "/" in place]), ODD)
def test_odd_facts_break_no_rule(place: str, value: t.Any) -> None:
    case = gpu_case()
    part, _slash, path = place.partition("/")
    put(getattr(case, part)["node1"], path, value)
    assert isinstance(checks.answers(case, RULES), list)
