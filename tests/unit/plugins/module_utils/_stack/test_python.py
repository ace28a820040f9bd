# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Python environment looked into without importing: interpreters, metadata, version files, DeepSpeed's record."""

from __future__ import annotations

import json
import pathlib
import sys
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import python
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import torch as stack_torch

TORCH_VERSION = """from typing import Optional

__all__ = ['__version__', 'debug', 'cuda', 'git_version', 'hip', 'rocm', 'xpu']
__version__ = '2.14.1+cu130'
debug = False
cuda: Optional[str] = '13.0'
git_version = '5c4886908584029761b579af026dcfb627c84070'
hip: Optional[str] = None
"""
OLD_TORCH_VERSION = "__version__ = '1.10.0a0+git539d476'\ndebug = False\ncuda = None\nhip = '5.1.20531-cacfa990'\n"
DEEPSPEED = """version='0.14.0'
git_hash='unknown'
git_branch='unknown'
installed_ops={'async_io': False, 'fused_adam': True, 'cpu_adam': True}
accelerator_name='cuda'
torch_info={'version': '2.1', 'bf16_support': True, 'cuda_version': '12.1', 'nccl_version': '2.18'}
"""


@pytest.fixture(name="site")
def _site(tmp_path: pathlib.Path) -> pathlib.Path:
    site = tmp_path / "env/lib/python3.11/site-packages"
    site.mkdir(parents=True)
    return site


def put(place: pathlib.Path, text: str | bytes = "") -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(text if isinstance(text, bytes) else text.encode())


def test_the_real_interpreter_says_where_it_looks() -> None:
    facts = python.interpreter(Tree(), sys.executable, {"PATH": "/usr/bin", "PYTHONPATH": "/nowhere"}, command.run, 20)
    assert facts["problem"] is None
    assert facts["version"] == ".".join(map(str, sys.version_info[:3]))
    assert "/nowhere" in facts["sites"]
    assert facts["kind"] in ("venv", "conda", "system")


def test_the_callers_own_variables_do_not_reach_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/of/the/caller")
    facts = python.interpreter(Tree(), sys.executable, {"PATH": "/usr/bin"}, command.run, 20)
    assert "/of/the/caller" not in facts["sites"]


def test_an_environment_that_does_not_exist_yet_is_no_error() -> None:
    facts = python.interpreter(Tree(), "/nowhere/bin/python", {}, command.run, 20)
    assert facts["problem"] == "/nowhere/bin/python does not exist or is not executable"
    assert (facts["version"], facts["sites"]) == (None, [])


def test_a_broken_interpreter_is_looked_at_from_outside(tmp_path: pathlib.Path, site: pathlib.Path) -> None:
    broken = tmp_path / "env/bin/python"
    put(broken, "#!/bin/sh\necho 'error while loading shared libraries: libpython3.11.so.1.0' >&2\nexit 127\n")
    broken.chmod(0o755)
    put(tmp_path / "env/pyvenv.cfg", "home = /usr/bin\nversion = 3.11.7\n")
    facts = python.interpreter(Tree(), str(broken), {"PATH": "/usr/bin:/bin"}, command.run, 20)
    assert "libpython3.11.so.1.0" in facts["problem"]
    assert (facts["version"], facts["kind"], facts["sites"]) == ("3.11.7", "venv", [str(site)])


def test_an_interpreter_that_hangs_is_left_and_its_files_not_touched(tmp_path: pathlib.Path) -> None:
    hanging = tmp_path / "env/bin/python"
    put(hanging, "#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)
    facts = python.interpreter(Tree(), str(hanging), {"PATH": "/usr/bin:/bin"}, command.run, 0.5)
    assert facts["problem"].endswith("did not answer in 1.5 s")
    assert facts["sites"] == []


def test_an_interpreter_that_is_slow_once_is_asked_again_with_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []

    def run(argv: list[str], limit: float, **more: object) -> command.Outcome:
        limits.append(limit)
        return command.Outcome(None, "", "", True, False, limit) if len(limits) == 1 else command.run(argv, 20)

    facts = python.interpreter(Tree(), sys.executable, {"PATH": "/usr/bin:/bin"}, run, 2)
    assert (facts["problem"], limits) == (None, [2, 6])


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"version": 3, "path": []}', '{"version": "3.9.1"}', "{" * 9999])
def test_an_answer_that_is_not_ours_is_none(text: str) -> None:
    assert python.parse_interpreter(text) is None


def test_an_answer_survives_noise_before_and_after() -> None:
    said = json.dumps({"version": "3.11.7", "prefix": "/e", "path": ["", "/e/lib", 3], "include": None})
    assert (python.parse_interpreter(f"hello\n{said}\nbye\n") or {})["sites"] == ["/e/lib"]


def test_versions_come_from_the_names_of_the_metadata(site: pathlib.Path) -> None:
    names = [
        "torch-2.14.1.dist-info",
        "nvidia_nccl_cu13-2.30.7.dist-info",
        "deepspeed-0.14.0-py3.10.egg-info",
        "typing_extensions-4.12.2.dist-info",
        "~orch-2.0.0.dist-info",
        "accelerate",
    ]
    for name in names:
        (site / name).mkdir()
    put(site / "mpi4py.egg-info/PKG-INFO", "Metadata-Version: 2.1\nName: mpi4py\nVersion: 4.1.2\n")
    versions, copies = stack_torch.packages(python.distributions(Tree(), [str(site)]))
    found = {name: version for name, version in versions.items() if version}
    assert found == {"torch": "2.14.1", "nvidia-nccl-cu13": "2.30.7", "deepspeed": "0.14.0", "mpi4py": "4.1.2"}
    assert copies == []


def test_a_second_copy_further_down_is_reported(site: pathlib.Path, tmp_path: pathlib.Path) -> None:
    for place, version in ((site, "2.13.0"), (tmp_path / "old", "2.1.2")):
        put(place / f"torch-{version}.dist-info/METADATA")
        put(place / "torch/version.py", f"__version__ = '{version}+cu126'\ncuda = '12.6'\n")
    sites = [str(site), str(tmp_path / "old")]
    versions, copies = stack_torch.packages(python.distributions(Tree(), sites))
    torch = stack_torch.torch(Tree(), sites, versions) or {}
    assert versions["torch"] == "2.13.0"
    assert [one["version"] for one in copies] == ["2.1.2"]
    assert (torch["version"], torch["other_copies"]) == ("2.13.0+cu126", [str(tmp_path / "old/torch")])


def test_torch_is_read_with_its_build(site: pathlib.Path) -> None:
    put(site / "torch/version.py", TORCH_VERSION)
    put(site / "torch/lib/libtorch_python.so", b"\x7fELF sm_\0 sm_90 x\0sm_75 sm_80 sm_90 sm_120 compute_120\0sm_50\0")
    versions: dict[str, str | None] = {
        "torch": "2.14.1",
        "nvidia-nccl-cu13": "2.30.7",
        "nvidia-cudnn-cu13": "9.24.0.43",
    }
    torch = stack_torch.torch(Tree(), [str(site)], versions) or {}
    assert (torch["version"], torch["dist_version"], torch["cuda"]) == ("2.14.1+cu130", "2.14.1", "13.0")
    assert torch["arch_list"] == ["sm_75", "sm_80", "sm_90", "sm_120", "compute_120"]
    assert (torch["nccl_package"], torch["cudnn"], torch["hip"]) == ("2.30.7", "9.24.0.43", None)


def test_a_torch_for_other_gpus_has_no_cuda(site: pathlib.Path) -> None:
    put(site / "torch/version.py", OLD_TORCH_VERSION)
    torch = stack_torch.torch(Tree(), [str(site)], {}) or {}
    assert (torch["version"], torch["cuda"], torch["hip"]) == ("1.10.0a0+git539d476", None, "5.1.20531-cacfa990")
    assert torch["arch_list"] is None


def test_a_damaged_version_file_leaves_the_metadata(site: pathlib.Path) -> None:
    put(site / "torch/version.py", "__version__ = '2.1")
    torch = stack_torch.torch(Tree(), [str(site)], {"torch": "2.1.2"}) or {}
    assert (torch["version"], torch["cuda"]) == ("2.1.2", None)


def test_what_is_not_installed_is_none(site: pathlib.Path) -> None:
    assert stack_torch.torch(Tree(), [str(site)], {}) is None
    assert stack_torch.deepspeed(Tree(), [str(site)], {}) is None
    assert stack_torch.architectures(str(site / "gone")) is None


def test_deepspeed_says_what_its_operations_were_built_for(site: pathlib.Path) -> None:
    put(site / "deepspeed/git_version_info_installed.py", DEEPSPEED)
    found = stack_torch.deepspeed(Tree(), [str(site)], {"deepspeed": "0.14.0"}) or {}
    assert found["installed_ops"] == ["cpu_adam", "fused_adam"]
    assert (found["built_torch"], found["built_cuda"], found["built_nccl"]) == ("2.1", "12.1", "2.18")


@pytest.mark.parametrize(
    "info", ["{'version': '0.0', 'cuda_version': '0.0'}", "None", "'x'", "{'version': 2.1}", "{'version': None}"]
)
def test_a_deepspeed_built_without_torch_names_none(site: pathlib.Path, info: str) -> None:
    put(site / "deepspeed/git_version_info_installed.py", f"torch_info={info}\ninstalled_ops=None\n")
    found = stack_torch.deepspeed(Tree(), [str(site)], {}) or {}
    assert (found["built_torch"], found["built_cuda"], found["installed_ops"]) == (None, None, [])


def test_only_constants_are_read_and_nothing_is_run() -> None:
    text = "import os\na = os.system('false')\nb = c = 'x'\nd: int = 1\nclass E: pass\nf: int\n"
    assert python.literals(text) == {"b": "x", "c": "x", "d": 1}
    assert python.literals("x = \0") == {}
    assert python.literals("x = " + "(" * 500) == {}


def test_the_child_gets_exactly_the_environment_of_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/of/the/caller")
    words, variables = python.child_environment({"PATH": "/usr/bin"})
    assert words[words.index("LD_LIBRARY_PATH") - 1] == "-u"
    assert variables == {"PATH": "/usr/bin"}
    outcome = command.run([*words, "/usr/bin/env"], 20, env=t.cast("dict[str, str]", variables))
    assert outcome.out == "PATH=/usr/bin\n"
