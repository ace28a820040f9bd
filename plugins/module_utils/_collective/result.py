# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the lines of the ranks to bandwidths, errors and suspects; nothing here is run."""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._collective.rank import MARK

SLOW_SHARE = 0.5  # of the best pair: what is below is a slow link
# What a rank says when another one has gone before it.
CONSEQUENCE = re.compile(
    r"closed by (?:remote )?peer|reset by peer|Broken pipe|[Tt]imed out|[Tt]imeout|recvValue failed"
)
# How torchrun tells of a rank that a signal has ended; it ends the others itself with signal 15.
EXITED = re.compile(r"exitcode\s{0,8}: -(\d{1,2})\)?[^\n]{0,40}\(pid: (\d{1,10})\)")
# How our own rank wrapper tells of it, whose process torchrun takes for the rank's.
FAILED = re.compile(r"trainmesh-rank: [^\n]{1,300}? failed: signal (\d{1,2}) \(\w{1,12}\) of process (\d{1,10})\b")
Trial = dict[str, t.Any]


def event(line: str) -> dict[str, t.Any] | None:
    """The event in a line, whatever a launcher has put before or glued behind it; None when there is none."""
    place = line.find(MARK)
    if place < 0:
        return None
    try:
        found, _end = json.JSONDecoder().raw_decode(line[place + len(MARK) :])
    except ValueError:
        return None
    known = isinstance(found, dict) and isinstance(found.get("rank"), int) and isinstance(found.get("e"), str)
    return found if known else None


def bandwidth(size: int, seconds: float, world: int) -> dict[str, t.Any]:
    """A row of the sweep, in GB/s as nccl-tests counts: algbw = S/t, busbw = algbw * 2(n-1)/n (PERFORMANCE.md)."""
    algorithm = size / seconds / 1e9 if seconds > 0 else 0.0
    bus = algorithm * 2 * (world - 1) / world if world > 0 else 0.0
    return {"bytes": size, "seconds": seconds, "algbw_gbps": round(algorithm, 6), "busbw_gbps": round(bus, 6)}


class Rank:
    """What is known of one rank; ``n_ready`` and ``n_done`` count the sums that it came to and came through."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.pid: int | None = None
        self.phase = ""
        self.n_ready = -1
        self.n_done = -1
        self.end: dict[str, t.Any] | None = None
        self.signal: int | None = None
        self.status: int | None = None
        self.state = ""
        self.note = ""  # what ssh or the launcher said last, when the rank itself said nothing
        self.backend: str | None = None
        self.world: int | None = None

    def take(self, found: t.Mapping[str, t.Any]) -> None:
        """Note one event."""
        kind = found["e"]
        if kind == "up":
            self.pid = found.get("pid")
        if kind == "group":
            self.backend, self.world = found.get("backend"), found.get("world")
        if kind == "exit":
            self.signal, self.status = found.get("signal"), found.get("status")
            return
        self.phase = kind
        if kind in ("ready", "done"):
            setattr(self, f"n_{kind}", int(found.get("n") or 0))
        if kind == "end":
            self.end = dict(found)

    @property
    def error(self) -> str | None:
        """What is wrong with this rank in one sentence; None when it came through or only never came to an end."""
        if self.end and self.end.get("error"):
            return str(self.end["error"])
        if self.signal and self.end is None:
            return f"killed by signal {self.signal}"
        if self.status and self.end is None:
            return f"ended with status {self.status} without a word"
        return None

    @property
    def failure(self) -> str:
        """The kind of its error."""
        return "killed" if self.signal == 9 and self.end is None else "failed"

    @property
    def where(self) -> str:
        """How far it came, for people."""
        if self.phase == "ready":
            return f"waits in sum {self.n_ready}"
        if self.phase == "done":
            return f"works by itself after sum {self.n_done}"
        words = {"": "was never started", "up": "loads torch", "torch": "waits for the other ranks", "end": "has ended"}
        return words.get(self.phase, "has joined the group")


def note_exits(ranks: t.Iterable[Rank], text: str) -> None:
    """Take from a host's lines of torchrun and of the rank wrapper which of its ranks a signal has ended."""
    told = [*EXITED.findall(text), *FAILED.findall(text)]
    signals = {int(pid): int(number) for number, pid in told if int(number) != 15}
    for rank in ranks:
        if rank.pid in signals and rank.end is None:
            rank.take({"e": "exit", "signal": signals[rank.pid]})


def sweep(ranks: t.Mapping[int, Rank], world: int) -> tuple[list[dict[str, t.Any]], bool]:
    """The sweep as the slowest rank saw it, and whether no size was left out."""
    ends = [rank.end for rank in ranks.values() if rank.end and not rank.end.get("error")]
    seconds: dict[int, float] = {}
    for end in ends:
        for row in end.get("rows") or []:
            seconds[row["bytes"]] = max(seconds.get(row["bytes"], 0.0), float(row["seconds"]))
    rows = [bandwidth(size, seconds[size], world) for size in sorted(seconds)]
    return rows, bool(ends) and all(end.get("complete") for end in ends)


def blamed(ranks: t.Mapping[int, Rank]) -> list[dict[str, t.Any]]:
    """Hosts whose ranks show by themselves that they are at fault, with ``failure``, the kind of it, and evidence.

    ``killed`` (by signal 9), ``failed`` (before others), ``stopped``, ``in_kernel``, ``awaited`` or ``not_started``.
    """
    found: dict[str, tuple[str, str]] = {}
    for number, rank in sorted(ranks.items()):
        error = rank.error
        if error and not CONSEQUENCE.search(error):
            found.setdefault(rank.host, (rank.failure, f"rank {number}: {error}"))
        elif rank.state in ("T", "t"):
            text = f"rank {number} is stopped (process state {rank.state}), it {rank.where}"
            found.setdefault(rank.host, ("stopped", text))
        elif rank.state == "D":
            text = f"rank {number} hangs in the kernel (process state D), it {rank.where}"
            found.setdefault(rank.host, ("in_kernel", text))
        elif rank.end is None and rank.phase == "done" and any(each.n_ready > rank.n_done for each in ranks.values()):
            found.setdefault(rank.host, ("awaited", f"rank {number} {rank.where}, the others wait for it"))
    if not found:
        silent = {rank.host: rank.note for rank in ranks.values() if not rank.phase}
        noted = {host: note for host, note in silent.items() if note} or silent
        found = {
            host: ("not_started", "its ranks were never started" + (f": {note}" if note else ""))
            for host, note in noted.items()
        }
    if len(found) == len({rank.host for rank in ranks.values()}):
        return []  # the same everywhere: nobody's own fault
    return [{"hosts": [host], "failure": failure, "evidence": text} for host, (failure, text) in found.items()]


def failing(trials: t.Sequence[Trial]) -> list[Trial]:
    """The trials that failed, and among those of two nodes the ones much slower than the best of them."""
    pairs = [
        trial["busbw_gbps"] for trial in trials if trial["ok"] and len(trial["hosts"]) == 2 and trial["busbw_gbps"]
    ]
    floor = SLOW_SHARE * max(pairs, default=0.0)
    slow = [
        trial for trial in trials if trial["ok"] and len(trial["hosts"]) == 2 and (trial["busbw_gbps"] or floor) < floor
    ]
    return [trial for trial in trials if not trial["ok"]] + slow


def suspects(trials: t.Sequence[Trial]) -> list[dict[str, t.Any]]:
    """The fewest nodes, else pairs, that explain which trials failed.

    A node of a trial that went well is not bad by itself; a pair of two such nodes that fails is.
    """
    bad = sorted(failing(trials), key=lambda trial: len(trial["hosts"]))
    slow = any(trial["ok"] for trial in bad)
    # that many together came through says nothing about who of them is slow
    witnesses = [trial for trial in trials if trial not in bad and (not slow or len(trial["hosts"]) == 2)]
    good = {host for trial in witnesses for host in trial["hosts"]}
    found: list[dict[str, t.Any]] = []
    left = list(bad)
    while left:
        open_hosts = [host for trial in left for host in trial["hosts"] if host not in good]
        if not open_hosts:
            break
        often = max(open_hosts.count(host) for host in open_hosts)
        worst = sorted({host for host in open_hosts if open_hosts.count(host) == often})
        explained = [trial for trial in left if set(worst) & set(trial["hosts"])]
        found.append(_of_trials(worst, explained))
        left = [trial for trial in left if trial not in explained]
    pairs = [trial for trial in left if not any(set(other["hosts"]) < set(trial["hosts"]) for other in left)]
    return found + [_of_trials(list(trial["hosts"]), [trial]) for trial in pairs]


def _of_trials(hosts: list[str], trials: t.Sequence[Trial]) -> dict[str, t.Any]:
    """A suspect, and what the trials showed."""
    parts = []
    for trial in trials[:4]:
        speed = f"only {trial['busbw_gbps']:.4f} GB/s" if trial["ok"] else trial["error"]
        parts.append(f"{' + '.join(trial['hosts'][:4])}: {speed}")
    return {"hosts": hosts, "failure": "trials", "evidence": "; ".join(parts)}


def rounds(hosts: t.Sequence[str]) -> list[list[tuple[str, str]]]:
    """All pairs in rounds, in each of which a host is in at most one pair (round robin)."""
    ring: list[str] = [*hosts] + ([""] if len(hosts) % 2 else [])
    answer = []
    for _round in range(len(ring) - 1):
        pairs = [(ring[at], ring[-1 - at]) for at in range(len(ring) // 2)]
        answer.append([pair for pair in pairs if "" not in pair])
        ring = [ring[0], ring[-1], *ring[1:-1]]
    return answer
