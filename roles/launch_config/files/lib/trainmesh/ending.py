# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the program of a rank ended, and why, as far as this node can tell."""

from __future__ import annotations

import os
import re
import resource
import signal
import typing as t

LAST_LINES = 60
_PR_SET_PDEATHSIG = 1
# torch begins the lines of an exception with the rank
_RANK = re.compile(r"^\[rank\d+\]: ?")
_EXCEPTION = re.compile(
    r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Failure|Timeout|OutOfMemory)(?=:|\s*$)"
)
_NCCL = re.compile(
    r"NCCL WARN|NCCL error|nccl(?:Internal|System|UnhandledCuda|Remote)Error"
    r"|ProcessGroupNCCL.*(?:timeout|failed|aborted)|Watchdog caught collective operation timeout"
)
# the last words of a program that a signal ends from within
_CRASH = re.compile(
    r"terminate called|Fatal Python error|[Aa]ssertion .{0,200}failed|stack smashing|double free|malloc\(\)|free\(\):"
    r"|Bus error|bus error|Illegal instruction"
)
_LONGEST = 300


def dies_with_parent(number: int = signal.SIGKILL) -> t.Callable[[], None] | None:
    """For a child: the kernel sends it this signal when this process is killed. None where nobody can ask for it."""
    try:
        import ctypes

        libc, parent = ctypes.CDLL(None), os.getpid()
    except (ImportError, OSError):
        return None

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(143)

    return ask


def oom_kills(root: str = "/") -> dict[str, int]:
    """How often the OOM killer has ended a process: in this control group, and on this machine (vmstat)."""
    found = {}
    for name, path in (("group", _group_file(root)), ("machine", f"{root}proc/vmstat")):
        try:
            with open(path, encoding="ascii") as source:
                match = re.search(r"^oom_kill (\d+)$", source.read(), re.MULTILINE)
        except OSError:
            continue
        if match:
            found[name] = int(match[1])
    return found


def _group_file(root: str) -> str:
    """The file in which the kernel counts the events of this process's memory group."""
    try:
        with open(f"{root}proc/self/cgroup", encoding="utf-8") as source:
            rows = [line.rstrip("\n").split(":", 2) for line in source]
    except OSError:
        return ""
    for row in rows:
        if len(row) == 3 and "memory" in row[1].split(","):
            return f"{root}sys/fs/cgroup/memory{row[2].rstrip('/')}/memory.oom_control"
    path = next((row[2] for row in rows if len(row) == 3 and row[0] == "0"), "")
    return f"{root}sys/fs/cgroup{path.rstrip('/')}/memory.events"


def status_words(status: int) -> str:
    """The exit status or the signal of a process, as subprocess gives it."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"signal {-status}"


def cause(status: int, lines: t.Sequence[str], before: t.Mapping[str, int]) -> str:
    """Why the program ended, in a sentence; an empty text when nothing tells. ``before``: oom_kills() at its start."""
    if -status == signal.SIGKILL:
        return _killed(before, oom_kills())
    told = [_RANK.sub("", line).rstrip() for line in lines]
    if status < 0:
        crashes = [line[found.start() :] for line in told for found in [_CRASH.search(line)] if found]
        return crashes[0].strip()[:_LONGEST] if crashes else ""
    nccl = [line for line in told if _NCCL.search(line)]
    exceptions = [line for line in told if _EXCEPTION.match(line)]
    if exceptions:
        return exceptions[-1].strip()[:_LONGEST]
    return nccl[-1].strip()[:_LONGEST] if nccl else ""


def _killed(before: t.Mapping[str, int], now: t.Mapping[str, int]) -> str:
    """Who has killed it: the kernel counts what its OOM killer ends."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1 << 20)
    used = f"its largest process had {peak:.1f} GiB of memory"
    more = {name for name in now.keys() & before.keys() if now[name] > before[name]}
    if "group" in more:
        return f"OOM killed: the kernel has ended a process of its control group for want of memory; {used}"
    if "machine" in more:
        return f"probably by the OOM killer, which has ended a process of this machine meanwhile; {used}"
    if "machine" in now and "machine" in before:
        return f"not by the OOM killer, which has ended nothing on this machine meanwhile; {used}"
    return used
