# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules on the versions of each node by itself; what a node does not know breaks no rule.

Causes and remedies name no host, so that equal ones become one finding.
"""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.constraints import (
    kernels,
    look_up,
    nvcc_torch_problem,
    pair_problem,
    requirement_problems,
    tag_problem,
    text_at,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import (
    at_least,
    driver_floor,
    key,
    minor,
    runs_on,
    short_name,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.torch_builds import requires_python
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import has_gpus, uses_nccl
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    WARN,
    About,
    Answer,
    Case,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.python_env import by_site

Facts = t.Mapping[str, t.Any]


class Node(t.NamedTuple):
    """The facts of one node."""

    host: str
    stack: Facts
    gpu: Facts

    def package(self, name: str) -> str | None:
        """The version of a package, or None."""
        return text_at(self.stack, f"packages.{name}")


def _nodes(case: Case) -> list[Node]:
    return [Node(host, case.stack[host], case.gpu.get(host) or {}) for host in case.order if host in case.stack]


@rule(
    About(
        "drv-too-old",
        layer="versions",
        severity=FAIL,
        title="The driver is too old for PyTorch's CUDA",
        symptom="CUDA error 803 or 804, `driver too old`",
        source="field notes, gpustack#1254",
    ),
    needs=("stack",),
    applies=has_gpus,
)
def driver_too_old(case: Case) -> t.Iterator[Answer]:
    """The driver must run the CUDA version that PyTorch was built with."""
    for node in _nodes(case):
        cuda, driver = text_at(node.stack, "torch.cuda"), text_at(node.gpu, "driver_version")
        floor = driver_floor(cuda) if cuda else None
        if floor and key(driver) and not at_least(driver, floor):
            yield finding(
                "drv-too-old",
                FAIL,
                node.host,
                f"driver {driver}, torch {node.package('torch')}",
                f"PyTorch is built for CUDA {cuda}, which needs driver {floor} or newer.",
                f"Install driver {floor} or newer, or set trainmesh_torch_build: auto.",
            )


@rule(
    About(
        "ver-arch-unsupported",
        layer="versions",
        severity=FAIL,
        title="PyTorch has no kernels for a GPU",
        symptom="`no kernel image is available for execution on the device`",
        source="CUDA programming guide",
    ),
    needs=("stack",),
    applies=has_gpus,
)
def gpu_kernels(case: Case) -> t.Iterator[Answer]:
    """PyTorch must have kernels for every GPU of the node."""
    for node in _nodes(case):
        able = kernels(node.stack)
        gpus = look_up(node.gpu, "gpus")
        unfit = {
            (short_name(str(gpu.get("name"))), gpu["compute_capability"])
            for gpu in (gpus if isinstance(gpus, list) else [])
            if isinstance(gpu, t.Mapping) and key(str(gpu.get("compute_capability") or ""))
            if able and not runs_on(gpu["compute_capability"], able)
        }
        for name, capability in sorted(unfit):
            yield finding(
                "ver-arch-unsupported",
                FAIL,
                node.host,
                f"{name}, compute capability {capability}",
                f"PyTorch {node.package('torch')} has kernels for {', '.join(able)} only: "
                f"{name} fails with 'no kernel image is available'.",
                "Set trainmesh_torch_build: auto, or to a build with kernels for that GPU.",
            )


@rule(
    About(
        "ver-wheel-index-wrong",
        layer="versions",
        severity=WARN,
        also=(FAIL,),
        title="PyTorch without CUDA on a node with GPUs",
        symptom="training runs on the CPU, or not at all",
        source="field notes",
    ),
    needs=("stack",),
    applies=has_gpus,
)
def cpu_build(case: Case) -> t.Iterator[Answer]:
    """A build without CUDA on a node with GPUs."""
    for node in _nodes(case):
        torch = look_up(node.stack, "torch")
        if torch and look_up(node.gpu, "gpus") and not look_up(torch, "cuda") and not look_up(torch, "hip"):
            yield finding(
                "ver-wheel-index-wrong",
                WARN,
                node.host,
                f"torch {node.package('torch')}",
                "PyTorch is a build without CUDA, and the node has GPUs.",
                "Set trainmesh_torch_build: auto, and check which index trainmesh_index_url names.",
            )


@rule(
    About(
        "ver-package-mismatch",
        layer="versions",
        severity=FAIL,
        also=(WARN,),
        title="Python packages are incompatible",
        symptom="`ImportError`, or a missing function",
        source="metadata of the published wheels",
    ),
    needs=("stack",),
)
def packages(case: Case) -> t.Iterator[Answer]:
    """Torch, its companions and what needs it fit each other and the Python."""
    for node in _nodes(case):
        names = ("torch", "torchvision", "torchaudio", "deepspeed", "accelerate", "transformers")
        versions = {name: node.package(name) for name in names}
        versions["python"] = text_at(node.stack, "python.version")
        torch, python = versions["torch"], versions["python"]
        found = [(FAIL, problem) for problem in requirement_problems(versions)]
        for name in ("torchvision", "torchaudio"):
            pair = pair_problem(name, versions[name], torch)
            found += [problem for problem in (pair, tag_problem(name, versions[name], torch)) if problem]
        span = requires_python(torch or "")
        if span and key(python) and not key(span[0]) <= key(python)[:2] <= key(span[1]):
            found.append((WARN, f"torch {torch} has wheels for Python {span[0]} to {span[1]}, and Python is {python}"))
        for severity, problem in found:
            remedy = by_site(case, "Run site.yml again: it installs a set that fits.")
            yield finding("ver-package-mismatch", severity, node.host, problem, f"{problem}.", remedy)


@rule("build-ops-other-torch", needs=("stack",))
def deepspeed_ops(case: Case) -> t.Iterator[Answer]:
    """Operations compiled beforehand work only with the torch they were compiled for."""
    for node in _nodes(case):
        built, cuda = text_at(node.stack, "deepspeed.built_torch"), text_at(node.stack, "deepspeed.built_cuda")
        have, have_cuda = node.package("torch"), text_at(node.stack, "torch.cuda")
        if not have or not look_up(node.stack, "deepspeed.installed_ops"):
            continue
        other_torch = built and minor(built) != minor(have)
        other_cuda = cuda and have_cuda and minor(cuda) != minor(have_cuda)
        if other_torch or other_cuda:
            yield finding(
                "build-ops-other-torch",
                FAIL,
                node.host,
                f"built for torch {built}, CUDA {cuda}; installed torch {have}, CUDA {have_cuda}",
                "DeepSpeed's operations were compiled for another PyTorch.",
                "Rebuild it: pip install --force-reinstall --no-cache-dir --no-deps --no-binary deepspeed deepspeed",
            )


@rule(
    About(
        "ver-nvcc-torch-mismatch",
        layer="versions",
        severity=WARN,
        also=(FAIL,),
        title="The CUDA toolkit does not match PyTorch's CUDA",
        symptom="`CUDAMismatchException`",
        source="field notes, DS#3223, DS#2902, DS#3436",
    ),
    needs=("stack",),
)
def nvcc(case: Case) -> t.Iterator[Answer]:
    """The toolkit that DeepSpeed compiles with must match PyTorch's CUDA."""
    for node in _nodes(case):
        nvcc, cuda = text_at(node.stack, "cuda.build_home.nvcc.release"), text_at(node.stack, "torch.cuda")
        skipped = look_up(node.stack, "login_environment.variables.DS_SKIP_CUDA_CHECK") == "1"
        problem = nvcc_torch_problem(nvcc, cuda) if look_up(node.stack, "deepspeed") and not skipped else None
        if problem:
            yield finding(
                "ver-nvcc-torch-mismatch",
                WARN,
                node.host,
                f"nvcc {nvcc} in {text_at(node.stack, 'cuda.build_home.path')}, torch for CUDA {cuda}",
                f"{problem}: CUDAMismatchException on first use.",
                f"Put a CUDA {cuda} toolkit first on PATH or into CUDA_HOME, or skip the check with "
                "DS_SKIP_CUDA_CHECK=1.",
            )


@rule("nccl-version-mismatch", needs=("stack",), applies=uses_nccl)
def nccl_library(case: Case) -> t.Iterator[Answer]:
    """The library, its package and PyTorch agree on which NCCL this is."""
    for node in _nodes(case):
        library = text_at(node.stack, "torch.nccl")
        package, compiled = text_at(node.stack, "torch.nccl_package"), text_at(node.stack, "torch_import.nccl")
        said = [
            f"{what} {version}"
            for what, version in (("its package says", package), ("PyTorch was compiled with", compiled))
            if library and version and key(version)[:3] != key(library)[:3]
        ]
        if said:
            yield finding(
                "nccl-version-mismatch",
                WARN,
                node.host,
                f"the library is {library}; {'; '.join(said)}",
                "The NCCL library that PyTorch loads is not the one that it was installed with.",
                "Install PyTorch again: pip install --force-reinstall with its own nvidia-nccl package.",
            )


@rule("env-ldpath-cuda-clash", "ver-torch-import-fails", needs=("stack",))
def torch_import(case: Case) -> t.Iterator[Answer]:
    """PyTorch was imported, and that failed."""
    for node in _nodes(case):
        if look_up(node.stack, "torch_import.ok") is not False:
            continue
        error = (text_at(node.stack, "torch_import.error") or "no message").strip().splitlines()[-1]
        if look_up(node.stack, "torch_import.without_ld_library_path.ok") is True:
            path = text_at(node.stack, "login_environment.variables.LD_LIBRARY_PATH")
            yield finding(
                "env-ldpath-cuda-clash",
                FAIL,
                node.host,
                f"LD_LIBRARY_PATH={path}: {error}",
                "LD_LIBRARY_PATH puts libraries of another CUDA before PyTorch's own; without it PyTorch imports.",
                "Take the CUDA directories out of LD_LIBRARY_PATH for the user who trains (~/.bashrc, "
                "/etc/environment).",
            )
        else:
            yield finding(
                "ver-torch-import-fails",
                FAIL,
                node.host,
                error,
                "PyTorch is installed and cannot be imported.",
                by_site(
                    case,
                    "Run site.yml again; if it stays, run python -c 'import torch' there and read the whole message.",
                ),
            )
