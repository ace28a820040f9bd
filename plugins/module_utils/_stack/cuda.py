# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CUDA toolkits and cuDNN copies of a node.

A toolkit is not what nvidia-smi calls "CUDA Version" (the newest that the driver can run), and the
wheels of PyTorch need none; DeepSpeed needs one to compile its operations on first use.
"""

from __future__ import annotations

import json
import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.nvcc import nvcc_version
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack.libraries import (
    executable,
    files_named,
    real,
    which,
)

Runner = t.Callable[..., command.Outcome]
Record = dict[str, t.Any]

_VERSION_TXT = re.compile(r"CUDA Version (\d{1,3}(?:\.\d{1,5}){1,3})")
_VERSION = re.compile(r"\d{1,3}(?:\.\d{1,5}){1,3}\Z")
_DEFINE = re.compile(r"^\s*#\s*define\s+CUDNN_(MAJOR|MINOR|PATCHLEVEL)\s+(\d{1,5})\s*$", re.MULTILINE)
_LIBRARY = re.compile(r"libcudnn\.so\.(\d{1,3}\.\d{1,3}\.\d{1,3})\Z")
_HEADER_PLACES = tuple(
    f"/usr/{place}" for place in ("include", "include/x86_64-linux-gnu", "include/aarch64-linux-gnu", "local/include")
)


def version_json(text: str) -> Record:
    """``version`` of the toolkit and of its ``nvcc`` from version.json (CUDA 11.1 and newer)."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    found: Record = {}
    for key, field in (("cuda", "version"), ("cuda_nvcc", "nvcc_version")):
        part = content.get(key) if isinstance(content, dict) else None
        version = part.get("version") if isinstance(part, dict) else None
        if isinstance(version, str) and _VERSION.match(version):
            found[field] = version
    return found


def version_txt(text: str) -> str | None:
    """The version from version.txt (CUDA 11.0 and older): ``CUDA Version 10.2.89``."""
    match = _VERSION_TXT.search(text)
    return match.group(1) if match else None


class Compilers:
    """Asks each nvcc for its version at most once, and only if no file says it."""

    def __init__(self, tree: Tree, run: Runner, limit: float) -> None:
        self._tree = tree
        self._run = run
        self._limit = limit
        self._known: dict[str, tuple[str, str] | None] = {}

    def ask(self, nvcc: str) -> tuple[str, str] | None:
        """(release, version) of that nvcc, or None when it does not run."""
        place = real(self._tree, nvcc)
        if place not in self._known:
            self._known[place] = nvcc_version(self._run([self._tree.path(nvcc), "--version"], self._limit).text)
        return self._known[place]


def toolkit(tree: Tree, path: str, compilers: Compilers) -> Record | None:
    """The toolkit installed at ``path``, or None when there is none."""
    said = version_json(tree.text(f"{path}/version.json") or "")
    version = said.get("version") or version_txt(tree.text(f"{path}/version.txt") or "")
    nvcc = f"{path}/bin/nvcc" if executable(tree, f"{path}/bin/nvcc") else None
    if not nvcc and not version:
        return None
    nvcc_full = said.get("nvcc_version")
    if nvcc and not nvcc_full:
        asked = compilers.ask(nvcc)
        nvcc_full = asked[1] if asked else None
    return {
        "path": path,
        "aliases": [],
        "version": version or nvcc_full,
        "nvcc": nvcc,
        "nvcc_version": nvcc_full if nvcc else None,
        "nvcc_release": ".".join(nvcc_full.split(".")[:2]) if nvcc and nvcc_full else None,
    }


def toolkits(tree: Tree, environment: t.Mapping[str, str], prefix: str | None, compilers: Compilers) -> list[Record]:
    """Every toolkit of the node, each once: links to it (/usr/local/cuda) are its ``aliases``."""
    local = [f"/usr/local/{name}" for name in tree.names("/usr/local") if name.startswith("cuda")]
    named = [environment.get(name) for name in ("CUDA_HOME", "CUDA_PATH", "CONDA_PREFIX")]
    nvcc = which(tree, "nvcc", environment.get("PATH"))
    above = [os.path.dirname(os.path.dirname(path)) for path in (nvcc, real(tree, nvcc) if nvcc else None) if path]
    found: dict[str, Record] = {}
    for candidate in [*local, "/opt/cuda", *named, prefix, *above]:
        path = (candidate or "").rstrip("/")
        if not path.startswith("/"):
            continue
        place = real(tree, path)
        if place in found:
            if path not in (place, *found[place]["aliases"]):
                found[place]["aliases"].append(path)
            continue
        one = toolkit(tree, place, compilers)
        known = {other["nvcc_version"] for other in found.values()}
        # /usr/local/bin/nvcc may only start the nvcc of a toolkit that is listed already
        if one and not (candidate in above and one["nvcc_version"] in known):
            found[place] = one
            one["aliases"] = [path] if path != place else []
    return list(found.values())


def first_nvcc(tree: Tree, path: str | None, compilers: Compilers) -> Record | None:
    """The nvcc that a non-interactive session runs: the first one on its PATH."""
    nvcc = which(tree, "nvcc", path)
    return nvcc_facts(nvcc, compilers) if nvcc else None


def nvcc_facts(nvcc: str, compilers: Compilers) -> Record:
    """Path, release and version of one nvcc; release and version None when it does not run."""
    release, version = compilers.ask(nvcc) or (None, None)
    return {"path": nvcc, "release": release, "version": version}


def build_home(tree: Tree, environment: t.Mapping[str, str], compilers: Compilers) -> Record | None:
    """The toolkit that PyTorch, and so DeepSpeed, compiles with (torch.utils.cpp_extension.CUDA_HOME).

    CUDA_HOME, then CUDA_PATH, then the directory above the first nvcc on PATH, then /usr/local/cuda.
    """
    nvcc = which(tree, "nvcc", environment.get("PATH"))
    home = environment.get("CUDA_HOME") or environment.get("CUDA_PATH")
    home = home or (os.path.dirname(os.path.dirname(nvcc)) if nvcc else "/usr/local/cuda")
    compiler = os.path.join(home, "bin/nvcc")
    if executable(tree, compiler):
        return {"path": home, "nvcc": nvcc_facts(compiler, compilers)}
    return {"path": home, "nvcc": None} if tree.has(home) or environment.get("CUDA_HOME") else None


def cudnn_header(text: str) -> str | None:
    """The version in cudnn_version.h (before 7.6.5 cudnn.h), such as ``9.24.0``."""
    parts = dict(_DEFINE.findall(text))
    return f"{parts['MAJOR']}.{parts['MINOR']}.{parts['PATCHLEVEL']}" if len(parts) == 3 else None


def cudnn(tree: Tree, roots: t.Iterable[str], sites: t.Iterable[str], libraries: t.Iterable[str]) -> list[Record]:
    """Every cuDNN, from its header or the name of its file.

    The library itself is never loaded: ``libcudnn.so.9`` aborts the process when its parts are missing.
    """
    wheels = [f"{site}/nvidia/cudnn/include" for site in sites]
    places = [*wheels, *(f"{root}/include" for root in roots), *_HEADER_PLACES]
    found: list[Record] = []
    for header in files_named(tree, places, r"cudnn_version(_v\d+)?\.h\Z"):
        version = cudnn_header(tree.text(header) or "")
        if version:
            source = "wheel" if os.path.dirname(header) in wheels else "header"
            found.append({"version": version, "path": header, "source": source})
    for path in files_named(tree, libraries, _LIBRARY.pattern):
        match = _LIBRARY.match(os.path.basename(path))
        if match and not any(one["version"] == match.group(1) for one in found):
            found.append({"version": match.group(1), "path": path, "source": "library"})
    return found
