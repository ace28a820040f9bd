# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``trainmesh run --restarts N``: start a job again after a rank has failed or a node was away.

The script goes on from its own checkpoint: TRAINMESH_RESTART tells it how often it was started before.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import time
import typing as t

from trainmesh import fanout, launchers, runs
from trainmesh.installation import Installation, Refused
from trainmesh.job import Job
from trainmesh.relay import Relay, Sink
from trainmesh.supervise import Supervisor

AT_ONCE_SECONDS = 60.0  # what fails sooner, and twice in the same way, would fail forever
START_SECONDS = 600.0  # in which a slow start has ended: a rank that was silent for longer has worked
PAUSE_SECONDS = 5.0
ASK_SECONDS = 40.0


class Wish(t.NamedTuple):
    """How often a job is started again, and how long its nodes are waited for."""

    restarts: int
    wait: float


class Interrupted(Exception):
    """A signal to this process, between two attempts."""


class Attempts:
    """One run and its restarts; each attempt goes into the same log."""

    def __init__(self, installation: Installation, job: Job, wish: Wish, sinks: t.Mapping[int, Sink], log: Sink | None):
        self.installation, self.job, self.wish, self.sinks, self.log = installation, job, wish, sinks, log
        self.mark = f"{launchers.directory_of(installation, job.run_id)}/{runs.RESTARTS}"
        self.interrupted = 0

    def run(self) -> int:
        """Until it has ended well, was stopped, or there is no use in another attempt; the exit status."""
        if self.wish.restarts:
            try:
                os.close(os.open(self.mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            except OSError as error:
                raise Refused(f"{self.mark} can't be written: {error.strerror}") from None
        try:
            return self._run()
        finally:
            with contextlib.suppress(OSError):
                os.unlink(self.mark)

    def _run(self) -> int:
        before = ""
        for count in range(self.wish.restarts + 1):
            begun = time.monotonic()
            job = self.job._replace(variables=[*self.job.variables, *self._told(count)])
            relay = Relay(self.installation.names(), self.sinks, self.log)
            one = Supervisor(self.installation, job, relay, again=count < self.wish.restarts)
            status = one.run(launchers.command(self.installation, job), launchers.environment(self.installation, job))
            how = signature(relay, status) if at_once(begun, relay.heard, time.monotonic()) else ""
            if not status or one.signal or one.broken or not self.wish.restarts:
                break
            if not self._goes_on(one, count, how if how == before else ""):
                status = 128 + self.interrupted if self.interrupted else status
                break
            before = how
        one.end(status)
        return status

    def _told(self, count: int) -> list[str]:
        """What the ranks learn of it."""
        return [f"TRAINMESH_RESTART={count}"] if self.wish.restarts else []

    def _goes_on(self, one: Supervisor, count: int, same: str) -> bool:
        """Whether there is another attempt, once all nodes are there."""
        if count == self.wish.restarts:
            one.say(f"trainmesh: restart {count} of {self.wish.restarts} was the last one")
        elif not os.path.exists(self.mark):
            one.say("trainmesh: somebody has stopped the run: it is not started again")
        elif same:
            one.say(f"trainmesh: it has failed twice at once in the same way ({same}): it is not started again")
        else:
            try:
                with interrupting():
                    if one.signal:
                        raise Interrupted(one.signal)
                    time.sleep(PAUSE_SECONDS)
                    if not self._nodes_are_there(one):
                        return False
            except Interrupted as error:
                self.interrupted = int(str(error))
                one.say(f"trainmesh: the run {self.job.run_id} is not started again")
                return False
            one.say(f"trainmesh: restart {count + 1} of {self.wish.restarts}")
            return True
        return False

    def _nodes_are_there(self, one: Supervisor) -> bool:
        """Wait until each node has answered, and has ended what is left of the last attempt there."""
        names = [node.name for node in self.job.nodes]
        stop = f"{shlex.quote(self.installation.prefix)}/bin/trainmesh-stop --here --quiet --restart {self.job.run_id}"
        deadline, missed = time.monotonic() + self.wish.wait, ""
        while True:
            answers = fanout.on(self.installation, names, stop, ASK_SECONDS)
            away = {name: answer.trouble for name, answer in answers.items() if answer.status != 0}
            if not os.path.exists(self.mark):
                one.say("trainmesh: somebody has stopped the run: it is not started again")
                return False
            if not away:
                return True
            listed, rest = ", ".join(away), deadline - time.monotonic()
            if listed != missed:
                reasons = ", ".join(f"{name} ({why})" for name, why in away.items())
                one.say(f"trainmesh: waiting for {reasons}, {max(0.0, rest):.0f} s at most")
                missed = listed
            if rest < 0:
                one.say(f"trainmesh: {listed} did not come back within {self.wish.wait:.0f} s")
                return False
            time.sleep(PAUSE_SECONDS)


def at_once(begun: float, heard: float, now: float) -> bool:
    """Whether an attempt has failed soon after its start, or after the first line of a rank: starts may be slow."""
    return now - begun < AT_ONCE_SECONDS or (now - begun < START_SECONDS and now - (heard or now) < AT_ONCE_SECONDS)


def signature(relay: Relay, status: int) -> str:
    """How an attempt has failed, in words that are the same when it fails so again; empty where a node was lost."""
    failure = relay.first_failure()
    if relay.lost and (failure is None or failure.follows):
        return ""
    return re.sub(r" of process \d+", "", failure.how) if failure else f"status {status} of the launcher"


@contextlib.contextmanager
def interrupting() -> t.Iterator[None]:
    """Signals that end a run raise Interrupted meanwhile."""

    def note(number: int, _frame: t.Any) -> None:
        raise Interrupted(number)

    before = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
