# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes of a log of NCCL belong together, and how far they came.

One file may hold several jobs, or one job that was started again and again. Processes that name the same
communicator (``commId``, NCCL 2.14 and newer) are one world; older ones that came with different ranks of the same
number of ranks. Nothing is compared across worlds.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.nccl_failure import (
    GENERIC,
    HARDWARE,
    LATE,
    UNSAID,
    WARNING,
    classify,
    details,
    first_cause,
)

if t.TYPE_CHECKING:
    from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.nccl import Line

COMMUNICATOR = re.compile(r"\brank (\d{1,7}) nranks (\d{1,7})\b(.{0,400})Init (START|COMPLETE)")
COMM_ID = re.compile(r"\bcommId (0x[0-9a-f]{1,16})\b")
NETWORK = re.compile(r"Using network (.{1,60})")
VERSION = re.compile(r"NCCL version (\d{1,2}(?:\.\d{1,3}){1,3})")
LINK_LAYER = re.compile(r"\[\d{1,3}\](?:\{\d+\} )?[\w.-]{1,60}:\d{1,3}/(IB|RoCE)")
# NCCL_IB_HCA has words of its own: "NCCL_IB_HCA set to mlx5_0"
VARIABLE = re.compile(r"\b(NCCL_[A-Z0-9_]{1,60}) set (?:by environment )?to (.{0,200}?)[. ]*$")
NO_DEVICE = re.compile(r"NET/IB ?: No device found")
# What a rank prints once it is connected, whatever the version; "Init COMPLETE" is not in every excerpt.
READY = re.compile(r"Init COMPLETE|Connected all (?:rings|trees)|Launch mode|Connected NVLS|opCount ")
# "Call to connect returned Connection refused, retrying" (2.2), "connect returned No route to host, retrying (3/34)"
# (2.24), "connect to 10.0.0.2<5> returned ..." (2.26)
RETRY = re.compile(r"onnect(?: to (?P<peer>[^\s<>]{1,200})<(?P<port>\d{1,5})>)? returned (?P<why>.{1,80}?), retrying"
                   r"(?: \((?P<count>\d{1,5})/(?P<most>\d{1,5})\))?")  # fmt: skip
TRACE = re.compile(r"\A\S{1,120}:\d{1,6} (?:\([^)]*\) )?-> \d")
GAVE_UP = re.compile(r"\A\S{1,120}:\d{1,6} (?:\([^)]*\) )?-> [1-689]\b")  # 0 is success, 7 in progress
# The way back of a connection that failed, from NCCL's sockets to the start of the communicator.
SOCKETS = re.compile(r"\A(?:src/)?misc/socket\.cc:\d{1,6} (?:\([^)]*\) )?-> [26]\b")
START = re.compile(r"\A(?:src/)?(?:init|group)\.cc:")
NEAR = 2  # lines between the warnings of one failure
NUMBERS = re.compile(r"0x[0-9a-f]+|\d+")
MOST_FAILURES, MOST_CAUSES = 400, 64
# So many tries of the default 34 take 1.5 s; a peer that is on its way is there by then.
TRIES = 5


class World:
    """The processes of one job."""

    def __init__(self) -> None:
        self.nranks = 0
        self.hosts: dict[str, dict[str, t.Any]] = {}
        self.started: dict[int, str] = {}
        self.complete: dict[int, str] = {}
        self.ready = False
        self.began: dict[int, str] = {}  # the process of each rank
        self.alive: set[str] = set()
        self.failures: list[dict[str, t.Any]] = []
        self.warnings: dict[tuple[str, str], dict[str, t.Any]] = {}
        self.unsaid: dict[tuple[str, str], dict[str, t.Any]] = {}
        self.quotes = False
        self.last = 0

    def host(self, name: str) -> dict[str, t.Any]:
        """What the processes of a host said."""
        fresh: dict[str, t.Any] = {
            "networks": set(), "nccl_versions": set(), "link_layers": set(), "no_device": False, "environment": {},
        }  # fmt: skip
        return self.hosts.setdefault(name, fresh)

    def forget(self, process: str) -> None:
        """A process came through: what it warned of before was no failure."""
        self.alive.add(process)
        self.warnings = {key: each for key, each in self.warnings.items() if key[0] != process}
        self.failures = [
            each for each in self.failures if each["kind"] not in (WARNING, UNSAID) or each["process"] != process
        ]

    def late(self) -> dict[str, str]:
        """{rank: host} of ranks that were never ready while others were; none where not all are in the log."""
        if not self.complete or len(self.started) < self.nranks:
            return {}
        waiting = {rank: host for rank, host in sorted(self.started.items()) if rank not in self.complete}
        return {str(rank): host for rank, host in waiting.items() if self.began.get(rank) not in self.alive}

    def plain(self, superseded: bool) -> dict[str, t.Any]:
        """As plain data; ``causes`` are the failures of the kind that explains the others, none when a later run of
        the same hosts came through."""
        told = [each for each in self.failures if each["kind"] != "harmless"]
        if told and all(each["weight"] >= GENERIC for each in told):  # the generic error names the last warning
            self.failures = [*self.warnings.values(), *self.failures]
        if self.ready and all(each["kind"] == "nvls" and "invalid argument" in each["text"] for each in told):
            self.failures = []  # a buffer that cannot be registered: NCCL goes on without NVLink SHARP
        for each in self.failures:
            each.pop("process", None)
        sets = {name: {key: sorted(each) if isinstance(each, set) else each for key, each in part.items()}
                for name, part in self.hosts.items()}  # fmt: skip
        return {
            "nranks": self.nranks,
            "by_host": sets,
            "started": {str(rank): host for rank, host in sorted(self.started.items())},
            "complete": {str(rank): host for rank, host in sorted(self.complete.items())},
            "late": self.late(),
            "ready": self.ready,
            "superseded": superseded,
            "failures": self.failures,
            "causes": [] if superseded else causes(self.failures),
        }


def causes(failures: t.Sequence[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """The failure that explains the others, and those of the same kind on other hosts or towards other peers."""
    first = first_cause(failures)
    if first is None:
        return []
    found: dict[tuple[t.Any, ...], dict[str, t.Any]] = {}
    for each in failures:
        alike = each["kind"] == first["kind"] and each["weight"] == first["weight"]
        if alike and (each["kind"] != WARNING or _same_words(each, first)):
            found.setdefault((each["host"], each["peer"]), each)
    return list(found.values())[:MOST_CAUSES]


def _same_words(one: t.Mapping[str, t.Any], other: t.Mapping[str, t.Any]) -> bool:
    """Whether two warnings differ in numbers alone."""
    return NUMBERS.sub("", one["text"]) == NUMBERS.sub("", other["text"])


def read(lines: t.Sequence[Line]) -> list[dict[str, t.Any]]:
    """The worlds of a log, in the order in which they begin; one without a name when none is told apart."""
    found = _by_process(lines)
    worlds: list[World] = []
    for world in found.values():
        if world not in worlds:
            worlds.append(world)
    apart = World()  # processes that say nothing of a communicator, where there are several worlds
    only = worlds[0] if len(worlds) == 1 else None
    current = only or apart
    unknown: dict[str, World] = {}
    for place_in_log, line in enumerate(lines):
        own = found.get(line.process) if line.process else None
        if own is None and line.process:
            own = only or (unknown.setdefault(line.host, World()) if worlds else apart)
        current = own or current
        current.last = place_in_log
        _read_line(current, line)
    _add_retries(lines, found, only or apart, unknown)
    every = [*worlds, *unknown.values(), *([apart] if only is None else [])]
    every = [world for world in every if world.hosts or world.failures]
    return [world.plain(_superseded(world, every)) for world in every]


def _by_process(lines: t.Sequence[Line]) -> dict[str, World]:
    """The world of each process that names a communicator."""
    ids: dict[str, World] = {}
    found: dict[str, World] = {}
    for line in lines:
        said = COMMUNICATOR.search(line.text) if line.process else None
        if not said:
            continue
        named = COMM_ID.search(line.text)
        rank, nranks = int(said.group(1)), int(said.group(2))
        world = found.get(line.process)
        other = ids.get(named.group(1)) if named else _open_world(found, rank, nranks) if world is None else None
        if world is not None and other is not None and world is not other:
            _join(found, ids, other, world)
        world = world or other or World()
        found[line.process] = world
        if named:
            ids[named.group(1)] = world
        if nranks >= world.nranks:
            if nranks > world.nranks:
                world.started, world.complete, world.began = {}, {}, {}
            world.nranks = nranks
            (world.complete if said.group(4) == "COMPLETE" else world.started).setdefault(rank, line.host)
            world.began.setdefault(rank, line.process)
    return found


def _open_world(found: t.Mapping[str, World], rank: int, nranks: int) -> World | None:
    """The last world of so many ranks in which this one is still missing: what versions without commId leave."""
    for world in reversed(list(found.values())):
        if world.nranks == nranks and rank not in world.complete and rank not in world.started:
            return world
    return None


def _join(found: dict[str, World], ids: dict[str, World], old: World, new: World) -> None:
    for places in (found, ids):
        for key, world in places.items():
            if world is old:
                places[key] = new
    if old.nranks == new.nranks:
        new.started.update(old.started)
        new.complete.update(old.complete)
        new.began.update(old.began)
    elif old.nranks > new.nranks:
        new.nranks, new.started, new.complete, new.began = old.nranks, old.started, old.complete, old.began


def _read_line(world: World, line: Line) -> None:
    if line.level and line.host:
        host = world.host(line.host)
        network = NETWORK.search(line.text)
        if network:
            host["networks"].add(network.group(1).strip())
        host["nccl_versions"].update(VERSION.findall(line.text))
        if "NET/IB" in line.text:
            host["link_layers"].update(LINK_LAYER.findall(line.text))
            host["no_device"] = host["no_device"] or bool(NO_DEVICE.search(line.text))
        variable = VARIABLE.search(line.text)
        if variable:
            host["environment"][variable.group(1)] = variable.group(2)
    if READY.search(line.text):
        world.ready = True
        world.forget(line.process)
    if line.level in ("WARN", ""):
        _read_failure(world, line)
    elif GAVE_UP.match(line.text):
        warning = world.warnings.pop((line.process, line.thread), None) or _unsaid(world, line)
        if warning and not _failed(world, line.host) and len(world.failures) < MOST_FAILURES:
            world.failures.append(warning)
    elif RETRY.search(line.text):  # what was warned of just before is tried once more
        tried = world.failures[-1] if world.failures else {**place(line), "kind": ""}
        near = line.number - int(tried["line"]) <= NEAR and tried["host"] == line.host
        if near and tried["kind"] in ("connect_timeout", "connection_refused", "no_route_to_host"):
            world.failures.pop()


def _unsaid(world: World, line: Line) -> dict[str, t.Any] | None:
    """A connection that failed with no warning, once the way back through NCCL's files has come to its start."""
    key = (line.process, line.thread)
    if SOCKETS.match(line.text):
        told = {"kind": UNSAID, "weight": LATE, "process": line.process, **details(line.text), **place(line)}
        world.unsaid.setdefault(key, told)
        return None
    return world.unsaid.pop(key, None) if START.match(line.text) else None


def _failed(world: World, host: str) -> bool:
    """Whether a host has told a failure that is known: what it warns of after that follows from it."""
    return any(each["host"] == host and each["kind"] not in ("harmless", WARNING) for each in world.failures)


def _read_failure(world: World, line: Line) -> None:
    """What a line says went wrong; a warning of no known kind waits until its thread gives up, or a generic error."""
    said, key = classify(line.text, line.where), (line.process, line.thread)
    quoted = not line.level and world.quotes  # torch quotes NCCL's warning behind "Last error:"
    world.quotes = not line.level and line.text.endswith("Last error:")
    if said:
        if said["kind"] != "harmless":
            world.warnings.pop(key, None)
        if len(world.failures) < MOST_FAILURES:
            world.failures.append({**said, **place(line)})
    elif line.text and (quoted or line.level):
        before = world.warnings.get(key)
        near = before is not None and line.number - before["line"] <= NEAR
        text = f"{before['text']}; {line.text}" if before and near else line.text
        told = {**details(text), **place(line._replace(text=text))}
        world.warnings[key] = {"kind": WARNING, "weight": LATE, "process": line.process, **told}


def place(line: Line) -> dict[str, t.Any]:
    """Where a line stands and what it says."""
    return {"host": line.host, "device": line.device, "where": line.where, "text": line.text[:400], "line": line.number}


def _add_retries(
    lines: t.Sequence[Line], found: t.Mapping[str, World], rest: World, unknown: t.Mapping[str, World]
) -> None:
    """Connections that were tried to the end, or until the log ends: old versions and excerpts have no more of it.

    A retry after which the same thread goes on, or its process is ready, is none.
    """
    waiting: dict[tuple[str, str], tuple[Line, re.Match[str], int]] = {}
    for line in lines:
        if not line.process:
            continue
        key = (line.process, line.thread)
        retry = RETRY.search(line.text)
        if retry:
            waiting[key] = (line, retry, waiting[key][2] + 1 if key in waiting else 1)
        elif READY.search(line.text):
            waiting = {each: held for each, held in waiting.items() if each[0] != line.process}
        elif line.level == "INFO" and not TRACE.search(line.text):
            waiting.pop(key, None)
    for line, retry, times in waiting.values():
        tries, most = int(retry.group("count") or 0), int(retry.group("most") or 0)
        if not (tries >= min(TRIES, most) if most else times > 1):
            continue
        said = classify(f"connect returned {retry.group('why')} failed")
        world = found.get(line.process) or unknown.get(line.host) or rest
        if said and said["weight"] <= LATE and not any(each["host"] == line.host for each in world.failures):
            peer = {"peer": retry.group("peer"), "port": int(retry.group("port")) if retry.group("port") else None}
            world.failures.append({**said, **peer, **place(line)})


def _superseded(world: World, every: t.Sequence[World]) -> bool:
    """Whether the same hosts were started again after it, and came through; adapters keep what they said."""
    if any(each["weight"] == HARDWARE for each in world.failures):
        return False
    return any(
        other is not world and other.ready and not other.failures and other.last > world.last
        and world.hosts and set(world.hosts) <= set(other.hosts)
        for other in every
    )  # fmt: skip
