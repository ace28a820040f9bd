# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How processes of a job ended, as their launchers and shells tell it.

A launcher ends the other ranks itself when one is gone: politely with SIGTERM, and what does not obey with SIGKILL.
So of each node only the rank counts that its launcher saw end first, and none that ended by SIGTERM. An abort is mostly
what a library makes of a lost connection: it counts only where no other signal has ended a rank.
"""

from __future__ import annotations

import re
import signal
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.translated import english
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.job_lines import NOBODY, Line, split, time_of


class Exit(t.NamedTuple):
    """The end of a process: ``code`` is its status, below zero the signal that ended it.

    ``node`` is empty where nothing names it; ``first``: its launcher calls it the first.
    """

    line: int
    node: str
    rank: int | None
    local: int | None
    code: int
    time: float | None
    first: bool


class Killed(t.NamedTuple):
    """A node as its launcher calls it, empty where the launcher names none, and the signal that ended a rank there."""

    node: str
    signal: int


# Each has some of: code, signal, node, rank, local.
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        r"\bfailed \(exitcode: (?P<code>-?\d{1,3})\) local_rank: (?P<local>\d{1,4})",  # torch's elastic agent
        r"\bexits with return code = (?P<code>-?\d{1,3})\b",  # DeepSpeed's launch.py
        r"noticed that process rank (?P<rank>\d{1,7}) with PID \d{1,10} on node (?P<node>\S{1,255}) "  # Open MPI
        r"exited on signal (?P<signal>\d{1,2})\b",
        r"Process name: \[\S{0,120}[,@](?P<rank>\d{1,7})\] Exit code: +(?P<code>\d{1,3})",
        r"pdsh@\S{1,255}: (?P<node>\S{1,255}): ssh exited with exit code (?P<code>\d{1,3})",
        r"srun: error: (?P<node>[\w.-]{1,255}): tasks? \d{1,7}\S*: "
        r"(?:Exited with exit code (?P<code>\d{1,3})|(?P<word>Killed|Segmentation fault|Bus error|Aborted"
        r"|Out Of Memory))",
        r"died with <Signals\.SIG\w+: (?P<signal>\d{1,2})>",  # subprocess
        r"process (?P<local>\d{1,4}) terminated with (?:signal (?P<name>SIG\w+)|exit code (?P<code>\d{1,3}))",  # spawn
        r"Caught signal (?P<signal>\d{1,2}) \(",  # UCX
        r"^\[(?P<node>[\w.-]{1,253}):\d{1,10}\] Signal: [\w ]{1,40}\((?P<signal>\d{1,2})\)",  # Open MPI
        r"^Child process with PID \d{1,10} terminated with code (?P<code>-?\d{1,3})",  # Lightning
        r"Pod: (?:[\w-]{1,253}\.)?(?P<node>[\w-]{1,253}) exited with code (?P<code>\d{1,3})",  # Kubeflow
        r"command terminated with exit code (?P<code>\d{1,3})$|^ {4,}Exit Code: +(?P<status>\d{1,3})$",  # kubectl
        r"Fatal Python error: (?P<word>Segmentation fault|Bus error|Illegal instruction)",
        r"(?:^|: line \d{1,6}: *|: )(?:\d{1,10} )?"
        r"(?P<word>Killed|Hangup|Segmentation fault|Bus error|Illegal instruction|Floating point exception"
        r"|Trace/breakpoint trap|User defined signal [12]|C[Pp][Uu] time limit exceeded|File size limit exceeded)"
        r"(?: *\(core dumped\) ?\S.*| *\(core dumped\)| {2,}\S.*)?$",  # a shell
        r": line \d{1,6}: *\d{1,10} (?P<word>Terminated) .*\b(?:torchrun|deepspeed|accelerate|mpirun|srun)\b",
    )
)
_WORDS = {
    "Hangup": 1,
    "Killed": 9,
    "Out Of Memory": 9,
    "Segmentation fault": 11,
    "Bus error": 7,
    "Illegal instruction": 4,
    "Aborted": 6,
    "Floating point exception": 8,
    "Trace/breakpoint trap": 5,
    "User defined signal 1": 10,
    "User defined signal 2": 12,
    "CPU time limit exceeded": 24,
    "Cpu time limit exceeded": 24,
    "File size limit exceeded": 25,
    "Terminated": 15,
}
_LOOK = re.compile(
    r"exit|Exit Code|terminated with|[Ss]ignal|Killed|fault|Bus error|Aborted|Out Of Memory|Illegal|Hangup"
    r"|Floating|trap|User defined|limit exceeded|Terminated"
)
_FIELD = re.compile(r"\s*(time|host|rank|exitcode|error_file|traceback)\s*: (.*)")
_HYDRA = re.compile(
    r"= +(?:PID \d+ RUNNING AT (?P<node>\S+)|EXIT CODE: (?P<code>\d+)|KILLED BY SIGNAL: (?P<signal>\d+))"
)


def exits(lines: t.Sequence[Line], nodes: t.Mapping[str, str] = NOBODY) -> list[Exit]:
    """Every end of a process with another status than 0, in the order of the log; ``nodes`` as in split()."""
    found = [*_singles(lines), *_tables(lines), *_hydra(lines)]
    known = [each._replace(node=nodes.get(each.node, each.node)) for each in found if each.code]
    return sorted(known, key=lambda each: each.line)


def _singles(lines: t.Sequence[Line]) -> t.Iterator[Exit]:
    """Ends that one line tells."""
    for line in lines:
        text = english(line.text)
        if not _LOOK.search(text):
            continue
        for pattern in _PATTERNS:
            match = pattern.search(text)
            if match:
                said = {key: value for key, value in match.groupdict().items() if value}
                code = _code(said)
                yield Exit(
                    line.number,
                    said.get("node") or line.node,
                    int(said["rank"]) if "rank" in said else line.rank,
                    int(said["local"]) if "local" in said else line.local,
                    _signed(code),
                    line.time,
                    False,
                )
                break


def _code(said: t.Mapping[str, str]) -> int:
    """The status that a line tells in one of several ways."""
    if "word" in said:
        return -_WORDS[said["word"]]
    if "name" in said:
        return -int(getattr(signal, said["name"], 0))
    return -int(said.get("signal", 0)) or int(said.get("code") or said["status"])


def _signed(code: int) -> int:
    """A shell's 137 is signal 9, and so is the 247 of a launcher that ends with -9."""
    if 128 < code < 128 + 32:
        return 128 - code
    return code - 256 if code > 256 - 32 and code != 255 else code


def _tables(lines: t.Sequence[Line]) -> t.Iterator[Exit]:
    """The tables of torch's ChildFailedError: one entry for each rank, the first failure at the end."""
    entries: dict[str, dict[str, str]] = {}
    roots: dict[str, bool] = {}
    for line in lines:
        if line.text.startswith("Root Cause (first observed failure)"):
            roots[line.stream] = True
        elif line.text.startswith("Failures:"):
            roots[line.stream] = False
        field = _FIELD.match(line.text)
        if not field or line.stream not in roots:
            continue
        entry = entries.setdefault(line.stream, {})
        entry[field[1]] = field[2]
        if field[1] == "exitcode" and "rank" in entry:
            yield _entry(line, entry, roots[line.stream])
            entries.pop(line.stream)


def _entry(line: Line, entry: t.Mapping[str, str], first: bool) -> Exit:
    code = re.match(r"-?\d+", entry["exitcode"])
    ranks = re.match(r"(\d+)(?: \(local_rank: (\d+)\))?", entry["rank"])
    return Exit(
        line.number,
        entry.get("host", line.node).strip(),
        int(ranks[1]) if ranks else None,
        int(ranks[2]) if ranks and ranks[2] else None,
        int(code[0]) if code else 0,
        time_of(entry.get("time", "")),
        first,
    )


def _hydra(lines: t.Sequence[Line]) -> t.Iterator[Exit]:
    """MPICH's and Intel MPI's box BAD TERMINATION."""
    node = ""
    for line in lines:
        match = _HYDRA.search(line.text) if line.text.startswith("=") else None
        if match and match["node"]:
            node = match["node"]
        elif match and node:
            code = -int(match["signal"]) if match["signal"] else _signed(int(match["code"]))
            yield Exit(line.number, node, None, None, -code if match["code"] and code == 9 else code, line.time, False)


def killed(found: t.Iterable[Exit]) -> list[Exit]:
    """The first end on each node, where a signal was it and no launcher had sent it, in the order of the log."""
    first: dict[str, Exit] = {}
    for each in sorted(found, key=lambda each: not each.first):
        first.setdefault(each.node, each)
    by_signal = [each for each in sorted(first.values(), key=lambda each: each.line) if each.code < 0]
    outright = [each for each in by_signal if -each.code not in (signal.SIGTERM, signal.SIGABRT)]
    return outright or [each for each in by_signal if -each.code == signal.SIGABRT]


def ranks(log: str) -> list[Killed]:
    """The node of each rank that a signal has ended before any launcher did, in the order of the log."""
    return [Killed(each.node, -each.code) for each in killed(exits(split(log)))]
