# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import formats as files


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("   a slots=8\n\tb slots=8\n", {"a": 8, "b": 8}),
        ("a slots=8\r\n# c\r\n\r\nb slots=4 max_slots=4\r\n", {"a": 8, "b": 4}),
        ("user@10.0.0.1 slots=2", {"user@10.0.0.1": 2}),
        ("a slots=8abc\n", {"a": 8}),
    ],
)
def test_hostfile_takes_what_deepspeed_takes(text, hosts):
    read = files.hostfile(text)
    assert read.slots == hosts
    assert read.problems == ()


@pytest.mark.parametrize("line", ["a", "a 8", "a:8", "a slots = 8", "a SLOTS=8", "a slots=-1", "a b slots=1"])
def test_hostfile_refuses_what_deepspeed_refuses(line):
    read = files.hostfile(f"x slots=1\n{line}\n")
    assert [(one.line, one.what, one.text) for one in read.problems] == [(2, "bad", line)]


def test_hostfile_with_a_mark_a_range_and_nothing():
    assert [one.what for one in files.hostfile("\ufeffa slots=1\nn[1-2] slots=1\n").problems] == ["bom", "range"]
    assert files.hostfile("[fe80::1] slots=1").problems == ()
    assert [one.what for one in files.hostfile("# only this\n").problems] == ["empty"]


def test_mappings_never_raise():
    assert files.mapping('{"a": 1}') == ({"a": 1}, ())
    assert files.mapping("a: no\nb: 'no'\n")[0] == {"a": False, "b": "no"}
    for text in ("a: [1", "- a\n", "", "a: !!python/object:os.system x"):
        data, problems = files.mapping(text)
        assert data == {}
        assert len(problems) == 1
    assert files.mapping('{"a": 1,}') == ({"a": 1}, (files.Problem(1, "syntax", "a comma before }"),))
    assert files.mapping("a: <hidden>\n\tb: 1")[0] == {"a": "<hidden>", "b": 1}
    assert files.mapping('{\n"a": 1,,\n}')[1][0].line == 2


def test_words_and_numbers():
    assert [files.word(value) for value in (None, False, "NO", "BF16", True)] == ["no", "no", "no", "bf16", "true"]
    assert [files.integer(value) for value in ("16", 16, True, None, "auto")] == [16, 16, None, None, None]


def test_environment_file():
    values, problems = files.environment_file("A=1\n\n# B=2\nC\nD=x=y\n")
    assert values == {"A": "1", "D": "x=y"}
    assert [(one.line, one.what) for one in problems] == [(2, "blank"), (3, "comment"), (4, "no_value")]
    assert files.environment_file("") == ({}, ())


def test_ssh_config():
    text = "Host cloud1 c1\n    HostName 1.2.3.4  # the first\n    User root\n    Port=33\n"
    text += "Host *\n  Port 22 extra\nnonsense\n"
    blocks, problems = files.ssh_config(text)
    assert [block.patterns for block in blocks] == [("cloud1", "c1"), ("*",)]
    assert (blocks[0].get("hostname"), blocks[0].get("port"), blocks[0].get("user")) == ("1.2.3.4", "33", "root")
    assert [(one.line, one.what) for one in problems] == [(2, "comment"), (6, "garbage"), (7, "garbage")]


def test_inclusion():
    assert files.inclusion("a:0,1@b@c:x") == {"a": [0, 1], "b": None, "c": []}
