# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wiring of a node: nvidia-smi topo -m and nvlink -s."""

from __future__ import annotations

import re
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.topology import has_nvlink, parse, parse_nvlink
from ansible_collections.trainmesh.cluster.tests.unit.samples.gpu_recordings import (
    expected_in,
    recorded,
    recordings,
    sample,
)

TOPO = sample("nvidia_smi_topo_two_a100.txt")
NVLINK = sample("nvidia_smi_nvlink_two_a100.txt")


@pytest.mark.parametrize(("name", "want"), expected_in("nvidia_smi_topo"))
def test_recorded_matrices(name: str, want: dict[str, t.Any]) -> None:
    text = recorded("nvidia_smi_topo", name)
    got = parse(text)
    assert got is not None
    assert (len(got["gpus"]), len(got["nics"])) == (want["gpus"], want["nics"])
    assert ("\x1b[" in text) == want.get("ansi_codes_in_header", False)
    if "gpu_gpu" in want:
        assert {cell for row in got["gpu_gpu"] for cell in row} == {want["gpu_gpu"], "X"}
        assert has_nvlink(got)
    if "GPU0_nearest_nics" in want:
        assert [nic for nic, cell in zip(got["nics"], got["gpu_nic"][0]) if cell == "PIX"] == want["GPU0_nearest_nics"]
    for span, node in want.get("numa", {}).items():
        first, last = map(int, re.findall(r"\d+", span))
        assert set(got["numa_affinity"][first : last + 1]) == {node}


def captured(name: str, heading: str) -> str:
    """One section of a whole capture."""
    text = (recordings("captures") / name).read_text(encoding="utf-8")
    return text.split(f"# $ {heading}\n", 1)[1].split("#" * 80 + "\n", 2)[1]


@pytest.mark.parametrize(
    ("name", "active", "speed"),
    [
        ("utku-linux-x86_64__nvidia-h100-80gb-hbm3__590.48.01.txt", 18, 26.562),
        ("utku-linux-x86_64__nvidia-h100-mig__590.48.01.txt", None, None),
        ("utku-linux-x86_64__nvidia-geforce-rtx-2080-super__610.57.04.txt", None, None),
    ],
)
def test_captured_sections(name: str, active: int | None, speed: float | None) -> None:
    topology = parse(captured(name, "nvidia-smi topo -m"))
    assert topology is not None
    assert topology["gpu_gpu"] == [["X"]]
    links = parse_nvlink(captured(name, "nvidia-smi nvlink -s"))
    assert links is not None
    assert [(gpu["active"], gpu["gb_per_s"]) for gpu in links] == [(active, speed)]


def test_a_matrix_with_a_legend_of_its_nics() -> None:
    assert parse(TOPO) == {
        "gpus": ["GPU0", "GPU1"],
        "nics": ["mlx5_0"],
        "gpu_gpu": [["X", "NV12"], ["NV12", "X"]],
        "gpu_nic": [["PIX"], ["SYS"]],
        "cpu_affinity": ["0-31", "32-63"],
        "numa_affinity": [0, 1],
    }


def test_an_old_driver_names_the_nics_in_the_header() -> None:
    got = parse("\tGPU0\tmlx5_0\tmlx5_bond_1\tCPU Affinity\nGPU0\t X \tPHB\tSOC\t0-7\nmlx5_0\tPHB\t X \tSYS\n")
    assert got is not None
    assert (got["nics"], got["gpu_nic"]) == (["mlx5_0", "mlx5_bond_1"], [["PHB", "SOC"]])
    assert got["numa_affinity"] == [None]


def test_blanks_in_place_of_tabs() -> None:
    assert parse(re.sub(r"\t", "    ", TOPO)) == parse(TOPO)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No devices were found\n",
        "GPU0\t X \n",
        TOPO.replace("GPU1\tNV12\t X \tSYS\t32-63\t1\t\tN/A\n", ""),
        TOPO.replace("GPU1\tNV12\t X \tSYS\t32-63\t1\t\tN/A\n", "GPU1\tNV12"),
        TOPO.replace("GPU1\tNV12", "GPU1\tNV4"),
        TOPO.replace("PIX\t0-31", "what\t0-31"),
        TOPO.replace("GPU1\tNV12\t X ", "GPU0\tNV12\t X "),
        TOPO.replace("PIX", "P\ufffdIX"),
        "\n".join(reversed(TOPO.splitlines())),
        TOPO.split("\n", 1)[1],
        TOPO.replace("GPU0\tGPU1\tNIC0", "GPU0\tGPU0\tNIC0"),
    ],
)
def test_half_a_matrix_is_none(text: str) -> None:
    assert parse(text) is None


def test_links_of_two_gpus() -> None:
    assert parse_nvlink(NVLINK) == [
        {"index": 0, "uuid": "GPU-aaaaaaaa-0000-0000-0000-000000000000", "active": 12, "inactive": 0, "gb_per_s": 25.0},
        {"index": 1, "uuid": "GPU-bbbbbbbb-0000-0000-0000-000000000001", "active": 11, "inactive": 1, "gb_per_s": 25.0},
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No devices were found",
        NVLINK + NVLINK,
        NVLINK[:-6],
        NVLINK.replace("Link 1:", "Link 0:", 1),
        "\ufffd" + NVLINK,
    ],
)
def test_no_links_where_the_output_is_not_whole(text: str) -> None:
    assert parse_nvlink(text) is None


def test_no_nvlink_between_gpus_on_pcie() -> None:
    assert not has_nvlink(None)
    assert not has_nvlink({"gpu_gpu": [["X", "PHB"], ["PHB", "X"]]})
