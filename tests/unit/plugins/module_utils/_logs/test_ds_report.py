# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ds_report prints, whole and damaged."""

from __future__ import annotations

import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.ds_report import compiled_with, parse, size
from ansible_collections.trainmesh.cluster.tests.unit.plugins.module_utils._gpu.test_facts_fuzz import BOUNDED, damaged
from ansible_collections.trainmesh.cluster.tests.unit.samples.gpu_recordings import expected_in, recorded

REPORT = """\
--------------------------------------------------
DeepSpeed C++/CUDA extension op report
--------------------------------------------------
ninja .................. \x1b[92m[OKAY]\x1b[0m
op name ................ installed .. compatible
 \x1b[93m [WARNING] \x1b[0m async_io requires the dev libaio .so object and headers but these were not found.
async_io ............... \x1b[93m[NO]\x1b[0m ....... \x1b[93m[NO]\x1b[0m
cpu_adam ............... \x1b[92m[YES]\x1b[0m ...... \x1b[92m[OKAY]\x1b[0m
stochastic_transformer . \x1b[93m[NO]\x1b[0m ....... \x1b[92m[OKAY]\x1b[0m
DeepSpeed general environment info:
torch version .................... 2.9.1+cu128
deepspeed info ................... 0.19.8, unknown, unknown
torch cuda version ............... 12.8
nvcc version ..................... 12.8
deepspeed wheel compiled w. ...... torch 2.9, cuda 12.8
shared memory (/dev/shm) size .... 512.00 MB
"""


@pytest.mark.parametrize(("name", "want"), expected_in("ds_report"))
def test_recorded_reports(name: str, want: dict[str, t.Any]) -> None:
    got = parse(recorded("ds_report", name))["values"]
    assert {key: got.get(key) for key in want} == want


def test_a_coloured_report() -> None:
    got = parse(REPORT)
    assert got["ops"] == {
        "async_io": {"installed": False, "compatible": False},
        "cpu_adam": {"installed": True, "compatible": True},
        "stochastic_transformer": {"installed": False, "compatible": True},
    }
    assert (got["ninja"], got["shm_bytes"], got["hosts"]) == (True, 512 * 1024**2, {})
    assert got["compiled_with"] == {"torch": "2.9", "cuda": "12.8"}
    assert got["values"]["deepspeed info"] == "0.19.8, unknown, unknown"
    assert got["warnings"] == ["async_io requires the dev libaio .so object and headers but these were not found."]


def test_reports_of_several_hosts_under_pdsh() -> None:
    other = REPORT.replace("cpu_adam ............... \x1b[92m[YES]", "cpu_adam ............... \x1b[93m[NO]")
    text = "".join(f"vm-1: {line}\nvm-2: {also}\n" for line, also in zip(REPORT.splitlines(), other.splitlines()))
    got = parse(text)
    assert list(got["hosts"]) == ["vm-1", "vm-2"]
    assert [report["ops"]["cpu_adam"]["installed"] for report in got["hosts"].values()] == [True, False]
    assert got["ops"] == got["hosts"]["vm-1"]["ops"]


def test_sizes_and_versions() -> None:
    assert [size(text) for text in ("1.00 GB", "64 MB", "0 B", "", "much")] == [1024**3, 64 * 1024**2, 0, None, None]
    assert compiled_with("torch 0.0, cuda 0.0, hip 5.1") == {"torch": "0.0", "cuda": "0.0", "hip": "5.1"}


@BOUNDED
@given(text=damaged(REPORT))
def test_a_damaged_report_never_invents_an_operator(text: str) -> None:
    got = parse(text)
    json.dumps(got)
    if "\ufffd" not in text:
        assert got["ops"].get("async_io", {}).get("installed") is not True


@BOUNDED
@given(text=st.text(max_size=300))
def test_any_text(text: str) -> None:
    json.dumps(parse(text))


def test_floods_are_read_in_time() -> None:
    for text in ("." * 500_000, "a" * 500_000, "a .. [" * 50_000, "a: " * 100_000, "\x1b[" * 200_000):
        json.dumps(parse(text))
