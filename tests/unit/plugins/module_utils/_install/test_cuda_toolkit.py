# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which toolkits a node has, and what puts one in front."""

from __future__ import annotations

import json
import shlex
import subprocess

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import textfile
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import cuda_toolkit
from ansible_collections.trainmesh.cluster.plugins.module_utils._install.cuda_toolkit import Toolkit
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault


def make(place, nvcc, version=""):
    """A toolkit whose compiler says its version, and which may have a version.json."""
    (place / "bin").mkdir(parents=True)
    release = ".".join(nvcc.split(".")[:2])
    compiler = place / "bin/nvcc"
    compiler.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {release}, V{nvcc}'\n")
    compiler.chmod(0o755)
    if version:
        (place / "version.json").write_text(json.dumps({"cuda": {"name": "CUDA SDK", "version": version}}))
    return str(place)


@pytest.fixture(autouse=True)
def own(monkeypatch, tmp_path):
    monkeypatch.setattr(cuda_toolkit, "PLACE", f"{tmp_path}/cuda-{{}}")
    monkeypatch.setattr(cuda_toolkit, "DISTRIBUTIONS", f"{tmp_path}/usr/bin/nvcc")
    monkeypatch.setattr(cuda_toolkit, "ENVIRONMENT", f"{tmp_path}/environment")
    monkeypatch.setattr(cuda_toolkit, "PROFILE", f"{tmp_path}/trainmesh-cuda.sh")
    return tmp_path


@pytest.mark.parametrize("version", ["12", "12.6.3.1", "latest", "", "12.x"])
def test_a_version_that_is_none(version):
    with pytest.raises(Fault, match=r"such as 12\.6 or 12\.6\.3"):
        cuda_toolkit.release_of(version)


def test_the_toolkit_of_a_release(own):
    path = make(own / "cuda-12.6", "12.6.85", "12.6.3")
    assert cuda_toolkit.present("12.6", Tree()) == Toolkit(path, "12.6.3", f"{path}/bin")
    assert cuda_toolkit.present("12.6.1", Tree()).version == "12.6.3"  # of another patch
    assert cuda_toolkit.present("12.5", Tree()) is None


def test_the_toolkit_of_the_distribution(own):
    make(own / "usr", "11.8.89")
    assert cuda_toolkit.present("11.8", Tree()) == Toolkit("/usr", "11.8", f"{own}/usr/bin")
    assert cuda_toolkit.present("11.4", Tree()) is None


def test_a_directory_without_a_compiler_that_runs_is_no_toolkit(own):
    (own / "cuda-12.6/bin").mkdir(parents=True)
    (own / "cuda-12.6/version.json").write_text('{"cuda": {"version": "12.6.3"}}')
    assert cuda_toolkit.present("12.6", Tree()) is None


@pytest.mark.parametrize(
    ("found", "version", "wanted"),
    [("12.6.3", "12.6", True), ("12.6.3", "12.6.3", True), ("12.6.3", "12.6.1", False), ("11.8", "11.8.0", True)],
)
def test_a_toolkit_of_the_wanted_patch(found, version, wanted):
    assert cuda_toolkit.is_wanted(Toolkit("/x", found, "/x/bin"), version) is wanted


@pytest.mark.parametrize(
    ("version", "source", "packages"),
    [
        ("12.6", "any", [("cuda-toolkit-12-6", ""), ("nvidia-cuda-toolkit", "12.6")]),
        ("12.6.3", "vendor", [("cuda-toolkit-12-6", "12.6.3")]),
        ("11.8.0", "distribution", [("nvidia-cuda-toolkit", "11.8")]),
    ],
)
def test_the_packages_of_a_toolkit(version, source, packages):
    assert cuda_toolkit.packages_of(version, source) == packages


@pytest.mark.parametrize(
    ("before", "path"),
    [
        ("", cuda_toolkit.PATH),
        ('LANG=C\nPATH="/opt/bin:/usr/bin"\n', "/opt/bin:/usr/bin"),
        ("export PATH=/opt/bin:/bin", "/opt/bin:/bin"),
        ("#PATH=/x\n", cuda_toolkit.PATH),
    ],
)
def test_the_toolkit_goes_before_what_path_was(own, before, path):
    (own / "environment").write_text(before)
    changes = cuda_toolkit.path_changes("/usr/local/cuda-12.6/bin")
    after = {change.path: change.after for change in changes}
    text = after[cuda_toolkit.ENVIRONMENT]
    assert text.startswith(before) and f'\nPATH="/usr/local/cuda-12.6/bin:{path}"\n' in text
    assert "LD_LIBRARY_PATH" not in "".join(after.values())
    (own / "environment").write_text(text)
    (own / "trainmesh-cuda.sh").write_text(after[cuda_toolkit.PROFILE])
    (own / "trainmesh-cuda.sh").chmod(0o644)
    assert cuda_toolkit.path_changes("/usr/local/cuda-12.6/bin") == []
    again = {change.path: change.after for change in cuda_toolkit.path_changes("/usr/local/cuda-11.8/bin")}
    assert f'\nPATH="/usr/local/cuda-11.8/bin:{path}"\n' in again[cuda_toolkit.ENVIRONMENT]
    assert "12.6" not in again[cuda_toolkit.ENVIRONMENT]
    none = {change.path: change.after for change in cuda_toolkit.path_changes("/usr/bin")}
    assert textfile.block_in(none[cuda_toolkit.ENVIRONMENT]) == [] and none[cuda_toolkit.PROFILE] == ""


def test_a_login_shell_finds_it_first(own):
    change = next(one for one in cuda_toolkit.path_changes("/x y/bin") if one.path == cuda_toolkit.PROFILE)
    (own / "profile.sh").write_text(change.after)
    script = f'PATH=/usr/bin:/bin; . {shlex.quote(str(own / "profile.sh"))}; printf %s "$PATH"'
    assert (
        subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True).stdout
        == "/x y/bin:/usr/bin:/bin"
    )


def test_the_distributions_toolkit_needs_no_path():
    assert cuda_toolkit.path_changes("/usr/bin") == []


def test_marks_that_are_no_pair_are_left_alone(own):
    (own / "environment").write_text(f"{textfile.BEGIN}\nPATH=/x\n")
    with pytest.raises(Fault, match="environment: expected one block"):
        cuda_toolkit.path_changes("/usr/local/cuda-12.6/bin")
