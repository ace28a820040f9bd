# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a reader in a process of its own, as another user if need be, within a bound.

A process, not a thread: rights belong to a whole process, and a thread that waits for a dead file
server cannot be left behind. It gives root up for good, so that what it reads and starts, which may
belong to the job user, gets nothing that the job user has not.
"""

from __future__ import annotations

import json
import os
import pwd
import select
import signal
import time
import typing as t

GRACE_S = 5.0
"""Seconds that the process gets beyond the limit that the reader itself keeps to."""

_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "SSH_CLIENT", "SSH_CONNECTION")


class Process:
    """A reader that runs. Ask for its result once."""

    def __init__(self, pid: int, pipe: int) -> None:
        self._pid, self._pipe = pid, pipe
        self._started = time.monotonic()

    def result(self, limit: float) -> t.Any:
        """What the reader returned (plain data). Raises ValueError when it failed or took too long.

        ``limit`` in seconds since the start, to which :data:`GRACE_S` is added.
        """
        text, finished = self._text(self._started + limit + GRACE_S)
        if not finished:
            os.kill(self._pid, signal.SIGKILL)
        os.close(self._pipe)
        self._reap(wait=finished)
        if not finished:
            raise ValueError(f"no answer within {limit + GRACE_S:g} seconds: a file system there may be dead")
        try:
            answer = json.loads(text)
        except ValueError:
            raise ValueError("the process that read it ended without an answer") from None
        if "failed" in answer:
            raise ValueError(answer["failed"])
        return answer["result"]

    def _text(self, deadline: float) -> tuple[bytes, bool]:
        chunks: list[bytes] = []
        while True:
            ready, _write, _error = select.select([self._pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return b"", False
            chunk = os.read(self._pipe, 1 << 16)
            if not chunk:
                return b"".join(chunks), True
            chunks.append(chunk)

    def _reap(self, wait: bool) -> None:
        """Take the exit status; a process stuck in the kernel is left behind."""
        end = time.monotonic() + 0.5
        while os.waitpid(self._pid, 0 if wait else os.WNOHANG)[0] == 0 and time.monotonic() < end:
            time.sleep(0.02)


def start(read: t.Callable[[], t.Any], account: pwd.struct_passwd | None = None) -> Process:
    """Begin ``read`` in a process of its own; start it before any thread.

    ``account`` is whom it becomes. Raises ValueError when this process may not. ``read`` has all
    its imports done: Ansible's archive of the module can be read by root only.
    """
    other = account if account and account.pw_uid != os.geteuid() else None
    if other and os.geteuid() != 0:
        raise ValueError(f"only root can read for {other.pw_name}: run this task with become")
    receive, send = os.pipe()
    pid = os.fork()
    if pid:
        os.close(send)
        return Process(pid, receive)
    try:
        os.close(receive)
        os.setsid()
        _report(send, read, other)
    finally:
        os._exit(0)  # never into the caller's clean-up: the module's temporary files are its parent's


def _report(pipe: int, read: t.Callable[[], t.Any], account: pwd.struct_passwd | None) -> None:
    """Become the user, read, and write the answer."""
    try:
        if account:
            _become(account)
        answer = {"result": read()}
    except Exception as error:
        answer = {"failed": f"{type(error).__name__}: {error}"}
    with os.fdopen(pipe, "w", encoding="utf-8") as stream:
        stream.write(json.dumps(answer))


def _become(account: pwd.struct_passwd) -> None:
    """Give up root in all three ids, root's groups, and root's variables, which may hold secrets."""
    os.initgroups(account.pw_name, account.pw_gid)
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    os.environ.clear()
    os.environ.update(kept, HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)
