# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of all that the logs of a job say is its root cause.

A cause by itself goes before what follows from it, and of such causes the first counts: in one log by its lines,
between logs by their times. Where nothing names a cause, the answer is what the first rank that ended has said, and no
more.
"""

from __future__ import annotations

import signal
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import job_exits
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.job_failure import (
    CONNECT,
    ENDED,
    LOST,
    NETWORK,
    ROOT,
    WAIT,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.job_log import Event, Log
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.job_start_failure import EXPLAINS

NEAR_LINES = 25  # a warning so near before the end of a process may be its reason
SIGNALS = {
    signal.SIGKILL: "killed", signal.SIGHUP: "session_closed", signal.SIGINT: "interrupted", signal.SIGTERM: "stopped",
    signal.SIGBUS: "shm_full", signal.SIGABRT: "aborted", signal.SIGUSR1: "warned", signal.SIGUSR2: "warned",
    signal.SIGXCPU: "cpu_limit",
}  # fmt: skip


class Source(t.NamedTuple):
    """A log of the job: where it was found, the node that wrote its lines without a tag (empty: unknown), what it says.

    A node of the log is known by ``node``, or by the word of the log where nobody knows it.
    """

    path: str
    node: str
    log: Log


class Root(t.NamedTuple):
    """The root cause of a job.

    ``kind`` is one of job_failure, or ``killed``, ``crashed``, ``aborted``, ``silent``, ``build_waits``,
    ``lock_waits``, ``run_ids``, ``node_rank_twice``, ``collective_mismatch``, ``stalled``. ``places`` are the
    processes that show it, the first one first; the node is empty and the rank None where nothing tells.
    ``follows`` says in short what followed from it.
    """

    kind: str
    weight: int
    places: tuple[Place, ...]
    follows: tuple[str, ...]
    detail: str = ""


class Place(t.NamedTuple):
    """A process that shows the cause, and the line of its log."""

    node: str
    rank: int | None
    path: str
    line: int
    text: str


class _Seen(t.NamedTuple):
    source: Source
    event: Event


def root(sources: t.Sequence[Source], failed: bool = False) -> Root | None:
    """The root cause of a job from all its logs; None where nothing went wrong. ``failed``: it is known that it did."""
    seen = [_Seen(source, event) for source in sources for event in _all_events(source.log)]
    ended = any(source.log.exits for source in sources)
    timeouts = any(each.event.fatal and each.event.kind == "nccl:watchdog_timeout" for each in seen)
    if not (failed or ended or timeouts) and any(source.log.finished for source in sources):
        return None
    failed = failed or ended or any(each.event.fatal for each in seen)
    causes = [each for each in seen if each.event.fatal and each.event.weight == ROOT and not _builds(each)]
    if causes:
        shown = _of_events(sources, causes, seen)
        reasons = [each for each in seen if shown.kind in EXPLAINS.get(each.event.kind, ()) and _beside(each, shown)]
        return _of_events(sources, reasons, seen) if reasons else shown
    by_hand = any(each.event.fatal and each.event.kind in ("interrupted", "stopped") for each in seen)
    trained = any(source.log.trained for source in sources)
    found = (None if trained else _of_rendezvous(sources, failed)) or _of_locks(sources) or _of_builds(sources, by_hand)
    if found or not failed:
        return found
    later = [each for each in seen if each.event.fatal or _kept_from_meeting(each)]
    later = [each for each in later if each.event.weight < ENDED and not _stopped_after(each)]
    if later and all(each.event.weight >= WAIT for each in later):
        found = _of_works(sources, seen)
        if found:
            return found
    if later and min(each.event.weight for each in later) < LOST:
        return _of_events(sources, later, seen)
    near = [each for each in seen if each.event.weight == ROOT and _near_an_end(each) and _untrained(each)]
    if near or later:
        return _of_events(sources, near[-1:] or later, seen)
    return _silent(sources, seen)


def _beside(each: _Seen, shown: Root) -> bool:
    """Whether it was said where a failure shows, by the same node, or without a node."""
    return any(
        place.path == each.source.path
        and each.event.node in ("", place.node)
        and each.event.line < place.line + NEAR_LINES
        for place in shown.places
    )


def _kept_from_meeting(each: _Seen) -> bool:
    """Whether a warning is about the rendezvous, and no training was seen after it."""
    about = each.event.kind in NETWORK or each.event.weight == WAIT
    return about and _untrained(each)


def _untrained(each: _Seen) -> bool:
    """Whether no progress of a training was seen after it."""
    return each.event.line > each.source.log.trained


def _stopped_after(each: _Seen) -> bool:
    """Whether a scheduler ended the job because a process had ended before."""
    before = (end for end in each.source.log.exits if end.line < each.event.line and end.code != -signal.SIGTERM)
    return each.event.kind == "stopped" and any(before)


def _builds(each: _Seen) -> bool:
    """Whether who waits for a lock only waits for a build that goes on there."""
    return each.event.kind == "build_lock" and each.event.node in each.source.log.building


def _all_events(log: Log) -> list[Event]:
    """The events of a log, those that signals made among them."""
    events = list(log.events)
    for end in job_exits.killed(log.exits):
        kind = SIGNALS.get(signal.Signals(-end.code), "crashed") if -end.code in _NUMBERS else "crashed"
        before = [event for event in log.events if event.fatal and event.weight == ROOT and event.line < end.line]
        if kind == "killed" and any(event.node == end.node or not event.node for event in before):
            continue  # its launcher has killed it, because another rank had failed
        weight = {"aborted": LOST, "interrupted": LOST, "stopped": LOST, "warned": LOST}.get(kind, ROOT)
        text = f"ended by signal {-end.code} ({_signal_name(-end.code)})"
        events.append(Event(kind, weight, True, end.line, "", end.node, _rank(log, end), end.time, text))
    return sorted(events, key=lambda event: event.line)


# Where no time tells which was first: a process that crashes may only have lost its partner.
_VAGUE = {"exception": 1, "crashed": 2, "killed": 2}
_NUMBERS = {int(number) for number in signal.Signals}


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in _NUMBERS else "unknown"


def _rank(log: Log, end: job_exits.Exit) -> int | None:
    """The rank of a process; a table at the end of the log tells those of local ranks."""
    if end.rank is not None:
        return end.rank
    same = (
        each.rank for each in log.exits if each.local == end.local and each.local is not None and each.rank is not None
    )
    return next(same, None)


def _of_events(sources: t.Sequence[Source], causes: t.Sequence[_Seen], seen: t.Sequence[_Seen]) -> Root:
    """The first of the nearest causes, with all processes that show the same."""
    lowest = min(each.event.weight for each in causes)
    nearest = [each for each in causes if each.event.weight == lowest]
    firsts = [next((each for each in nearest if each.source is source), None) for source in sources]
    known = [each for each in firsts if each]
    timed = all(_time(each) is not None for each in known)
    first = min(known, key=lambda each: (_time(each) or 0.0) if timed else _VAGUE.get(each.event.kind, 0))
    alike = [each for each in nearest if each.event.kind == first.event.kind and _same_words(first.event, each.event)]
    places: dict[tuple[str, int | None], Place] = {}
    for each in (first, *alike):
        place = _place(each)
        places.setdefault((place.node, place.rank), place)
    rest = [each for each in seen if each.event.kind != first.event.kind and each.event.weight > lowest]
    return Root(first.event.kind, lowest, tuple(places.values()), _follows(sources, rest))


def _same_words(one: Event, other: Event) -> bool:
    """Whether two exceptions without a kind of their own are the same; those with one are."""
    return one.kind != "exception" or one.text.partition(":")[0] == other.text.partition(":")[0]


def _time(each: _Seen) -> float | None:
    """When it was: the line's own time, else that of the first end of a process in its log."""
    if each.event.time is not None:
        return each.event.time
    ends = [end.time for end in each.source.log.exits if end.time is not None]
    return min(ends, default=None)


def _place(each: _Seen) -> Place:
    """Where an event was; a process that does not name itself is the one that its launcher saw end first."""
    log, event = each.source.log, each.event
    node, rank = event.node, event.rank
    if rank is None and event.weight == ROOT:
        ends = [end for end in log.exits if end.rank is not None and (not node or end.node == node)]
        ends = [end for end in ends if end.first] or ends
        if ends and len({end.rank for end in ends}) == 1:
            rank, node = ends[0].rank, node or ends[0].node
    if not node and rank is not None:
        node = log.places.get(rank, "")
    if not node and not event.stream and event.weight == ROOT:
        alone = {end.node for end in log.exits if end.node and end.code not in (-signal.SIGTERM, -signal.SIGKILL)}
        node = alone.pop() if len(alone) == 1 else ""
    if not node and "<std" not in event.stream:  # mpirun's tags: the file has the lines of all nodes
        node = each.source.node
    return Place(node, rank, each.source.path, event.line, event.text)


def _follows(sources: t.Sequence[Source], rest: t.Sequence[_Seen]) -> tuple[str, ...]:
    """What followed, each kind once with its ranks, and which processes were ended."""
    found: dict[str, list[Place]] = {}
    for each in rest:
        if each.event.weight != ENDED:
            found.setdefault(_words(each.event), []).append(_place(each))
    follows = [f"{words}{_of_ranks(places)}" for words, places in found.items()]
    ended = sum(1 for source in sources for end in source.log.exits if end.code in (-signal.SIGTERM, -signal.SIGABRT))
    if ended:
        follows.append(f"{ended} process{'es' if ended > 1 else ''} ended by SIGTERM or SIGABRT")
    return tuple(follows)


_WORDS = {
    WAIT: "timeouts", LOST: "lost connections", CONNECT: "failed connections", ENDED: "ends told by launchers",
}  # fmt: skip


def _words(event: Event) -> str:
    special = {"nccl:watchdog_timeout": "NCCL timeouts", "stopped": "an end from outside", "interrupted": "Ctrl-C"}
    return special.get(event.kind) or _WORDS.get(event.weight, event.kind)


def _of_ranks(places: t.Sequence[Place]) -> str:
    ranks = sorted({place.rank for place in places if place.rank is not None})
    nodes = sorted({place.node for place in places if place.node})
    of_ranks = f" of {ranks_in_words(ranks)}" if ranks else ""
    return of_ranks + (f" on {', '.join(nodes[:6])}" if nodes else "")


def ranks_in_words(ranks: t.Sequence[int]) -> str:
    """``rank 3``, ``ranks 0, 1, 2``, ``ranks 0 to 63``."""
    if len(ranks) > 2 and list(ranks) == list(range(ranks[0], ranks[-1] + 1)):
        return f"ranks {ranks[0]} to {ranks[-1]}"
    shown = ", ".join(map(str, ranks[:8])) + (", ..." if len(ranks) > 8 else "")
    return f"rank{'s' if len(ranks) > 1 else ''} {shown}"


def _of_rendezvous(sources: t.Sequence[Source], failed: bool) -> Root | None:
    """Nodes that can't meet: each in a job of its own, or two that take themselves for the same one."""
    told = [
        (source, node or source.node or source.path, node)
        for source in sources
        for node in dict.fromkeys([*source.log.run_ids, *source.log.node_ranks, *source.log.peers])
        if node not in source.log.alone
    ]
    runs: dict[str, dict[str, Place]] = {}
    numbers: dict[int, dict[str, Place]] = {}
    for source, name, key in told:
        log, path = source.log, source.path
        if key in log.run_ids:
            run = log.run_ids[key]
            endpoint = log.masters.get(key, "")
            text = f"run_id {run}" + (f" at {endpoint}" if endpoint else "")
            runs.setdefault(run, {})[name] = Place(name, None, path, log.begins, text)
        if key in log.node_ranks:
            number = log.node_ranks[key]
            numbers.setdefault(number, {})[name] = Place(name, None, path, log.begins, f"node rank {number}")
            own, other = log.peers.get(key, ("", ""))
            if number == 0 and own != other and other and log.masters.get(key, other).startswith(other):
                text = f"node rank 0 on {own}, though the master is {other}"
                return Root("node_rank_twice", ROOT, (Place(own, None, path, log.begins, text),), ())
    taken = _ranks_twice(sources) if failed else None
    if taken:
        return taken
    waited = any(event.kind == "clients_missing" for source in sources for event in source.log.events)
    drawn = [
        place
        for source, name, key in told
        if key in source.log.drawn and waited
        for place in runs[source.log.run_ids[key]].values()
        if place.node == name
    ]
    if drawn:
        return Root("run_ids", ROOT, tuple(drawn), ())
    endpoints = {place.text.partition(" at ")[2] for places in runs.values() for place in places.values()}
    if len(runs) > 1 and len(endpoints) == 1:
        every = tuple(place for places in runs.values() for place in places.values())
        return Root("run_ids", ROOT, every, ())
    twice = next((places for places in numbers.values() if len(places) > 1 and failed), None)
    return Root("node_rank_twice", ROOT, tuple(twice.values()), ()) if twice else None


def _ranks_twice(sources: t.Sequence[Source]) -> Root | None:
    """Processes that took the same ranks, while others of the job were taken by nobody."""
    taken: dict[tuple[int, int], list[Place]] = {}
    for source in sources:
        for node, counts in source.log.members.items():
            for (rank, world), times in counts.items():
                place = Place(node or (source.node if times == 1 else ""), None, source.path, source.log.begins, "")
                taken.setdefault((rank, world), []).extend([place] * times)
    worlds = {world for _rank, world in taken}
    twice = {rank: places for (rank, _world), places in taken.items() if len(places) > 1}
    if len(worlds) == 1 and len(twice) == len(taken) < max(worlds):
        times = len(next(iter(twice.values())))
        text = f"{ranks_in_words(sorted(twice))} of {max(worlds)} taken {times} times, the others by nobody"
        places = {(place.node, place.path): place._replace(text=text) for found in twice.values() for place in found}
        return Root("node_rank_twice", ROOT, tuple(places.values()), ())
    came = [(source, each) for source in sources for each in source.log.came]
    for source, (processes, ranks) in came[:1]:
        text = f"{processes} processes came to a barrier of {ranks} ranks"
        return Root("node_rank_twice", ROOT, (Place("", None, source.path, source.log.begins, text),), ())
    return None


def _of_locks(sources: t.Sequence[Source]) -> Root | None:
    """Nodes whose last word is that they wait for a lock."""
    places = [
        Place(node or source.node, None, source.path, source.log.begins, f"its last line waits for the lock {lock}")
        for source in sources
        for node, lock in source.log.locks.items()
    ]
    locks = [lock for source in sources for lock in source.log.locks.values()]
    return Root("lock_waits", WAIT, tuple(places), (), locks[0]) if places else None


def _of_builds(sources: t.Sequence[Source], by_hand: bool) -> Root | None:
    """Nodes whose last word is that they load an extension that others have loaded, or until somebody ended them."""
    loaded = [name for source in sources for names in source.log.loaded.values() for name in names if name]
    others = {(at, node) for at, source in enumerate(sources) for node in source.log.loaded}
    others -= {(at, node) for at, source in enumerate(sources) for node in source.log.builds}
    places, roots = [], []
    for source in sources:
        for node, place in source.log.builds.items():
            if (others or by_hand) and node not in source.log.building:
                roots.append(place)
                more = f", where others have loaded {', '.join(dict.fromkeys(loaded))}" if others else ""
                text = f"its last line is that it uses {place} for extensions{more}"
                places.append(Place(node or source.node, None, source.path, source.log.begins, text))
    detail = f"{roots[0]}/{loaded[0] if loaded else '*'}/lock" if roots else ""
    return Root("build_waits", WAIT, tuple(places), (), detail) if places else None


def _of_works(sources: t.Sequence[Source], seen: t.Sequence[_Seen]) -> Root | None:
    """What the ranks' timeouts show together: unlike collectives, or ranks that never came to one."""
    works = {rank: (source, work) for source in sources for rank, work in source.log.works.items()}
    if not works:
        return None
    groups = {rank: group for source in sources for rank, group in source.log.groups.items()}
    first = groups.get(next(iter(works)), "")
    works = {rank: work for rank, work in works.items() if groups.get(rank, first) == first}
    wait = [each for each in seen if each.event.kind == "nccl:watchdog_timeout"]
    by_number: dict[int, dict[str, list[int]]] = {}
    for rank, (_source, (number, what)) in works.items():
        by_number.setdefault(number, {}).setdefault(what, []).append(rank)
    for number, kinds in by_number.items():
        if len(kinds) > 1:
            fewest = min(kinds.values(), key=len)
            words = "; ".join(f"{ranks_in_words(sorted(ranks))}: {what}" for what, ranks in kinds.items())
            at = [each for each in wait if each.event.rank in fewest] or wait
            places = tuple(_place(each)._replace(text=f"collective {number}: {words}") for each in at[:1])
            return Root("collective_mismatch", ROOT, places, _follows(sources, wait))
    enqueued = {rank: last for source in sources for rank, last in source.log.enqueued.items()}
    waited, first_of = max(by_number), min(by_number)
    stuck = [rank for ranks in by_number[first_of].values() for rank in ranks]
    if waited - first_of > 1 and all(enqueued.get(rank, -1) >= waited for rank in stuck):
        # the others could not have gone on without these, had all called the same
        words = "; ".join(
            f"{ranks_in_words(sorted(ranks))} in collective {number} ({what})"
            for number, kinds in sorted(by_number.items())
            for what, ranks in kinds.items()
        )
        at = [each for each in wait if each.event.rank == stuck[0]] or wait
        text = f"they wait in unlike collectives: {words}"
        return Root("collective_mismatch", ROOT, (_place(at[0])._replace(text=text),), _follows(sources, wait))
    behind = sorted(rank for rank, last in enqueued.items() if last < waited)
    if behind and len(behind) < len(works):
        at = [each for each in wait if each.event.rank == behind[0]] or wait
        text = f"{ranks_in_words(behind)} came as far as collective {enqueued[behind[0]]}, the others wait in {waited}"
        place = _place(at[0])._replace(text=text)
        return Root("stalled", WAIT, (place,), _follows(sources, wait))
    silent = sorted(set(range(max((source.log.world or 0 for source in sources), default=0))) - set(works))
    if silent and len(silent) < len(works) and first in ("", "0"):
        nodes = {source.log.places.get(silent[0], "") for source in sources} - {""}
        text = f"{ranks_in_words(silent)} said nothing, while the others wait in collective {waited}"
        place = Place(min(nodes, default=""), silent[0], wait[0].source.path, wait[0].event.line, text)
        return Root("stalled", WAIT, (place,), _follows(sources, wait))
    return None


def _near_an_end(each: _Seen) -> bool:
    """Whether a process of the same node ended just after it."""
    log, event = each.source.log, each.event
    ends = [(end.line, end.node) for end in log.exits]
    ends += [(other.line, other.node) for other in log.events if other.fatal and other.weight == ENDED]
    return any(0 <= line - event.line <= NEAR_LINES and (node == event.node or not event.node) for line, node in ends)


def _silent(sources: t.Sequence[Source], seen: t.Sequence[_Seen]) -> Root | None:
    """The first process that ended, of which no line says why."""
    ends = [(source, end) for source in sources for end in source.log.exits]
    if not ends:
        last = [each for each in seen if each.event.fatal]
        return _of_events(sources, last, seen) if last else None
    if all(end.code == -signal.SIGTERM for _source, end in ends):
        places = [
            Place(end.node or source.node, None, source.path, end.line, "ended by SIGTERM") for source, end in ends
        ]
        return Root("stopped", LOST, tuple(places[:1]), ())
    firsts = [each for each in ends if each[1].first] or ends
    timed = all(end.time is not None for _source, end in firsts)
    source, end = min(firsts, key=lambda each: (each[1].time or 0.0) if timed else 0.0)
    rank = _rank(source.log, end)
    node = end.node or source.log.places.get(rank if rank is not None else -1, "") or source.node
    rest = [each for each in seen if each.event.weight > ROOT]
    text = f"ended with status {end.code}, and no line of the log says why"
    return Root("silent", ENDED, (Place(node, rank, source.path, end.line, text),), _follows(sources, rest))
