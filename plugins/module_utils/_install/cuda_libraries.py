# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""cuDNN and NCCL as packages of the system, for programs that are compiled on a node; PyTorch brings its own.

A library and its headers are of one version, and of one CUDA major version, which the vendor writes into the version
(2.27.5-1+cuda12.9) or, with cuDNN 9, into the name (libcudnn9-cuda-12).
"""

from __future__ import annotations

import re

from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.manager import Manager
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault, Want

NAMES = ("cudnn", "nccl")
ANY = "any"
_HEADERS = {"apt": "dev", "dnf": "devel"}
_CUDNN_MAJORS = ("9", "8")
_CUDA_MAJORS = ("13", "12", "11")
_OF_CUDA = re.compile(r"\+cuda(\d+)\.")


def candidates(name: str, version: str, cuda: str, kind: str) -> list[list[str]]:
    """Library and headers, as pairs of packages, the preferred pair first; ``cuda`` is a major version or empty."""
    headers = _HEADERS[kind]
    if name == "nccl":
        return [["libnccl2", "libnccl-dev"] if kind == "apt" else ["libnccl", "libnccl-devel"]]
    majors = [version.partition(".")[0]] if version != ANY else _CUDNN_MAJORS
    pairs = []
    for major in majors:
        if int(major) < 9:
            pairs.append([f"libcudnn{major}", f"libcudnn{major}-{headers}"])
        else:
            pairs += [
                [f"libcudnn{major}-cuda-{one}", f"libcudnn{major}-{headers}-cuda-{one}"]
                for one in ([cuda] if cuda else _CUDA_MAJORS)
            ]
    return pairs


def fits(have: str, version: str, cuda: str) -> bool:
    """Whether a package's version is, or begins with, the one asked for, and is of the CUDA major version."""
    tag = _OF_CUDA.search(have)
    if cuda and tag and tag.group(1) != cuda:
        return False
    return version in (ANY, have) or bool(re.match(rf"(?:\d+:)?{re.escape(version)}(?!\d)", have))


def installed(name: str, version: str, cuda: str, manager: Manager) -> dict[str, str] | None:
    """Library and headers where both are there in one version that fits; else None."""
    for pair in candidates(name, version, cuda, manager.name):
        have = manager.installed(pair)
        if len(have) == 2 and len(set(have.values())) == 1 and fits(have[pair[0]], version, cuda):
            return have
    return None


def choose(name: str, version: str, cuda: str, manager: Manager) -> list[Want]:
    """Library and headers in one version that the node's repositories have. Raises Fault with those there are."""
    offered: list[str] = []
    pairs = candidates(name, version, cuda, manager.name)
    for library, headers in pairs:
        with_headers = set(manager.versions(headers))
        found = manager.versions(library)
        offered += [f"{library} {one}" for one in found]
        for one in found:
            if one in with_headers and fits(one, version, cuda):
                return [Want(library, one), Want(headers, one)]
    wanted = f"{name} {version if version != ANY else ''}".strip() + (f" for CUDA {cuda}" if cuda else "")
    there = f"there is {', '.join(offered[:8])}" if offered else f"there is no package {pairs[0][0]}"
    raise Fault(f"no repository of this node has {wanted} with its headers; {there}")
