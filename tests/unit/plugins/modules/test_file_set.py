# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A set of files is written and removed as one thing."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.modules import file_set
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules

FILES = [{"path": "etc/a", "content": "1\n"}, {"path": "bin/b", "content": "2\n", "mode": "0755"}]


def names(tmp_path):
    return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())


def test_files_come_and_go_with_the_set(tmp_path, capsys):
    (tmp_path / "theirs").touch()
    first = modules.run(file_set, capsys, path=str(tmp_path), files=FILES)
    assert (first["changed"], sorted(first["written"]), first["removed"]) == (True, ["bin/b", "etc/a"], [])
    assert (tmp_path / "bin/b").stat().st_mode & 0o777 == 0o755
    assert not modules.run(file_set, capsys, path=str(tmp_path), files=FILES)["changed"]
    second = modules.run(file_set, capsys, path=str(tmp_path), files=FILES[:1])
    assert (second["written"], second["removed"]) == ([], ["bin/b"])
    assert names(tmp_path) == [".trainmesh-files.json", "etc/a", "theirs"]


def test_check_mode_tells_and_writes_nothing(tmp_path, capsys):
    answer = modules.run(file_set, capsys, path=str(tmp_path), files=FILES, check=True)
    assert answer["changed"] and len(answer["written"]) == 2 and names(tmp_path) == []


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ([{"path": "../a", "content": ""}], "not a plain path"),
        ([FILES[0], FILES[0]], "given twice"),
        ([{"path": "a", "content": "", "mode": "u+x"}], "three octal digits"),
    ],
)
def test_a_set_that_is_none_is_refused_whole(tmp_path, capsys, files, word):
    answer = modules.run(file_set, capsys, path=str(tmp_path), files=[{"path": "good", "content": ""}, *files])
    assert answer["failed"] and word in answer["msg"] and names(tmp_path) == []


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(file_set, monkeypatch)
