# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of a job's log without what launchers, terminals and progress bars put around them.

Tags as of pdsh (``gpu2: ``), Open MPI (``[1,3]<stderr>:``), torchrun (``[default3]:``, ``[rank3]:``) and srun -l
(``3: ``), and of what collects logs; times as Python's logging, glog and the elastic agent write them.
"""

from __future__ import annotations

import re
import types
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.collected import unwrap

LEFT_OUT = re.compile(r"\[trainmesh: lines (\d+) to (\d+) are left out\]\Z")
_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]{0,20}[A-Za-z]|\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)|[=>()][0-9A-Z]?)")
_SETTING_UP = re.compile(r"(?i)load|download|fetch|map|token|generat|convert|resolv|filter|sav|packing|preprocess")
# tqdm: "  1%|#   | 11/750 [05:05<5:36:58, 27.36s/it, loss=2.6]", which has no end of line of its own
BAR = re.compile(r"^[^|\n]{0,120}?\d{1,3}%\|[^|\n]{0,300}\|[^\[\n]{0,60}\[[^\]\n]{0,200}\]")
_MPI = re.compile(
    r"(?:\w{3} \w{3} [ \d]\d [\d:]{8} \d{4} "
    r"?)?\[(?:(?:[^\[\],\s]{0,160}@)?\d{0,10},?|\d{1,10},mpirank:)(?P<rank>\d{1,7})(?:,(?P<host>[\w.-]{1,253}))?\]"
    r"<std(?:out|err|diag)>: ?"
)
RANK = re.compile(r"\[[Rr]ank(?: ?|: |=)(?P<rank>\d{1,7})\]:? ?")
_TEE = re.compile(
    r"\[(?:(?P<host>[A-Za-z_][\w.-]{0,120}):|(?P<role>[A-Za-z_](?:[\w.-]{0,120}?[A-Za-z_.-])??))(?P<local>\d{1,4})\]: ?"
)
# pdsh and clush; parallel --tag has a tabulator
_HOST = re.compile(r"(?P<host>[A-Za-z0-9][\w.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?:: ?|\t)")
_TASK = re.compile(r"\d{1,5}: ")
# accelerate test, Ray
_WRAP = re.compile(
    r"\[std(?:out|err)\]|std(?:out|err): ?"
    r"|\((?=raylet\b|autoscaler\b|\w{1,80}, ip=|[^\n]{1,170}? pid=)"
    r"\w{1,80}(?:\([^()\n]{0,80}\))?(?: \+\w{1,20})?(?: pid=\d{1,10})?(?:, ip=(?P<ip>[\w.:]{2,45}))?\) ?"
)
# collectors: kubectl logs --timestamps and --prefix, docker compose, journald, stern (a name before the rank's tag)
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)[ \t](?:std(?:out|err) [FP] )?")
# what a pipe such as ts puts before every line; only where a traceback stands behind it as well
_ANY_STAMP = re.compile(
    rf"{_STAMP.pattern}|"
    r"\[?(?:\d{4}[-/]\d\d[-/]\d\d[T ]|[A-Z][a-z]{2} [ \d]\d )?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?\]?:?"
    r"[ \t]"
)
_STAMPED = re.compile(rf"(?:[\w.-]{{1,253}}: )?(?:{_ANY_STAMP.pattern})" r"(?:Traceback \(most recent| {2}File \")")
_COLLECTED = re.compile(
    r"\[pod/(?P<pod>[\w.-]{1,253})/[\w.-]{1,253}\] "
    r"|[A-Z][a-z]{2} [ \d]\d [\d:]{8} (?P<host>[\w.-]{1,253}) [\w./-]{1,60}(?:\[\d{1,10}\])?: "
    r"|(?P<service>[a-z0-9][\w.-]{0,60}-\d{1,4}) +\| "
    r"|(?P<name>[A-Za-z0-9][\w.-]{0,252}) (?=\[[Rr]ank ?\d{1,7}\])"
    r"|(?:\[\d{1,12}\.\d{1,9}\] )?\[(?P<ucx>[A-Za-z][\w.-]{0,252}):\d{1,10} {0,4}:\d{1,4}:\d{1,10}\] +"
)
# srun names the node of a task when it ends; it and Ray one that went away, Ray that of a worker killed for memory
_SRUN = re.compile(r"srun: error: (?P<node>[\w.-]{1,255}): tasks? (?P<tasks>\d{1,7}(?:[,-]\d{1,7}){0,200}): ")
_GONE = re.compile(
    r"(?:Memory on the node \(IP: |The node with node id: \w{1,80} and address: |srun: error: Node failure on "
    r"|srun: error: Task launch for \S{1,40} failed on node |slurmstepd-(?=[\w.-]{1,253}: )"
    r"|.{0,120}killed due to memory pressure \(OOM\).{0,120}\(ID: \w{1,80}, IP: "
    r"|A worker died or was killed .{0,600}Worker IP address: )"
    r"(?P<node>[\w.:-]{1,253}\w)"
)
MOST_TASKS = 4096
_INNER_RANK = re.compile(r"\[(?:PG [^\]\n]{0,120}? )?[Rr]ank (\d{1,7})\]")
# what is no host though it stands before a colon: levels, exceptions, programs
_NO_HOST = re.compile(
    r"(?i)(?:[\w.]*(?:error|exception|warning|interrupt|exit|timeout|failure)|info|warn|debug|critical|fatal|notice|note"
    r"|traceback|file|line|epoch|step|loss|iter\w*|(?:ba|z|da)?sh|env|sudo|srun|ssh|scp|python[\d.]*|torchrun|deepspeed"
    r"|accelerate|mpi(?:run|exec)|prterun|nvcc|gcc|g\+\+|ninja|make|time|host|rank|exitcode|error_file|traceback|using"
    r"|loading|https?|\w+\.(?:py|sh|c|cc|cpp|cu|h|hpp)|\d+|cause|hint|usage|result|what|message|terminate|slurmstepd)\Z"
)
# how programs begin a line: behind a tag it shows that this is one
_BEGINS = re.compile(
    r"(?:Traceback \(|  +\S|\[\d{4}-|\[?[EWIF]\d{3,4} \d\d:|\[rank|(?:INFO|WARN|WARNING|ERROR|DEBUG)\b"
    r"|\[[A-Z]{4,7}[|\]]"
    r"|\d{4}-\d\d-\d\d|[\w.]{0,60}(?:Error|Exception):|Using /|Loading extension|\*{3,}|={5,}|-{5,}|ssh exited"
    r"|\S+: line \d|ssh: |bash: |trainmesh-[a-z]+: "
    r"|Permission denied \(|Host key verification)"
)
_TIMES = (
    re.compile(
        r"\b(?P<y>\d{4})[-/](?P<mo>\d\d)[-/](?P<d>\d\d)[ _T](?P<h>\d\d):(?P<m>\d\d):(?P<s>\d\d(?:[.,]\d{1,9})?)"
    ),
    re.compile(r"\b[EWIF](?P<mo>\d{1,2})(?P<d>\d\d) (?P<h>\d\d):(?P<m>\d\d):(?P<s>\d\d(?:\.\d{1,9})?)"),
    re.compile(r"\b(?P<mo>\d\d)/(?P<d>\d\d)/\d{4} (?P<h>\d\d):(?P<m>\d\d):(?P<s>\d\d(?:[.,]\d{1,9})?)"),
)
NOBODY: t.Mapping[str, str] = types.MappingProxyType({})
MOST_CHARACTERS = 4000  # of one line


class Line(t.NamedTuple):
    """One line; ``number`` counts from 1 in the file.

    ``node`` is the tag of a host, ``rank`` the global one, ``local`` that of the node; ``stream`` all tags, which keeps
    the lines of several processes apart. ``time`` are seconds since the beginning of some year.
    """

    number: int
    stream: str
    node: str
    rank: int | None
    local: int | None
    time: float | None
    text: str


def time_of(text: str) -> float | None:
    """The time in the beginning of a line, for comparisons within one year; None without one."""
    for pattern in _TIMES:
        match = pattern.search(text, 0, 120)
        if match:
            days = (int(match["mo"]) - 1) * 31 + int(match["d"]) - 1
            return ((days * 24 + int(match["h"])) * 60 + int(match["m"])) * 60 + float(match["s"].replace(",", "."))
    return None


def plain(text: str) -> str:
    """A text without colours and other orders to a terminal."""
    return _ESCAPE.sub("", text) if "\x1b" in text else text


def rows(text: str) -> t.Iterator[tuple[int, str]]:
    """(number, text) of what stays on a screen: a progress bar is left out, what is glued behind it stays."""
    shift = 0
    for at, raw in enumerate(text.split("\n"), 1):
        mark = LEFT_OUT.match(raw)
        if mark:
            shift = int(mark[2]) - at
        for part in _parts(raw):
            row = plain(part[:MOST_CHARACTERS]).rstrip()
            row = BAR.sub("", row) if "%|" in row else row
            if row.strip():
                yield at + shift, row


def _parts(raw: str) -> t.Iterable[str]:
    """What a line is made of: texts that were written over each other, or those in an object of a collector."""
    if raw.startswith("{"):
        return unwrap(raw)
    return raw.split("\r") if "\r" in raw else (raw,)


def bars(text: str) -> t.Iterator[int]:
    """The numbers of the lines with a progress bar of a training, not of what goes before it."""
    shift = 0
    for at, raw in enumerate(text.split("\n"), 1):
        mark = LEFT_OUT.match(raw)
        shift = int(mark[2]) - at if mark else shift
        if "%|" in raw and ("s/it" in raw or "it/s" in raw) and not _SETTING_UP.search(raw[:120].partition("%|")[0]):
            yield at + shift


def split(text: str, nodes: t.Mapping[str, str] = NOBODY) -> list[Line]:
    """The lines of a log; ``nodes`` are words known to be hosts, with the names that the lines shall have for them."""
    given = list(rows(text))
    stamps = _ANY_STAMP if any(_STAMPED.match(row) for _number, row in given) else _STAMP
    hosts, tasks = tags([stamps.sub("", row, count=1) if stamps.match(row) else row for _number, row in given], nodes)
    of_tasks = task_nodes([row for _number, row in given]) if tasks else {}
    lines = (_line(number, row, hosts, tasks, stamps) for number, row in given)
    placed = (
        line if line.node else line._replace(node=of_tasks.get(line.stream.partition(":")[0], "")) for line in lines
    )
    return [line._replace(node=nodes.get(line.node, line.node)) if line.node else line for line in placed]


def task_nodes(texts: t.Iterable[str]) -> dict[str, str]:
    """The node of each task whose end srun has told: ``srun: error: gpu2: tasks 2-3: Exited with exit code 1``."""
    found: dict[str, str] = {}
    for match in filter(None, map(_SRUN.search, texts)):
        for part in match["tasks"].split(","):
            first, _dash, last = part.partition("-")
            for task in range(int(first), min(int(last or first), int(first) + MOST_TASKS) + 1):
                found[str(task)] = match["node"]
    return found


def tags(texts: t.Sequence[str], nodes: t.Container[str] = ()) -> tuple[set[str], bool]:
    """(words before a colon that are hosts, whether lines begin with the numbers of tasks)."""
    found: dict[str, list[str]] = {}
    numbered = 0
    for given in texts:
        text = _WRAP.sub("", _MPI.sub("", given, count=1), count=1)
        numbered += bool(_TASK.match(text))
        match = _HOST.match(text)
        if match and (match["host"] in nodes or not _NO_HOST.match(match["host"])):
            found.setdefault(match["host"], []).append(text[match.end() :])
    tagged = sum(len(rest) for rest in found.values())
    most = len(texts) > 1 and tagged * 10 >= len(texts) * 6
    hosts = {
        word
        for word, rest in found.items()
        if word in nodes or (most and len(rest) > 1) or any(_BEGINS.match(each) for each in rest)
    }
    tasks = numbered * 10 >= len(texts) * 6 or (numbered > 0 and any(map(_SRUN.search, texts)))
    return hosts, len(texts) > 1 and tasks


def _line(number: int, text: str, hosts: t.Container[str], tasks: bool, stamps: re.Pattern[str]) -> Line:
    """One line, all its tags taken off."""
    node, rank, local, stream, rest = "", None, None, "", text
    stamp = stamps.match(rest)
    rest = rest[stamp.end() :] if stamp else rest
    collected = _COLLECTED.match(rest)
    if collected:
        node = next(filter(None, collected.groupdict().values()))
        stream, rest = collected[0].rstrip(), rest[collected.end() :]
    while True:
        mpi = _MPI.match(rest)
        match = mpi or RANK.match(rest)
        wrap = None if match else _WRAP.match(rest)
        if match:
            rank = int(match["rank"])
            node = node or (mpi["host"] if mpi else "") or ""
        elif wrap:
            match, node = wrap, node or wrap["ip"] or ""
        else:
            match = _TEE.match(rest)
            if match:
                local = int(match["local"])
                node = node or match["host"] or (match["role"] if match["role"] in hosts else "")
            else:
                match = _TASK.match(rest) if tasks else None
                named = _HOST.match(rest)
                if match is None and named and named["host"] in hosts and not node:
                    match, node = named, named["host"].strip("[]")
        if not match or match.end() == 0:
            break
        stream, rest = stream + match[0].rstrip(), rest[match.end() :]
        behind = None if stamp else stamps.match(rest)
        stamp, rest = stamp or behind, rest[behind.end() :] if behind else rest
    gone, ended = _GONE.match(rest), _SRUN.match(rest)
    node = gone["node"] if gone else node or (ended["node"] if ended else "")
    if rank is None:
        inner = _INNER_RANK.search(rest, 0, 200)
        rank = int(inner[1]) if inner else None
    time = time_of(rest)
    return Line(number, stream, node, rank, local, time_of(stamp[0]) if time is None and stamp else time, rest)
