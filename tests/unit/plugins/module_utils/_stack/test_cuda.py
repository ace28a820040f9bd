# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CUDA toolkits, nvcc and cuDNN: every file form, links, wrappers, and machines without any."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import cuda
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack.libraries import (
    cuda_in,
    system_directories,
    which,
)

ROOT = pathlib.Path(__file__).resolve().parents[5]
FIXTURES = pathlib.Path(os.environ.get("TRAINMESH_FIXTURES") or ROOT.parent / "shared/fixtures")

NVCC_122 = "nvcc: NVIDIA (R) Cuda compiler driver\nCuda compilation tools, release 12.2, V12.2.140\nBuild cuda_12.2\n"
VERSION_JSON = json.dumps(
    {
        "cuda": {"name": "CUDA SDK", "version": "12.4.1"},
        "cuda_nvcc": {"name": "CUDA NVCC", "version": "12.4.131"},
        "nvidia_driver": {"name": "NVIDIA Linux Driver", "version": "550.54.15"},
    }
)


class Node:
    """A file tree with pretended commands."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.tree = Tree(str(root))
        self.said: dict[str, str] = {}
        self.calls: list[str] = []
        self.compilers = cuda.Compilers(self.tree, self.run, 5)

    def run(self, argv: t.Sequence[str], _limit: float, **_options: t.Any) -> command.Outcome:
        self.calls.append(argv[0])
        return command.Outcome(0, self.said.get(argv[0], ""), "", False, False, 0.0)

    def file(self, path: str, text: str = "", mode: int = 0o644) -> str:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)
        return str(place)

    def nvcc(self, path: str, answer: str) -> None:
        self.said[self.file(path, "#!/bin/sh\n", 0o755)] = answer


@pytest.fixture(name="node")
def _node(tmp_path: pathlib.Path) -> Node:
    return Node(tmp_path)


def recorded() -> dict[str, t.Any]:
    if not (FIXTURES / "EXPECTED.json").exists():
        return {}
    expected: dict[str, t.Any] = json.loads((FIXTURES / "EXPECTED.json").read_text())["nvcc"]
    return expected


@pytest.mark.skipif(not recorded(), reason="no recordings: set TRAINMESH_FIXTURES to their folder")
@pytest.mark.parametrize("name", sorted(recorded()))
def test_recorded_outputs_of_nvcc(name: str) -> None:
    expected = recorded()[name]
    text = (FIXTURES / "nvcc" / name).read_text()
    assert cuda.nvcc_version(text) == (expected["release"], expected["version"])


def test_version_json_spares_asking_nvcc(node: Node) -> None:
    node.file("/usr/local/cuda-12.4/version.json", VERSION_JSON)
    node.nvcc("/usr/local/cuda-12.4/bin/nvcc", NVCC_122)
    (node.root / "usr/local/cuda").symlink_to("cuda-12.4")
    (found,) = cuda.toolkits(node.tree, {"CUDA_HOME": "/usr/local/cuda/"}, None, node.compilers)
    assert found == {
        "path": "/usr/local/cuda-12.4",
        "aliases": ["/usr/local/cuda"],
        "version": "12.4.1",
        "nvcc": "/usr/local/cuda-12.4/bin/nvcc",
        "nvcc_version": "12.4.131",
        "nvcc_release": "12.4",
    }
    assert node.calls == []


def test_every_toolkit_is_listed_and_each_nvcc_asked_once(node: Node) -> None:
    node.file("/usr/local/cuda-10.2/version.txt", "CUDA Version 10.2.89\n")
    node.nvcc("/usr/local/cuda-12.2/bin/nvcc", NVCC_122)
    environment = {"PATH": "/usr/bin:/usr/local/cuda-12.2/bin", "CUDA_HOME": "/usr/local/cuda-12.2"}
    found = cuda.toolkits(node.tree, environment, None, node.compilers)
    assert [(one["version"], one["nvcc_release"]) for one in found] == [("10.2.89", None), ("12.2.140", "12.2")]
    first = cuda.first_nvcc(node.tree, environment["PATH"], node.compilers)
    assert first == {"path": "/usr/local/cuda-12.2/bin/nvcc", "release": "12.2", "version": "12.2.140"}
    assert len(node.calls) == 1


def test_a_distribution_package_has_only_usr_bin_nvcc(node: Node) -> None:
    node.nvcc("/usr/bin/nvcc", NVCC_122)
    (found,) = cuda.toolkits(node.tree, {"PATH": "/usr/bin"}, None, node.compilers)
    assert (found["path"], found["nvcc_release"]) == ("/usr", "12.2")


def test_a_wrapper_of_nvcc_is_not_another_toolkit(node: Node) -> None:
    node.nvcc("/usr/local/cuda-12.2/bin/nvcc", NVCC_122)
    node.nvcc("/usr/local/bin/nvcc", NVCC_122)
    found = cuda.toolkits(node.tree, {"PATH": "/usr/local/bin"}, None, node.compilers)
    assert [one["path"] for one in found] == ["/usr/local/cuda-12.2"]
    assert (cuda.build_home(node.tree, {"PATH": "/usr/local/bin"}, node.compilers) or {})["path"] == "/usr/local"


def test_what_builds_extensions_is_searched_as_pytorch_does(node: Node) -> None:
    node.nvcc("/opt/a/bin/nvcc", NVCC_122)
    node.nvcc("/usr/local/cuda/bin/nvcc", NVCC_122)
    homes = [
        {"CUDA_HOME": "/opt/a", "PATH": "/usr/bin"},
        {"CUDA_PATH": "/opt/a", "PATH": "/usr/local/cuda/bin"},
        {"PATH": "/opt/a/bin"},
        {"PATH": "/usr/bin"},
    ]
    found = [cuda.build_home(node.tree, home, node.compilers) for home in homes]
    assert [one["path"] for one in found if one] == ["/opt/a", "/opt/a", "/opt/a", "/usr/local/cuda"]
    assert cuda.build_home(node.tree, {"CUDA_HOME": "/gone"}, node.compilers) == {"path": "/gone", "nvcc": None}


def test_a_bare_machine_has_nothing(node: Node) -> None:
    assert cuda.toolkits(node.tree, {}, None, node.compilers) == []
    assert cuda.first_nvcc(node.tree, None, node.compilers) is None
    assert cuda.build_home(node.tree, {}, node.compilers) is None
    assert cuda.cudnn(node.tree, [], [], ["/usr/lib"]) == []
    assert node.calls == []


def test_an_nvcc_that_does_not_run_is_still_named(node: Node) -> None:
    node.nvcc("/usr/local/cuda-12/bin/nvcc", "cannot execute binary file")
    (found,) = cuda.toolkits(node.tree, {}, None, node.compilers)
    assert (found["nvcc"], found["nvcc_release"], found["version"]) == ("/usr/local/cuda-12/bin/nvcc", None, None)


def test_cudnn_comes_from_headers_and_file_names(node: Node) -> None:
    header = "#define CUDNN_MAJOR {}\n#define CUDNN_MINOR {}\n#define CUDNN_PATCHLEVEL {}\n"
    node.file("/env/site-packages/nvidia/cudnn/include/cudnn_version.h", header.format(9, 24, 0))
    node.file("/usr/include/x86_64-linux-gnu/cudnn_version_v8.h", header.format(8, 9, 7))
    node.file("/usr/lib64/libcudnn.so.9.1.0")
    (node.root / "usr/lib64/libcudnn.so.9").symlink_to("libcudnn.so.9.1.0")
    node.file("/usr/lib64/libcudnn.so.8.9.7")
    found = cuda.cudnn(node.tree, ["/usr/local/cuda"], ["/env/site-packages"], ["/usr/lib64"])
    assert [(one["version"], one["source"]) for one in found] == [
        ("9.24.0", "wheel"),
        ("8.9.7", "header"),
        ("9.1.0", "library"),
    ]


def test_cudnn_without_headers_comes_from_the_name_of_the_file(node: Node) -> None:
    node.file("/usr/lib64/libcudnn.so.9.1.0")
    (found,) = cuda.cudnn(node.tree, [], [], ["/usr/lib64"])
    assert found == {"version": "9.1.0", "path": "/usr/lib64/libcudnn.so.9.1.0", "source": "library"}


def test_the_linkers_directories_come_from_its_configuration(node: Node) -> None:
    node.file("/etc/ld.so.conf", "# x\ninclude ld.so.conf.d/*.conf\n/opt/first\n")
    node.file("/etc/ld.so.conf.d/b.conf", "/opt/second # why\ninclude /etc/ld.so.conf\n")
    node.file("/etc/ld.so.conf.d/skipped.txt", "/opt/third\n")
    found = system_directories(node.tree)
    assert found[:2] == ["/opt/first", "/opt/second"]
    assert "/opt/third" not in found
    assert "/usr/lib64" in found


def test_path_entries_that_are_empty_or_relative_are_left_out(node: Node) -> None:
    node.nvcc("/usr/bin/nvcc", NVCC_122)
    assert which(node.tree, "nvcc", ":bin:/nowhere:/usr/bin") == "/usr/bin/nvcc"
    assert which(node.tree, "nvcc", None) is None


def test_cuda_libraries_of_a_search_path_have_the_version_of_the_real_file(node: Node) -> None:
    node.file("/cuda/lib64/libcudart.so.11.4.148")
    (node.root / "cuda/lib64/libcudart.so.11.0").symlink_to("libcudart.so.11.4.148")
    (node.root / "cuda/lib64/libcudart.so").symlink_to("libcudart.so.11.0")
    node.file("/cuda/lib64/libcublas.so.11.6.5.2")
    node.file("/cuda/lib64/libcufft.so.10.5.2")
    found = {one["library"]: one["version"] for one in cuda_in(node.tree, ["/cuda/lib64", "/nowhere"])}
    assert found == {"libcudart": "11.4.148", "libcublas": "11.6.5.2"}
