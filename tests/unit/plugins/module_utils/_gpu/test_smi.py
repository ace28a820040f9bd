# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CSV queries of nvidia-smi."""

from __future__ import annotations

import re
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.smi import (
    TIERS,
    disagreement,
    read_gpus,
    read_table,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.smi_xml import parse
from ansible_collections.trainmesh.cluster.tests.unit.samples.gpu_recordings import (
    expected_in,
    recorded,
    recordings,
    sample,
)

CSV = sample("nvidia_smi_two_a100.csv")


@pytest.mark.parametrize(("name", "want"), expected_in("nvidia_smi_csv"))
def test_recorded_tables(name: str, want: dict[str, t.Any]) -> None:
    header, _end, text = recorded("nvidia_smi_csv", name).partition("\n")
    columns = [column.strip() for column in header.split(",")]
    rows, ragged = read_table(text, columns)
    assert len(columns) == want["columns"]
    assert len(rows) == want["rows"] == len(want["gpus"])
    assert ragged == len(want["ragged_rows"])
    for row, gpu in zip(rows, want["gpus"]):
        assert {column: row[column] for column in gpu} == gpu


def test_every_field_that_is_asked_is_known_to_the_recorded_drivers() -> None:
    for path in recordings("captures").iterdir():
        known = set(re.findall(r'^"([\w.]+)"', path.read_text(encoding="utf-8"), re.MULTILINE))
        known |= set(re.findall(r'or "([\w.]+)"', path.read_text(encoding="utf-8")))
        assert set(TIERS[0]) <= known, path.name


def test_the_fallback_asks_for_less() -> None:
    assert set(TIERS[1]) < set(TIERS[0])


def test_gpus_of_a_query() -> None:
    gpus, defect = read_gpus(CSV, TIERS[0])
    assert defect is None
    assert gpus[1] == (
        1,
        "GPU-bbbbbbbb-0000-0000-0000-000000000001",
        "00000000:0f:00.0",
        "A100-SXM4-40GB",
        "535.104.05",
        "8.0",
    )


def test_an_old_driver_has_no_capability() -> None:
    gpus, defect = read_gpus(CSV.replace(", 8.0", ""), TIERS[1])
    assert defect is None
    assert [gpu.compute_capability for gpu in gpus] == [None, None]


@pytest.mark.parametrize("word", ["[N/A]", "N/A", "[Not Supported]", "80", "8.0.1", "eight", "[Unknown Error]", ""])
def test_a_capability_that_is_none_is_none(word: str) -> None:
    gpus, _defect = read_gpus(CSV.replace("8.0", word), TIERS[0])
    assert [gpu.compute_capability for gpu in gpus] == [None, None]


@pytest.mark.parametrize(
    ("text", "defect"),
    [
        ("", "no GPU"),
        ("\n\n", "no GPU"),
        ("No devices were found\n", "no GPU"),
        (CSV + CSV, "two GPUs at one bus address"),
        (CSV[:-20], "do not have 6 columns"),
        (CSV.replace("NVIDIA", "NVI\ufffdDIA", 1), "not text"),
        (CSV.replace("00000000:0F:00.0", "nowhere"), "without a bus address"),
        ('"' * 3 + "x" * 200_000, "no GPU"),
    ],
)
def test_a_damaged_query_says_so(text: str, defect: str) -> None:
    assert defect in (read_gpus(text, TIERS[0])[1] or "")


def test_the_two_outputs_must_agree() -> None:
    listed = parse(sample("nvidia_smi_two_a100.xml")).gpus
    rows, _defect = read_gpus(CSV, TIERS[0])
    assert disagreement(listed, rows) is None
    assert disagreement(listed, rows[::-1]) is None
    assert "lists 2 GPUs, the query 1" in (disagreement(listed, rows[:1]) or "")
    assert "does not know the GPU at 00000000:0f:00.0" in (
        disagreement(listed, (rows[0], rows[1]._replace(pci_bus_id="00000000:10:00.0"))) or ""
    )
    swapped = (rows[0]._replace(uuid=rows[1].uuid), rows[1]._replace(uuid=rows[0].uuid))
    assert "uuid" in (disagreement(listed, swapped) or "")
