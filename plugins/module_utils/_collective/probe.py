# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sum over all nodes, and when it fails or is slow, trials that find out where.

First all nodes; then, if some have shown to be at fault by themselves, the others without them, which
must work; else pairs, many at a time, until the trials tell who it is; else halves.
"""

from __future__ import annotations

import concurrent.futures
import json
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import run
from ansible_collections.trainmesh.cluster.plugins.module_utils._collective import result
from ansible_collections.trainmesh.cluster.plugins.module_utils._collective.runner import (
    Command,
    Node,
    Runner,
    Trial,
    by_ssh,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import nccl

TRIAL_SECONDS = 45.0
LEAST_SECONDS = 12.0  # a trial with less than this left would only show that there is no time
PAIR_SIZES = (1024, 65536, 1048576)


class Wish(t.NamedTuple):
    """What is asked for; seconds and bytes. ``slow_below`` is in GB/s of busbw, 0 for no such limit."""

    nodes: t.Sequence[Node]
    python: str
    launcher: str
    script: str
    run_id: str
    backend: str
    sizes: t.Sequence[int]
    port: int
    environment: t.Mapping[str, str]
    timeout: float
    stall: float
    slow_below: float


class Probe:
    """One run of the probe, within its limit of time."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.deadline = time.monotonic() + wish.timeout
        self.trials: list[result.Trial] = []

    def left(self) -> float:
        """Seconds left, without those that ending a trial may take."""
        return self.deadline - time.monotonic() - 8

    def attempt(self, nodes: t.Sequence[Node], sizes: t.Sequence[int], limit: float) -> Trial:
        """One trial through ssh over these nodes, the first of them the master."""
        world, first, commands = sum(node.slots for node in nodes), 0, []
        for node in nodes:
            names = {"GLOO_SOCKET_IFNAME": node.interface, "NCCL_SOCKET_IFNAME": f"={node.interface}"}
            spec = {
                "name": node.name, "slots": node.slots, "first": first, "world": world, "limit": max(5.0, limit - 3),
                "master": nodes[0].address, "port": self.wish.port, "sizes": list(sizes), "backend": self.wish.backend,
                "env": {**(names if node.interface else {}), **self.wish.environment},
            }  # fmt: skip
            commands.append(by_ssh(node, self.wish.python, spec))
            first += node.slots
        return Runner(nodes, limit, self.wish.stall).run(commands)

    def launched(self, limit: float) -> Trial:
        """The trial over all nodes through the launch script."""
        wish = self.wish
        spec = {"sizes": list(wish.sizes), "backend": wish.backend, "limit": max(5.0, limit - 3)}
        words = [
            "--run-id",
            wish.run_id,
            "--master-port",
            str(wish.port),
            "--",
            wish.script,
            "--spec",
            json.dumps(spec),
        ]
        stop = [wish.launcher.rsplit("/", 1)[0] + "/trainmesh-stop", "--quiet", wish.run_id]
        return Runner(wish.nodes, limit, wish.stall).run(
            [Command("", [wish.launcher, *words], b"")], lambda: run(stop, 30) and None
        )

    def note(self, nodes: t.Sequence[Node], trial: Trial) -> result.Trial:
        """Keep a trial in the words of the answer."""
        rows, _complete = result.sweep(trial.ranks, len(trial.ranks))
        speed = rows[-1]["busbw_gbps"] if rows else None
        hosts = [node.name for node in nodes]
        self.trials.append({"hosts": hosts, "ok": not trial.error, "error": trial.error, "busbw_gbps": speed})
        return self.trials[-1]

    def together(self, groups: t.Sequence[t.Sequence[Node]]) -> list[result.Trial]:
        """Several trials at once, on nodes that no two of them share."""
        limit = min(TRIAL_SECONDS, self.left())
        with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, len(groups))) as pool:
            found = list(pool.map(lambda group: self.attempt(group, PAIR_SIZES, limit), groups))
        return [self.note(group, trial) for group, trial in zip(groups, found)]

    def answer(self) -> dict[str, t.Any]:
        """Run it all."""
        wish = self.wish
        limit = min(self.left(), max(30.0, wish.timeout * 0.5))
        trial = self.launched(limit) if wish.launcher else self.attempt(wish.nodes, wish.sizes, limit)
        self.note(wish.nodes, trial)
        if undecided(trial) and self.left() > LEAST_SECONDS:
            trial = self.attempt(wish.nodes, wish.sizes, min(self.left(), limit))
            self.note(wish.nodes, trial)
        rows, complete = result.sweep(trial.ranks, len(trial.ranks))
        slow = bool(rows) and len(wish.nodes) > 1 and (not complete or rows[-1]["busbw_gbps"] < wish.slow_below)
        found: list[dict[str, t.Any]] = []
        out_of_time = late(trial)
        if (trial.error or slow) and not out_of_time and len(wish.nodes) > 1:
            found = self.search(trial)
        worlds = [rank.world for rank in trial.ranks.values() if rank.world]
        return {
            "ok": not trial.error,
            "backend": self._backend(trial),
            "world_size": worlds[0] if worlds else 0,
            "via": "torchrun" if wish.launcher else "ssh",
            "sweep": rows,
            "complete": complete,
            "ranks": [self._rank(number, rank) for number, rank in sorted(trial.ranks.items())],
            "nccl": self._nccl(trial),
            "trials": self.trials,
            "suspects": found,
            "error": trial.error or None,
            "reason": {"hosts": [trial.host] if trial.host else [], "failure": trial.failure, "evidence": trial.error}
            if trial.error
            else None,
            "late": trial.error if out_of_time else None,
        }

    def search(self, trial: Trial) -> list[dict[str, t.Any]]:
        """Who it is; an empty list when the time did not suffice or the trials do not tell."""
        own = result.blamed(trial.ranks) if trial.error else []
        bad = {host for each in own for host in each["hosts"]}
        rest = [node for node in self.wish.nodes if node.name not in bad]
        if own and len(rest) < 2:
            return own
        if own and self.left() > LEAST_SECONDS and self.together([rest])[0]["ok"]:
            return own
        others = [node.name for node in (rest if own else self.wish.nodes)]
        return [*own, *self.pairs(others)]

    def pairs(self, names: t.Sequence[str]) -> list[dict[str, t.Any]]:
        """Rounds of pairs until the trials tell; then halves, if no pair has failed."""
        nodes = {node.name: node for node in self.wish.nodes}
        known = len(self.trials)
        if len(names) < 3:
            return result.suspects(self.trials)
        for number, pairs in enumerate(result.rounds(names)):
            if self.left() < LEAST_SECONDS:
                break
            self.together([[nodes[first], nodes[second]] for first, second in pairs])
            done = self.trials[known:]
            found = result.suspects(done)
            told = all(len(each["hosts"]) == 1 for each in found)
            if found and told and number >= 1 and len(done) > 2:
                break
        done = self.trials[known:]
        return result.suspects(done) if result.failing(done) else self.halves(names)

    def halves(self, names: t.Sequence[str]) -> list[dict[str, t.Any]]:
        """All pairs went well and all nodes together did not: the smallest group that fails."""
        nodes = {node.name: node for node in self.wish.nodes}
        group = list(names)
        while len(group) > 3 and self.left() > LEAST_SECONDS:
            parts = [group[: len(group) // 2], group[len(group) // 2 :]]
            tried = self.together([[nodes[name] for name in part] for part in parts])
            failed = [part for part, done in zip(parts, tried) if not done["ok"]]
            if not failed:
                break
            group = failed[0]
        if len(group) == len(self.wish.nodes):
            return []
        text = "the pairs among them work, all of them together do not"
        return [{"hosts": group, "failure": "together", "evidence": text}]

    @staticmethod
    def _backend(trial: Trial) -> str | None:
        found = [rank.backend for rank in trial.ranks.values() if rank.backend]
        return found[0] if found else None

    @staticmethod
    def _rank(number: int, rank: result.Rank) -> dict[str, t.Any]:
        """One rank for the answer."""
        error = rank.error or (None if rank.end else rank.where)
        return {"rank": number, "host": rank.host, "seconds": (rank.end or {}).get("own"), "error": error}

    @staticmethod
    def _nccl(trial: Trial) -> dict[str, t.Any]:
        """What NCCL has printed on each host."""
        return {host: nccl.parse(text) for host, text in trial.texts.items() if " NCCL " in text}


def undecided(trial: Trial) -> bool:
    """Whether a rank was still loading torch and none had failed: on a busy node that may take a minute."""
    loading = any(rank.phase == "up" for rank in trial.ranks.values())
    started = all(rank.phase for rank in trial.ranks.values())
    return bool(trial.error) and loading and started and not result.blamed(trial.ranks)


def late(trial: Trial) -> bool:
    """Whether our own limit of time alone ended a trial that was still on its way: that is nobody's fault.

    Ranks were not started or still loaded torch, or sums went on to the last. A stopped rank, one that failed, and
    one of which ssh told something are not waited for in vain.
    """
    ranks = trial.ranks.values()
    ended_by_us = trial.error and trial.ended in ("timeout", "stalled")
    if not ended_by_us or any(rank.error or rank.state in ("T", "t") for rank in ranks):
        return False
    loading = [rank for rank in ranks if rank.phase in ("", "up")]
    if loading:
        return not any(rank.note for rank in loading)
    return trial.ended == "timeout" and not result.blamed(trial.ranks)


def nothing(wish: Wish) -> dict[str, t.Any]:
    """The answer when nothing is run."""
    empty: dict[str, t.Any] = {"sweep": [], "ranks": [], "nccl": {}, "trials": [], "suspects": []}
    via = "torchrun" if wish.launcher else "ssh"
    rest = dict.fromkeys(("ok", "backend", "error", "reason", "late"))
    return {**empty, **rest, "world_size": 0, "via": via, "complete": False, "seconds": 0.0}


def probe(wish: Wish) -> dict[str, t.Any]:
    """The answer of the module; it never takes longer than about the limit of ``wish``."""
    started = time.monotonic()
    answer = Probe(wish).answer()
    return {**answer, "seconds": round(time.monotonic() - started, 3)}
