# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The choice of the torch build and of the precision, on clusters as users have them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat import tables as data
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat import torch_builds as builds
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.torch_builds import (
    GpuFact,
    choose_build,
    choose_precision,
)

A100 = GpuFact("node1", "A100-SXM4-40GB", "8.0", "560.35.05")
V100S = GpuFact("node2", "Tesla V100S-PCIE-32GB", "7.0", "560.35.05")
H100 = GpuFact("node3", "H100 80GB HBM3", "9.0", "580.95.05")
B200 = GpuFact("node4", "B200", "10.0", "580.95.05")
T4_OLD = GpuFact("node5", "Tesla T4", "7.5", "470.57.02")
K80 = GpuFact("node6", "Tesla K80", "3.7", "470.57.02")
BLANK = GpuFact("node7", "Graphics Device", None, None)


def test_a100_and_v100_get_cu126_and_fp16() -> None:
    choice = choose_build("2.13.0", "auto", [A100, V100S])
    assert (choice.build, choice.torch_requirement, choice.cuda) == ("cu126", "torch==2.13.0+cu126", "12.6")
    assert (choice.torchvision, choice.torchaudio, choice.uv_torch_backend) == ("0.28.0", "2.11.0", "cu126")
    assert any("node2 has V100S, compute capability 7.0" in reason for reason in choice.reasons)
    assert choose_precision([A100, V100S]) == ("fp16", "fp16: node2 has V100S, compute capability 7.0")


@pytest.mark.parametrize(
    ("torch", "gpus", "expected"),
    [
        ("2.13.0", [H100], "cu130"),  # cu132 is experimental in 2.13
        ("2.14.1", [H100], "cu132"),
        ("2.13.0", [A100, H100], "cu126"),  # the driver of the A100 node is older than 580
        ("2.10.0", [V100S], "cu128"),
        ("2.11.0", [V100S], "cu126"),  # 2.11 dropped Volta from cu128
        ("2.7.1", [V100S], "cu126"),
        ("2.7.1", [B200], "cu128"),  # experimental in 2.7, and the only one with kernels for it
        ("2.10.0", [V100S, B200], "cu128"),
        ("2.3.1", [A100], "cu121"),
        ("2.13.0", [], "cpu"),
    ],
)
def test_auto_takes_the_newest_build_that_all_can_run(torch: str, gpus: list[GpuFact], expected: str) -> None:
    assert choose_build(torch, "auto", gpus).build == expected


def test_the_build_of_the_default_index_needs_no_local_version() -> None:
    assert choose_build("2.13.0", "auto", [H100]).torch_requirement == "torch==2.13.0"
    assert choose_build("2.13.0", "cpu", []).torch_requirement == "torch==2.13.0+cpu"
    assert choose_build("2.6.0", "cu124", [A100]).torch_requirement == "torch==2.6.0"


@pytest.mark.parametrize(
    ("torch", "build", "gpus", "parts"),
    [
        ("2.13.0", "auto", [V100S, B200], ["node2", "V100S", "7.0", "node4", "B200", "torch 2.10.0", "cu128"]),
        ("2.13.0", "auto", [T4_OLD], ["node5", "T4", "470.57.02", "525.60.13", "cu126", "torch 2.7.1"]),
        ("2.13.0", "auto", [K80], ["node6", "K80", "3.7", "cu118"]),
        ("2.13.0", "cu130", [V100S], ["cu130", "node2", "V100S", "cu126 fits"]),
        ("2.13.0", "cu124", [H100], ["has no build cu124", "cu130"]),
        ("2.13", "auto", [], ["exact version"]),
        ("2.13.0+cu126", "auto", [], ["exact version", "2.13.0+cu126"]),
        ("2.13.0", "cuda12", [], ["auto, cpu or a CUDA build"]),
        ("9.1.0", "auto", [H100], ["not in the table", "2.15"]),
    ],
)
def test_a_cluster_without_a_fitting_build_gets_one_clear_sentence(
    torch: str, build: str, gpus: list[GpuFact], parts: list[str]
) -> None:
    with pytest.raises(ValueError) as caught:
        choose_build(torch, build, gpus)
    assert not [part for part in parts if part not in str(caught.value)]
    assert "\n" not in str(caught.value)


def test_unknown_facts_are_said_and_not_guessed() -> None:
    reasons = " ".join(choose_build("2.13.0", "auto", [H100, BLANK]).reasons)
    assert "node7 is not known" in reasons
    assert choose_precision([H100, BLANK]) == (
        "fp16",
        "fp16: the compute capability of Graphics Device on node7 is not known",
    )
    assert choose_precision([K80, BLANK])[0] == "fp32"


def test_a_build_newer_than_the_table_is_taken_at_the_users_word() -> None:
    choice = choose_build("9.1.0", "cu140", [H100])
    assert (choice.torch_requirement, choice.cuda, choice.torchvision) == ("torch==9.1.0+cu140", "14.0", "")


def test_minor_version_compatibility_is_mentioned() -> None:
    older = GpuFact("node8", "A100-SXM4-40GB", "8.0", "535.104.05")
    assert "minor-version compatibility" in choose_build("2.13.0", "auto", [older]).reasons[-1]


def test_precision_follows_the_weakest_gpu() -> None:
    assert choose_precision([A100, H100]) == (
        "bf16",
        "bf16: every GPU can; the weakest: node1 has A100, compute capability 8.0",
    )
    assert choose_precision([K80]) == ("fp32", "fp32: node6 has K80, compute capability 3.7")
    assert choose_precision([]) == ("fp32", "fp32: no node of the cluster has a GPU")


@pytest.mark.parametrize(
    ("full", "short"),
    [
        ("Tesla V100S-PCIE-32GB", "V100S"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("H100 80GB HBM3", "H100"),
        ("A100 80GB PCIe", "A100"),
        ("H100 NVL", "H100"),
        ("GeForce RTX 4090", "GeForce RTX 4090"),
        ("RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000 Blackwell Server Edition"),
        ("", ""),
    ],
)
def test_models_are_named_as_people_say_them(full: str, short: str) -> None:
    assert data.short_name(full) == short


@pytest.mark.parametrize(
    ("capability", "able", "expected"),
    [
        ("8.9", ["8.6"], True),
        ("8.0", ["8.6"], False),
        ("10.3", ["10.0"], True),
        ("12.1", ["12.0"], True),
        ("13.0", ["12.0"], False),
        ("13.0", ["12.0+PTX"], True),
        ("7.5", ["7.0", "8.0"], True),
        ("11.0", ["10.0", "12.0"], False),
    ],
)
def test_kernels_run_within_their_major_version(capability: str, able: list[str], expected: bool) -> None:
    assert data.runs_on(capability, able) is expected


def test_driver_floors() -> None:
    assert data.driver_floor("12.6") == "525.60.13"
    assert data.driver_floor("10.2") == "440.33"
    assert data.driver_floor("9.0") is None
    assert data.own_driver("12.6") == "560.28.03"
    assert data.at_least("535.104.05", "535.86.10")
    assert not data.at_least(None, "450")


def test_versions_meet_requirements() -> None:
    assert data.satisfies("2.13.0+cu126", ">=2.0,<3")
    assert not data.satisfies("3.9.1", ">=3.10")
    assert data.satisfies("2.0", "==2.0.0") and not data.satisfies("of nobody", ">=1")


@pytest.mark.parametrize(
    "built", ["2.6.0a0+ecf3bae40a.nv25.01", "2.6.0.dev20250101+cu126", "2.6+unknown", "v2.6.0-91-x"]
)
def test_a_build_of_a_vendor_counts_as_its_release(built: str) -> None:
    assert data.at_least(built, "2.6.0") and data.satisfies(built, ">=2.6,<3") and not data.at_least(built, "2.6.1")
    with pytest.raises(ValueError):
        data.satisfies("1", "~=2")


def test_the_tables_are_complete_and_consistent() -> None:
    torch = data.table("torch_builds")
    for name in ("torch_builds", "cuda_drivers", "compute_capabilities"):
        assert data.table(name)["source"] and data.table(name)["date"]
    for line, release in torch["releases"].items():
        tags = release["stable"] + release["experimental"]
        assert release["default"] in tags
        assert set(release["nccl"]) <= set(tags) <= set(torch["builds"])
        assert all(data.minor(patch) == line for patch in release["patches"])
        assert builds.requires_python(f"{line}.0") == tuple(release["python"])
    for tag, entry in torch["builds"].items():
        assert builds.cuda_of(tag) == entry["cuda"]
        assert tag == "cpu" or data.driver_floor(entry["cuda"])
        for capability in entry["architectures"]:
            assert capability.removesuffix("+PTX") in data.table("compute_capabilities")["capabilities"]


CAPABILITIES = st.none() | st.text() | st.sampled_from(["7.0", "9.0", "12.1"])


@given(st.lists(st.builds(GpuFact, st.text(), st.text(), CAPABILITIES, st.none() | st.text())))
def test_any_facts_give_a_choice_or_a_value_error(gpus: list[GpuFact]) -> None:
    assert choose_precision(gpus)[0] in ("bf16", "fp16", "fp32")
    try:
        assert choose_build("2.13.0", "auto", gpus).build in ("cu126", "cu130", "cu132", "cpu")
    except ValueError as error:
        assert str(error)
