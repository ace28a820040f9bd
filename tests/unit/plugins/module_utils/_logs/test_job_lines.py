# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What launchers, terminals and progress bars put around the lines of a job."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.job_lines import bars, split, tags, time_of


def one(text, nodes=None):
    line = split(text, nodes or {})[0]
    return line.node, line.rank, line.local, line.text


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("[rank3]: KeyError: 'x'", ("", 3, None, "KeyError: 'x'")),
        ("[rank3]:[E1129 07:45:12.1 x.cpp:607] [Rank 3] no", ("", 3, None, "[E1129 07:45:12.1 x.cpp:607] [Rank 3] no")),
        ("[1,3]<stderr>:KeyError: 'x'", ("", 3, None, "KeyError: 'x'")),
        ("Mon Nov 30 02:36:24 2026[1,3]<stderr>:KeyError: 'x'", ("", 3, None, "KeyError: 'x'")),
        ("[prterun-gpu1-99@1,3]<stdout>: step", ("", 3, None, "step")),
        ("[default5]:Traceback (most recent call last):", ("", None, 5, "Traceback (most recent call last):")),
        ("[gpu2:1]:KeyError: 'x'", ("gpu2", None, 1, "KeyError: 'x'")),
        ("gpu2: Traceback (most recent call last):", ("gpu2", None, None, "Traceback (most recent call last):")),
        ("gpu-7.example.org:   File x", ("gpu-7.example.org", None, None, "  File x")),
        ("gpu2: [rank9]: KeyError: 'x'", ("gpu2", 9, None, "KeyError: 'x'")),
        ("stderr: gpu2: Traceback (most recent)", ("gpu2", None, None, "Traceback (most recent)")),
        ("\x1b[31mKeyError\x1b[0m: 'x'", ("", None, None, "KeyError: 'x'")),
        ("torch.cuda.OutOfMemoryError: CUDA", ("", None, None, "torch.cuda.OutOfMemoryError: CUDA")),
        ("ERROR: [2026-11-29 07:45:12] no", ("", None, None, "ERROR: [2026-11-29 07:45:12] no")),
        ("train.py: error: no", ("", None, None, "train.py: error: no")),
        (" 1%|#  | 11/750 [05:05<5:36:58, 27.36s/it]W0828 22:53:47.001 x", ("", None, None, "W0828 22:53:47.001 x")),
    ],
)  # fmt: skip
def test_the_tags_are_taken_off(text, want):
    assert one(text) == want


def test_a_known_node_is_one_by_any_of_its_names():
    assert one("10.0.0.12: hello", {"10.0.0.12": "node2"}) == ("node2", None, None, "hello")
    assert one("10.0.0.12: hello") == ("", None, None, "10.0.0.12: hello")


def test_words_before_most_of_the_lines_are_hosts_and_others_are_not():
    log = ["gpu1: a", "gpu2: b", "gpu1: c", "gpu2: d", "loss: 1"]
    assert tags(log) == ({"gpu1", "gpu2"}, False)
    assert tags(["epoch: 1", "accuracy: 7", "some text", "more", "and more"]) == (set(), False)
    assert tags(["0: a", "1: b", "0: c"]) == (set(), True)


def test_only_the_last_of_what_is_written_over_itself_is_a_line():
    found = split("a\n 1%|#| 1/9 [00:01<00:08, 1it/s]\r 2%|#| 2/9 [00:02<00:07, 1it/s]\rKeyError: 'x'\n\nb")
    assert [(line.number, line.text) for line in found] == [(1, "a"), (2, "KeyError: 'x'"), (4, "b")]


def test_lines_keep_their_numbers_behind_a_gap():
    found = split("a\n[trainmesh: lines 2 to 90 are left out]\nb\nc")
    assert [(line.number, line.text) for line in found][-2:] == [(91, "b"), (92, "c")]
    assert list(bars("[trainmesh: lines 1 to 90 are left out]\n 1%|#| 1/9 [00:01<00:08, 1it/s]")) == [91]
    assert list(bars("Loading checkpoint shards: 50%|#| 1/2 [00:01<00:01, 1s/it]")) == []


@pytest.mark.parametrize(
    ("early", "late"),
    [
        ("[2026-11-29 07:45:12,345] x", "[2026-11-29 07:45:12,346] x"),
        ("E1129 07:45:12.345000 1 x", "2026-11-29_07:45:13"),
        ("[E321 02:07:08.4 x]", "E1129 07:45:12.345000 1 x"),
        ("11/29/2026 07:45:11 - INFO", "2026-11-29T07:45:12"),
    ],
)
def test_times_of_several_programs_compare(early, late):
    assert time_of(early) < time_of(late)


def test_no_time():
    assert time_of("loss 1.5 at 07:45") is None
