# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import files

LATER = time.monotonic() + 3600


def digest(path, deadline=None):
    return files.digest(str(path), LATER if deadline is None else deadline)


def test_a_digest_is_of_names_and_content(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub/x.py").write_text("1")
        (tmp_path / name / "y.py").write_text("2")
    (tmp_path / "b/.git").mkdir()
    (tmp_path / "b/.git/HEAD").write_text("other")
    (tmp_path / "b/__pycache__").mkdir()
    (tmp_path / "b/__pycache__/x.pyc").write_text("other")
    size, value, error = digest(tmp_path / "a")
    assert (size, error) == (2, None)
    assert value == digest(tmp_path / "b")[1]
    assert value.startswith("sha256:")
    os.rename(tmp_path / "b/y.py", tmp_path / "b/z.py")
    assert value != digest(tmp_path / "b")[1]


def test_large_files_are_sampled(tmp_path):
    content = bytearray(files.WHOLE_BYTES + 10)
    (tmp_path / "big").write_bytes(content)
    size, value, _error = digest(tmp_path / "big")
    assert size == files.WHOLE_BYTES + 10
    assert value.startswith("sha256-sampled:")
    content[-1] = 1
    (tmp_path / "big").write_bytes(content)
    assert digest(tmp_path / "big")[1] != value


def test_digests_have_bounds(tmp_path, monkeypatch):
    for number in range(4):
        (tmp_path / str(number)).write_text("x")
    assert digest(tmp_path, 0.0)[1:] == (None, "not enough time to read it: not compared")
    monkeypatch.setattr(files, "MAX_FILES", 3)
    assert digest(tmp_path)[1:] == (None, "more than 3 files: not compared")


def test_what_is_asked_for(tmp_path):
    (tmp_path / "file").write_text("x")
    os.symlink("gone", tmp_path / "link")
    names = [str(tmp_path), str(tmp_path / "file"), str(tmp_path / "link"), str(tmp_path / "file/under")]
    found = files.asked(Tree(), [*names, "~"], 5)
    whole, file, link, under = (found[name] for name in names)
    assert (whole["exists"], whole["kind"], whole["writable"]) == (True, "dir", True)
    assert (file["kind"], file["size"], file["readable"], file["digest"][:7]) == ("file", 1, True, "sha256:")
    assert link["exists"] is False
    assert under["exists"] is False
    assert found["~"]["kind"] == "dir"
    assert {len(one) for one in found.values()} == {11}


def test_modes_and_owners(tmp_path):
    os.chmod(tmp_path, 0o777)
    found = files.described(str(tmp_path))
    assert (found["exists"], found["mode"], found["others_write"]) == (True, "0777", True)
    assert found["owner"] == files.user_name(os.geteuid())
    assert files.described(str(tmp_path / "gone"))["exists"] is False
    assert files.user_name(4_000_000_000) == "4000000000"


def test_caches_follow_the_environment(tmp_path):
    places = files.cache_places("/home/u", {"XDG_CACHE_HOME": "/x", "TRITON_CACHE_DIR": str(tmp_path / "a/b")})
    assert places == {
        "home": "/home/u",
        "tmp": "/tmp",
        "hf": "/x/huggingface",
        "triton": str(tmp_path / "a/b"),
        "torch_extensions": "/x/torch_extensions",
        "pip": "/x/pip",
    }
    found = files.caches(Tree(), {"triton": places["triton"], "again": str(tmp_path)}, 5)
    assert (found["triton"]["existing"], found["triton"]["exists"]) == (str(tmp_path), False)
    assert (found["again"]["exists"], found["again"]["writable"], found["again"]["error"]) == (True, True, None)
    assert found["again"]["free_bytes"] > 0


@pytest.mark.parametrize("there", [True, False])
def test_files_of_the_collection(tmp_path, there):
    if there:
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/cluster.json").write_text("{}")
    found = files.managed(str(tmp_path))
    assert found["exists"] is there
    assert list(found["files"]) == (["etc/cluster.json"] if there else [])


def test_what_a_closed_directory_hides_is_denied_and_not_absent(tmp_path, monkeypatch):
    def stat_of(path):
        raise PermissionError(13, "in words of any language", str(path))

    monkeypatch.setattr(files.os, "stat", stat_of)
    monkeypatch.setattr(files.fabric_disk, "follow", lambda _table, path: (path, True))
    found = files.asked(Tree(), [str(tmp_path / "x")], 5)[str(tmp_path / "x")]
    assert (found["exists"], found["denied"], found["error"]) == (None, True, "in words of any language")
