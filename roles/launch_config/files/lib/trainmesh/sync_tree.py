# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which node copies to which: every node that has it serves one that has not, which makes a binomial tree.

Nothing is planned ahead: whoever is idle takes the next one. So a dead node has no subtree that could be lost with it,
and a slow one serves fewer others.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
import typing as t

MOST_STRIKES = 2  # a node that could not serve as often serves no more
END_SECONDS = 5.0


class Transfer:
    """One copy, while it goes on; ``answer`` is None until the node that serves has said how it ended."""

    def __init__(self, source: str, target: str, command: t.Sequence[str]) -> None:
        self.source, self.target = source, target
        self.process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, cwd="/",
        )  # fmt: skip
        self.begun = time.monotonic()
        self.bytes = 0
        self.answer: dict[str, t.Any] | None = None
        self.rest, self.errors, self.open = b"", b"", 2

    def take(self, stream: int, data: bytes) -> None:
        """What the node that serves has said."""
        if stream == 2:
            self.errors = (self.errors + data)[-4096:]
            return
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if isinstance(said, dict) and "status" in said:
                    self.answer = said
                elif isinstance(said, dict) and "bytes" in said:
                    self.bytes = int(said["bytes"])

    def trouble(self) -> str:
        """Why the node that serves has said nothing."""
        last = self.errors.decode("utf-8", "replace").strip().splitlines()[-1:]
        return last[0] if last else f"exit status {self.process.returncode}"


class Tree:
    """Copies to all that want it, from all that have it.

    ``command`` makes the command for (source, target); ``spares`` are the nodes that see the same files as a target and
    stand in for it; ``each`` is the number of copies that a node makes at a time, ``grows`` whether those that have got
    it serve as well.
    """

    def __init__(
        self, have: t.Sequence[str], want: t.Sequence[str], command: t.Callable[[str, str], t.Sequence[str]],
        spares: t.Mapping[str, t.Sequence[str]] | None = None, each: int = 1, grows: bool = True,
    ) -> None:  # fmt: skip
        self.have, self.waiting, self.command = list(have), collections.deque(want), command
        self.spares = {name: list(names) for name, names in (spares or {}).items()}
        self.each, self.grows = each, grows
        self.running: list[Transfer] = []
        self.done: dict[str, dict[str, t.Any]] = {}
        self.took: dict[str, tuple[str, float]] = {}  # its source, and the seconds
        self.failed: dict[str, str] = {}
        self.tried: dict[str, dict[str, str]] = collections.defaultdict(dict)
        self.strikes: collections.Counter[str] = collections.Counter()

    def run(self, tell: t.Callable[[], None]) -> None:
        """Do it; ``tell`` is called every now and then."""
        with selectors.DefaultSelector() as selector:
            try:
                while self.waiting or self.running:
                    self._assign(selector)
                    self._read(selector)
                    for transfer in [each for each in self.running if not each.open]:
                        self.running.remove(transfer)
                        transfer.process.wait()
                        self._ended(transfer)
                    tell()
            finally:
                end(self.running)

    def _assign(self, selector: selectors.BaseSelector) -> None:
        busy = collections.Counter(each.source for each in self.running)
        for source in [name for name in self.have if busy[name] < self.each and self.strikes[name] < MOST_STRIKES]:
            for _copy in range(self.each - busy[source]):
                target = next((name for name in self.waiting if self._may(source, name)), None)
                if target is None:
                    break
                self.waiting.remove(target)
                self._start(selector, source, target)
        if not self.running:  # nobody is left who could serve these
            for target in list(self.waiting):
                self._give_up(target)

    def _may(self, source: str, target: str) -> bool:
        """Whether to try it: a second time by the first of all, whose own troubles would be those of everybody."""
        tried = self.tried[target]
        return source not in tried and (not tried or source == self.have[0] or self.have[0] in tried)

    def _start(self, selector: selectors.BaseSelector, source: str, target: str) -> None:
        transfer = Transfer(source, target, self.command(source, target))
        self.running.append(transfer)
        for stream, pipe in ((1, transfer.process.stdout), (2, transfer.process.stderr)):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, (transfer, stream))

    def _read(self, selector: selectors.BaseSelector) -> None:
        for key, _events in selector.select(0.5) if self.running else ():
            transfer, stream = key.data
            data = os.read(key.fd, 1 << 16)
            if data:
                transfer.take(stream, data)
                continue
            selector.unregister(key.fileobj)
            t.cast("t.IO[bytes]", key.fileobj).close()
            transfer.open -= 1

    def _ended(self, transfer: Transfer) -> None:
        source, target, answer = transfer.source, transfer.target, transfer.answer
        if answer is not None and not answer["trouble"]:
            self.done[target] = answer
            self.took[target] = (source, time.monotonic() - transfer.begun)
            if self.grows:
                self.have.append(target)
            return
        self.waiting.append(target)
        if answer is None:  # it is the node that serves which is lost, or the way to it
            self.strikes[source] += 1
            if self.strikes[source] >= MOST_STRIKES:
                self.failed.setdefault(source, f"lost while it served {target}: {transfer.trouble()}")
            return
        self.tried[target][source] = str(answer["trouble"])
        if len(self.tried[target]) >= 2:
            self._give_up(target)

    def _give_up(self, target: str) -> None:
        self.waiting.remove(target)
        troubles = list(self.tried[target].values()) or ["no node is left that could copy it there"]
        self.failed[target] = troubles[-1]
        spares = self.spares.pop(target, [])
        if spares:
            self.waiting.append(spares[0])
            self.spares[spares[0]] = spares[1:]


def end(transfers: t.Sequence[Transfer]) -> None:
    """End copies that go on: without a reader each node ends its own part, and what belongs to it on the other one."""
    for transfer in transfers:
        with contextlib.suppress(OSError):
            os.killpg(transfer.process.pid, signal.SIGTERM)
    deadline = time.monotonic() + END_SECONDS
    for transfer in transfers:
        for pipe in (transfer.process.stdout, transfer.process.stderr):
            if pipe is not None:
                pipe.close()
        try:
            transfer.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.killpg(transfer.process.pid, signal.SIGKILL)
            transfer.process.wait()
