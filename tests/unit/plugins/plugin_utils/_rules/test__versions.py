# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparison of versions over a cluster: who stands out, what does not fit, and no false accusation."""

from __future__ import annotations

import copy
import json
import os
import pathlib
import re
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat import constraints as relations
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat import tables
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import ABOUT, SEVERITIES, Case, Finding
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import versions_equal, versions_node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._versions import (
    ABSENT,
    groups,
    names,
    version_table,
)

ROOT = pathlib.Path(__file__).resolve().parents[5]
FIXTURES = pathlib.Path(os.environ.get("TRAINMESH_FIXTURES") or ROOT.parent / "shared/fixtures")

OURS = {versions_equal.__name__, versions_node.__name__}


def compare(stacks: t.Mapping[str, t.Any], gpus: t.Mapping[str, t.Any]) -> list[Finding]:
    """What the rules on versions say of a cluster of ours, the worst first."""
    case = Case(plan={"order": list(stacks), "nodes": {}, "managed": True}, stack=stacks, gpu=gpus)
    rules = [rule for rule in engine.load() if rule.judge.__module__ in OURS]
    found = engine.merged((answer for rule in rules for answer in rule.judge(case)), case.order)
    assert all(isinstance(each, Finding) for each in found)
    return sorted(found, key=lambda each: SEVERITIES.index(each.severity))


def test_every_severity_of_the_table_is_declared() -> None:
    for entry in tables.table("version_rules")["equal"]:
        about = ABOUT[entry["rule"]]
        assert entry["severity"] in (about.severity, *about.also), entry["what"]


STACK: dict[str, t.Any] = {
    "login_environment": {"variables": {"PATH": "/usr/bin"}},
    "cuda": {"build_home": {"path": "/usr/local/cuda-12.6", "nvcc": {"release": "12.6", "version": "12.6.85"}}},
    "python": {"version": "3.11.7", "problem": None},
    "packages": {
        "torch": "2.13.0+cu126",
        "torchvision": "0.28.0+cu126",
        "torchaudio": "2.11.0+cu126",
        "triton": "3.7.1",
        "deepspeed": "0.19.8",
        "accelerate": "1.15.0",
        "transformers": "5.23.0",
        "mpi4py": None,
        "numpy": "2.4.6",
    },
    "torch": {
        "version": "2.13.0+cu126",
        "cuda": "12.6",
        "hip": None,
        "nccl": "2.29.3",
        "nccl_package": "2.29.3",
        "arch_list": ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"],
    },
    "deepspeed": {"version": "0.19.8", "installed_ops": [], "built_torch": "2.13", "built_cuda": "12.6"},
    "torch_import": None,
    "compilers": {"g++": {"path": "/usr/bin/g++", "version": "12.2.0"}},
    "tools": {"mpirun": {"path": "/usr/bin/mpirun", "open_mpi": "4.1.4"}},
}
A100: dict[str, t.Any] = {
    "status": "ok",
    "driver_version": "560.35.05",
    "gpus": [{"name": "A100-SXM4-40GB", "compute_capability": "8.0"}],
}


def cluster(count: int = 3) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    hosts = [f"node{number}" for number in range(1, count + 1)]
    return {host: copy.deepcopy(STACK) for host in hosts}, {host: copy.deepcopy(A100) for host in hosts}


def change(facts: dict[str, t.Any], path: str, value: t.Any) -> None:
    *way, last = path.split("/")
    for part in way:
        facts = facts[part]
    facts[last] = value


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, [(one.rule, one.cause) for one in findings]
    return findings[0]


def test_a_healthy_cluster_has_no_finding() -> None:
    assert compare(*cluster()) == []
    assert compare(*cluster(1)) == []
    assert compare({}, {}) == []


def test_a_mixed_cluster_that_works_is_not_accused() -> None:
    stacks, gpus = cluster()
    gpus["node2"]["gpus"] = [{"name": "Tesla V100S-PCIE-32GB", "compute_capability": "7.0"}]
    stacks["node2"]["python"]["version"] = "3.11.9"
    assert compare(stacks, gpus) == []


@pytest.mark.parametrize(
    ("path", "value", "rule", "severity"),
    [
        ("packages/torch", "2.12.1+cu126", "ver-python-torch-differs", "fail"),
        ("packages/deepspeed", "0.14.0", "ver-python-torch-differs", "fail"),
        ("packages/accelerate", "1.14.0", "acc-version-differs", "fail"),
        ("packages/transformers", None, "ver-python-torch-differs", "fail"),
        ("packages/triton", "3.6.0", "ver-python-torch-differs", "warn"),
        ("packages/numpy", "1.26.4", "ver-python-torch-differs", "warn"),
        ("packages/mpi4py", "4.1.2", "ver-python-torch-differs", "warn"),
        ("tools/mpirun/open_mpi", "5.0.1", "mpi-version-differs", "warn"),
        ("compilers/g++/version", "9.5.0", "ver-compiler-differs", "info"),
        ("cuda/build_home/nvcc/release", "12.2", "ver-nvcc-differs", "warn"),
    ],
)
def test_the_one_that_stands_out_is_named(path: str, value: str | None, rule: str, severity: str) -> None:
    stacks, gpus = cluster()
    for host in ("node1", "node2", "node3"):
        stacks[host]["packages"]["torchvision"] = stacks[host]["packages"]["torchaudio"] = None
    change(stacks["node2"], path, value)
    finding = only(compare(stacks, gpus))
    assert (finding.rule, finding.severity) == (rule, severity)
    assert finding.hosts == (("node1", "node3") if path == "packages/mpi4py" else ("node2",))  # those that lack it
    assert set(finding.evidence) == {"node1", "node2", "node3"}
    assert "node2" in finding.cause
    assert finding.remedy


def test_a_package_that_is_missing_on_one_node_is_a_difference() -> None:
    stacks, gpus = cluster()
    stacks["node3"]["packages"]["accelerate"] = None
    finding = only(compare(stacks, gpus))
    assert (finding.hosts, finding.evidence["node3"]) == (("node3",), ABSENT)
    assert "1.15.0" in finding.remedy


def test_another_nccl_under_the_same_torch_is_found() -> None:
    stacks, gpus = cluster()
    change(stacks["node3"], "torch/nccl", "2.30.4")
    change(stacks["node3"], "torch/nccl_package", "2.30.4")
    finding = only(compare(stacks, gpus))
    assert (finding.rule, finding.severity, finding.hosts) == ("nccl-version-mismatch", "fail", ("node3",))


def test_another_torch_is_one_finding_and_not_four() -> None:
    stacks, gpus = cluster()
    for path, value in (("packages/torch", "2.13.0+cu130"), ("torch/cuda", "13.0"), ("torch/nccl", "2.29.7")):
        change(stacks["node2"], path, value)
    for name in ("torchvision", "torchaudio"):
        change(stacks["node2"], f"packages/{name}", stacks["node1"]["packages"][name].replace("cu126", "cu130"))
        for host in stacks:
            stacks[host]["packages"][name] = None
    stacks["node2"]["torch"]["nccl_package"] = "2.29.7"
    stacks["node2"]["cuda"]["build_home"] = None
    gpus["node2"]["driver_version"] = "580.95.05"
    found = compare(stacks, gpus)
    assert [(one.rule, one.hosts) for one in found] == [
        ("ver-python-torch-differs", ("node2",)),
        ("drv-differs", ("node2",)),
    ]


def test_on_a_tie_the_first_host_counts_as_the_majority() -> None:
    assert groups({"a": "1.0", "b": "2.0"}, 0) == [("1.0", ["a"]), ("2.0", ["b"])]
    assert groups({"a": "1.0", "b": "2.0", "c": "2.0"}, 0) == [("2.0", ["b", "c"]), ("1.0", ["a"])]
    assert groups({"a": "3.11.7", "b": "3.11.9"}, 2) == [("3.11.7", ["a", "b"])]
    assert groups({"a": "odd", "b": "1.2"}, 1) == [("odd", ["a"]), ("1.2", ["b"])]


def test_many_hosts_are_counted_and_not_listed() -> None:
    stacks, gpus = cluster(70)
    for number in range(3, 40):
        change(stacks[f"node{number}"], "packages/accelerate", "1.14.0")
    finding = only(compare(stacks, gpus))
    assert len(finding.hosts) == 33  # 37 have 1.14.0 and are the majority
    assert "and 28 more" in finding.cause
    assert names(["a", "b"]) == "a, b"


def test_a_node_without_the_environment_is_named_unless_none_has_it() -> None:
    stacks, gpus = cluster()
    stacks["node2"] = {"python": {"version": None, "problem": "/x/bin/python does not exist or is not executable"}}
    finding = only(compare(stacks, gpus))
    assert (finding.rule, finding.hosts) == ("path-differs", ("node2",))
    bare = dict.fromkeys(("node1", "node2"), stacks["node2"])
    assert compare(bare, {}) == []


@pytest.mark.parametrize(
    ("path", "value", "rule", "severity", "word"),
    [
        ("gpu/driver_version", "470.57.02", "drv-too-old", "fail", "525.60.13"),
        ("gpu/gpus", [{"name": "B200", "compute_capability": "10.0"}], "ver-arch-unsupported", "fail", "B200"),
        ("packages/torchvision", "0.27.0+cu126", "ver-package-mismatch", "fail", "torchvision 0.28.0"),
        ("packages/torchvision", "0.28.0+cu130", "ver-package-mismatch", "fail", "cu130"),
        ("packages/torchvision", "0.28.0+cu128", "ver-package-mismatch", "warn", "cu128"),
        ("python/version", "3.9.18", "ver-package-mismatch", "fail", "accelerate 1.15.0 needs python >=3.10"),
        ("torch/nccl_package", "2.27.5", "nccl-version-mismatch", "warn", "2.27.5"),
        ("cuda/build_home/nvcc/release", "11.8", "ver-nvcc-torch-mismatch", "warn", "11.8"),
        (
            "deepspeed",
            {"installed_ops": ["cpu_adam"], "built_torch": "2.12", "built_cuda": "12.6"},
            "build-ops-other-torch",
            "fail",
            "2.12",
        ),
    ],
)
def test_what_does_not_fit_on_a_node_is_found(path: str, value: t.Any, rule: str, severity: str, word: str) -> None:
    stacks, gpus = cluster(1)
    stacks["node1"]["gpu"] = gpus["node1"]
    change(stacks["node1"], path, value)
    found = [one for one in compare(stacks, gpus) if one.rule == rule]
    assert (found[0].severity, found[0].hosts) == (severity, ("node1",))
    assert word in " ".join([found[0].cause, *found[0].evidence.values(), found[0].remedy])


def test_the_same_fault_of_several_nodes_is_one_finding() -> None:
    stacks, gpus = cluster()
    for host in ("node1", "node2", "node3"):
        gpus[host]["driver_version"] = "470.57.02"
    finding = only(compare(stacks, gpus))
    assert finding.hosts == ("node1", "node2", "node3")
    assert set(finding.evidence) == {"node1", "node2", "node3"}


def test_the_worst_comes_first() -> None:
    stacks, gpus = cluster()
    change(stacks["node2"], "compilers/g++/version", "9.5.0")
    change(stacks["node2"], "packages/triton", "3.6.0")
    change(stacks["node2"], "packages/deepspeed", "0.14.0")
    assert [one.severity for one in compare(stacks, gpus)] == ["fail", "warn", "info"]


def test_a_cpu_build_on_a_node_with_gpus_is_pointed_out() -> None:
    stacks, gpus = cluster(1)
    stacks["node1"]["torch"].update(cuda=None, nccl=None, nccl_package=None, arch_list=None)
    stacks["node1"]["packages"].update(torch="2.13.0+cpu", torchvision=None, torchaudio=None)
    assert only(compare(stacks, gpus)).rule == "ver-wheel-index-wrong"
    assert compare(stacks, {"node1": {"status": "none", "gpus": []}}) == []


def test_a_library_clash_is_told_apart_from_a_broken_torch() -> None:
    stacks, gpus = cluster(1)
    error = "Traceback\nlibtorch_cuda.so: symbol cublasSetWorkspace_v2 version libcublas.so.11 not defined"
    stacks["node1"]["torch_import"] = {"ok": False, "error": error, "without_ld_library_path": {"ok": True}}
    clash = only(compare(stacks, gpus))
    assert (clash.rule, "libcublas.so.11" in clash.evidence["node1"]) == ("env-ldpath-cuda-clash", True)
    stacks["node1"]["torch_import"]["without_ld_library_path"] = None
    assert only(compare(stacks, gpus)).rule == "ver-torch-import-fails"


def test_skipping_deepspeeds_check_silences_the_rule() -> None:
    stacks, gpus = cluster(1)
    change(stacks["node1"], "cuda/build_home/nvcc/release", "11.8")
    change(stacks["node1"], "login_environment/variables", {"DS_SKIP_CUDA_CHECK": "1"})
    assert compare(stacks, gpus) == []


@pytest.mark.parametrize(
    ("nvcc", "cuda", "fits"),
    [
        ("12.2", "12.1", True),
        ("12.9", "12.6", True),
        ("12.7", "12.6", False),  # there is no such toolkit, and DeepSpeed's list leaves it out
        ("11.8", "12.1", False),
        ("13.0", "13.0", True),
        ("13.1", "13.0", False),  # no list for CUDA 13
        (None, "12.1", True),
        ("12.2", None, True),
    ],
)
def test_deepspeeds_rule_on_nvcc(nvcc: str | None, cuda: str | None, fits: bool) -> None:
    assert (relations.nvcc_torch_problem(nvcc, cuda) is None) is fits


@pytest.mark.parametrize(
    ("package", "have", "torch", "severity"),
    [
        ("torchvision", "0.20.1+cu124", "2.5.1+cu124", None),
        ("torchaudio", "2.5.1+cu124", "2.5.1+cu124", None),
        ("torchvision", "0.20.0", "2.5.1", "warn"),
        ("torchvision", "0.19.1", "2.5.1", "fail"),
        ("torchaudio", "2.11.0", "2.13.0", None),
        ("torchaudio", "2.10.0", "2.13.0", "fail"),
        ("torchvision", "0.29.2", "2.14.1", None),
        ("torchvision", "0.29.0", "2.14.1", "warn"),
        ("torchvision", "9.9", "9.9.9", None),
        ("torchvision", None, "2.5.1", None),
    ],
)
def test_companions_belong_to_one_torch(package: str, have: str | None, torch: str, severity: str | None) -> None:
    problem = relations.pair_problem(package, have, torch)
    assert (problem[0] if problem else None) == severity


def test_kernels_come_from_the_library_or_else_from_the_table() -> None:
    facts = copy.deepcopy(STACK)
    assert relations.kernels(facts)[0] == "5.0"
    facts["torch"]["arch_list"] = ["sm_90", "sm_90a", "sm_100", "compute_120", 3]
    assert relations.kernels(facts) == ["9.0", "10.0", "12.0+PTX"]
    facts["torch"].update(version="2.13.0+cu130", cuda="13.0", arch_list=None)
    assert relations.kernels(facts)[0] == "7.5"
    assert relations.kernels({}) == []


def test_the_version_table_marks_the_outliers() -> None:
    stacks, gpus = cluster()
    change(stacks["node2"], "packages/torch", "2.12.1+cu126")
    rows = {row["what"]: row for row in version_table(stacks, gpus)}
    assert rows["PyTorch"]["outliers"] == ["node2"]
    assert rows["Python"]["outliers"] == []
    assert "mpi4py" not in rows


# What was recorded on machines: reports that people posted.


def reports(kind: str) -> dict[str, t.Any]:
    if not (FIXTURES / "EXPECTED.json").exists():
        return {}
    found: dict[str, t.Any] = json.loads((FIXTURES / "EXPECTED.json").read_text())[kind]
    return found


needs_recordings = pytest.mark.skipif(
    not reports("nvcc"), reason="no recordings: set TRAINMESH_FIXTURES to their folder"
)


@needs_recordings
def test_the_recorded_mixed_cluster_of_cuda_121_and_nvcc_122_can_compile() -> None:
    text = (FIXTURES / "ds_report/source-document-002-torch2.1.2-cu121-ds0.14.0.txt").read_text()
    cuda, nvcc = re.search(r"torch cuda version \.+ (\S+)", text), re.search(r"nvcc version \.+ (\S+)", text)
    assert cuda and nvcc
    assert relations.nvcc_torch_problem(nvcc[1], cuda[1]) is None


@needs_recordings
def test_recorded_package_lists_fit() -> None:
    packages = reports("collect_env")["vllm-13200-libraries-cu124-linkified.txt"]["pip"]
    facts = {"python": {"version": "3.12.3"}, "packages": packages}
    assert compare({"node1": facts}, {}) == []


@needs_recordings
def test_the_recorded_nccl_of_another_version_is_found() -> None:
    recorded = reports("collect_env")["verl-6621-nccl-mismatch.txt"]
    compiled = ".".join(map(str, recorded["torch_nccl_tuple"]))
    facts = {"torch": {"nccl": recorded["wheel_nccl"]}, "torch_import": {"ok": True, "nccl": compiled}}
    finding = only(compare({"node1": facts}, {}))
    assert finding.rule == "nccl-version-mismatch"
    assert compiled in finding.evidence["node1"]


@needs_recordings
@pytest.mark.parametrize("name", ["vllm-15399-v100x3-driver550.txt", "vllm-6134-a100x8-driver550.txt"])
def test_recorded_machines_that_work_are_not_accused(name: str) -> None:
    recorded = reports("collect_env")[name]
    torch = {"version": recorded["PyTorch version"], "cuda": recorded["CUDA used to build PyTorch"]}
    capability = "7.0" if "V100" in recorded["gpus"][0] else "8.0"
    gpus = [{"name": gpu, "compute_capability": capability} for gpu in recorded["gpus"]]
    facts = {"packages": {"torch": torch["version"]}, "torch": torch}
    assert (
        compare({"node1": facts}, {"node1": {"driver_version": recorded["Nvidia driver version"], "gpus": gpus}}) == []
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from(["2.13.0+cu126", "12.6", "3.9"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(STACK)), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.sampled_from(sorted(STACK)), JSON, JSON, JSON)
def test_any_facts_are_compared_without_an_error(area: str, stack: t.Any, other: t.Any, gpu: t.Any) -> None:
    stacks, gpus = cluster(3)
    stacks["node1"][area] = stack
    stacks["node2"] = other if isinstance(other, dict) else {}
    gpus["node1"] = gpu if isinstance(gpu, dict) else {"gpus": gpu, "driver_version": gpu}
    for finding in compare(stacks, gpus):
        assert finding.severity in ("fail", "warn", "info")
        assert finding.hosts
    version_table(stacks, gpus)
