# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

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


class Module:
    """As much of AnsibleModule as writing takes; a replaced target is a new file, as with the real one."""

    tmpdir = None

    def atomic_move(self, source, target, **_options):
        os.replace(source, target)


@pytest.mark.parametrize("target", ["../shared_keys", "{place}/shared_keys", "second"])
def test_a_link_stays_a_link(tmp_path, target):
    home = tmp_path / "ssh"
    home.mkdir()
    shared = tmp_path / "shared_keys"
    shared.write_text("theirs\n")
    (home / "second").symlink_to(shared)
    link = home / "authorized_keys"
    link.symlink_to(target.format(place=tmp_path))
    _textfile.write(Module(), _textfile.Change(str(link), "theirs\n", "theirs\nours\n", 0o600))
    assert link.is_symlink() and (home / "second").is_symlink()
    assert shared.read_text() == "theirs\nours\n"
    assert shared.stat().st_mode & 0o777 == 0o600


def test_bytes_that_are_no_text_survive(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"caf\xe9\n")
    with_block = _textfile.with_block(_textfile.read_text(str(path)), ["x"])
    assert with_block.encode("utf-8", "surrogateescape").startswith(b"caf\xe9\n")
