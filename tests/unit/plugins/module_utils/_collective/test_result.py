# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collective probe's thinking: the lines of ranks, bandwidths, who is to blame, and pairs."""

from __future__ import annotations

import itertools
import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._collective import result
from ansible_collections.trainmesh.cluster.plugins.module_utils._collective.rank import (
    LONGEST_SECONDS,
    MARK,
    default_sizes,
    repetitions,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._collective.result import Rank


def rank(host: str, *events: dict[str, t.Any], state: str = "") -> Rank:
    made = Rank(host)
    for each in events:
        made.take(each)
    made.state = state
    return made


def up_to(number: int, kind: str = "ready") -> list[dict[str, t.Any]]:
    return [
        {"e": "up", "pid": 7},
        {"e": "group", "backend": "gloo", "world": 3},
        {"e": "done", "n": number - 1},
        {"e": kind, "n": number},
    ]


def ended(error: str | None = None, rows: t.Sequence[t.Any] = (), complete: bool = True) -> dict[str, t.Any]:
    return {"e": "end", "error": error, "own": 0.001, "rows": list(rows), "complete": complete}


def trial(hosts: str, ok: bool = True, speed: float | None = 1.0) -> dict[str, t.Any]:
    return {"hosts": hosts.split(), "ok": ok, "error": "" if ok else "broke", "busbw_gbps": speed if ok else None}


def named(found: list[dict[str, t.Any]]) -> list[str]:
    return sorted(" ".join(each["hosts"]) for each in found)


@pytest.mark.parametrize("before", ["", "node2: ", "node2: [default0]:", "a1:1:1 [0] NCCL INFO half a li"])
@pytest.mark.parametrize("behind", ["", "\r", MARK + "{", "node1: more"])
def test_events_are_found_in_whatever_stands_around(before: str, behind: str) -> None:
    said = {"e": "up", "rank": 2, "host": "node2", "pid": 7}
    assert result.event(before + MARK + json.dumps(said) + behind) == said


@pytest.mark.parametrize(
    "line", ["", MARK, MARK + "{", MARK + "[1]", MARK + '{"rank": "1", "e": "up"}', MARK + '{"rank": 1}', "up 1"]
)
def test_what_is_no_event(line: str) -> None:
    assert result.event(line) is None


@given(text=st.text(max_size=100))
def test_any_line(text: str) -> None:
    assert result.event(text) is None
    assert result.event(MARK + text) is None or text.lstrip().startswith("{")


@pytest.mark.parametrize(
    ("size", "seconds", "world", "algorithm", "bus"),
    [(10**9, 1.0, 2, 1.0, 1.0), (4 * 10**9, 2.0, 4, 2.0, 3.0), (10**9, 1.0, 1, 1.0, 0.0), (8, 0.0, 2, 0.0, 0.0)],
)
def test_bandwidth_as_nccl_tests_counts_it(size: int, seconds: float, world: int, algorithm: float, bus: float) -> None:
    row = result.bandwidth(size, seconds, world)
    assert (row["algbw_gbps"], row["busbw_gbps"]) == (algorithm, bus)


def test_the_sweep_is_that_of_the_slowest_rank() -> None:
    fast, slow = ({"bytes": 1000, "seconds": seconds} for seconds in (0.001, 0.002))
    ranks = {0: rank("a", ended(rows=[fast])), 1: rank("b", ended(rows=[slow]))}
    assert result.sweep(ranks, 2) == ([result.bandwidth(1000, 0.002, 2)], True)
    ranks[1].take(ended(rows=[slow], complete=False))
    assert result.sweep(ranks, 2)[1] is False
    assert result.sweep({0: rank("a"), 1: rank("b", ended("broke"))}, 2) == ([], False)


@pytest.mark.parametrize(
    ("third", "failure", "evidence"),
    [
        (rank("c", *up_to(4), {"e": "exit", "signal": 9}), "killed", "rank 2: killed by signal 9"),
        (rank("c", {"e": "up"}, {"e": "exit", "status": 3}), "failed", "rank 2: ended with status 3 without a word"),
        (rank("c", *up_to(4), state="T"), "stopped", "rank 2 is stopped (process state T), it waits in sum 4"),
        (
            rank("c", *up_to(4), state="D"),
            "in_kernel",
            "rank 2 hangs in the kernel (process state D), it waits in sum 4",
        ),
        (
            rank("c", *up_to(3, "done")),
            "awaited",
            "rank 2 works by itself after sum 3, the others wait for it",
        ),
        (
            rank("c", {"e": "up"}, ended("ModuleNotFoundError: No module named 'torch'")),
            "failed",
            "rank 2: ModuleNotFoundError: No module named 'torch'",
        ),
        (rank("c"), "not_started", "its ranks were never started"),
    ],
)
def test_ranks_that_show_by_themselves_that_it_is_they(third: Rank, failure: str, evidence: str) -> None:
    ranks = {0: rank("a", *up_to(4)), 1: rank("b", *up_to(4), ended("Connection closed by peer [10.0.0.3]")), 2: third}
    assert result.blamed(ranks) == [{"hosts": ["c"], "failure": failure, "evidence": evidence}]


def test_nobody_is_blamed_for_waiting_or_for_what_all_have() -> None:
    assert result.blamed({number: rank(host, *up_to(4)) for number, host in enumerate("abc")}) == []
    assert result.blamed({number: rank(host, ended("no torch")) for number, host in enumerate("abc")}) == []
    assert result.blamed({number: rank(host) for number, host in enumerate("abc")}) == []


@pytest.mark.parametrize(
    ("trials", "want"),
    [
        ([trial("a b c", False), trial("a b", False), trial("b c", False), trial("a c")], ["b"]),
        ([trial("a b c", False), trial("a b"), trial("b c"), trial("a c", False)], ["a c"]),
        ([trial("a b", False)], ["a b"]),
        ([trial("a b c"), trial("a b", speed=0.01), trial("b c", speed=0.02), trial("a c")], ["b"]),
        ([trial("a b c", False), trial("a b"), trial("b c"), trial("a c")], ["a b c"]),
        ([trial("a b"), trial("c d", False), trial("a c", False), trial("b d")], ["c"]),
        ([trial("a b", False), trial("c d", False), trial("e f"), trial("a e", False), trial("c f", False)], ["a c"]),
        ([trial("a b c"), trial("a b"), trial("b c", speed=0.9), trial("a c")], []),
        ([], []),
    ],
)
def test_suspects_are_the_fewest_that_explain_the_trials(trials: list[t.Any], want: list[str]) -> None:
    assert named(result.suspects(trials)) == want


def test_the_evidence_names_the_trials() -> None:
    found = result.suspects([trial("a b", speed=0.01), trial("a c"), trial("b c", speed=0.02)])
    assert found == [
        {"hosts": ["b"], "failure": "trials", "evidence": "a + b: only 0.0100 GB/s; b + c: only 0.0200 GB/s"}
    ]


@pytest.mark.parametrize("count", [2, 3, 4, 7, 8])
def test_rounds_have_every_pair_once_and_no_host_twice_at_a_time(count: int) -> None:
    hosts = [f"n{number}" for number in range(count)]
    found = result.rounds(hosts)
    assert sorted(tuple(sorted(pair)) for each in found for pair in each) == sorted(itertools.combinations(hosts, 2))
    for each in found:
        met = [host for pair in each for host in pair]
        assert len(met) == len(set(met))


def test_sizes_and_repetitions() -> None:
    assert (default_sizes("gloo")[0], default_sizes("gloo")[-1]) == (1024, 4 * 1024**2)
    assert (default_sizes("nccl")[0], default_sizes("nccl")[-1]) == (8, 1024**3)
    assert [repetitions(seconds) for seconds in (0.0, 0.1, 2.0, LONGEST_SECONDS + 1)] == [20, 5, 1, 0]


@pytest.mark.parametrize(
    ("text", "signal"),
    [
        (
            "E1121 11:52:06 7 torch/x.py:862] failed (exitcode: -9) local_rank: 0 (pid: 7) of binary: /p/rank",
            9,
        ),
        ("  rank      : 1 (local_rank: 0)\n  exitcode  : -11 (pid: 7)\n", 11),
        ("[rank1]: trainmesh-rank: rank 1 on a failed: signal 9 (SIGKILL) of process 7: OOM killed", 9),
        ("[rank1]: trainmesh-rank: rank 1 on a failed: signal 9 (SIGKILL) of process 8", None),
        ("  exitcode  : -15 (pid: 7)", None),
        ("  exitcode  : -9 (pid: 8)", None),
        ("  exitcode  : 1 (pid: 7)", None),
    ],
)
def test_what_torchrun_says_of_a_killed_rank(text: str, signal: int | None) -> None:
    one = rank("a", *up_to(4))
    result.note_exits([one], text)
    assert one.signal == signal
