# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Behaviour of a set of files under one directory."""

from __future__ import annotations

import concurrent.futures
import errno
import json
import os

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import file_set


def entry(path, content="x\n", mode="0644"):
    return {"path": path, "content": content, "mode": mode}


def converge(directory, *entries, name="files"):
    return file_set.converge(str(directory), file_set.wish_of(entries), file_set.manifest_of(name))


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
    "path",
    ["../x", "/etc/x", "a/../../x", "", "a//b", "./a", "a/.", "a\0b", ".trainmesh-files.json", ".trainmesh-x.json"],
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
    shown = file_set.differences(
        "/p", file_set.plan(wish, *file_set.read(str(tmp_path), wish, file_set.manifest_of("x")))
    )
    assert "abc" not in json.dumps(shown)
    assert [item["after"] for item in shown][1] == "open\n"
    assert shown[0]["before_header"] == "/p/job.env (absent)"


def test_no_temporary_file_stays(tmp_path):
    for name in (".a.trainmesh-new", ".a.trainmesh-new-0011"):
        (tmp_path / name).write_text("left by an interrupted run")
        os.utime(tmp_path / name, (0, 0))
    converge(tmp_path, entry("a"))
    assert sorted(os.listdir(tmp_path)) == [".trainmesh-files.json", "a"]


def test_many_writers_at_once_all_succeed_and_leave_nothing_behind(tmp_path):
    def write(writer):
        for turn in range(10):
            converge(tmp_path, entry("etc/a", f"{writer} {turn}\n" * 500), entry("b", f"{writer}\n"))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, range(4))) == [None] * 4
    assert len(set((tmp_path / "etc/a").read_text().splitlines())) == 1
    assert sorted(os.listdir(tmp_path)) == [".trainmesh-files.json", "b", "etc"]
    assert os.listdir(tmp_path / "etc") == ["a"]


def test_without_locks_every_write_still_gets_through(tmp_path, monkeypatch):
    def refuse(*_args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(file_set.fcntl, "flock", refuse)
    root = os.open(tmp_path, file_set.DIRECTORY)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        files = [file_set.File(str(number).encode() * 5000, 0o644) for number in range(40)]
        assert list(pool.map(lambda file: file_set._write_file(root, "a", file), files)) == [None] * 40
    os.close(root)
    assert len(set((tmp_path / "a").read_text())) <= 2, "the text of one writer, whole"
    assert converge(tmp_path, entry("a")).changed
    assert sorted(os.listdir(tmp_path)) == [".trainmesh-files.json", "a"]


def test_a_writer_waits_for_the_other_and_reads_again_what_that_one_wrote(tmp_path, monkeypatch):
    converge(tmp_path, entry("a"))
    read, turns = file_set.read, []

    def read_and_be_overtaken(directory, wish, manifest):
        found = read(directory, wish, manifest)
        turns.append(directory)
        if len(turns) == 1:
            monkeypatch.setattr(file_set, "read", read)
            converge(tmp_path, entry("a"), entry("theirs"))
        return found

    monkeypatch.setattr(file_set, "read", read_and_be_overtaken)
    assert converge(tmp_path, entry("b")).remove == ["a", "theirs"], "a file that the other run made is not forgotten"
    assert sorted(os.listdir(tmp_path)) == [".trainmesh-files.json", "b"]


def test_a_writer_that_does_not_end_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(file_set, "WAIT_SECONDS", 0.0)
    with file_set._alone(str(tmp_path)), pytest.raises(file_set.FileSetError, match="another run"):
        converge(tmp_path, entry("a"))


def test_two_sets_in_one_directory_leave_each_other_alone(tmp_path):
    converge(tmp_path, entry("etc/a"))
    converge(tmp_path, entry("etc/job.env", "TOKEN=abc\n", "0600"), name="secrets")
    assert not converge(tmp_path, entry("etc/a")).changed
    converge(tmp_path)
    assert (tmp_path / "etc/job.env").read_text() == "TOKEN=abc\n"
    converge(tmp_path, name="secrets")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["", "a/b", "..", "A", "a" * 33, "a\n"])
def test_a_set_has_a_plain_name(name):
    with pytest.raises(file_set.FileSetError, match="name of a set"):
        file_set.manifest_of(name)
