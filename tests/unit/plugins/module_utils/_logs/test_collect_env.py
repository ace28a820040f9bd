# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What torch.utils.collect_env prints, whole, pasted and damaged."""

from __future__ import annotations

import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.collect_env import parse
from ansible_collections.trainmesh.cluster.tests.unit.plugins.module_utils._gpu.test_facts_fuzz import BOUNDED, damaged
from ansible_collections.trainmesh.cluster.tests.unit.samples.gpu_recordings import expected_in, recorded

TEXT = """\
Collecting environment information...
PyTorch version: 2.9.1+cu128
CUDA used to build PyTorch: 12.8

OS: Debian GNU/Linux 12 (bookworm) (x86_64)
Is CUDA available: True
GPU models and configuration:
GPU 0: NVIDIA A100-SXM4-40GB
GPU 1: NVIDIA A100-SXM4-40GB
Nvidia driver version: 570.86.15
cuDNN version: Probably one of the following:
/usr/lib/x86_64-linux-gnu/libcudnn.so.9.1.0

Versions of relevant libraries:
[pip3] nvidia-nccl-cu12==[2.27.5](http://2.27.5/)
[pip3] torch==2.9.1
[conda] numpy                     1.26.4          py311h64a7726_0    conda-forge
"""


@pytest.mark.parametrize(("name", "want"), expected_in("collect_env"))
def test_recorded_texts(name: str, want: dict[str, t.Any]) -> None:
    got = parse(recorded("collect_env", name))
    for key, wanted in want.items():
        if key == "pip":
            assert {package: got["pip"].get(package) for package in wanted} == wanted
        elif key == "gpus":
            assert got["gpus"] == wanted
        elif key == "torch_nccl_tuple":
            assert got["nccl"]["torch"] == ".".join(map(str, wanted))
        elif key == "wheel_nccl":
            assert got["nccl"]["wheel"] == wanted
        elif key in ("wheel_path", "system_nccl_file"):
            assert wanted in got["nccl"]["files"]
        elif key != "expected_finding":
            assert got["values"].get(key) == wanted, key


@pytest.mark.parametrize("prefix", ["", "> ", "  "])
def test_all_parts(prefix: str) -> None:
    got = parse("".join(f"{prefix}{line}\r\n" for line in TEXT.splitlines()))
    assert got["values"]["PyTorch version"] == "2.9.1+cu128"
    assert got["gpus"] == ["NVIDIA A100-SXM4-40GB"] * 2
    assert got["pip"] == {"nvidia-nccl-cu12": "2.27.5", "torch": "2.9.1"}
    assert got["conda"] == {"numpy": "1.26.4"}
    assert got["cudnn_files"] == ["/usr/lib/x86_64-linux-gnu/libcudnn.so.9.1.0"]
    assert got["nccl"] == {"torch": None, "wheel": "2.27.5", "files": []}


@BOUNDED
@given(text=damaged(TEXT))
def test_a_damaged_text_has_no_more_gpus(text: str) -> None:
    got = parse(text)
    json.dumps(got)
    assert len(got["gpus"]) <= 2 or "\ufffd" in text


@BOUNDED
@given(text=st.text(max_size=300))
def test_any_text(text: str) -> None:
    json.dumps(parse(text))


def test_floods_are_read_in_time() -> None:
    for text in ("[pip3] a==" * 50_000, "a" * 500_000, "[a](" * 100_000, "GPU 0: " * 50_000, "/usr/" * 100_000):
        json.dumps(parse(text))
