# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils import _textfile


@pytest.mark.parametrize("text", ["", "a\n", "a\nb", "\n\n"])
def test_a_block_put_in_and_taken_out_leaves_the_lines(text):
    assert _textfile.without_block(_textfile.with_block(text, ["x"])) == text.splitlines()


def test_a_block_without_its_end_does_not_swallow_the_file():
    assert _textfile.without_block(f"{_textfile.BEGIN}\na\nb\n") == ["a", "b"]


def test_changes_name_text_and_mode(tmp_path):
    path = tmp_path / "file"
    path.write_text("a\n")
    path.chmod(0o644)
    assert _textfile.changes_of([(str(path), "a\n", 0o644), (str(path), "a\n", None)]) == []
    assert [change.mode for change in _textfile.changes_of([(str(path), "a\n", 0o600)])] == [0o600]
    assert _textfile.changes_of([(str(tmp_path / "new"), "x", None)])[0].before == ""


def test_bytes_that_are_no_text_survive(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"caf\xe9\n")
    with_block = _textfile.with_block(_textfile.read_text(str(path)), ["x"])
    assert with_block.encode("utf-8", "surrogateescape").startswith(b"caf\xe9\n")


class Refused(Exception):
    """What fail_json of the module under test raises."""


class Module:
    """The part of AnsibleModule that writing needs."""

    tmpdir = None

    def fail_json(self, msg):
        raise Refused(msg)

    def atomic_move(self, source, target, unsafe_writes, keep_dest_attrs):
        if keep_dest_attrs:
            shutil.copymode(target, source)
        os.rename(source, target)


def test_a_link_stays_a_link_and_its_target_keeps_its_mode(tmp_path):
    target, link = tmp_path / "shared", tmp_path / "authorized_keys"
    target.write_text("a\n")
    target.chmod(0o640)
    link.symlink_to("shared")
    _textfile.write(Module(), _textfile.Change(str(link), "a\n", "b\n"))
    assert link.is_symlink() and target.read_text() == "b\n"
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_dangling_link_gets_its_target(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("later")
    _textfile.write(Module(), _textfile.Change(str(link), "", "b\n", 0o600))
    assert link.is_symlink() and (tmp_path / "later").read_text() == "b\n"
    assert (tmp_path / "later").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("to", "words"), [("link", "a loop"), ("nowhere/file", "there is no directory")])
def test_a_link_that_leads_nowhere_is_refused_and_left(tmp_path, to, words):
    link = tmp_path / "link"
    link.symlink_to(to)
    with pytest.raises(Refused, match=words):
        _textfile.write(Module(), _textfile.Change(str(link), "", "b\n"))
    assert os.readlink(link) == to and os.listdir(tmp_path) == ["link"]
