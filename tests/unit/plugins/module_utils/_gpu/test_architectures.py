# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute capabilities by name."""

from __future__ import annotations

import csv
import re

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.architectures import (
    DATE,
    SOURCE,
    TABLE,
    compute_capability,
)
from ansible_collections.trainmesh.cluster.tests.unit.samples.gpu_recordings import recordings


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("NVIDIA GB10", "12.1"),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "12.0"),
        ("NVIDIA GeForce RTX 5090", "12.0"),
        ("NVIDIA GB300", "10.3"),
        ("NVIDIA B200", "10.0"),
        ("NVIDIA H100 80GB HBM3", "9.0"),
        ("NVIDIA H200", "9.0"),
        ("NVIDIA GH200 480GB", "9.0"),
        ("NVIDIA L40S", "8.9"),
        ("NVIDIA L4", "8.9"),
        ("NVIDIA RTX 6000 Ada Generation", "8.9"),
        ("NVIDIA RTX 4000 SFF Ada Generation", "8.9"),
        ("NVIDIA GeForce RTX 4090", "8.9"),
        ("NVIDIA A10G", "8.6"),
        ("NVIDIA A40", "8.6"),
        ("NVIDIA RTX A5000", "8.6"),
        ("NVIDIA RTX A6000", "8.6"),
        ("NVIDIA GeForce RTX 3080 Ti Laptop GPU", "8.6"),
        ("A100-SXM4-40GB", "8.0"),
        ("NVIDIA A100 80GB PCIe", "8.0"),
        ("NVIDIA A30", "8.0"),
        ("Tesla T4", "7.5"),
        ("Quadro RTX 8000", "7.5"),
        ("NVIDIA TITAN RTX", "7.5"),
        ("GeForce RTX 2080 Ti", "7.5"),
        ("NVIDIA GeForce GTX 1660 SUPER", "7.5"),
        ("Tesla V100-SXM2-16GB", "7.0"),
        ("Tesla V100S-PCIE-32GB", "7.0"),
        ("Tesla P100-PCIE-12GB", "6.0"),
        ("Quadro GP100", "6.0"),
        ("Tesla P40", "6.1"),
        ("Quadro P400", "6.1"),
        ("GeForce GTX 1070 Ti", "6.1"),
        ("GeForce GTX 1060 6GB", "6.1"),
        ("NVIDIA TITAN X (Pascal)", "6.1"),
        ("GeForce GTX TITAN X", "5.2"),
        ("Tesla M60", "5.2"),
        ("Tesla K80", "3.7"),
        ("Tesla K40m", "3.5"),
    ],
)
def test_known_names(name: str, capability: str) -> None:
    assert compute_capability(name) == capability
    assert compute_capability(name.replace("NVIDIA ", "")) == capability


@pytest.mark.parametrize(
    "name",
    [
        None,
        "",
        "NVIDIA",
        "NVIDIA X999",
        "Graphics Device",
        "NVIDIA GeForce RTX 2050",  # Ampere under a Turing number
        "NVIDIA GeForce RTX 3050 A Laptop GPU",  # Ada under an Ampere number
        "GeForce GTX 960M",
        "Quadro K2000",
        "AMD Instinct MI300X",
        "Tesla",
    ],
)
def test_an_unknown_name_is_not_guessed(name: str | None) -> None:
    assert compute_capability(name) is None


def test_the_table_agrees_with_the_recorded_drivers() -> None:
    seen = 0
    for path in recordings("nvidia_smi_csv").glob("*.csv"):
        for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines(), skipinitialspace=True):
            if "compute_cap" in row:
                assert compute_capability(row["name"]) == row["compute_cap"], path.name
                seen += 1
    assert seen


def test_the_table_is_sound() -> None:
    assert SOURCE.startswith("https://")
    assert re.match(r"\d{4}-\d\d-\d\d\Z", DATE)
    for pattern, capability in TABLE:
        assert re.compile(pattern)
        assert re.match(r"\d{1,2}\.\d\Z", capability)
