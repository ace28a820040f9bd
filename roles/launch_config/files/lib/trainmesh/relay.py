# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The output of a job on the head: to the terminal, to a file, and into the log of the run.

Lines of the ranks come as ``node: [rankN]: text``, a progress bar with a return before its text. On a terminal the bar
is one line at the bottom that is written over; elsewhere it is a line every few seconds.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import time
import typing as t

FILE_BAR_SECONDS = 5.0
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ROOM = 64 << 10  # bytes of a log that are given up for its last lines
LONGEST = 500  # characters of a line that is kept
LAST_LINES = 40  # of each rank
MOST_RANKS = 4096
_LINE = re.compile(
    rb"(?:(?P<host>[\w.-]{1,255}): )?(?:\[rank(?P<rank>\d{1,7})\]: ?)?(?P<bar>\r)?(?P<text>.*)", re.DOTALL
)
_FAILED = re.compile(
    r"trainmesh-rank: (?:rank (?P<rank>\d+) on (?P<node>\S+)|the program on (?P<alone>\S+)) failed: (?P<how>.*)"
)
# What a rank says when another one has gone before it.
_CONSEQUENCE = re.compile(
    r"closed by (?:remote )?peer|reset by peer|Broken pipe|[Tt]imed out|[Tt]imeout|recvValue failed|ncclRemoteError"
    r"|remote process exited|Connection closed|SIGTERM|SIGABRT"
)


# What pdsh says when ssh itself has ended, and ssh before it.
_LOST = re.compile(r"pdsh@\S+: (?P<node>\S+): ssh exited with exit code 255")
_SSH = re.compile(
    r"Timeout, server|[Cc]onnection (?:to|closed|reset|timed|refused)|No route to host|Host is down|Broken pipe"
    r"|Permission denied|Host key verification|not resolve|kex_exchange|Network is unreachable"
)


class Failure(t.NamedTuple):
    """A rank that has failed: ``how`` is its exit status or signal and the cause, ``lines`` the last ones it wrote."""

    node: str
    rank: str
    how: str
    lines: t.Sequence[str]

    @property
    def follows(self) -> bool:
        """Whether another one has probably gone before it."""
        return bool(_CONSEQUENCE.search(self.how))


class Sink:
    """Where lines go: a terminal, a pipe or a file. A full disk ends what is written there, not the job.

    In a log, which is ours (``own``), the last words are worth more than what the ranks have written before.
    """

    def __init__(self, target: int, own: bool = False) -> None:
        self.target, self.own = target, own
        self.error = ""
        self.missing = ""  # why something is missing, when the rest has been given up for the last words
        self.live = os.isatty(target)
        self.progress = b""
        self.shown_at = 0.0

    def line(self, text: bytes) -> None:
        """A line that stays."""
        if self.live and self.progress:
            text = b"\r\x1b[K" + text
        self._write(text + b"\n" + (self._cut(self.progress) if self.live else b""))

    def last_words(self, text: bytes) -> None:
        """A line of our own, for which room is made where the disk is full."""
        if self.error and self.own and not self.missing:
            self.missing = self.error
            with contextlib.suppress(OSError):
                size = os.fstat(self.target).st_size
                os.ftruncate(self.target, size - min(ROOM, size // 2))
                self.error = ""
                self._write(f"\n... here lines are missing: {self.missing}\n".encode())
        self.end_bar()
        self.line(text)

    def state(self, text: bytes) -> None:
        """A progress bar has changed."""
        if self.live:
            self.progress = text
            self._write(b"\r\x1b[K" + self._cut(text))
        elif time.monotonic() - self.shown_at >= FILE_BAR_SECONDS:
            self.shown_at = time.monotonic()
            self._write(text + b"\n")

    def end_bar(self) -> None:
        """The bar's line has ended: what comes next is not written over it."""
        if self.live and self.progress:
            self._write(b"\r\x1b[K")
        self.progress = b""

    def _cut(self, text: bytes) -> bytes:
        """As much as one line of the terminal takes."""
        shown = text.decode("utf-8", "replace")[: max(10, shutil.get_terminal_size().columns - 1)]
        return shown.encode("utf-8", "replace")

    def _write(self, data: bytes) -> None:
        """Write all of it; OSError when the reader has gone."""
        try:
            while data and not self.error:
                data = data[os.write(self.target, data) :]
        except OSError as error:
            if error.errno not in FULL:
                raise
            self.error = error.strerror or "error"


def outputs() -> dict[int, Sink]:
    """This process's own two streams; one for both where they are the same terminal, whose bar they share."""
    if os.isatty(1) and os.isatty(2) and os.ttyname(1) == os.ttyname(2):
        both = Sink(1)
        return {1: both, 2: both}
    return {1: Sink(1), 2: Sink(2)}


class Relay:
    """Takes what the launcher writes to its two streams, and keeps the last lines of each rank."""

    def __init__(self, nodes: t.Container[str], sinks: t.Mapping[int, Sink], log: Sink | None) -> None:
        self.nodes, self.sinks, self.log = nodes, sinks, log
        self.rests: dict[int, bytes] = dict.fromkeys(sinks, b"")
        self.last: dict[tuple[str, str], list[str]] = {}
        self.failures: list[Failure] = []
        self.lost: dict[str, str] = {}  # nodes to which the connection has ended, with ssh's reason
        self.reasons: dict[str, str] = {}
        self.heard = 0.0  # when a rank has written its first line

    def take(self, stream: int, data: bytes) -> None:
        """Bytes of the launcher's stream 1 or 2; empty at its end."""
        *lines, rest = (self.rests[stream] + data).split(b"\n")
        if not data and rest:
            lines, rest = [*lines, rest], b""
        self.rests[stream] = rest
        for line in lines:
            self._line(stream, line)

    def say(self, text: str) -> None:
        """A line of our own."""
        for sink in self._of(2):
            with contextlib.suppress(OSError):  # the terminal may be closed, and the log is still there
                sink.last_words(text.encode("utf-8", "replace"))

    def close(self) -> None:
        """Leave the terminal's last line clean."""
        for sink in self.sinks.values():
            with contextlib.suppress(OSError):
                sink.end_bar()

    def incomplete(self) -> str:
        """Why something of the output is missing; an empty text when nothing is."""
        sinks = [*self.sinks.values(), *([self.log] if self.log else [])]
        return next((sink.error or sink.missing for sink in sinks if sink.error or sink.missing), "")

    def _of(self, stream: int) -> list[Sink]:
        """The log first: writing to a terminal that is closed raises."""
        return [*([self.log] if self.log else []), self.sinks[stream]]

    def _line(self, stream: int, line: bytes) -> None:
        match = _LINE.match(line)
        host = (match["host"] or b"").decode() if match else ""
        if match is None or (host and host not in self.nodes):
            self._stays(stream, line)
            return
        if match["bar"]:
            for sink in self._of(stream):
                sink.state(line.replace(b"\r", b"", 1))
            return
        rank, text = (match["rank"] or b"").decode(), match["text"].decode("utf-8", "replace")
        if not rank:
            self._note_lost(host, text)
        elif not self.heard:
            self.heard = time.monotonic()
        failed = _FAILED.search(text)
        if failed:
            node, rank = failed["node"] or failed["alone"], failed["rank"] or ""
            lines = self.last.get((host, rank)) or self.last.get((node, rank)) or []
            self.failures.append(Failure(host or node, rank, failed["how"], list(lines)))
        elif rank and len(self.last) < MOST_RANKS:
            kept = self.last.setdefault((host, rank), [])
            kept.append(text[:LONGEST])
            del kept[:-LAST_LINES]
        self._stays(stream, line)

    def _note_lost(self, host: str, text: str) -> None:
        """Keep what ssh says of a node, and which nodes pdsh has lost."""
        lost = _LOST.match(text)
        if lost:
            self.lost.setdefault(lost["node"], self.reasons.get(lost["node"], ""))
        elif host and _SSH.search(text):
            self.reasons[host] = text.strip()[:LONGEST]

    def _stays(self, stream: int, line: bytes) -> None:
        for sink in self._of(stream):
            if b"%|" in line:  # the last state of a bar
                sink.end_bar()
            sink.line(line)

    def first_failure(self) -> Failure | None:
        """The rank that failed first, as far as its own words do not say that another one had gone before it."""
        return next((each for each in self.failures if not each.follows), next(iter(self.failures), None))
