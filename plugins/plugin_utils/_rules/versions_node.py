# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules on the versions of a single node.

Each rule reads the facts of one node (``trainmesh_facts_stack``, ``trainmesh_facts_gpu``) and notes its faults;
what a node does not know breaks no rule.
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
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Finding

Facts = t.Mapping[str, t.Any]


class Node:
    """The facts of one node and what the rules found there."""

    def __init__(self, host: str, stack: Facts, gpu: Facts) -> None:
        self.host = host
        self.stack = stack
        self.gpu = gpu
        self.findings: list[Finding] = []

    def add(self, rule: str, severity: str, seen: str, cause: str, remedy: str) -> None:
        """Note a fault of this node; ``cause`` and ``remedy`` name no host, so that equal ones can be merged."""
        self.findings.append(Finding(rule, severity, (self.host,), {self.host: seen}, cause, remedy))

    def package(self, name: str) -> str | None:
        """The version of a package, or None."""
        return text_at(self.stack, f"packages.{name}")


def check_driver(node: Node) -> None:
    """drv-too-old: the driver must run the CUDA version that PyTorch was built with."""
    cuda, driver = text_at(node.stack, "torch.cuda"), text_at(node.gpu, "driver_version")
    floor = driver_floor(cuda) if cuda else None
    if floor and key(driver) and not at_least(driver, floor):
        node.add(
            "drv-too-old",
            "fail",
            f"driver {driver}, torch {node.package('torch')}",
            f"PyTorch is built for CUDA {cuda}, which needs driver {floor} or newer.",
            f"Install driver {floor} or newer, or set trainmesh_torch_build: auto.",
        )


def check_kernels(node: Node) -> None:
    """ver-arch-unsupported: PyTorch must have kernels for every GPU of the node."""
    able = kernels(node.stack)
    gpus = look_up(node.gpu, "gpus")
    unfit = {
        (short_name(str(gpu.get("name"))), gpu["compute_capability"])
        for gpu in (gpus if isinstance(gpus, list) else [])
        if isinstance(gpu, t.Mapping) and key(str(gpu.get("compute_capability") or ""))
        if able and not runs_on(gpu["compute_capability"], able)
    }
    for name, capability in sorted(unfit):
        node.add(
            "ver-arch-unsupported",
            "fail",
            f"{name}, compute capability {capability}",
            f"PyTorch {node.package('torch')} has kernels for {', '.join(able)} only: "
            f"{name} fails with 'no kernel image is available'.",
            "Set trainmesh_torch_build: auto, or to a build with kernels for that GPU.",
        )


def check_cpu_build(node: Node) -> None:
    """ver-wheel-index-wrong: a build without CUDA on a node with GPUs."""
    torch = look_up(node.stack, "torch")
    if torch and look_up(node.gpu, "gpus") and not look_up(torch, "cuda") and not look_up(torch, "hip"):
        node.add(
            "ver-wheel-index-wrong",
            "warn",
            f"torch {node.package('torch')}",
            "PyTorch is a build without CUDA, and the node has GPUs.",
            "Set trainmesh_torch_build: auto, and check which index trainmesh_index_url names.",
        )


def check_packages(node: Node) -> None:
    """ver-package-mismatch: torch, its companions and what needs it fit each other and the Python."""
    names = ("torch", "torchvision", "torchaudio", "deepspeed", "accelerate", "transformers")
    versions = {name: node.package(name) for name in names}
    versions["python"] = text_at(node.stack, "python.version")
    torch, python = versions["torch"], versions["python"]
    found = [("fail", problem) for problem in requirement_problems(versions)]
    for name in ("torchvision", "torchaudio"):
        pair = pair_problem(name, versions[name], torch)
        found += [problem for problem in (pair, tag_problem(name, versions[name], torch)) if problem]
    span = requires_python(torch or "")
    if span and key(python) and not key(span[0]) <= key(python)[:2] <= key(span[1]):
        found.append(("warn", f"torch {torch} has wheels for Python {span[0]} to {span[1]}, and Python is {python}"))
    for severity, problem in found:
        remedy = "Run site.yml again: it installs a set that fits."
        node.add("ver-package-mismatch", severity, problem, f"{problem}.", remedy)


def check_deepspeed(node: Node) -> None:
    """build-ops-other-torch: operations compiled beforehand work only with the torch they were compiled for."""
    built, cuda = text_at(node.stack, "deepspeed.built_torch"), text_at(node.stack, "deepspeed.built_cuda")
    have, have_cuda = node.package("torch"), text_at(node.stack, "torch.cuda")
    if not have or not look_up(node.stack, "deepspeed.installed_ops"):
        return
    other_torch = built and minor(built) != minor(have)
    other_cuda = cuda and have_cuda and minor(cuda) != minor(have_cuda)
    if other_torch or other_cuda:
        node.add(
            "build-ops-other-torch",
            "fail",
            f"built for torch {built}, CUDA {cuda}; installed torch {have}, CUDA {have_cuda}",
            "DeepSpeed's operations were compiled for another PyTorch.",
            "Rebuild it: pip install --force-reinstall --no-cache-dir --no-deps --no-binary deepspeed deepspeed",
        )


def check_nvcc(node: Node) -> None:
    """ver-nvcc-torch-mismatch: the toolkit that DeepSpeed compiles with must match PyTorch's CUDA."""
    nvcc, cuda = text_at(node.stack, "cuda.build_home.nvcc.release"), text_at(node.stack, "torch.cuda")
    skipped = look_up(node.stack, "login_environment.variables.DS_SKIP_CUDA_CHECK") == "1"
    problem = nvcc_torch_problem(nvcc, cuda) if look_up(node.stack, "deepspeed") and not skipped else None
    if problem:
        node.add(
            "ver-nvcc-torch-mismatch",
            "warn",
            f"nvcc {nvcc} in {text_at(node.stack, 'cuda.build_home.path')}, torch for CUDA {cuda}",
            f"{problem}: CUDAMismatchException on first use.",
            f"Put a CUDA {cuda} toolkit first on PATH or into CUDA_HOME, or skip the check with DS_SKIP_CUDA_CHECK=1.",
        )


def check_nccl(node: Node) -> None:
    """nccl-version-mismatch: the library, its package and PyTorch agree on which NCCL this is."""
    library = text_at(node.stack, "torch.nccl")
    package, compiled = text_at(node.stack, "torch.nccl_package"), text_at(node.stack, "torch_import.nccl")
    said = [
        f"{what} {version}"
        for what, version in (("its package says", package), ("PyTorch was compiled with", compiled))
        if library and version and key(version)[:3] != key(library)[:3]
    ]
    if said:
        node.add(
            "nccl-version-mismatch",
            "warn",
            f"the library is {library}; {'; '.join(said)}",
            "The NCCL library that PyTorch loads is not the one that it was installed with.",
            "Install PyTorch again: pip install --force-reinstall with its own nvidia-nccl package.",
        )


def check_import(node: Node) -> None:
    """env-ldpath-cuda-clash or ver-torch-import-fails: PyTorch was imported, and that failed."""
    if look_up(node.stack, "torch_import.ok") is not False:
        return
    error = (text_at(node.stack, "torch_import.error") or "no message").strip().splitlines()[-1]
    if look_up(node.stack, "torch_import.without_ld_library_path.ok") is True:
        path = text_at(node.stack, "login_environment.variables.LD_LIBRARY_PATH")
        node.add(
            "env-ldpath-cuda-clash",
            "fail",
            f"LD_LIBRARY_PATH={path}: {error}",
            "LD_LIBRARY_PATH puts libraries of another CUDA before PyTorch's own; without it PyTorch imports.",
            "Take the CUDA directories out of LD_LIBRARY_PATH for the user who trains (~/.bashrc, /etc/environment).",
        )
    else:
        node.add(
            "ver-torch-import-fails",
            "fail",
            error,
            "PyTorch is installed and cannot be imported.",
            "Run site.yml again; if it stays, run python -c 'import torch' there and read the whole message.",
        )


CHECKS: tuple[t.Callable[[Node], None], ...] = (
    check_driver,
    check_kernels,
    check_cpu_build,
    check_packages,
    check_deepspeed,
    check_nvcc,
    check_nccl,
    check_import,
)
"""The rules on a single node."""

__all__ = ("CHECKS", "Node")
