# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PyTorch and DeepSpeed as they lie in an environment, without importing them.

An import of PyTorch costs seconds and hundreds of megabytes; its version file, the file of its
Python binding and the record that DeepSpeed's installation leaves say nearly everything.
"""

from __future__ import annotations

import mmap
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack.python import literals, module_files

Record = dict[str, t.Any]

PACKAGES = (
    "torch",
    "torchvision",
    "torchaudio",
    "triton",
    "deepspeed",
    "accelerate",
    "transformers",
    "llamafactory",
    "ninja",
    "mpi4py",
    "numpy",
)
_NVIDIA = re.compile(r"nvidia-(?:nccl|cudnn|cuda-runtime|cublas)(?:-cu\d{2})?\Z")
_ARCHITECTURES = re.compile(rb"(?:(?:sm|compute)_\d{2,3}[af]? ?)+(?=\0)")
_VERSION_FILES = {name: f"{name}/version.py" for name in ("torch", "torchvision", "torchaudio")}
_LARGEST = 1 << 30
CODE_FILES = {
    "torch": "torch/version.py",
    "transformers": "transformers/__init__.py",
    "accelerate": "accelerate/__init__.py",
    "deepspeed": "deepspeed/git_version_info_installed.py",
    "triton": "triton/__init__.py",
    "numpy": "numpy/version.py",
}
_VERSION_LINE = re.compile(r"^(?:__version__|version)(?:: *\w+)? *= *[\"']([0-9][^\"']{0,60})[\"']", re.MULTILINE)


def packages(installed: t.Sequence[tuple[str, str, str]]) -> tuple[dict[str, str | None], list[Record]]:
    """(version of each package of interest, further copies of them further down the search path).

    ``installed`` is what ``_stack_python.distributions`` found. A package that is not there is None.
    """
    versions: dict[str, str | None] = dict.fromkeys(PACKAGES)
    copies: list[Record] = []
    for name, version, path in installed:
        if name not in PACKAGES and not _NVIDIA.match(name):
            continue
        if versions.get(name) is None:
            versions[name] = version
        else:
            copies.append({"name": name, "version": version, "path": path})
    return versions, copies


def version_file(tree: Tree, sites: t.Sequence[str], package: str) -> tuple[str | None, Record]:
    """(path, constants) of the version file of torch, torchvision or torchaudio; (None, {}) for none.

    It names the build (``2.14.1+cu130``), which the metadata of the default index leaves out.
    """
    files = module_files(tree, sites, _VERSION_FILES[package])
    return (files[0], literals(tree.text(files[0]) or "")) if files else (None, {})


def text_of(constants: Record, name: str) -> str | None:
    """A constant when it is a text that is not empty, else None."""
    value = constants.get(name)
    return value if isinstance(value, str) and value else None


def architectures(path: str) -> list[str] | None:
    """What ``torch.cuda.get_arch_list()`` would say, from PyTorch's Python binding; None if not found.

    ``path`` is torch/lib/libtorch_python.so: it holds ``sm_75 sm_80 ... sm_120`` as one text.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if len(content) > _LARGEST:
                return None
            found = [match.group().decode("ascii").split() for match in _ARCHITECTURES.finditer(content)]
    except (OSError, ValueError):
        return None
    return max(found, key=len, default=None)


def torch(tree: Tree, sites: t.Sequence[str], versions: t.Mapping[str, str | None]) -> Record | None:
    """The installed PyTorch, or None; ``nccl`` is filled in by the caller, who asks the library."""
    path, constants = version_file(tree, sites, "torch")
    if not path and not versions.get("torch"):
        return None
    home = path[: -len("/version.py")] if path else None
    cuda = text_of(constants, "cuda")
    wheels = {name: version for name, version in versions.items() if version and name.startswith("nvidia-")}
    return {
        "version": text_of(constants, "__version__") or versions.get("torch"),
        "dist_version": versions.get("torch"),
        "path": home,
        "cuda": cuda,
        "hip": text_of(constants, "hip"),
        "git_version": text_of(constants, "git_version"),
        "cudnn": next((version for name, version in wheels.items() if "cudnn" in name), None),
        "nccl": None,
        "nccl_package": next((version for name, version in wheels.items() if "nccl" in name), None),
        "arch_list": architectures(tree.path(f"{home}/lib/libtorch_python.so")) if home and cuda else None,
        "other_copies": [file[: -len("/version.py")] for file in module_files(tree, sites, "torch/version.py")[1:]],
    }


def deepspeed(tree: Tree, sites: t.Sequence[str], versions: t.Mapping[str, str | None]) -> Record | None:
    """The installed DeepSpeed and what its operations were built against, or None.

    A torch version of 0.0 means that the wheel was built where no PyTorch was (usual for pip): then,
    and whenever no operation was built beforehand, nothing of it has to match.
    """
    files = module_files(tree, sites, "deepspeed/git_version_info_installed.py")
    if not files and not versions.get("deepspeed"):
        return None
    constants = literals(tree.text(files[0]) or "") if files else {}
    operations, built = constants.get("installed_ops"), constants.get("torch_info")
    built = built if isinstance(built, dict) else {}
    return {
        "version": versions.get("deepspeed") or text_of(constants, "version"),
        "path": files[0].rpartition("/")[0] if files else None,
        "git_hash": text_of(constants, "git_hash"),
        "git_branch": text_of(constants, "git_branch"),
        "installed_ops": sorted(str(name) for name, there in operations.items() if there)
        if isinstance(operations, dict)
        else [],
        "built_torch": _built(built, "version"),
        "built_cuda": _built(built, "cuda_version"),
        "built_nccl": _built(built, "nccl_version"),
    }


def code_versions(tree: Tree, sites: t.Sequence[str], versions: t.Mapping[str, str | None]) -> list[Record]:
    """What the code of a package says of its version, where its metadata says otherwise; builds (+cu126) do not count.

    An upgrade that broke off, or a file copied over, leaves new metadata beside old code, or the other way round.
    """
    found: list[Record] = []
    for name, file in CODE_FILES.items():
        told = versions.get(name)
        paths = module_files(tree, sites, file) if told else []
        match = _VERSION_LINE.search(tree.text(paths[0], 64 * 1024) or "") if paths else None
        if told and match and _release(match.group(1)) != _release(told):
            found.append({"name": name, "version": match.group(1), "path": paths[0]})
    return found


def _release(version: str) -> str:
    return version.partition("+")[0]


def _built(built: Record, name: str) -> str | None:
    """A version of DeepSpeed's ``torch_info``; ``0.0`` there means that there was none."""
    value = built.get(name)
    if isinstance(value, (list, tuple)):
        value = ".".join(str(part) for part in value)
    return value if isinstance(value, str) and value not in ("", "0.0", "None") else None
