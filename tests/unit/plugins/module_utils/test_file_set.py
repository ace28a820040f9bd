# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Behaviour of a set of files under one directory."""

from __future__ import annotations

import json
import os

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils import _file_set as file_set


def entry(path, content="x\n", mode="0644"):
    return {"path": path, "content": content, "mode": mode}


def converge(directory, *entries):
    wish = file_set.wish_of(entries)
    todo = file_set.plan(wish, *file_set.read(str(directory), wish))
    if todo.changed:
        file_set.apply(str(directory), todo)
    return todo


def test_files_are_written_with_their_modes_and_the_second_run_changes_nothing(tmp_path):
    root = tmp_path / "new" / "prefix"
    wanted = [entry("etc/a/b.yaml", "é\n"), entry("bin/run", "#!/bin/sh\n", "0755")]
    assert sorted(converge(root, *wanted).write) == ["bin/run", "etc/a/b.yaml"]
    assert (root / "etc/a/b.yaml").read_text(encoding="utf-8") == "é\n"
    assert (root / "bin/run").stat().st_mode & 0o777 == 0o755
    assert not converge(root, *wanted).changed


@pytest.mark.parametrize("umask", [0o077, 0o027])
def test_everybody_may_read_the_files_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        converge(tmp_path / "new" / "prefix", entry("etc/a/b.yaml"))
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    for path in ("new", "new/prefix", "new/prefix/etc", "new/prefix/etc/a"):
        assert (tmp_path / path).stat().st_mode & 0o777 == 0o755


def test_only_what_differs_is_written(tmp_path):
    converge(tmp_path, entry("a"), entry("b"))
    (tmp_path / "b").chmod(0o600)
    assert list(converge(tmp_path, entry("a"), entry("b")).write) == ["b"]
    assert list(converge(tmp_path, entry("a", "new"), entry("b")).write) == ["a"]


def test_a_file_that_leaves_the_set_goes_with_its_empty_directories_and_others_stay(tmp_path):
    converge(tmp_path, entry("etc/old/x"), entry("etc/keep"))
    (tmp_path / "etc/foreign").write_text("mine")
    todo = converge(tmp_path, entry("etc/keep"))
    assert todo.remove == ["etc/old/x"]
    assert sorted(path.name for path in (tmp_path / "etc").iterdir()) == ["foreign", "keep"]


def test_an_empty_set_leaves_nothing_of_ours(tmp_path):
    converge(tmp_path, entry("etc/a"))
    converge(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not converge(tmp_path).changed


def test_a_run_that_was_cut_short_forgets_no_file(tmp_path, monkeypatch):
    converge(tmp_path, entry("old"))

    def cut(root, path):
        raise OSError("cut")

    monkeypatch.setattr(file_set, "_remove_file", cut)
    with pytest.raises(file_set.FileSetError):
        converge(tmp_path, entry("new"))
    monkeypatch.undo()
    assert converge(tmp_path, entry("new")).remove == ["old"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".trainmesh-files.json", "new"]


@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", "a/../../x", "", "a//b", "./a", "a/.", "a\0b", ".trainmesh-files.json"]
)
def test_paths_that_are_not_plainly_below_the_directory_are_refused(path):
    with pytest.raises(file_set.FileSetError):
        file_set.wish_of([entry(path)])


def test_a_bad_mode_and_a_repeated_path_are_refused():
    for entries in (
        [entry("a", mode="u+x")],
        [entry("a", mode="4755")],
        [entry("a"), entry("a")],
        [entry("a"), entry("a/b")],
    ):
        with pytest.raises(file_set.FileSetError):
            file_set.wish_of(entries)


def test_a_link_is_neither_followed_nor_replaced(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    (root / "etc").symlink_to(outside)
    with pytest.raises(file_set.FileSetError, match="symbolic link"):
        converge(root, entry("etc/a"))
    (root / "b").symlink_to(outside / "secret")
    with pytest.raises(file_set.FileSetError, match="symbolic link"):
        converge(root, entry("b"))
    assert list(outside.iterdir()) == []


def test_a_directory_in_the_place_of_a_file_is_an_error(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(file_set.FileSetError, match="not a plain file"):
        converge(tmp_path, entry("a"))


def test_a_forged_manifest_removes_nothing_outside(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("x")
    root = tmp_path / "root"
    root.mkdir()
    (root / ".trainmesh-files.json").write_text(json.dumps({"files": ["../victim"]}))
    assert converge(root, entry("a")).remove == []
    assert victim.exists()


def test_a_file_of_its_owner_alone_is_not_shown(tmp_path):
    wish = file_set.wish_of([entry("job.env", "TOKEN=abc\n", "0600"), entry("b", "open\n")])
    shown = file_set.differences("/p", file_set.plan(wish, *file_set.read(str(tmp_path), wish)))
    assert "abc" not in json.dumps(shown)
    assert [item["after"] for item in shown][1] == "open\n"
    assert shown[0]["before_header"] == "/p/job.env (absent)"


def test_no_temporary_file_stays(tmp_path):
    (tmp_path / ".a.trainmesh-new").write_text("left by an interrupted run")
    converge(tmp_path, entry("a"))
    assert sorted(os.listdir(tmp_path)) == [".trainmesh-files.json", "a"]
