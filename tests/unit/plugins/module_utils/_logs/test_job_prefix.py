# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What programs put before each line of a traceback, known by the traceback itself."""

from __future__ import annotations

import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import job_log, job_prefix
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.job_lines import split

ROWS = ("Traceback (most recent call last):", '  File "/job/train.py", line 7, in <module>', "    main()")


def written(*prefixes: str, error: str = "MemoryError") -> str:
    """A traceback whose lines have these prefixes in turn."""
    rows = [*ROWS, error]
    return "".join(f"{prefixes[at % len(prefixes)]}{row}\n" for at, row in enumerate(rows))


def without(text: str) -> list[str]:
    return [line.text for line in job_prefix.taken_off(split(text))]


@pytest.mark.parametrize(
    "prefixes",
    [
        ("(VllmWorker rank=7 pid=410) ERROR 07-23 19:34:51 [multiproc_executor.py:487] ",),
        ("ERROR 03-27 22:19:40 [core.py:367] ", "ERROR 03-27 22:19:41 [core.py:367] "),
        ("(EngineCore_DP0 pid=59619) ERROR 10-15 08:32:29 [core.py:708] ",),
        ("(worker6, rank=6, pid=8930, ip=10.42.3.242) ",),
        ("2026-11-29 07:45:12.345 | ERROR    | app:main:33 - ",),
        ("  | ",),  # a group of exceptions
        ("scheduler_TP3 >> ",),
    ],
)
def test_prefixes_of_any_form(prefixes):
    assert without("before\n" + written(*prefixes) + "behind\n") == ["before", *ROWS, "MemoryError", "behind"]


def test_a_prefix_tells_the_rank_and_the_address():
    lines = job_prefix.taken_off(split(written("(Worker rank=6 pid=8930 ip=10.0.0.12) ")), {"10.0.0.12": "node2"})
    assert {(line.rank, line.node) for line in lines} == {(6, "node2")}
    (event,) = job_log.parse(written("(Worker rank=6 pid=8930 ip=10.0.0.12) ")).events
    assert (event.kind, event.rank, event.node, event.line) == ("host_memory", 6, "10.0.0.12", 4)
    assert {line.rank for line in job_prefix.taken_off(split(written("2024-01-02 07:45:12,123: rank9[12]: x: ")))} == {
        9
    }


def test_a_number_of_nodes_is_no_rank():
    sky = "(worker1, rank=1, pid=8930, ip=10.0.0.12) "
    assert {(line.rank, line.node) for line in job_prefix.taken_off(split(written(sky)))} == {(None, "10.0.0.12")}
    lines = job_prefix.taken_off(split(written(f"{sky}[rank9]: ")))
    assert {(line.rank, line.node) for line in lines} == {(9, "10.0.0.12")}
    last = job_prefix.taken_off(split(written(sky, error="[rank9]: MemoryError")))[-1]
    assert (last.rank, last.text) == (9, "MemoryError")


def test_processes_that_write_in_turn_are_kept_apart():
    one, two = "(w1, rank=1, id=8) ", "(w2, rank=2, id=9) "
    rows = [f"{one}{ROWS[0]}", f"{two}{ROWS[0]}", f"{two}{ROWS[1]}", f"{one}{ROWS[1]}", f"{one}KeyError: 'x'"]
    events = job_log.parse("\n".join([*rows, f"{two}MemoryError"])).events
    assert [(event.kind, event.rank) for event in events] == [("exception", 1), ("host_memory", 2)]


def test_a_sentence_before_the_first_line():
    rows = [f"ERROR 04-17 23:05:06 [core.py:390] EngineCore hit an exception: {ROWS[0]}"]
    rows += [f"ERROR 04-17 23:05:06 [core.py:390] {row}" for row in (*ROWS[1:], "MemoryError")]
    assert without("\n".join(rows)) == [*ROWS, "MemoryError"]


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"    {row}\n" for row in ROWS),  # indented: what is inside of a traceback is indented as well
        f"ERROR: it failed: {ROWS[0]}\n{ROWS[1]}\n{ROWS[2]}\nMemoryError\n",  # the first line alone
        f"a: {ROWS[0]}\nb: {ROWS[1]}\n",
    ],
)
def test_what_is_no_prefix(text):
    assert without(text) == [line.text for line in split(text)]


@pytest.mark.parametrize(
    "text", [f"x {ROWS[0]}\n" * 3000, f"9 {ROWS[0]}\n9 {ROWS[1]}\n" * 3000, f"{'9 ' * 70}{ROWS[0]}\n" * 900]
)
def test_floods_are_read_in_time(text):
    lines = split(text)
    started = time.process_time()
    job_prefix.taken_off(lines)
    assert time.process_time() - started < 2
