# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of runs on this node, by the marks that ``trainmesh-stop`` looks for as well."""

from __future__ import annotations

import os
import time
import typing as t

from trainmesh import runs
from trainmesh.installation import Installation

MARKS = ("trainmesh-run=", "TRAINMESH_RUN_ID=")
BY_HAND = "TRAINMESH_NODE_ONLY=1"  # this node's part alone, which nobody leads from the head
MOST_BYTES = 256 << 10
ENDED_RUNS = 20


def here(installation: Installation, proc: str = "/proc") -> dict[str, t.Any]:
    """What this node has to say: the processes of each run, and on the head the newest records."""
    found: dict[str, t.Any] = {"processes": processes(proc), "runs": None, "time": time.time()}
    if installation.is_head():
        records = [{**record, "goes_on": runs.goes_on(record)} for record in runs.all_of(installation)]
        ended = [record for record in records if not record["goes_on"]][:ENDED_RUNS]
        found["runs"] = [record for record in records if record["goes_on"]] + ended
    return found


def processes(proc: str = "/proc") -> dict[str, dict[str, t.Any]]:
    """For each run: the number of its processes, its ranks, and the age of the oldest process in seconds."""
    found: dict[str, dict[str, t.Any]] = {}
    for name in filter(str.isdigit, os.listdir(proc)):
        words, variables = (_words(f"{proc}/{name}/{file}") for file in ("cmdline", "environ"))
        run = _run([*words, *variables])
        if not run or int(name) == os.getpid():
            continue
        mine = found.setdefault(run, {"processes": 0, "ranks": [], "age": 0.0, "by_hand": False})
        mine["processes"] += 1
        mine["by_hand"] = mine["by_hand"] or BY_HAND in variables
        mine["age"] = max(mine["age"], _age(proc, name))
        rank = next((word[5:] for word in variables if word.startswith("RANK=")), "")
        if _is_wrapper(words) and rank.isdigit():
            mine["ranks"] = sorted({*mine["ranks"], int(rank)})
    return found


def run_of(proc: str, pid: str) -> str:
    """The run that a process is of; an empty text when it is of none, or another user's."""
    return _run([*_words(f"{proc}/{pid}/cmdline"), *_words(f"{proc}/{pid}/environ")])


def _run(words: t.Sequence[str]) -> str:
    return next((word.partition("=")[2] for word in words if word.startswith(MARKS)), "")


def _is_wrapper(words: t.Sequence[str]) -> bool:
    """Whether it is the process that leads a rank."""
    return any(before.endswith("/lib/trainmesh") and word == "rank" for before, word in zip(words, words[1:5]))


def _words(path: str) -> list[str]:
    try:
        with open(path, "rb") as source:
            return source.read(MOST_BYTES).decode("utf-8", "replace").split("\0")
    except OSError:
        return []  # it has ended, or is another user's


def _age(proc: str, name: str) -> float:
    """The seconds since a process has started; 0 when it has ended."""
    try:
        with open(f"{proc}/{name}/stat", encoding="utf-8", errors="replace") as source:
            ticks = int(source.read().rpartition(")")[2].split()[19])
        with open(f"{proc}/uptime", encoding="ascii") as source:
            return float(source.read().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0
