# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the ranks of a trial, follow their lines, and end them on all nodes.

Standard input of each ssh stays open while the trial runs: its end, for whatever reason, is what ends
the ranks on the node. So nothing is left there when this process is killed, either.
"""

from __future__ import annotations

import inspect
import os
import re
import selectors
import shlex
import signal
import subprocess
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import run
from ansible_collections.trainmesh.cluster.plugins.module_utils._collective import rank as rank_program
from ansible_collections.trainmesh.cluster.plugins.module_utils._collective.result import (
    CONSEQUENCE,
    Rank,
    event,
    note_exits,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe.ssh_login import QUIETLY

MAX_LINES = 6000  # of a host: the first half (how it came up) and the last (how it ended)
SSH = ("ssh", "-T", *QUIETLY, "-o", "ConnectTimeout=10")
GRACE_SECONDS = 5.0
START_SECONDS = 45.0  # to load torch from a slow disk; with more time for all, this share of it
START_SHARE = 0.75
# How the words of a trial begin that was ended by a limit of ours.
# pdsh's own words begin with its name; behind it stands the host, as before any other line
PDSH = re.compile(r"pdsh@[^\s:]{1,100}: ")


class Node(t.NamedTuple):
    """A node of the trial; ``ssh_name`` is what ssh is told, ``interface`` may be empty (left to the library)."""

    name: str
    ssh_name: str
    address: str
    slots: int
    interface: str


class Command(t.NamedTuple):
    """A process of this node that starts ranks: on ``host``, or on all when ``host`` is empty."""

    host: str
    argv: t.Sequence[str]
    stdin: bytes


class Trial(t.NamedTuple):
    """What a trial came to: all ranks, what went wrong in a sentence, and the other lines by host.

    ``failure`` is the kind of ``error``, as of a suspect or ``waits``; ``host`` that of a rank which failed or was
    never started. ``ended`` says which patience was at its end: ``timeout``, ``stalled``, ``early`` or none.
    """

    ranks: dict[int, Rank]
    error: str
    failure: str
    host: str
    ended: str
    texts: dict[str, str]
    seconds: float


def payload(spec: t.Mapping[str, t.Any]) -> bytes:
    """The program and its call, to be read from standard input."""
    return f"{inspect.getsource(rank_program)}\nguard({dict(spec)!r})\n".encode()


def by_ssh(node: Node, python: str, spec: t.Mapping[str, t.Any]) -> Command:
    """The ranks of one node through ssh; nothing is written on the node, and nothing but the length is in argv."""
    program = payload(spec)
    boot = (
        f"import os;b=b''\nwhile len(b)<{len(program)}:\n c=os.read(0,{len(program)}-len(b))\n"
        " if not c:os._exit(1)\n b+=c\nexec(compile(b,'collective_probe','exec'),{'__name__':'probe'})"
    )
    remote = f"exec {shlex.quote(python)} -uB -c {shlex.quote(boot)}"
    return Command(node.name, [*SSH, node.ssh_name, remote], program)


class Runner:
    """One trial: ``stall`` are the seconds without any event after which it is given up, once all have loaded torch."""

    def __init__(self, nodes: t.Sequence[Node], limit: float, stall: float) -> None:
        self.nodes = nodes
        self.limit, self.stall = limit, stall
        self.start = max(stall, START_SECONDS, START_SHARE * limit)
        hosts = [node.name for node in nodes for _slot in range(node.slots)]
        self.ranks = {number: Rank(host) for number, host in enumerate(hosts)}
        self.lines: dict[str, list[str]] = {node.name: [] for node in nodes}
        self.errors: dict[str, str] = {}
        self.processes: list[tuple[Command, subprocess.Popen[bytes]]] = []
        self.started = self.heard = time.monotonic()
        self.trouble: float | None = None

    def run(self, commands: t.Sequence[Command], end: t.Callable[[], None] | None = None) -> Trial:
        """Start the commands and follow them to the end; ``end`` is called when they have to be ended early."""
        ended = ""
        try:
            for command in commands:
                self._start(command)
            ended = self._follow()
            if ended:
                self._look_at_states()
        finally:
            self._stop(end if ended else None)
        texts = {host: "\n".join(lines) for host, lines in self.lines.items()}
        return Trial(self.ranks, *self._verdict(ended), ended, texts, round(time.monotonic() - self.started, 3))

    def _start(self, command: Command) -> None:
        """Start one command and hand over the program; what cannot be started tells so in the end."""
        try:
            process = subprocess.Popen(  # pylint: disable=ansible-bad-function # run_command has no limit
                list(command.argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd="/",  # where Ansible stands may be closed to the job user, or absent on the other nodes
            )
        except OSError as error:
            self.errors[command.host] = str(error)
            return
        self.processes.append((command, process))
        if process.stdin is not None and command.stdin:
            try:
                process.stdin.write(command.stdin)
                process.stdin.flush()
            except OSError:
                pass  # ssh ended at once: its own words tell why

    def _follow(self) -> str:
        """Read until all is said; ``timeout``, ``stalled`` or ``early`` when it has to be ended before."""
        with selectors.DefaultSelector() as selector:
            rests: dict[int, bytes] = {}
            for command, process in self.processes:
                if process.stdout is not None:
                    selector.register(process.stdout, selectors.EVENT_READ, command.host)
            while selector.get_map():
                for key, _events in selector.select(0.25):
                    data = os.read(key.fd, 65536)
                    lines = (rests.pop(key.fd, b"") + data).split(b"\n")
                    rests[key.fd] = lines.pop()[-65536:]
                    for line in lines if data else [*lines, rests[key.fd]]:
                        self._take(str(key.data), line.decode("utf-8", "replace"))
                    if not data:
                        selector.unregister(key.fileobj)
                if all(rank.end is not None for rank in self.ranks.values()):
                    return ""
                ended = self._hopeless(time.monotonic())
                if ended:
                    return ended
        return ""

    def _take(self, host: str, line: str) -> None:
        """One line: an event, or text to keep; under pdsh the host stands before it."""
        found = event(line)
        if found is None:
            line = PDSH.sub("", line)
            prefix, colon, rest = line.partition(": ")
            if not host and colon and prefix in self.lines:
                host, line = prefix, rest
            kept = self.lines[host or self.nodes[0].name]
            kept.append(line[:4000])
            if len(kept) > MAX_LINES:
                del kept[MAX_LINES // 2]
            return
        rank = self.ranks.get(found["rank"])
        if rank is None:
            return
        rank.take(found)
        self.heard = time.monotonic()
        if rank.error and self.trouble is None:
            self.trouble = self.heard

    def _hopeless(self, now: float) -> str:
        """Why it is of no use to wait any longer; empty while it is."""
        if now - self.started > self.limit:
            return "timeout"
        gone = [command for command, process in self.processes if process.poll() is not None]
        for command in gone:
            silent = [rank for rank in self.ranks.values() if command.host in ("", rank.host) and rank.end is None]
            if silent and self.trouble is None:
                self.trouble = now
        if self.trouble is not None and now - self.trouble > GRACE_SECONDS:
            return "early"
        return "stalled" if now - self.heard > self._patience() else ""

    def _patience(self) -> float:
        loaded = all(rank.phase not in ("", "up") for rank in self.ranks.values())
        return self.stall if loaded else self.start

    def _look_at_states(self) -> None:
        """Ask each node for the states of its ranks: a stopped process tells nothing by itself."""
        for node in self.nodes:
            pids = {
                rank.pid: rank for rank in self.ranks.values() if rank.host == node.name and rank.pid and not rank.end
            }
            if not pids:
                continue
            listing = ["ps", "-o", "pid=,stat=", "-p", ",".join(str(pid) for pid in pids)]
            outcome = run([*SSH[:-2], "-o", "ConnectTimeout=4", node.ssh_name, " ".join(listing)], 6)
            for words in (line.split() for line in outcome.out.splitlines()):
                if len(words) == 2 and words[0].isdigit() and int(words[0]) in pids:
                    pids[int(words[0])].state = words[1][:1]

    def _stop(self, end: t.Callable[[], None] | None) -> None:
        """Close every line to the nodes, wait a moment for the ranks to be gone, then end what is left here."""
        for _command, process in self.processes:
            if process.stdin is not None:
                try:
                    process.stdin.close()
                except OSError:
                    pass  # already gone
        if end is not None:
            end()
        deadline = time.monotonic() + 4
        for number in (0, signal.SIGTERM, signal.SIGKILL):
            for _command, process in self.processes:
                if number and process.poll() is None:
                    os.killpg(process.pid, number)
            for _command, process in self.processes:
                try:
                    process.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    continue
            deadline = time.monotonic() + 2
        for _command, process in self.processes:
            if process.stdout is not None:
                process.stdout.close()

    def _verdict(self, ended: str) -> tuple[str, str, str]:
        """(what went wrong in a sentence, the kind of it, the host at fault); empty when every rank came through."""
        for host, lines in self.lines.items():
            note_exits([rank for rank in self.ranks.values() if rank.host == host], "\n".join(lines))
        failed = [(number, rank) for number, rank in sorted(self.ranks.items()) if rank.error]
        # what only follows from another rank's end comes last
        failed.sort(key=lambda each: bool(CONSEQUENCE.search(each[1].error or "")))
        if failed:
            number, rank = failed[0]
            return f"rank {number} on {rank.host}: {rank.error}", rank.failure, rank.host
        for rank in self.ranks.values():
            words = [line for line in self.lines[rank.host] if line.strip()]
            rank.note = "" if rank.phase else self.errors.get(rank.host) or (words[-1].strip()[:300] if words else "")
        missing = [(number, rank) for number, rank in sorted(self.ranks.items()) if rank.end is None]
        if not missing:
            return "", "", ""
        # the one that did not even start, if there is any, and of those the one about which something is known
        number, rank = min(missing, key=lambda each: (bool(each[1].phase), not each[1].note))
        said = f" ({rank.note})" if rank.note else ""
        sentences = {
            "timeout": f"not finished within {self.limit:.0f} s",
            "stalled": f"no progress for {self._patience():.0f} s",
        }
        error = f"{sentences.get(ended, 'ended early')}: rank {number} on {rank.host} {rank.where}{said}"
        return (error, "waits", "") if rank.phase else (error, "not_started", rank.host)
