# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command that may never come back, within a bound.

``AnsibleModule.run_command`` has no time limit, and a process that hangs inside the kernel
(``nvidia-smi`` on a lost GPU) cannot be killed. So the command gets a session of its own, its
whole process group is killed at the limit, and nothing waits for a pipe that it still holds.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
import typing as t

MAX_OUTPUT_BYTES = 16 * 1024 * 1024


class Outcome(t.NamedTuple):
    """What a bounded command came to.

    ``rc`` is None when the command could not be started or was still running at the limit.
    ``out`` and ``err`` are text with undecodable bytes replaced.
    """

    rc: int | None
    out: str
    err: str
    timed_out: bool
    missing: bool
    seconds: float

    @property
    def ok(self) -> bool:
        """True when the command ended by itself with exit status 0."""
        return self.rc == 0

    @property
    def text(self) -> str:
        """Both streams together: several tools write their errors to standard output."""
        return self.out + ("\n" if self.out and self.err else "") + self.err


def run(
    argv: t.Sequence[str],
    limit: float,
    *,
    env: t.Mapping[str, str] | None = None,
    stdin: str = "",
    cwd: str | None = None,
    clean: bool = False,
) -> Outcome:
    """Run ``argv`` for at most ``limit`` seconds and return its :class:`Outcome`; never raises.

    ``env`` is added to the C locale and, unless ``clean``, to the caller's environment.
    """
    started = time.monotonic()
    try:
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function # run_command has no limit
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**({} if clean else os.environ), "LC_ALL": "C", "LANG": "C", **(env or {})},
            cwd=cwd,
        )
    except OSError as error:
        return Outcome(None, "", str(error), False, True, time.monotonic() - started)
    _feed(process, stdin)
    out, err, finished = _drain(process, started + limit)
    finished = finished and _wait(process, started + limit)
    if not finished:
        _kill_group(process)
    _close(process)
    return Outcome(
        process.returncode if finished else None,
        out.decode("utf-8", "replace"),
        err.decode("utf-8", "replace"),
        not finished,
        False,
        time.monotonic() - started,
    )


def _feed(process: subprocess.Popen[bytes], stdin: str) -> None:
    """Hand over the (small) standard input and close it, so that no tool waits for a person."""
    if process.stdin is None:
        return
    try:
        process.stdin.write(stdin.encode())
        process.stdin.close()
    except OSError:
        pass  # the command ended without reading: its exit status tells the rest


def _drain(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bytes, bool]:
    """Read both pipes until they close or the deadline; returns (out, err, closed in time)."""
    chunks: dict[str, list[bytes]] = {"out": [], "err": []}
    total = 0
    with selectors.DefaultSelector() as selector:
        for name, pipe in (("out", process.stdout), ("err", process.stderr)):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, name)
        while selector.get_map():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return b"".join(chunks["out"]), b"".join(chunks["err"]), False
            for key, _events in selector.select(min(remaining, 0.5)):
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fileobj)
                elif total < MAX_OUTPUT_BYTES:
                    chunks[key.data].append(data)
                    total += len(data)
            if process.poll() is not None and not selector.select(0):
                break  # ended, but a child of its own still holds the pipe: do not wait for that
    return b"".join(chunks["out"]), b"".join(chunks["err"]), True


def _wait(process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Wait for the process itself until the deadline; True when it ended."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _close(process: subprocess.Popen[bytes]) -> None:
    """Give the pipes back; who still writes to them gets SIGPIPE."""
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole group and give it a moment; a process stuck in the kernel is left behind."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        pass  # already gone
    _wait(process, time.monotonic() + 0.5)
