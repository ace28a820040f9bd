# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pythons that uv fetches from a mirror: a directory here, with a list of downloads of its own."""

from __future__ import annotations

import hashlib
import io
import json
import pathlib
import tarfile

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import fetch
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.pythons import Pythons
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import ToolError, Tools

NAME = "cpython-3.12.1+20260101-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz"
PLACE = "https://github.com/astral-sh/python-build-standalone/releases/download/20260101/" + NAME.replace("+", "%2B")


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A directory with one Python, a script in truth, and uv's list that names it with its hash."""
    archive = tmp_path / "mirror/20260101" / NAME
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as packed:
        for path in ("bin/python3.12", "lib/python3.12/_sysconfigdata__linux_x86_64-linux-gnu.py"):
            text = b"# system configuration generated and used by the sysconfig module\nbuild_time_vars = {}\n"
            info = tarfile.TarInfo(f"python/{path}")
            info.mode, info.size = 0o755, len(text)
            packed.addfile(info, io.BytesIO(text))
    row = {
        "name": "cpython",
        "arch": {"family": "x86_64", "variant": None},
        "os": "linux",
        "libc": "gnu",
        "major": 3,
        "minor": 12,
        "patch": 1,
        "prerelease": "",
        "variant": None,
        "build": "20260101",
        "url": PLACE,
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
    }
    listing = tmp_path / "downloads.json"
    listing.write_text(json.dumps({"cpython-3.12.1-linux-x86_64-gnu": row}))
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(listing))
    return archive


def pythons(tmp_path, mirror=None):
    return Pythons(str(tmp_path / "state"), Tools("3.12", "", insecure=True), str(mirror or tmp_path / "mirror"))


def test_an_archive_is_fetched_once_and_kept(tmp_path, mirror):
    place = pythons(tmp_path)
    assert place.problem("3.12", "x86_64") == ""
    path = place.fetch("3.12", "x86_64")
    assert pathlib.Path(path).read_bytes() == mirror.read_bytes()
    mirror.unlink()
    assert pythons(tmp_path, "/nowhere").fetch("3.12", "x86_64") == path
    assert pythons(tmp_path, "/nowhere").problem("3.12", "x86_64") == "", "what is kept needs no mirror"
    assert [one.name for one in (tmp_path / "state/lock/python").iterdir()] == [path.rpartition("/")[2]]


def test_a_directory_may_be_written_as_a_url(tmp_path, mirror):
    place = pythons(tmp_path, f"file://{tmp_path}/mirror")
    assert place.problem("3.12", "x86_64") == ""
    assert pathlib.Path(place.fetch("3.12", "x86_64")).read_bytes() == mirror.read_bytes()
    assert pythons(tmp_path / "other", "file:///nowhere").problem("3.12", "x86_64").startswith("there is no /nowhere/")


def test_another_file_than_uv_knows_is_refused(tmp_path, mirror):
    mirror.write_bytes(mirror.read_bytes() + b"exchanged")
    with pytest.raises(ToolError, match=r"could not fetch Python 3\.12.*Hash mismatch.*trainmesh_python_mirror"):
        pythons(tmp_path).fetch("3.12", "x86_64")
    assert list((tmp_path / "state/lock/python").iterdir()) == []


def test_a_kept_file_that_was_exchanged_is_not_used(tmp_path, mirror):
    path = pythons(tmp_path).fetch("3.12", "x86_64")
    with open(path, "ab") as stream:
        stream.write(b"exchanged")
    assert pythons(tmp_path).kept("3.12", "x86_64") == ""
    assert pythons(tmp_path).fetch("3.12", "x86_64") == path, "it is fetched anew"


@pytest.mark.parametrize(
    ("version", "arch", "words"),
    [("3.13", "x86_64", "knows no Python 3.13 for x86_64"), ("3.12", "aarch64", "knows no Python 3.12 for aarch64")],
)
def test_a_python_that_uv_does_not_know(tmp_path, mirror, version, arch, words):
    assert words in pythons(tmp_path).problem(version, arch)


def test_a_directory_without_it_is_named_with_the_file(tmp_path, mirror):
    assert pythons(tmp_path, "/nowhere").problem("3.12", "x86_64") == (
        f"there is no /nowhere/20260101/{NAME} on the controller"
    )


def test_a_url_is_asked_and_its_password_is_not_told(tmp_path, mirror, monkeypatch):
    asked = []

    def answers(url, _index):
        asked.append(url)
        raise ToolError("no answer")

    monkeypatch.setattr(fetch, "answers", answers)
    place = pythons(tmp_path, "https://me:word@mirror.example/pythons/")
    assert place.problem("3.12", "x86_64") == "no answer"
    assert asked == ["https://me:word@mirror.example/pythons/20260101/" + NAME.replace("+", "%2B")]


def test_a_mirror_is_told_to_uv_where_nobody_else_sees_it(tmp_path):
    calls = []

    def run(command, _limit, env=None, **_options):
        calls.append((command, env or {}))
        asked = "config" in command
        return Outcome(
            0 if asked else 2, "", f"error: {env and env.get('UV_PYTHON_INSTALL_MIRROR')}", False, False, 0.1
        )

    place = Pythons(str(tmp_path), Tools("3.12", "", run=run), "https://me:canary@mirror.example/pythons")
    with pytest.raises(ToolError) as caught:
        place.fetch("3.12", "x86_64")
    assert "canary" not in str(caught.value) + str([command for command, _env in calls])
    assert calls[-1][1]["UV_PYTHON_INSTALL_MIRROR"] == "https://me:canary@mirror.example/pythons"
