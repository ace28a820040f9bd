# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log of a job: what its last run says, where its ranks are, and what was said in which order."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import job_exits, job_failure, job_prefix
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
# torch's agent starts the ranks anew; what ended them before counts no more if they then train
RESTART = re.compile(r"\] (?:Starting worker group|.{1,120}; will restart worker group)")
DONE = re.compile(r"exits successfully|\btrain_runtime\b|[Tt]raining (?:is )?(?:completed|complete|finished|done)\b")
PROGRESS = re.compile(
    r"\bloss\b\W{0,4}\s{0,3}\d|\b[Ee]poch\b.{0,20}\d|\b(?:step|iter|iteration)\b\W{0,3}\s{0,3}\d", re.I
)
LOSS = re.compile(r"\bloss\b\W{0,4}\s{0,3}\d", re.I)
TRACEBACK = "Traceback (most recent call last):"
CHAINED = re.compile(r"During handling of the above exception|The above exception was the direct cause")
_WRAPPED = re.compile(
    r"Caught \w+ in |Error\(s\) in loading state_dict|ProcessRaisedException|Last error:\s*$|CheckpointException ranks:"
)
# what Python and its libraries print of an exception that ends nothing
_IGNORED = re.compile(
    r"Exception ignored in|--- Logging error ---|Error in (?:atexit|sys\.(?:excepthook|unraisablehook))"
    r"|exception was never retrieved|Exception in callback"
)
# what a launcher says before or while it starts other nodes
_BEFORE_START = re.compile(r"ssh_|no_address")
# a frame that deletes or renames a file
_MOVES = re.compile(r" .{0,300}\b(?:os\.(?:remove|unlink|rename|replace|rmdir)\(|shutil\.move\(|unlink\(\))")
# an exception whose name does not say so, behind the frames of its traceback
_FRAME = re.compile(r'\s+File "[^"\n]{1,300}", line \d+')
# of a package's own code, which has been called with what it does not take, or lacks what it calls
_OF_PACKAGE = re.compile(r'\s*File "[^"\n]{1,300}/(?:site|dist)-packages/')
_MISFIT = re.compile(
    r"TypeError: .{0,200}(?:unexpected keyword argument|missing \d+ required"
    r"|takes (?:from )?\d+ (?:to \d+ )?positional)"
    r"|AttributeError: (?!'(?:NoneType|str|int|float|list|dict|tuple)').{0,200}has no attribute"
)
# an exception within the JSON of torch's error handler
_IN_JSON = re.compile(r'\s{2,12}"message": "(?P<text>[A-Za-z][\w.]{0,120}(?:Error|Exception)\b.*?)",?$')
_RAISED = re.compile(r"(?:(?:[A-Za-z_]\w{0,80}\.){1,8}[A-Z]\w{2,80}|Stop(?:Async)?Iteration|Exception)(?:: |$)")
# what stands below an exception and belongs to it: the address of Ray's actor, the keys that pydantic refuses
_ENTRY = re.compile(r"  (host|rank|traceback) {0,8}: (.{0,300})")
_TASK_AT = re.compile(r"\bray::\S{1,200} \(pid=\d{1,10}, ip=(?P<ip>[\w.:]{2,45})[,)]")
_ACTOR = re.compile(r"\s+ip: (?P<ip>[\w.:]{2,45})\s*$")
_FIELD = re.compile(r"(?P<key>\w[\w. >-]{0,80})\s*$|  (?P<why>[A-Za-z][^\[(]{3,80})")
FIELD_LINES, ACTOR_LINES = 12, 8
SAME_START_SECONDS = 120.0
SAME_START_LINES = 30
WRAPPED_LINES = 80
RECOVERED_LINES = 5  # progress after an exception: somebody has caught it
FIRST_LOSSES = 2  # and so many lines with a loss, where no rank had made progress before

_NODE_RANK = re.compile(r"\b(?:node_rank=|node rank: |machine_rank[=:] ?|group_rank=)(\d{1,5})\b")
_MASTER = re.compile(
    r"\b(?:tasks at: (?P<a>[\w.:\[\]-]+):\d+|master_addr[=:] ?(?P<b>[\w.:-]+)|rdzv_endpoint {0,8}: (?P<c>[\w.-]+:\d+))"
)
_RUN_ID = re.compile(r"\brun_id {0,12}: (\S{1,200})")
_DRAWN_ID = "config has no run_id, generated a random run_id"
# Lightning; torch's own barrier when more processes came than there are ranks
_MEMBER = re.compile(r"(?i:initializing \w{2,20}): GLOBAL_RANK: (\d{1,7}), MEMBER: \d{1,7}/(\d{1,7})")
_CAME = re.compile(r"\(world_size=(\d{1,7}), worker_count=(\d{1,7})")
_OWN = re.compile(r"\baddr=\[(?:::ffff:)?([\w.:%-]+)\]:\d+, remote=\[(?:::ffff:)?([\w.:%-]+)\]:(\d+)")
_GLOBAL_RANKS = re.compile(r"\bglobal_ranks=\[([\d, ]+)\]")
_WORLD_INFO = re.compile(r"WORLD INFO DICT: \{(.*)\}")
_WORLD_HOST = re.compile(r"'([^']{1,253})': \[([\d, ]*)\]")
_WORLD = re.compile(r"\b(?:dist_world_size|world_size)=(\d{1,7})\b")
_WORK = re.compile(
    r"Watchdog caught collective operation timeout: WorkNCCL\(SeqNum=(\d+), OpType=(\w+)(?:, NumelIn=(\d+))?"
)
_ENQUEUED = re.compile(r"last enqueued (?:NCCL )?work: (-?\d+)")
_GROUP = re.compile(
    r"\[PG (?:ID \S{1,20} PG GUID )?(?P<group>[^\s\]]{1,60})[^\]\n]{0,120}\].{0,120}? at (?:NCCL )?work"
)
_LIBRARY = re.compile(r'^\s*File "(/[^"\n]{1,300}/lib(?:64)?/python\d\.\d{1,2})/')
# who asks a server of the web, by the frames of a traceback
_ASKS = re.compile(
    r'^\s*File "[^"\n]{1,300}/(?:site|dist)-packages/'
    r"(huggingface_hub|modelscope|wandb|swanlab|mlflow|comet_ml|neptune|clearml|boto3|s3fs|gcsfs|nltk|tiktoken)/"
)
_HUBS = frozenset(("huggingface_hub", "modelscope"))
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
    line that shows progress, 0 without one. ``groups``: the process group in which each rank timed out. ``drawn``:
    nodes whose run id is a random one. ``members``: how often each node's processes took which rank of how many.
    ``came``: (processes, ranks) where more came to a barrier than there are ranks. ``ranks``: those that have written.
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
    groups: dict[int, str]
    drawn: set[str]
    members: dict[str, dict[tuple[int, int], int]]
    came: list[tuple[int, int]]
    ranks: frozenset[int] = frozenset()


def parse(text: str, nodes: t.Mapping[str, str] = NOBODY) -> Log:
    """Read a log; ``nodes`` are words known to be hosts, with the names that the answer shall have for them."""
    lines = job_prefix.taken_off(split(text, nodes), nodes)
    events = sorted(_events(_unfolded(lines)), key=lambda event: event.line)
    exits = job_exits.exits(lines, nodes)
    fatal = [event.line for event in events if event.fatal and not _BEFORE_START.match(event.kind)]
    begins = _last_start(lines, fatal, [each.line for each in exits])
    lines = [line for line in lines if line.number >= begins]
    events = [event for event in events if event.line >= begins]
    exits = [each for each in exits if each.line >= begins]
    log = Log(
        begins, _left_out(text), events, exits, False, 0, None, [], {}, {}, {}, {}, {}, {}, {}, {}, {}, set(), {},
        set(), {}, set(), {}, [],
    )  # fmt: skip
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
        events=_lasting(log, progress, [line.number for line in lines if LOSS.search(line.text)]),
        finished=_finished(log, lines),
        trained=max(progress, default=0),
        world=max([*worlds, *(1 + line.rank for line in lines if line.rank is not None)], default=None),
        nodes=list(written),
        ranks=frozenset(line.rank for line in lines if line.rank is not None),
    )


def _unfolded(lines: t.Sequence[Line]) -> t.Iterator[Line]:
    """The lines; those of the tracebacks in torch's table of failures as the rank itself would have printed them."""
    entries: dict[str, dict[str, str]] = {}
    inside: dict[str, bool] = {}
    for line in lines:
        within = _IN_JSON.match(line.text)
        if within:
            yield line._replace(text=within["text"])
            continue
        field = _ENTRY.match(line.text)
        entry = entries.setdefault(line.stream, {}) if field else entries.get(line.stream, {})
        if field:
            entry[field[1]] = field[2].strip()
            inside[line.stream] = field[1] == "traceback" and field[2].startswith(TRACEBACK)
        elif not line.text.startswith("  "):
            inside[line.stream] = False
        elif inside.get(line.stream):
            number = re.match(r"\d{1,7}", entry.get("rank", ""))
            rank = int(number[0]) if number else line.rank
            yield line._replace(text=line.text[2:], node=entry.get("host", line.node), rank=rank)
            continue
        yield line


def _left_out(text: str) -> int:
    marks = [LEFT_OUT.match(row) for row in text.split("\n") if row.startswith("[trainmesh: ")]
    return sum(int(mark[2]) - int(mark[1]) + 1 for mark in marks if mark)


@dataclasses.dataclass
class _Stream:
    """What a process has said so far: its last failure, the node that Ray names, and where in a traceback it is."""

    last: Event | None = None
    node: str = ""
    library: str = ""
    asks: str = ""  # a package that asks the web
    chained: bool = False
    frames: bool = False
    package: bool = False  # the last frame is in a package
    moves: bool = False  # the last frame deletes or renames a file
    ignored: int = 0  # the line that says so


def _said(own: _Stream, line: Line) -> job_failure.Said | None:
    """What a line says went wrong, by itself or by the frames of the traceback above it."""
    said = job_failure.classify(line.text)
    if own.frames and _RAISED.match(line.text):
        said = said._replace(fatal=True) if said else job_failure.RAISED
    if own.moves and said and said.kind in ("file_missing", "model_missing"):
        said = job_failure.GONE
    if own.package and said == job_failure.RAISED and _MISFIT.match(line.text):
        said = said._replace(kind="packages")
    own.package = bool(_OF_PACKAGE.match(line.text)) if _FRAME.match(line.text) else own.package
    if own.asks in _HUBS and said and said.kind == "web_unreachable":
        said = said._replace(kind="hub_unreachable")
    if not line.text.startswith(" ") or _FRAME.match(line.text):
        own.frames = line.text.startswith(" ")
    if line.text.strip(" ^~"):
        own.moves = bool(_MOVES.match(line.text))
    return said


def _events(lines: t.Sequence[Line] | t.Iterator[Line]) -> t.Iterator[Event]:
    """What each line says went wrong; of a chain of exceptions and of a wrapped one the one that tells most."""
    streams: dict[str, _Stream] = {}
    for line in lines:
        own = streams.setdefault(line.stream, _Stream())
        if CHAINED.search(line.text):
            own.chained = True
            continue
        task = _TASK_AT.search(line.text) if "ray::" in line.text else None
        if task or line.text.startswith(TRACEBACK):
            own.node = task["ip"] if task else ""
        library = _LIBRARY.search(line.text)
        own.library = library[1] if library else own.library
        asks = _ASKS.search(line.text)
        own.asks = asks[1] if asks else "" if line.text.startswith(TRACEBACK) and not own.chained else own.asks
        said = _said(own, line)
        before = own.last
        own.ignored = line.number if _IGNORED.search(line.text) else own.ignored
        if said is None:
            begins = line.text.startswith(TRACEBACK) and not own.chained
            if before and begins and not _WRAPPED.search(before.text):
                yield before
                own.last = None
            elif before:
                own.last = _with_more(before, line)
            continue
        actor = before.node if before and said.kind == "node_failed" and before.weight == job_failure.ENDED else ""
        node = line.node or actor or own.node
        event = Event(*said, line.number, line.stream, node, line.rank, line.time, line.text.strip()[:600])
        if said.kind in OF_PYTHON and own.library:
            event = event._replace(text=f"{event.text} (the packages are those of {own.library})")
        if said.kind == "web_unreachable" and own.asks:
            event = event._replace(text=f"{event.text} (asked by {own.asks})")
        if before is not None and _joined(before, event, own.chained):
            nearer = before.kind == "exception" or event.weight < before.weight
            event = event._replace(fatal=True, line=before.line) if nearer else before
        elif before is not None:
            yield before
        ignored = own.ignored and line.number - own.ignored <= WRAPPED_LINES
        event = event._replace(fatal=event.fatal and not ignored)
        own.last, own.chained, own.ignored = event, False, 0
    found = [own.last for own in streams.values() if own.last]
    yield from sorted(found, key=lambda event: event.line)


def _with_more(before: Event, line: Line) -> Event:
    """What was said, with what a line below it adds."""
    actor = _ACTOR.match(line.text) if before.text.startswith("ray.exceptions.") else None
    if actor and not before.node and line.number - before.line <= ACTOR_LINES:
        return before._replace(node=actor["ip"])
    field = _FIELD.match(line.text) if before.kind == "deepspeed_key" else None
    if field and line.number - before.line <= FIELD_LINES and len(before.text) < 300:
        more = f"; {field['key']}" if field["key"] else f": {field['why'].strip()}"
        return before._replace(text=before.text + more)
    return before


def _joined(before: Event, event: Event, chained: bool) -> bool:
    """Whether two things said by one process are one: a chain, or the lines behind an exception that name the cause."""
    if job_failure.ENDED in (before.weight, event.weight):
        return False
    if chained:
        return event.fatal
    if before.kind != "exception" or event.weight != job_failure.ROOT:
        return False
    if before.text.endswith(":") and event.line - before.line <= 2:
        return True
    if _WRAPPED.search(before.text):
        return event.line - before.line <= WRAPPED_LINES
    return event.line - before.line <= 3 and event.kind != "exception" and not event.fatal


def _last_start(lines: t.Sequence[Line], fatal: t.Sequence[int], exits: t.Sequence[int]) -> int:
    """The first line of the last run in the log."""
    begins, start = 1, None
    started: set[str] = set()
    ends = sorted([*fatal, *exits, *(line.number for line in lines if DONE.search(line.text))])
    losses = [line.number for line in lines if LOSS.search(line.text)]
    for line in lines:
        anew = RESTART.search(line.text) and sum(line.number < loss for loss in losses) >= RECOVERED_LINES
        if not anew and not START.search(line.text):
            continue
        late = start is not None and start.time and line.time and line.time - start.time > SAME_START_SECONDS
        over = any(begins <= end < line.number for end in ends)
        if over and not late and started and line.stream not in started:
            over = False  # another node of the same run, which comes after the first has failed
        started.add(line.stream)
        if anew and not over:
            continue
        again = start is not None and start.stream == line.stream and line.number - start.number > SAME_START_LINES
        if over or late or again:
            begins, started = line.number, {line.stream}
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
    group = _GROUP.search(line.text) if line.rank in log.works else None
    if line.rank is not None and group:
        log.groups.setdefault(line.rank, group["group"].partition("(")[0])
    if line.rank is not None and enqueued and (not group or log.groups[line.rank] == group["group"].partition("(")[0]):
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
    if run and _DRAWN_ID in line.text:
        log.drawn.add(line.node)
    member, came = _MEMBER.search(line.text), _CAME.search(line.text)
    if member:
        counts = log.members.setdefault(line.node, {})
        place = (int(member[1]), int(member[2]))
        counts[place] = counts.get(place, 0) + 1
    if came and int(came[2]) > int(came[1]):
        log.came.append((int(came[2]), int(came[1])))
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


def _lasting(log: Log, progress: t.Sequence[int], losses: t.Sequence[int]) -> list[Event]:
    """The events; those that somebody has caught, so that the training went on before anything ended, are not fatal."""
    events = []
    for event in log.events:
        end = min((each.line for each in log.exits if each.line > event.line), default=None)
        on, learnt = (
            sum(1 for line in found if event.line < line and (end is None or line < end))
            for found in (progress, losses)
        )
        first = all(line > event.line for line in progress)
        caught = on >= RECOVERED_LINES or (first and learnt >= FIRST_LOSSES)
        events.append(event._replace(fatal=event.fatal and not caught))
    return events


def _finished(log: Log, lines: t.Sequence[Line]) -> bool:
    """Whether the run came to its end after everything that went wrong."""
    last = max([0, *(event.line for event in log.events if event.fatal), *(each.line for each in log.exits)])
    return any(line.number > last and DONE.search(line.text) for line in lines)
