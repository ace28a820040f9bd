# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages are cuDNN and NCCL, and which version of them is the one asked for."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._install import cuda_libraries
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.manager import Manager
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault, Want


class Node(Manager):
    """What is installed, and what the repositories have."""

    name = "apt"

    def __init__(self, there=None, **offered):
        super().__init__()
        self.there, self.offered = there or {}, {name.replace("_", "-"): found for name, found in offered.items()}

    def installed(self, names):
        return {name: self.there[name] for name in names if name in self.there}

    def versions(self, name):
        return self.offered.get(name, [])


@pytest.mark.parametrize(
    ("name", "version", "cuda", "kind", "pairs"),
    [
        ("nccl", "any", "12", "apt", [["libnccl2", "libnccl-dev"]]),
        ("nccl", "2.27.5", "", "dnf", [["libnccl", "libnccl-devel"]]),
        ("cudnn", "9.10", "12", "apt", [["libcudnn9-cuda-12", "libcudnn9-dev-cuda-12"]]),
        ("cudnn", "9", "13", "dnf", [["libcudnn9-cuda-13", "libcudnn9-devel-cuda-13"]]),
        ("cudnn", "8.9", "12", "apt", [["libcudnn8", "libcudnn8-dev"]]),
    ],
)
def test_the_packages_of_a_library(name, version, cuda, kind, pairs):
    assert cuda_libraries.candidates(name, version, cuda, kind) == pairs


def test_any_cudnn_is_the_newest_of_the_newest_cuda():
    names = [pair[0] for pair in cuda_libraries.candidates("cudnn", "any", "", "apt")]
    assert names == ["libcudnn9-cuda-13", "libcudnn9-cuda-12", "libcudnn9-cuda-11", "libcudnn8"]


@pytest.mark.parametrize(
    ("have", "version", "cuda", "fitting"),
    [
        ("2.27.5-1+cuda12.9", "2.27.5", "12", True),
        ("2.27.5-1+cuda12.9", "2.27", "", True),
        ("2.27.5-1+cuda12.9", "2.27.5", "13", False),
        ("2.27.5-1+cuda12.9", "2.2", "12", False),
        ("2.27.5-1+cuda12.9", "any", "11", False),
        ("9.10.2.21-1", "9.10", "12", True),
        ("9.10.2.21-1", "9.1", "12", False),
        ("9.10.2.21-1", "any", "12", True),
    ],
)
def test_a_version_that_fits(have, version, cuda, fitting):
    assert cuda_libraries.fits(have, version, cuda) is fitting


def test_library_and_headers_are_of_one_version():
    node = Node(libnccl2=["2.27.5-1+cuda12.9", "2.26.2-1+cuda12.8"], libnccl_dev=["2.26.2-1+cuda12.8"])
    wanted = [Want("libnccl2", "2.26.2-1+cuda12.8"), Want("libnccl-dev", "2.26.2-1+cuda12.8")]
    assert cuda_libraries.choose("nccl", "any", "12", node) == wanted
    with pytest.raises(Fault, match=r"has nccl 2\.27\.5 for CUDA 12 with its headers; there is libnccl2 2\.27\.5"):
        cuda_libraries.choose("nccl", "2.27.5", "12", node)


def test_another_cuda_is_passed_over():
    node = Node(
        libnccl2=["2.28.3-1+cuda13.0", "2.27.5-1+cuda12.9"], libnccl_dev=["2.28.3-1+cuda13.0", "2.27.5-1+cuda12.9"]
    )
    assert cuda_libraries.choose("nccl", "any", "12", node)[0].version == "2.27.5-1+cuda12.9"
    assert cuda_libraries.choose("nccl", "any", "", node)[0].version == "2.28.3-1+cuda13.0"


def test_a_library_that_nobody_has():
    with pytest.raises(Fault, match=r"has cudnn for CUDA 12 with its headers; there is no package libcudnn9-cuda-12"):
        cuda_libraries.choose("cudnn", "any", "12", Node())


@pytest.mark.parametrize(
    ("there", "version", "found"),
    [
        ({"libnccl2": "2.27.5-1+cuda12.9", "libnccl-dev": "2.27.5-1+cuda12.9"}, "2.27", True),
        ({"libnccl2": "2.27.5-1+cuda12.9", "libnccl-dev": "2.27.5-1+cuda12.9"}, "any", True),
        ({"libnccl2": "2.27.5-1+cuda12.9", "libnccl-dev": "2.27.5-1+cuda12.9"}, "2.26", False),
        ({"libnccl2": "2.27.5-1+cuda12.9", "libnccl-dev": "2.26.2-1+cuda12.8"}, "any", False),
        ({"libnccl2": "2.27.5-1+cuda12.9"}, "any", False),
        ({}, "any", False),
    ],
)
def test_what_is_there_counts_whole_alone(there, version, found):
    assert bool(cuda_libraries.installed("nccl", version, "12", Node(there))) is found
