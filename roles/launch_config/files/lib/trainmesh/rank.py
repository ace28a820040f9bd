# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One rank: every launcher starts this in the place of Python, on each node, once for each rank.

It starts the user's program, hands its output on line by line with the number of the rank, keeps progress bars to one
line a moment, passes signals on, and says how the program ended. When whoever reads the output is gone (the launcher,
the connection to the head), the program is ended too, so that no rank is left behind.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
import time
import typing as t

from trainmesh import ending
from trainmesh.installation import Refused, base_of
from trainmesh.job import Told, told

PASSED_ON = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGCONT")
BAR_SECONDS = 0.5  # between two states of a progress bar
DRAIN_SECONDS = 2.0  # for what others hold open after the program has ended
ORPHAN_SECONDS = 0.5
GRACE_SECONDS = 10.0  # from SIGTERM to SIGKILL when nobody reads any more
REFUSED = 66  # exit status of a rank that can't be started
PIPE_BYTES = 4096  # what a pipe takes at once: lines of several ranks do not run into each other
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def main(prefix: str, words: t.Sequence[str]) -> int:
    """Run one rank; the exit status, or the same signal, is that of the program."""
    rank = told(words)
    prepare(prefix, rank)
    try:
        os.chdir(rank.directory)
    except OSError:
        raise Refused(
            f"{node()} has no directory {rank.directory}: the job starts there on every node. "
            f"Start it from {prefix}/workspace, or bring the directory to every node"
        ) from None
    if rank.kind == "script" and not os.path.isfile(rank.program):
        raise Refused(f"{node()} has no file {rank.program}: bring it to every node")
    return Rank(command(prefix, rank), rank.options.get("bars", "first")).run()


def refused() -> str:
    """How a rank that was not even started is told, if it has a number: as any other one that fails."""
    number = os.environ.get("RANK", "")
    if not number.isdigit():
        return ""
    return f"rank {number} on {node()} failed: exit status {REFUSED} of process {os.getpid()}: "


def node() -> str:
    """This node's name."""
    return os.environ.get("TRAINMESH_NODE_NAME", os.uname().nodename)


def prepare(prefix: str, rank: Told) -> None:
    """Set what the program's environment has beside the files that libexec/trainmesh-rank has read."""
    given = os.environ
    given["TRAINMESH_RUN_ID"] = rank.run_id
    given["PATH"] = f"{base_of(prefix, rank.options.get('environment', ''))}/env/bin:{SYSTEM_PATH}"
    given["PYTHONUNBUFFERED"] = "1"
    given["PYTHONPATH"] = rank.directory
    if given.get("TRAINMESH_DEVICE") == "cpu":
        given["PYTHONPATH"] += f":{prefix}/share/cpu"
    names = rank.options.get("nodes", "").split(",")
    if names != [""]:
        with open(f"{prefix}/etc/hosts", encoding="utf-8") as source:
            own = source.read().split()[int(given["TRAINMESH_NODE_RANK"])]
        given.update(TRAINMESH_NNODES=str(len(names)), TRAINMESH_WORLD_SIZE=rank.options["world"])
        if own not in names:
            raise Refused(f"{node()} is none of the nodes of this run, {', '.join(names)}: run the site playbook")
        given.update(TRAINMESH_NODE_RANK=str(names.index(own)), TRAINMESH_MASTER_ADDR=rank.options["master"])
        if "OMPI_COMM_WORLD_RANK" in given:
            given["MASTER_ADDR"] = rank.options["master"]
    # the user's variables, and with them a chance to set any of the above
    for name, _equals, value in (pair.partition("=") for pair in rank.variables):
        given[name] = value


def command(prefix: str, rank: Told) -> list[str]:
    """The program and its arguments."""
    python = [f"{base_of(prefix, rank.options.get('environment', ''))}/env/bin/python", "-u"]
    if rank.kind == "script":
        return [*python, rank.program, *rank.local_rank, *rank.arguments]
    if rank.kind == "module":
        return [*python, "-m", rank.program, *rank.local_rank, *rank.arguments]
    return [rank.program, *rank.arguments]


class Stream:
    """The program's output, or its errors: cuts it into lines and hands them on with the tag of the rank."""

    def __init__(self, target: int, tag: bytes, own: bytes, bars: bool) -> None:
        self.target, self.tag, self.own, self.bars = target, tag, own, bars
        self.rest = b""
        self.updated = False  # the line has been written over since it began
        self.shown = 0.0
        self.last: list[bytes] = []

    def take(self, data: bytes) -> None:
        """Hand on what is complete of it."""
        *lines, rest = (self.rest + data).replace(b"\r\n", b"\n").split(b"\n")
        out: list[bytes] = []
        for line in lines:
            self._line(line, out)
        if b"\r" in rest:
            self.updated = True
            state = next((part for part in reversed(rest.split(b"\r")) if part.strip()), b"")
            self._state(state, out)
            # a return at the end may be the first half of an end of line
            rest = b"\r" + state + (b"\r" if rest.endswith(b"\r") else b"")
        self.rest = rest[-(1 << 20) :]
        self._write(out)

    def end(self) -> None:
        """Hand on a line without an end."""
        if self.rest.strip():
            self.take(b"\n")

    def _line(self, line: bytes, out: list[bytes]) -> None:
        """A line has ended; of one that was written over, only its last state is left."""
        updated = self.updated or b"\r" in line
        self.updated = False
        line = line.rpartition(b"\r")[2]
        if updated and not self.bars and (not line.strip() or b"%|" in line):
            return
        self.last = [*self.last[1 - ending.LAST_LINES :], line]
        out.append(self._tagged(line) + b"\n")

    def _state(self, line: bytes, out: list[bytes]) -> None:
        """A progress bar has changed: told as a line of its own, which begins with a return."""
        now = time.monotonic()
        if self.bars and line.strip() and now - self.shown >= BAR_SECONDS:
            self.shown = now
            out.append(self.tag + b"\r" + line + b"\n")

    def _tagged(self, line: bytes) -> bytes:
        return line if self.own and line.startswith(self.own) else self.tag + line

    def _write(self, lines: t.Sequence[bytes]) -> None:
        """Write whole lines, as many at once as a pipe takes in one piece."""
        block = b""
        for line in lines:
            if block and len(block) + len(line) > PIPE_BYTES:
                write(self.target, block)
                block = b""
            block += line
        write(self.target, block)


def write(target: int, data: bytes) -> None:
    """Write all of it."""
    while data:
        data = data[os.write(target, data) :]


class Rank:
    """The program and its two streams."""

    def __init__(self, words: t.Sequence[str], bars: str) -> None:
        self.words = words
        rank = os.environ.get("RANK", "")
        self.number = rank if rank.isdigit() else ""
        own = f"[rank{rank}]:".encode() if self.number else b""  # as torch begins the lines of an exception
        host = f"{node()}: " if "OMPI_COMM_WORLD_RANK" in os.environ else ""  # pdsh names the node, mpirun does not
        tag = host.encode() + (own + b" " if own else b"")
        shown = bars == "all" or (bars == "first" and self.number in ("0", ""))
        self.streams = [Stream(target, tag, own if not host else b"", shown) for target in (1, 2)]
        self.asked: int | None = None  # the signal by which somebody has asked for the end
        self.process: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Start the program and follow it to its end."""
        waker, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_args: None)
        for name in PASSED_ON:
            signal.signal(getattr(signal, name), self._pass_on)
        memory = ending.oom_kills()
        try:
            self.process = subprocess.Popen(
                list(self.words),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                preexec_fn=ending.dies_with_parent(),  # noqa: PLW1509 # there are no threads here
            )
        except OSError as error:
            raise Refused(f"{node()} can't start {self.words[0]}: {error.strerror}") from None
        self._follow(self.process, waker)
        status = self.process.wait()
        if status and self.asked is None:
            self._tell(status, memory)
        return same_end(status)

    def _pass_on(self, number: int, _frame: t.Any) -> None:
        if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            self.asked = number
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def _follow(self, process: subprocess.Popen[bytes], waker: int) -> None:
        """Hand on all output until the program has ended and its streams are at their end."""
        assert process.stdout is not None and process.stderr is not None  # noqa: S101 # for mypy
        sources = {process.stdout.fileno(): self.streams[0], process.stderr.fileno(): self.streams[1]}
        poller = select.poll()
        for source in (*sources, waker):
            poller.register(source, select.POLLIN)
        for target in (1, 2):
            poller.register(target, 0)  # tells when the reader has gone
        ended: float | None = None
        parent = os.getppid()
        while sources and (ended is None or time.monotonic() < ended + DRAIN_SECONDS):
            for source, event in poller.poll(1000):
                if source == waker:
                    with contextlib.suppress(BlockingIOError):
                        os.read(waker, 512)
                elif source in sources:
                    if not self._read(source, sources[source]):
                        poller.unregister(source)
                        del sources[source]
                elif event & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
                    self._abandoned(process)
            if ended is None and process.poll() is not None:
                ended = time.monotonic()
            if ended is None and os.getppid() != parent:
                self._orphaned(process, parent)
        for stream in self.streams:
            self._quietly(stream.end)

    def _read(self, source: int, stream: Stream) -> bool:
        """Hand on what is there; False at the end of the stream."""
        data = os.read(source, 1 << 16)
        self._quietly(lambda: stream.take(data))
        return bool(data)

    def _quietly(self, action: t.Callable[[], None]) -> None:
        """Do it; when nobody reads any more, the program is of no use to anybody."""
        try:
            action()
        except OSError:
            if self.process is not None:
                self._abandoned(self.process)

    def _orphaned(self, process: subprocess.Popen[bytes], parent: int) -> None:
        """The launcher on this node has gone without a word: say so, and end the program."""
        time.sleep(ORPHAN_SECONDS)  # somebody may be about to end all processes of the run
        if self.asked is None and process.poll() is None:
            self._say(f"its launcher on this node, process {parent}, was killed")
        self._abandoned(process)

    def _abandoned(self, process: subprocess.Popen[bytes]) -> None:
        """Nobody reads the output any more: end the program, and this process with it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            process.send_signal(number)
            try:
                process.wait(GRACE_SECONDS)
                break
            except subprocess.TimeoutExpired:
                continue
        os._exit(143)

    def _tell(self, status: int, memory: t.Mapping[str, int]) -> None:
        """Say how the program ended."""
        lines = [line.decode("utf-8", "replace") for stream in self.streams for line in stream.last]
        cause = ending.cause(status, lines, memory)
        how = f"{ending.status_words(status)} of process {self.process.pid if self.process else 0}"
        self._say(f"{how}{': ' if cause else ''}{cause}")

    def _say(self, how: str) -> None:
        """Tell the head that this rank has failed."""
        which = f"rank {self.number} on {node()}" if self.number else f"the program on {node()}"
        text = f"trainmesh-rank: {which} failed: {how}\n"
        stream = self.streams[1]
        self._quietly(lambda: write(stream.target, stream.tag + text.encode()))


def same_end(status: int) -> int:
    """End this process as the program has ended: launchers look at the signal."""
    if status >= 0:
        return status
    sys.stdout.flush()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
    time.sleep(5)
    return 128 - status
