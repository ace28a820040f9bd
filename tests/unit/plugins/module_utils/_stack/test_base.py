# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an environment can be made with on a node."""

from __future__ import annotations

import os
import pathlib
import sys
import types

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import prefix as install_prefix
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import base

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def read(python: str | None = None, conda: str | None = None, prefix: str | None = None) -> dict:
    return base.read(base.Wish(python, conda, prefix), command.run, 30.0) or {}


def test_nothing_is_looked_at_unasked() -> None:
    assert base.read(base.Wish(), lambda *_words: pytest.fail("started"), 1.0) is None


def test_the_interpreter_itself_is_asked() -> None:
    found = read(sys.executable)
    assert found["interpreter"] == {"path": sys.executable, "version": VERSION, "problem": None}
    assert found["conda"] is None


def test_an_interpreter_that_is_not_there() -> None:
    assert read("/no/python3.11")["interpreter"] == {
        "path": None,
        "version": None,
        "problem": "there is no interpreter /no/python3.11",
    }


def test_an_interpreter_that_makes_no_environment(tmp_path: pathlib.Path) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho \"No module named 'venv'\" >&2\nexit 1\n")
    python.chmod(0o755)
    found = read(str(python))["interpreter"]
    assert (found["path"], found["version"]) == (str(python), None)
    assert "can't make environments (No module named 'venv')" in found["problem"]


def test_conda_is_there_when_its_installer_has_ended(tmp_path: pathlib.Path) -> None:
    assert read(conda=str(tmp_path))["conda"] is False
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta/history").touch()  # which an installer makes before it unpacks anything
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/conda").touch(0o755)
    assert read(conda=str(tmp_path))["conda"] is False
    (tmp_path / "conda-meta/history").write_text("==> 2026-11-30 10:00:00 <==\n")
    assert read(conda=str(tmp_path))["conda"] is True


def test_a_prefix_of_our_own_or_none_is_no_problem(tmp_path: pathlib.Path) -> None:
    assert read(prefix=str(tmp_path / "absent"))["prefix_problem"] is None
    (tmp_path / "env/bin").mkdir(parents=True)
    assert "was not made by this collection" in read(prefix=str(tmp_path))["prefix_problem"]
    (tmp_path / "var").mkdir()
    (tmp_path / "var/environment.json").write_text("{}")
    assert read(prefix=str(tmp_path))["prefix_problem"] is None


def test_a_prefix_of_another_user_and_one_that_may_not_be_read(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("os.geteuid", lambda: 1)
    assert "belongs to another user" in read(prefix=str(tmp_path))["prefix_problem"]

    def refuse(_path):
        raise PermissionError

    monkeypatch.setattr("os.listdir", refuse)
    assert read(prefix=str(tmp_path))["prefix_problem"] is None


def test_the_commands_of_launchers_that_are_not_there(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rsync").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(install_prefix, "_SEARCH", "/nowhere")
    assert read(prefix="/x")["missing_commands"] == ["pdsh", "mpirun"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (os.ST_NOEXEC | os.ST_NOSUID, "mounted noexec, so that no program can run there: set trainmesh_prefix"),
        (os.ST_RDONLY, "mounted read-only, so that nothing can be written: set trainmesh_prefix"),
        (os.ST_NOSUID, None),
    ],
)
def test_a_prefix_on_a_mount_where_no_program_can_run(tmp_path, monkeypatch, flags, words):
    monkeypatch.setattr(os, "statvfs", lambda _place: types.SimpleNamespace(f_flag=flags))
    problem = read(prefix=str(tmp_path / "not" / "yet"))["prefix_problem"]
    assert (words in problem) if words else problem is None
