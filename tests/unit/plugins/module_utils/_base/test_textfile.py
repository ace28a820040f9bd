# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our block in files of others: their lines stay as they are, whatever is in them."""

from __future__ import annotations

import os

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import textfile
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.textfile import BEGIN, END

# What ends a line for str.splitlines, and does not for sshd, the resolver, and us.
ODD_ENDS = ["\f", "\v", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\r", "\r\n", "\x00"]


def decoded(data):
    return data.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize("at_start", [True, False])
@pytest.mark.parametrize("text", ["", "a\n", "a\nb", "\n\n", "a\r\nb\r\n", "\ufeffa\n", decoded(b"caf\xe9 \xff\n")])
def test_a_block_put_in_and_taken_out_leaves_the_bytes(text, at_start):
    held = textfile.with_block(text, ["x"], at_start)
    assert "".join(textfile.without_block(held)).removesuffix("\n") == text.removesuffix("\n")
    assert textfile.with_block(held, ["x"], at_start) == held, "a second run changes nothing"
    assert f"{BEGIN}\nx\n{END}\n" in held


def test_any_lines_survive_in_their_order():
    hypothesis = pytest.importorskip("hypothesis")
    line = hypothesis.strategies.one_of(
        hypothesis.strategies.binary(max_size=40),
        hypothesis.strategies.sampled_from([odd.encode() for odd in ODD_ENDS]),
        hypothesis.strategies.sampled_from([b"# BEGIN", b"# END trainmesh.cluster 2", b" " + END.encode()]),
    )

    @hypothesis.given(hypothesis.strategies.lists(line, max_size=8), hypothesis.strategies.booleans())
    @hypothesis.settings(deadline=None, max_examples=300)
    def survive(lines, at_start):
        text = decoded(b"\n".join(lines))
        held = textfile.with_block(text, ["ours"], at_start).encode("utf-8", "surrogateescape")
        block = f"{BEGIN}\nours\n{END}\n".encode()
        assert held.count(block) == 1
        assert held.replace(block, b"").removesuffix(b"\n") == b"\n".join(lines).removesuffix(b"\n")

    survive()


@pytest.mark.parametrize("odd", [odd for odd in ODD_ENDS if "\n" not in odd])
def test_what_ends_no_line_for_sshd_makes_no_new_key(odd):
    line = f'command="/bin/true",restrict ssh-ed25519 AAAA1 comment{odd}ssh-ed25519 AAAA2\n'
    held = textfile.with_block(line, ["ours"])
    assert held.startswith(line)
    assert [row for row in held.split("\n") if row.startswith("ssh-ed25519")] == []


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([END, "theirs", BEGIN], "END in line 1, BEGIN in line 3"),
        ([BEGIN, "ours", BEGIN, "theirs", END], "BEGIN in line 1, BEGIN in line 3, END in line 5"),
        (["theirs", BEGIN, "ours"], "BEGIN in line 2"),
        ([END], "END in line 1"),
        ([BEGIN, END, "theirs", BEGIN, END], "BEGIN in line 4, END in line 5"),
    ],
)
def test_marks_that_are_no_pair_are_refused_with_their_lines(tmp_path, rows, words):
    path = tmp_path / "file"
    path.write_text("".join(f"{row}\n" for row in rows))
    with pytest.raises(textfile.BlockError) as caught:
        textfile.edited(str(path), ["new"])
    assert str(path) in str(caught.value) and words in str(caught.value)


@pytest.mark.parametrize("blank", [" ", "\t", "\r", "  \r"])
def test_marks_with_blanks_behind_them_are_ours(blank):
    text = f"a\n{BEGIN}{blank}\nold\n{END}{blank}\nb\n"
    assert textfile.with_block(text, ["new"]) == f"a\nb\n{BEGIN}\nnew\n{END}\n"


def test_changes_name_text_and_mode(tmp_path):
    path = tmp_path / "file"
    path.write_text("a\n")
    path.chmod(0o644)
    assert textfile.changes_of([(str(path), "a\n", 0o644), (str(path), "a\n", None)]) == []
    assert [change.mode for change in textfile.changes_of([(str(path), "a\n", 0o600)])] == [0o600]
    assert textfile.changes_of([(str(tmp_path / "new"), "x", None)])[0].before == ""


def test_a_diff_has_the_lines_that_differ_and_can_be_printed():
    many = [f"line {number}\n" for number in range(5000)]
    before = decoded(b"caf\xe9\n") + "".join(many)
    diff = textfile.Change("/x", before, textfile.with_block(before, ["ours"], at_start=True)).diff
    assert diff["after"] == f"{BEGIN}\nours\n{END}\ncaf\ufffd\nline 0\nline 1\n"
    assert diff["before"] == "caf\ufffd\nline 0\nline 1\n"
    assert textfile.Change("/x", "a\n", "a\n", 0o600).diff["before"] == "a\n"
    assert (
        textfile.Change("/x", "\x1b]0;name\x07\ta\u202eb\r\n", "").diff["before"]
        == "\ufffd]0;name\ufffd\ta\ufffdb\ufffd\n"
    )


class Refused(Exception):
    """What fail_json of the module under test raises."""


class Module:
    """The part of AnsibleModule that writing needs."""

    def __init__(self):
        self.warnings = []

    def warn(self, text):
        self.warnings.append(text)

    def fail_json(self, msg):
        raise Refused(msg)

    def set_default_selinux_context(self, path, changed):
        assert os.path.exists(path) and not changed


def test_a_link_stays_a_link_and_its_target_keeps_its_mode(tmp_path):
    target, link = tmp_path / "shared", tmp_path / "authorized_keys"
    target.write_text("a\n")
    target.chmod(0o640)
    link.symlink_to("shared")
    textfile.write(Module(), textfile.Change(str(link), "a\n", "b\n"))
    assert link.is_symlink() and target.read_text() == "b\n"
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_dangling_link_gets_its_target(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("later")
    textfile.write(Module(), textfile.Change(str(link), "", "b\n", 0o600))
    assert link.is_symlink() and (tmp_path / "later").read_text() == "b\n"
    assert (tmp_path / "later").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("to", "words"), [("link", "a loop"), ("nowhere/file", "there is no directory")])
def test_a_link_that_leads_nowhere_is_refused_and_left(tmp_path, to, words):
    link = tmp_path / "link"
    link.symlink_to(to)
    with pytest.raises(Refused, match=words):
        textfile.write(Module(), textfile.Change(str(link), "", "b\n"))
    assert os.readlink(link) == to and os.listdir(tmp_path) == ["link"]


def test_what_somebody_else_wrote_meanwhile_is_not_lost(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("theirs\nnew line\n")
    with pytest.raises(Refused, match="somebody else"):
        textfile.write(Module(), textfile.Change(str(path), "theirs\n", "theirs\nours\n"))
    assert path.read_text() == "theirs\nnew line\n"


def test_a_file_of_others_is_kept_once_as_it_was(tmp_path):
    path = tmp_path / "hosts"
    path.write_bytes(b"caf\xe9\n")
    path.chmod(0o600)
    for block in (["one"], ["two"], [], ["three"]):
        have = textfile.read_text(str(path))
        textfile.write(Module(), textfile.Change(str(path), have, textfile.with_block(have, block)))
    kept = tmp_path / f"hosts{textfile.BACKUP}"
    assert kept.read_bytes() == b"caf\xe9\n" and kept.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path)) == ["hosts", kept.name]


def test_no_copy_is_kept_of_our_own_files_nor_where_none_is_wanted(tmp_path):
    ours, theirs = tmp_path / "ours.conf", tmp_path / "hosts"
    for path in (ours, theirs):
        path.write_text("a\n")
    textfile.write(Module(), textfile.Change(str(ours), "a\n", "b\n"))
    textfile.write(Module(), textfile.Change(str(theirs), "a\n", textfile.with_block("a\n", ["x"])), backup=False)
    assert sorted(os.listdir(tmp_path)) == ["hosts", "ours.conf"]


def test_where_no_copy_can_be_kept_the_change_is_made_and_that_is_told(tmp_path, monkeypatch):
    path, module = tmp_path / "hosts", Module()
    path.write_text("a\n")

    def refuse(_path, _copy):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(textfile.file_write, "keep", refuse)
    textfile.write(module, textfile.Change(str(path), "a\n", textfile.with_block("a\n", ["x"])))
    assert "x\n" in path.read_text()
    assert [text.endswith("(Read-only file system)") for text in module.warnings] == [True]
