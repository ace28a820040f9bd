# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""As much of a job's log as a report can carry: its beginning, its end, and what is around the errors of its last run.

Logs of long runs have gigabytes, mostly progress bars. The file is read once, within limits of bytes and seconds; lines
that are left out are counted in a line of their own (job_lines.LEFT_OUT), so that all others keep their numbers.
"""

from __future__ import annotations

import collections
import re
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.text_stream import Stream

HEAD_BYTES = 12 * 1024
TAIL_BYTES = 20 * 1024
ERROR_BYTES = 30 * 1024
LINE_BYTES = 2000  # of a longer line the beginning is kept: a command line may have all of the environment in it
BLOCK_BYTES = 64 * 1024
LAST_BYTES = 4 << 20  # the end that is read of a file for which there is no time
LIMIT_S = 5.0
BEFORE, AFTER = 3, 6  # lines around one of interest
MOST_ALIKE = 6  # of lines that differ in their numbers only

_WORTH = re.compile(
    rb"Traceback \(most|(?:Error|Exception|Interrupt|Exit)\b|\b(?:ERROR|FATAL|error|fatal): |\[?[EF]\d{3,4} \d\d:"
    rb"|[Ww]atchdog|[Tt]imed? ?out|errno|refused|denied|No route|No space|not found|No such|can't open"
    rb"|[Oo]ut [Oo]f [Mm]em"
    rb"|exits? with|exited|exitcode|signal|[Kk]illed|fault|[Bb]us error|[Aa]bort|oom|terminate called|what\(\):"
    rb"|Root Cause|closed by|reset by|Broken pipe|NCCL WARN|size mismatch|CANCELLED|file_baton|extensions root"
    rb"|srun: error|slurmstepd|worker died|client_loop|not responding|invalid pointer|double free|corrupted"
    rb"|(?:nvcc|ptxas) fatal|Transport retry|Child process with|pyxis:|nvidia-container-cli|not permitted|[Uu]nable to "
    rb"|[Cc]annot |[Ff]ailed|failure in|unavailable|Invalid rank|verification|authentication|IDENTIFICATION"
    rb"|UNPROTECTED|ssh: |sudo: |not built with|without libuv|enough slots|run as root|a mismatch in|IP address of  "
    rb"|a placement group|build stopped|OutOf[A-Z]|OfflineMode|is over \d+% full|configuration option"
    rb"|run_id +:|rdzv_endpoint|node_rank|node rank|global_ranks|addr=\[|last enqueued|local_rank: \d+\)|^\s+host +: "
)
_START = re.compile(
    rb"Starting elastic_operator|Setting OMP_NUM_THREADS|\[runner\.py:\d+:main\] cmd|WORLD INFO DICT"
    rb"|distributed tasks at"
)
# A block of the file without any of them has no line of interest: this is faster than a pattern for each line.
_LITERALS = (
    *b"Traceback rror RROR xcept Interrupt xit imed imeout errno refused denied route space found such open".split(),
    *b"emory ignal illed fault abort Abort oom terminate what(): Cause closed reset Broken WARN mismatch".split(),
    *b"CANCELLED file_baton extensions run_id rdzv_ node_rank ranks addr=[ enqueued local_rank".split(),
    *b"elastic_operator OMP_NUM runner.py WORLD distributed atchdog FATAL fatal".split(),
    b"node rank",
    b"host  ",
    *b"nable annot ailed failure unavailable nvalid verification entication IDENTIFICATION ssh: sudo:".split(),
    *b"slurmstepd libuv slots client_loop responding double retry Child pyxis container permitted UNPROTECTED".split(),
    *b"placement stopped OutOf OfflineMode address worker built".split(),
    *(b"as root", b"% full", b"configuration option"),
)
_BAR = re.compile(rb"\d{1,3}%\|[^|\r\n]{0,300}\|[^\[\r\n]{0,60}\[[^\]\r\n]{0,200}\][^\r\n]{0,3}$")
_NUMBERS = re.compile(rb"0x[0-9a-f]+|\d+")


class Numbered(t.NamedTuple):
    """A line and its number, which counts from 1."""

    number: int
    text: bytes


def of_file(path: str, limit: float = LIMIT_S) -> str:
    """The text of a log, shortened where it is long; OSError when it cannot be read."""
    with open(path, "rb") as raw:
        return _text(_Reader(limit).read(Stream(raw)))


def _blocks(stream: Stream) -> t.Iterator[tuple[bytes, int]]:
    """(block, bytes that follow it); of a file whose size is not known, LAST_BYTES where it is more."""
    following = stream.size
    waiting: collections.deque[bytes] = collections.deque()
    for block in iter(lambda: stream.read(BLOCK_BYTES), b""):
        if following is not None:
            following -= len(block)
            yield block, following
            continue
        waiting.append(block)
        if len(waiting) > LAST_BYTES // BLOCK_BYTES:
            yield waiting.popleft(), LAST_BYTES
    left = sum(map(len, waiting))
    for block in waiting:
        left -= len(block)
        yield block, left


def _text(lines: t.Sequence[Numbered]) -> str:
    """The lines, with a word on each gap."""
    rows, last = [], 0
    for number, line in lines:
        if number > last + 1:
            rows.append(f"[trainmesh: lines {last + 1} to {number - 1} are left out]")
        rows.append(line.decode("utf-8", "replace"))
        last = number
    return "\n".join(rows)


class _Reader:
    """Keeps what is worth it while the lines go by."""

    def __init__(self, limit: float) -> None:
        self.deadline = time.monotonic() + limit
        self.head: list[Numbered] = []
        self.errors: list[Numbered] = []
        self.tail: list[Numbered] = []
        self.sizes = {"head": 0, "errors": 0, "tail": 0}
        self.before: list[Numbered] = []
        self.after = 0
        self.alike: dict[bytes, int] = {}

    def read(self, stream: Stream) -> list[Numbered]:
        """Read a file; where there is no time for all of it, its first and last part, the rest is only counted."""
        number, held = 1, b""
        for block, following in _blocks(stream):
            in_time = following < LAST_BYTES or time.monotonic() < self.deadline
            ends = self.sizes["head"] < HEAD_BYTES or following < 2 * max(TAIL_BYTES, BLOCK_BYTES)
            rows = (held + block).split(b"\n")
            if self.after or ends or (in_time and any(word in held or word in block for word in _LITERALS)):
                for at, row in enumerate(rows[:-1]):
                    self.take(number + at, row)
            else:
                self.before = []
            number, held = number + len(rows) - 1, _shown(rows[-1], BLOCK_BYTES)
        if held:
            self.take(number, held)
        return self.kept()

    def take(self, number: int, line: bytes) -> None:
        """One line."""
        line = _shown(line)
        if self.sizes["head"] < HEAD_BYTES:
            self.head.append(Numbered(number, line))
            self.sizes["head"] += len(line) + 1
        self.tail.append(Numbered(number, line))
        self.sizes["tail"] += len(line) + 1
        while self.sizes["tail"] > TAIL_BYTES and len(self.tail) > 1:
            self.sizes["tail"] -= len(self.tail.pop(0)[1]) + 1
        if _START.search(line):  # of runs before it nothing is worth the room
            if self.errors and number - self.errors[-1][0] > 100:
                self.errors, self.sizes["errors"], self.alike = [], 0, {}
            self._keep(number, line)
        elif _WORTH.search(line) and self._is_new(line):
            for each in self.before:
                self._keep(*each)
            self._keep(number, line)
            self.after = AFTER
        elif self.after:
            self._keep(number, line)
            self.after -= 1
        self.before = [*self.before[-BEFORE + 1 :], Numbered(number, line)]

    def _is_new(self, line: bytes) -> bool:
        key = _NUMBERS.sub(b"#", line[:300])
        if len(self.alike) < 4096:
            self.alike[key] = self.alike.get(key, 0) + 1
        return self.alike.get(key, 0) <= MOST_ALIKE

    def _keep(self, number: int, line: bytes) -> None:
        if self.sizes["errors"] < ERROR_BYTES and (not self.errors or self.errors[-1][0] < number):
            self.errors.append(Numbered(number, line))
            self.sizes["errors"] += len(line) + 1

    def kept(self) -> list[Numbered]:
        """All lines that are kept, in their order."""
        return sorted({line.number: line for line in (*self.head, *self.errors, *self.tail)}.values())


def _shown(line: bytes, most: int = LINE_BYTES) -> bytes:
    """What stays of a line on a screen: progress bars are written over each other, all but the last one go."""
    if b"\r" in line:
        parts = [part for part in line.split(b"\r") if part.strip()]
        line = b"\r".join([part for part in parts[:-1] if not _BAR.search(part)] + parts[-1:])
    return line[:most]
