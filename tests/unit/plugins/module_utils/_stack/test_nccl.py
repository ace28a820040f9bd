# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NCCL: asked of real (pretended) libraries, searched in broken ones, never trusted to a name."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command as base_command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import nccl

WORKS = "int ncclGetVersion(int *v) { *v = %d; return 0; }\n"
ABORTS = "#include <stdlib.h>\nint ncclGetVersion(int *v) { abort(); }\n"
HANGS = "#include <unistd.h>\nint ncclGetVersion(int *v) { for (;;) sleep(60); }\n"


@pytest.mark.parametrize(
    ("code", "version"),
    [(2708, "2.7.8"), (21003, "2.10.3"), (21403, "2.14.3"), (23007, "2.30.7"), (0, None), (-1, None), (None, None)],
)
def test_the_number_of_nccl_is_decoded(code: int | None, version: str | None) -> None:
    assert nccl.decode(code) == version


def build(place: pathlib.Path, source: str) -> pathlib.Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler to make a library with")
    place.parent.mkdir(parents=True, exist_ok=True)
    command = [compiler, "-shared", "-fPIC", "-w", "-x", "c", "-", "-o", str(place)]
    subprocess.run(command, input=source.encode(), check=True)
    return place


def test_each_library_answers_for_itself_and_a_broken_one_disturbs_no_other(tmp_path: pathlib.Path) -> None:
    site, old = tmp_path / "site", tmp_path / "lib"
    build(site / "nvidia/nccl/lib/libnccl.so.2", WORKS % 23007)
    build(old / "libnccl.so.2.10.3", WORKS % 21003)
    (old / "libnccl.so.2").symlink_to("libnccl.so.2.10.3")
    build(tmp_path / "aborts/libnccl.so.2", ABORTS)
    (tmp_path / "text").mkdir()
    (tmp_path / "text/libnccl.so").write_bytes(b"\0\1 NCCL version 2.19.3+cuda12.3\0")
    (tmp_path / "text/libnccl-net.so").write_bytes(b"NCCL version 9.9.9")
    places = [str(old), str(tmp_path / "aborts"), str(tmp_path / "text")]
    found = nccl.find(Tree(), [str(site)], None, [str(old)], places)
    found = nccl.with_versions(Tree(), found, base_command.run, 20)
    assert [(one["place"], one["version"], one["source"]) for one in found] == [
        ("wheel", "2.30.7", "library"),
        ("library_path", "2.10.3", "library"),
        ("system", None, None),
        ("system", "2.19.3", "file"),
    ]


def test_a_library_that_hangs_is_left_at_the_limit(tmp_path: pathlib.Path) -> None:
    hanging = build(tmp_path / "a/libnccl.so.2", HANGS)
    working = build(tmp_path / "b/libnccl.so.2", WORKS % 22105)
    assert nccl.ask([str(hanging), str(working)], base_command.run, 1.5) == {1: "2.21.5"}


def test_the_header_is_the_last_resort(tmp_path: pathlib.Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "include").mkdir()
    (tmp_path / "lib/libnccl.so.2").write_bytes(b"not a library")
    (tmp_path / "include/nccl.h").write_text("#define NCCL_MAJOR 2\n#define NCCL_MINOR 27\n#define NCCL_PATCH 3\n")
    found = nccl.find(Tree(), [], None, [], [str(tmp_path / "lib")])
    (one,) = nccl.with_versions(Tree(), found, base_command.run, 20)
    assert (one["version"], one["source"]) == ("2.27.3", "header")


def test_nothing_is_started_where_there_is_no_library(tmp_path: pathlib.Path) -> None:
    def never(*_arguments: object, **_options: object) -> base_command.Outcome:
        raise AssertionError("no command is needed")

    tree = Tree(str(tmp_path))
    assert nccl.with_versions(tree, nccl.find(tree, [], None, [], ["/lib"]), never, 1) == []


def test_an_empty_or_unreadable_file_has_no_version(tmp_path: pathlib.Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert nccl.search(str(tmp_path / "empty")) is None
    assert nccl.search(str(tmp_path / "absent")) is None
    assert nccl.search("\0") is None


def test_answers_that_are_not_ours_are_ignored() -> None:
    assert nccl.answers("nccl 0 23007\nnccl 1 banana\nhello\nnccl\nnccl 2\nnccl 3 7\n") == {0: "2.30.7"}
