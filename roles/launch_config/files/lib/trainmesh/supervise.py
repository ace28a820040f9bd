# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follow a launcher from the head: its output, signals to this process, the first rank that fails, and the end.

The launcher has a session of its own, so that Ctrl-C reaches this process alone, which then ends the job on every node;
a failure of one node ends it on the others too.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import time
import typing as t

from trainmesh import ending
from trainmesh.installation import Installation, Refused
from trainmesh.job import Job
from trainmesh.launchers import directory_of
from trainmesh.relay import Failure, Relay
from trainmesh.runs import logged

FAILED_SECONDS = 8.0  # from the first rank that failed to the end of the job: the others may have to say why
DRAIN_SECONDS = 3.0  # for what others hold open after the launcher has ended
STOP_SECONDS = 80.0  # for stopping on every node
SHOWN_LINES = 20
_RESTARTS = re.compile(r"max[-_]restarts(?!=0)|elastic")


class Supervisor:
    """One run of a launcher."""

    def __init__(self, installation: Installation, job: Job, relay: Relay, again: bool = False) -> None:
        """``again``: the job may be started once more, as far as nobody else has stopped it."""
        self.installation, self.job, self.relay, self.again = installation, job, relay, again
        self.signal = 0
        self.failed = 0.0  # when the first rank failed
        self.broken = False  # nobody reads our own output any more
        self.elastic = any(_RESTARTS.search(word) for word in job.launcher_arguments)

    def run(self, command: t.Sequence[str], environment: t.Mapping[str, str]) -> int:
        """Start it and follow it to its end; the exit status as a shell has it, not 0 when any rank failed."""
        waker, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_args: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._note)
        # the other launchers end with the pdsh that they start, which looks at the leader (libexec/path/pdsh)
        with_us = ending.dies_with_parent(signal.SIGTERM) if self.job.launcher == "mpirun" else None
        try:
            process = subprocess.Popen(
                list(command),
                env={**environment, "TRAINMESH_LEADER": str(os.getpid())},
                preexec_fn=with_us,  # noqa: PLW1509 # there are no threads here
                cwd=self.installation.prefix,  # DeepSpeed changes to this directory on every node
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise Refused(f"{command[0]} can't be started: {error.strerror}: run the site playbook") from None
        with selectors.DefaultSelector() as selector:
            selector.register(waker, selectors.EVENT_READ)
            for stream, pipe in ((1, process.stdout), (2, process.stderr)):
                if pipe is not None:
                    selector.register(pipe, selectors.EVENT_READ, stream)
            self._follow(selector, process, lambda: self.signal or self.broken or self._given_up())
            status = self._status(process)
            if status:
                self._stop(selector, process)
        signal.set_wakeup_fd(-1)
        os.close(waker)
        os.close(woken)
        self._report(status)
        return status

    def end(self, status: int) -> None:
        """The last line."""
        if status and logged(self.job):
            log = f"{directory_of(self.installation, self.job.run_id)}/log"
            self.say(f"trainmesh: the run {self.job.run_id} ended with status {status}; its log is {log}")
        self.relay.close()

    def _note(self, number: int, _frame: t.Any) -> None:
        self.signal = self.signal or number

    def _given_up(self) -> bool:
        """Whether a rank has failed so long ago that nothing more is to come."""
        return bool(self.relay.failures) and not self.elastic and time.monotonic() > self.failed + FAILED_SECONDS

    def _follow(
        self, selector: selectors.BaseSelector, process: subprocess.Popen[bytes], enough: t.Callable[[], object]
    ) -> None:
        """Relay the output until the launcher has ended, or it is enough."""
        ended: float | None = None
        while not enough():
            for key, _events in selector.select(0.5):
                if key.data is None:
                    with contextlib.suppress(BlockingIOError):
                        os.read(key.fd, 512)
                    continue
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                self._relay(key.data, data)
            if self.relay.failures and not self.failed:
                self.failed = time.monotonic()
            if ended is None and process.poll() is not None:
                ended = time.monotonic()
            open_pipes = len(selector.get_map()) > 1
            if ended is not None and (not open_pipes or time.monotonic() > ended + DRAIN_SECONDS):
                return

    def _relay(self, stream: int, data: bytes) -> None:
        try:
            self.relay.take(stream, data)
        except OSError:  # the reader of our own output has gone, or its disk is full
            self.broken = True

    def _status(self, process: subprocess.Popen[bytes]) -> int:
        """The status so far."""
        if self.signal:
            return 128 + self.signal
        if self.broken:
            return 128 + signal.SIGPIPE
        status = process.poll()
        if status is None:
            return 1
        if status < 0:
            return 128 - status
        # DeepSpeed's launcher ends with 0 when a signal has ended one of its children
        return status or int(bool(self.relay.failures) and not self.elastic)

    def _stop(self, selector: selectors.BaseSelector, process: subprocess.Popen[bytes]) -> None:
        """End the run on every node, and hear what is still said."""
        if self.signal:
            self.say(f"trainmesh: stopping the run {self.job.run_id} on every node")
        deadline = time.monotonic() + STOP_SECONDS
        words = [f"{self.installation.prefix}/bin/trainmesh-stop", "--quiet", self.job.run_id]
        words[2:2] = ["--restart"] if self.again else []
        environment = {name: value for name, value in os.environ.items() if name != "TRAINMESH_RUN_ID"}
        # a second Ctrl-C would leave ranks behind
        stopper = subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
        self._follow(selector, stopper, lambda: time.monotonic() > deadline)
        self._follow(selector, process, lambda: time.monotonic() > deadline)
        if process.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if stopper.poll() is None:
            stopper.kill()
            self.say("trainmesh: not every node has answered: look with trainmesh-stop " + self.job.run_id)
        stopper.wait()

    def _report(self, status: int) -> None:
        """Say last what a user wants to know first: which rank failed, why, and what it wrote."""
        failure = None if self.signal else self.relay.first_failure()
        if status and logged(self.job):
            if failure is not None:
                for line in [*told(failure, len(self.relay.failures)), *advice(self.installation.prefix, failure.how)]:
                    self.say(line)
            if not self.signal and (failure is None or failure.follows):
                for node, why in self.relay.lost.items():
                    self.say(f"trainmesh: the connection to {node} has ended{': ' if why else ''}{why}")
        missing = self.relay.incomplete()
        if missing:
            self.say(f"trainmesh: not all of the output could be written: {missing}")

    def say(self, text: str) -> None:
        """A line of our own."""
        self.relay.say(text)


def told(failure: Failure, count: int) -> list[str]:
    """A failure for the user's eyes."""
    who = f"rank {failure.rank} on {failure.node}" if failure.rank else f"the program on {failure.node}"
    lines = [line for line in failure.lines if line.strip()][-SHOWN_LINES:]
    shown = [f"trainmesh: its last lines:\n{chr(10).join(f'  | {line}' for line in lines)}"] if lines else []
    more = f" ({count - 1} more failed after it)" if count > 1 else ""
    return ["", *shown, f"trainmesh: {who} failed first{more}: {failure.how}"]


def advice(prefix: str, how: str) -> list[str]:
    """Why such a thing happens and what to do, as the checks of the playbooks know it; nothing where they do not."""
    try:
        with open(f"{prefix}/share/causes.json", encoding="utf-8") as source:
            known = json.load(source)
    except (OSError, ValueError):
        return []
    cause = how.partition(": ")[2]
    about_nccl = re.search(known["nccl"], cause)
    for pattern, nccl, why, remedy in known["rows"]:
        if (about_nccl or not nccl) and (re.search(pattern, cause) or re.search(pattern, how)):
            return [f"trainmesh: why: {why}", f"trainmesh: fix: {remedy}"] if why else []
    return []
