# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is ours goes, what a user has put there stays, and nothing goes that is no installation of ours."""

from __future__ import annotations

import os

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import file_set
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric.disk import Mount
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import remove

LOCAL = (Mount("/", "ext4", "/dev/vda", False),)


@pytest.fixture
def prefix(tmp_path):
    place = tmp_path / "trainmesh"
    wish = file_set.wish_of(
        [{"path": "bin/trainmesh-stop", "content": "#!/bin/sh\n"}, {"path": "etc/accelerate/a.yaml", "content": "a\n"}]
    )
    for name in ("files", "secrets"):
        file_set.converge(str(place), wish if name == "files" else {}, file_set.manifest_of(name))
    for name in ("env/bin", "var/runs/r1", "workspace"):
        (place / name).mkdir(parents=True)
    (place / "env/bin/python").symlink_to("/usr/bin/python3")
    (place / "var/runs/r1/log").write_text("log\n")
    return place


def take_off(place, table=LOCAL):
    todo = remove.plan(str(place), table)
    remove.apply(todo)
    return todo


def test_an_installation_goes_whole(prefix):
    assert take_off(prefix).keep == []
    assert not prefix.exists() and os.path.exists("/usr/bin/python3")
    assert remove.plan(str(prefix), LOCAL) == remove.Plan([], [])


def test_environments_beside_the_one_in_use_go_with_the_link(prefix):
    base = prefix / "environments/torch-2.13.0-cpu-py3.11"
    base.mkdir(parents=True)
    (prefix / "env").rename(base / "env")
    (prefix / "env").symlink_to("environments/torch-2.13.0-cpu-py3.11/env")
    assert take_off(prefix).keep == [] and not prefix.exists()


def test_what_a_user_has_put_there_stays(prefix):
    mine = [prefix / "workspace/train.py", prefix / "etc/notes", prefix / "data/set/1"]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine\n")
    (prefix / "results").symlink_to(prefix.parent)
    todo = take_off(prefix)
    assert sorted(todo.keep) == [f"{prefix}/{name}" for name in ("data", "etc/notes", "results", "workspace")]
    left = {str(path.relative_to(prefix)) for path in prefix.rglob("*") if path.is_symlink() or path.is_file()}
    assert left == {"workspace/train.py", "etc/notes", "data/set/1", "results"}
    assert not (prefix / "etc/accelerate").exists() and not (prefix / "bin").exists()
    assert remove.plan(str(prefix), LOCAL).why  # nothing of ours is left in it


def test_what_python_compiled_of_ours_goes_with_it(prefix):
    wish = file_set.wish_of([{"path": "share/cpu/sitecustomize.py", "content": "pass\n"}])
    file_set.converge(str(prefix), wish, file_set.manifest_of("more"))
    for place in ("share/cpu", "workspace"):
        (prefix / place / "__pycache__").mkdir()
        (prefix / place / "__pycache__/sitecustomize.cpython-311.pyc").write_bytes(b"x")
    assert take_off(prefix).keep == [f"{prefix}/workspace"]
    assert not (prefix / "share").exists()


def test_a_second_run_goes_on_where_the_first_was_killed(prefix, monkeypatch):
    def killed(_path):
        raise KeyboardInterrupt

    monkeypatch.setattr(remove.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        take_off(prefix)
    monkeypatch.undo()
    assert take_off(prefix).keep == [] and not prefix.exists()


@pytest.mark.parametrize("name", ["/", "/usr", "home"])
def test_what_is_no_installation_stays_whole(tmp_path, name):
    place = tmp_path / name if name == "home" else name
    if name == "home":
        for one in ("env", "var", "workspace", "Documents"):
            (place / one).mkdir(parents=True)
    todo = remove.plan(str(place), LOCAL)
    assert todo.remove == [] and todo.keep == [str(place)] and "nothing in it" in todo.why


def test_an_interrupted_installation_is_one(tmp_path):
    (tmp_path / "p/env/lib").mkdir(parents=True)
    take_off(tmp_path / "p")
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("kind", ["nfs4", "lustre", "fuse.beegfs", "virtiofs"])
def test_what_other_nodes_may_use_stays(prefix, kind):
    todo = take_off(prefix, [*LOCAL, Mount(str(prefix.parent), kind, "server:/x", False)])
    assert todo.remove == [] and kind in todo.why and (prefix / "env").is_dir()


def test_a_link_in_the_place_of_a_tree_goes_alone(prefix, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/file").write_text("theirs\n")
    remove.shutil.rmtree(prefix / "env")
    (prefix / "env").symlink_to(tmp_path / "theirs")
    take_off(prefix)
    assert not prefix.exists() and (tmp_path / "theirs/file").read_text() == "theirs\n"
