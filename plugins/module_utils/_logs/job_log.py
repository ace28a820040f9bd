# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log of a job: what its last run says, where its ranks are, and what was said in which order."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import job_exits, job_failure
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.job_lines import (
    LEFT_OUT,
    NOBODY,
    Line,
    bars,
    split,
)

START = re.compile(
    r"Starting elastic_operator with launch configs|Setting OMP_NUM_THREADS environment variable for each process"
    r"|\[runner\.py:\d+:main\] cmd = |\[launch\.py:\d+:main\] WORLD INFO DICT|Initializing \d+ distributed tasks at"
    r"|values were not passed to `accelerate launch`|^\+ (?:\S*/)?(?:torchrun|deepspeed|accelerate|mpirun|srun|pdsh)\b"
)
DONE = re.compile(r"exits successfully|\btrain_runtime\b|[Tt]raining (?:is )?(?:completed|complete|finished|done)\b")
PROGRESS = re.compile(
    r"\bloss\b\W{0,4}\s{0,3}\d|\b[Ee]poch\b.{0,20}\d|\b(?:step|iter|iteration)\b\W{0,3}\s{0,3}\d", re.I
)
TRACEBACK = "Traceback (most recent call last):"
CHAINED = re.compile(r"During handling of the above exception|The above exception was the direct cause")
_WRAPPED = re.compile(r"Caught \w+ in |Error\(s\) in loading state_dict|ProcessRaisedException|Last error:\s*$")
SAME_START_SECONDS = 120.0
SAME_START_LINES = 30
WRAPPED_LINES = 80
RECOVERED_LINES = 5  # progress after an exception: somebody has caught it

_NODE_RANK = re.compile(r"\b(?:node_rank=|node rank: |machine_rank[=:] ?|group_rank=)(\d{1,5})\b")
_MASTER = re.compile(
    r"\b(?:tasks at: (?P<a>[\w.:\[\]-]+):\d+|master_addr[=:] ?(?P<b>[\w.:-]+)|rdzv_endpoint {0,8}: (?P<c>[\w.-]+:\d+))"
)
_RUN_ID = re.compile(r"\brun_id {0,12}: (\S{1,200})")
_OWN = re.compile(r"\baddr=\[(?:::ffff:)?([\w.:%-]+)\]:\d+, remote=\[(?:::ffff:)?([\w.:%-]+)\]:(\d+)")
_GLOBAL_RANKS = re.compile(r"\bglobal_ranks=\[([\d, ]+)\]")
_WORLD_INFO = re.compile(r"WORLD INFO DICT: \{(.*)\}")
_WORLD_HOST = re.compile(r"'([^']{1,253})': \[([\d, ]*)\]")
_WORLD = re.compile(r"\b(?:dist_world_size|world_size)=(\d{1,7})\b")
_WORK = re.compile(
    r"Watchdog caught collective operation timeout: WorkNCCL\(SeqNum=(\d+), OpType=(\w+)(?:, NumelIn=(\d+))?"
)
_ENQUEUED = re.compile(r"last enqueued NCCL work: (-?\d+)")
_LIBRARY = re.compile(r'^\s*File "(/[^"\n]{1,300}/lib(?:64)?/python\d\.\d{1,2})/')
OF_PYTHON = frozenset(("module_missing", "packages", "python_other", "syntax"))  # which Python it was tells much
_SIZE = re.compile(r"\b(?:nnodes=|num nodes: |group_world_size=|min_nodes {0,12}: )(\d{1,5})\b")
_JOINED = re.compile(r"of the rendezvous '([^']{1,200})'")
_LOCK = re.compile(r"[Ww]aiting (?:to acquire|for) (?:the )?lock (?:on |file )?'?(/[^\s']{1,400})")
# what may stand behind the last line of a process that was ended while it waited
_ENDING = re.compile(
    r"Traceback|KeyboardInterrupt|\s|Killing subprocess|exits with|death signal|closing signal|\^C|=|-|\*"
)
_EXTENSIONS = re.compile(r"Using (\S{1,400}) as PyTorch extensions root")
_LOADED = re.compile(r"Loading extension module (\w{1,80})|Time to load (\w{1,80}) op|ninja: no work to do")
_BUILDS = re.compile(r"Building extension module|Emitting ninja build file|^\[\d+/\d+\] ")


class Event(t.NamedTuple):
    """A line that says what went wrong; ``kind``, ``weight`` and ``fatal`` are those of job_failure.

    ``node`` is empty, ``rank`` None, where the log does not tell.
    """

    kind: str
    weight: int
    fatal: bool
    line: int
    stream: str
    node: str
    rank: int | None
    time: float | None
    text: str


class Log(t.NamedTuple):
    """The last run of a log. ``begins``: its first line, 1 unless other runs stand before it; ``left_out``: lines of
    the file that were not read; ``places``: nodes of ranks, ``nodes`` all hosts that have written.

    ``node_ranks``: what each node takes for its own number; ``masters``, ``run_ids`` likewise, ``peers`` the addresses
    (own, other's, port) of connections to the rendezvous. ``works``: the collective in which each rank timed out,
    ``enqueued`` the last that it had come to. ``builds``: nodes whose last line waits for an extension, with its
    directory; ``loaded``: extensions by node; ``building`` nodes that build one. ``locks``: likewise
    nodes whose last line waits for a lock file. ``alone``: nodes that are all of their job. ``trained``: the last
    line that shows progress, 0 without one.
    """

    begins: int
    left_out: int
    events: list[Event]
    exits: list[job_exits.Exit]
    finished: bool
    trained: int
    world: int | None
    nodes: list[str]
    places: dict[int, str]
    node_ranks: dict[str, int]
    masters: dict[str, str]
    run_ids: dict[str, str]
    peers: dict[str, tuple[str, str]]
    works: dict[int, tuple[int, str]]
    enqueued: dict[int, int]
    builds: dict[str, str]
    loaded: dict[str, list[str]]
    building: set[str]
    locks: dict[str, str]
    alone: set[str]


def parse(text: str, nodes: t.Mapping[str, str] = NOBODY) -> Log:
    """Read a log; ``nodes`` are words known to be hosts, with the names that the answer shall have for them."""
    lines = split(text, nodes)
    events = sorted(_events(lines), key=lambda event: event.line)
    exits = job_exits.exits(lines, nodes)
    begins = _last_start(lines, [event.line for event in events if event.fatal], [each.line for each in exits])
    lines = [line for line in lines if line.number >= begins]
    events = [event for event in events if event.line >= begins]
    exits = [each for each in exits if each.line >= begins]
    log = Log(
        begins, _left_out(text), events, exits, False, 0, None, [], {}, {}, {}, {}, {}, {}, {}, {}, {}, set(), {}, set()
    )
    for line in lines:
        _read(log, line, nodes)
    _read_ends(log, lines)
    for each in exits:
        if each.rank is not None and each.node:
            log.places.setdefault(each.rank, each.node)
    worlds = [int(found[1]) for found in map(_WORLD.search, (line.text for line in lines)) if found]
    written = dict.fromkeys(line.node for line in lines if line.node)
    progress = [*(line.number for line in lines if PROGRESS.search(line.text)), *bars(text)]
    return log._replace(
        events=_lasting(log, progress),
        finished=_finished(log, lines),
        trained=max(progress, default=0),
        world=max([*worlds, *(1 + line.rank for line in lines if line.rank is not None)], default=None),
        nodes=list(written),
    )


def _left_out(text: str) -> int:
    marks = [LEFT_OUT.match(row) for row in text.split("\n") if row.startswith("[trainmesh: ")]
    return sum(int(mark[2]) - int(mark[1]) + 1 for mark in marks if mark)


def _events(lines: t.Sequence[Line]) -> t.Iterator[Event]:
    """What each line says went wrong; of a chain of exceptions and of a wrapped one the one that tells most."""
    last: dict[str, Event] = {}
    libraries: dict[str, str] = {}
    chained: dict[str, bool] = {}
    for line in lines:
        if CHAINED.search(line.text):
            chained[line.stream] = True
            continue
        library = _LIBRARY.search(line.text)
        if library:
            libraries[line.stream] = library[1]
        said = job_failure.classify(line.text)
        before = last.get(line.stream)
        if said is None:
            begins = line.text.startswith(TRACEBACK) and not chained.get(line.stream)
            if before and begins and not _WRAPPED.search(before.text):
                yield last.pop(line.stream)
            continue
        event = Event(*said, line.number, line.stream, line.node, line.rank, line.time, line.text.strip()[:600])
        if said.kind in OF_PYTHON and line.stream in libraries:
            event = event._replace(text=f"{event.text} (the packages are those of {libraries[line.stream]})")
        joined = before is not None and _joined(before, event, chained.get(line.stream, False))
        if before is not None and joined:
            event = before if before.kind != "exception" else event._replace(fatal=True, line=before.line)
            last[line.stream], chained[line.stream] = event, False
            continue
        if before is not None:
            yield before
        last[line.stream], chained[line.stream] = event, False
    yield from sorted(last.values(), key=lambda event: event.line)


def _joined(before: Event, event: Event, chained: bool) -> bool:
    """Whether two things said by one process are one: a chain, or the lines behind an exception that name the cause."""
    if before.kind == "ended" or event.kind == "ended":
        return False
    if chained:
        return event.fatal
    if before.kind != "exception" or event.weight != job_failure.ROOT:
        return False
    if _WRAPPED.search(before.text):
        return event.line - before.line <= WRAPPED_LINES
    return event.line - before.line <= 3 and event.kind != "exception" and not event.fatal


def _last_start(lines: t.Sequence[Line], fatal: t.Sequence[int], exits: t.Sequence[int]) -> int:
    """The first line of the last run in the log."""
    begins, start = 1, None
    ends = sorted([*fatal, *exits, *(line.number for line in lines if DONE.search(line.text))])
    for line in lines:
        if not START.search(line.text):
            continue
        over = any(begins <= end < line.number for end in ends)
        late = start is not None and start.time and line.time and line.time - start.time > SAME_START_SECONDS
        again = start is not None and start.stream == line.stream and line.number - start.number > SAME_START_LINES
        if over or late or again:
            begins = line.number
        if start is None or over or late or again:
            start = line
    return begins


def _read(log: Log, line: Line, nodes: t.Mapping[str, str]) -> None:
    """Note what a line says of the nodes, ranks and the rendezvous."""
    if "=" in line.text or ": " in line.text:
        _read_rendezvous(log, line)
        _read_places(log, line, nodes)
    elif line.rank is not None and line.node:
        log.places.setdefault(line.rank, line.node)
    work, enqueued = _WORK.search(line.text), _ENQUEUED.search(line.text)
    if line.rank is not None and work:
        log.works.setdefault(line.rank, (int(work[1]), f"{work[2]} of {work[3]}" if work[3] else work[2]))
    if line.rank is not None and enqueued:
        log.enqueued[line.rank] = max(log.enqueued.get(line.rank, -1), int(enqueued[1]))


def _read_rendezvous(log: Log, line: Line) -> None:
    """What a node takes itself, its master and its run for."""
    own, master = _NODE_RANK.search(line.text), _MASTER.search(line.text)
    run, peers = _RUN_ID.search(line.text), _OWN.search(line.text)
    if own:
        log.node_ranks.setdefault(line.node, int(own[1]))
    joined, size = _JOINED.search(line.text), _SIZE.search(line.text)
    if joined and not run:
        log.run_ids.setdefault(line.node, joined[1])
    if size and size[1] == "1":
        log.alone.add(line.node)
    if master:
        log.masters.setdefault(line.node, next(group for group in master.groups() if group).strip("[]"))
    if run:
        log.run_ids.setdefault(line.node, run[1])
    if peers:
        log.peers.setdefault(line.node, (peers[1], peers[2]))


def _read_places(log: Log, line: Line, nodes: t.Mapping[str, str]) -> None:
    """Which ranks are where."""
    ranks, world = _GLOBAL_RANKS.search(line.text), _WORLD_INFO.search(line.text)
    here = [*(_numbers(ranks[1]) if ranks else []), *([line.rank] if line.rank is not None else [])]
    for rank in here if line.node else []:
        log.places.setdefault(rank, line.node)
    first = 0
    for host, slots in _WORLD_HOST.findall(world[1]) if world else []:
        for rank in range(first, first + len(_numbers(slots))):
            log.places.setdefault(rank, nodes.get(host, host))
        first += len(_numbers(slots))


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.replace(",", " ").split()]


def _read_ends(log: Log, lines: t.Sequence[Line]) -> None:
    """Note on which nodes the last thing said is that an extension or a lock is waited for."""
    for line in lines:
        place, loaded, lock = (each.search(line.text) for each in (_EXTENSIONS, _LOADED, _LOCK))
        if place or lock or not _ENDING.match(line.text):
            log.builds.pop(line.node, None)
            log.locks.pop(line.node, None)
        if place:
            log.builds[line.node] = place[1]
        if lock:
            log.locks[line.node] = lock[1]
        if loaded:
            log.loaded.setdefault(line.node, []).append(loaded[1] or loaded[2] or "")
        if _BUILDS.search(line.text):
            log.building.add(line.node)


def _lasting(log: Log, progress: t.Sequence[int]) -> list[Event]:
    """The events; those that somebody has caught, so that the training went on before anything ended, are not fatal."""
    events = []
    for event in log.events:
        end = min((each.line for each in log.exits if each.line > event.line), default=None)
        on = sum(1 for line in progress if event.line < line and (end is None or line < end))
        events.append(event._replace(fatal=event.fatal and on < RECOVERED_LINES))
    return events


def _finished(log: Log, lines: t.Sequence[Line]) -> bool:
    """Whether the run came to its end after everything that went wrong."""
    last = max([0, *(event.line for event in log.events if event.fatal), *(each.line for each in log.exits)])
    return any(line.number > last and DONE.search(line.text) for line in lines)
