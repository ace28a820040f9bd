# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The import of PyTorch in a child: success, failure, a clash of libraries, a hang."""

from __future__ import annotations

import json
import pathlib
import sys

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import torch_import

PRETENDED = """
import os, sys
__version__ = "2.13.0+cu126"
{before}
class version: cuda = "12.6"
class cuda:
    is_available = staticmethod(lambda: {available})
    device_count = staticmethod(lambda: 2)
    get_device_capability = staticmethod(lambda index: ((8, 0), (7, 0))[index])
    get_arch_list = staticmethod(lambda: ["sm_70", "sm_80"])
    class nccl: version = staticmethod(lambda: (2, 29, 3))
    @staticmethod
    def init(): raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).")
class backends:
    class cudnn: version = staticmethod(lambda: 91002)
class distributed: is_nccl_available = staticmethod(lambda: True)
"""
CLASH = "libtorch_cuda.so: symbol cublasSetWorkspace_v2 version libcublas.so.11 not defined"


def pretend(place: pathlib.Path, before: str = "", available: bool = True) -> dict[str, str]:
    (place / "torch.py").write_text(PRETENDED.format(before=before, available=available))
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(place)}


def ask(environment: dict[str, str], limit: float = 20) -> dict[str, object]:
    return torch_import.torch_import(Tree(), sys.executable, environment, command.run, limit)


def test_one_import_answers_everything(tmp_path: pathlib.Path) -> None:
    found = ask(pretend(tmp_path, "print('noise of a plugin')"))
    assert (found["ok"], found["error"], found["version"], found["cuda"]) == (True, None, "2.13.0+cu126", "12.6")
    assert (found["cuda_available"], found["device_count"]) == (True, 2)
    assert (found["compute_capabilities"], found["bf16"]) == (["8.0", "7.0"], False)
    assert (found["nccl"], found["cudnn"], found["nccl_available"]) == ("2.29.3", 91002, True)
    assert found["cuda_error"] is None
    assert found["without_ld_library_path"] is None


def test_why_cuda_is_not_available_is_told(tmp_path: pathlib.Path) -> None:
    found = ask(pretend(tmp_path, available=False))
    assert found["ok"] is True
    assert "driver on your system is too old" in str(found["cuda_error"])


def test_a_clash_of_libraries_is_told_apart_from_a_broken_torch(tmp_path: pathlib.Path) -> None:
    environment = pretend(tmp_path, f"if os.environ.get('LD_LIBRARY_PATH'): raise ImportError({CLASH!r})")
    found = ask({**environment, "LD_LIBRARY_PATH": "/usr/local/cuda-11.4/lib64"})
    assert found["ok"] is False
    assert CLASH in str(found["error"])
    assert found["without_ld_library_path"] == {"ok": True, "error": None}


def test_a_broken_torch_fails_both_ways(tmp_path: pathlib.Path) -> None:
    environment = pretend(tmp_path, "raise ImportError('libc10.so: cannot open shared object file')")
    found = ask({**environment, "LD_LIBRARY_PATH": "/x"})
    second = found["without_ld_library_path"]
    assert isinstance(second, dict)
    assert (found["ok"], second["ok"]) == (False, False)
    assert "libc10.so" in str(second["error"])
    assert ask(environment)["without_ld_library_path"] is None


def test_an_import_that_hangs_or_aborts_is_an_error(tmp_path: pathlib.Path) -> None:
    hung = ask(pretend(tmp_path, "import time; time.sleep(60)"), 1.0)
    assert (hung["ok"], hung["error"]) == (None, "importing torch did not end in 1 s")
    aborted = ask(pretend(tmp_path, "os.abort()"))
    assert (aborted["ok"], aborted["error"]) == (False, "it ended with status -6")


@pytest.mark.parametrize(
    "text", ["", "trainmesh-torch ", "trainmesh-torch {", "trainmesh-torch []", '{"version": "1"}']
)
def test_an_answer_that_is_not_ours_is_none(text: str) -> None:
    assert torch_import.parse(text) is None


def test_a_field_of_another_type_is_null() -> None:
    found = (
        torch_import.parse("trainmesh-torch " + json.dumps({"version": 3, "cuda": None, "bf16": "yes", "x": 1})) or {}
    )
    assert set(found) == set(torch_import.FIELDS)
    assert not any(found.values())
