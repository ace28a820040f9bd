# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time on one inventory.

The lock is a file beside the inventory that names the process of ansible-playbook. It holds while that
very process lives, so that a run that was killed leaves nothing in the way of the next one. Of a process
on another controller only the age can tell. A worker of a killed run goes on by itself, and would start the
next job of its loop: the next run ends it.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import glob
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import socket
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import file_write

FILE = "run.json"
# On another controller nobody can see whether the run still lives: longer than the longest single task.
ELSEWHERE_S = 9000
_DEAD = "ZX"
# Of the fields that _fields() gives: where data, heap, arguments and environment lie; proc_pid_stat(5), 45 to 51. Zeros
# for processes of others.
_PLACE = slice(42, 49)


class Run(t.NamedTuple):
    """A run of ansible-playbook: its process, when the kernel started it (a pid is used again), where, since when.

    ``command`` is a digest, as a command line may hold secrets.
    """

    pid: int
    started: str
    host: str
    since: float
    what: str = ""
    command: str = ""


class BusyError(Exception):
    """Another run has the inventory; the text says which, and what to do."""


def own(now: float, what: str = "", pid: int | None = None) -> Run:
    """This run. An action plugin works in a child of ansible-playbook's process, which is the one that lasts.

    Where that was killed, the child's parent is now process 1, which never ends.
    """
    parent = multiprocessing.parent_process()
    main = pid or (parent.pid if parent and parent.pid else os.getppid())
    return Run(main, started(main) or "", socket.gethostname(), now, what, command(main))


def command(pid: int | str) -> str:
    """A digest of what a process was started with, where, and of its place in memory; empty when it can't be read.

    The kernel puts each program that is started at addresses of its own, and a child keeps them until it starts
    another program: so only a run's own workers are like it, and not the same command in another terminal.
    """
    place = _fields(int(pid))[_PLACE]
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            words = stream.read()
        cwd = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""
    if not words or not any(number.strip("0") for number in place) or not _is_random():
        return ""
    return hashlib.sha256(b"\0".join([words, os.fsencode(cwd), " ".join(place).encode()])).hexdigest()


def _is_random() -> bool:
    """Whether the kernel places programs at random; where it does not, equal commands can't be told apart."""
    try:
        with open("/proc/sys/kernel/randomize_va_space", encoding="utf-8") as stream:
            return stream.read().strip() != "0"
    except OSError:
        return False


def orphans(left: Run, mine: Run) -> list[int]:
    """Workers of a run that was killed: forks of its process, which began after it and whose parent is not one."""
    if not left.command or left.host != mine.host:
        return []
    names = [name for name in os.listdir("/proc") if name.isdigit()] if os.path.isdir("/proc") else []
    alike = {int(name) for name in names if command(name) == left.command} - {mine.pid}
    return sorted(pid for pid in alike if _parent(pid) not in alike | {mine.pid} and _is_later(pid, left))


def _fields(pid: int) -> list[str]:
    """The fields of a process from its state on; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()
    except OSError:
        return []


def _parent(pid: int) -> int:
    return int((_fields(pid) or ["", "0"])[1])


def _is_later(pid: int, left: Run) -> bool:
    """Whether it began after the run did, as its children must have."""
    begun = started(pid)
    return bool(begun) and left.started.isdigit() and int(begun or 0) >= int(left.started)


def started(pid: int) -> str | None:
    """When a process was started, in a form to compare only; None when there is no such process that still runs.

    Empty where the system has no /proc: then a process of that number has to do.
    """
    fields = _fields(pid)
    if len(fields) > 19:
        return None if fields[0] in _DEAD else fields[19]
    if os.path.exists("/proc/self/stat"):
        return None
    try:
        os.kill(pid, 0)
    except OSError as error:
        return "" if error.errno == errno.EPERM else None
    return ""


def holder(path: str, mine: Run) -> Run | None:
    """The other run that has the inventory now; None when it is free, ours, or left by a run that has ended."""
    found = _read(path)
    try:
        pid, since = (int(found.pid), float(found.since)) if found else (0, 0.0)
    except (ValueError, TypeError):
        return None  # half a file of ours: it names nobody
    if found is None:
        return None
    if found.host != mine.host:
        return found if 0 <= mine.since - since < ELSEWHERE_S else None
    if pid == mine.pid or pid <= 0:
        return None
    seen = started(pid)
    return found if seen is not None and seen == found.started else None


def check(path: str, mine: Run) -> None:
    """Raise BusyError when another run has the inventory."""
    other = holder(path, mine)
    if other:
        raise BusyError(words(other, path, mine))


def take(path: str, mine: Run, temporary: str) -> bool:
    """Have the inventory for this run; whether the last run did not come to its end, and may have left something.

    ``temporary`` is where Ansible keeps a directory for each run. Raises BusyError, or OSError where nothing can be
    written.
    """
    directory = os.path.dirname(path)
    os.makedirs(directory, exist_ok=True)
    with _alone(directory):
        check(path, mine)
        left = _read(path)
        interrupted = os.path.exists(path) and not _same(left, mine)
        for pid in orphans(left, mine) if left and interrupted else ():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if left and interrupted and left.host == mine.host:
            _forget(left, directory, temporary)
        # Another user's run must be able to read who has it.
        file_write.replace(path, (json.dumps(mine._asdict()) + "\n").encode(), 0o644)
    return interrupted


def _forget(left: Run, directory: str, temporary: str) -> None:
    """Remove the temporary files of a run that was killed: some hold modules with their arguments, and so secrets."""
    file_write.remove_left(directory)
    # Where its number is another process's now, so may the directory be.
    if isinstance(left.pid, int) and started(left.pid) is None:
        for name in glob.glob(f"{glob.escape(temporary)}/ansible-local-{left.pid}{'?' * file_write.RANDOM}"):
            shutil.rmtree(name, ignore_errors=True)


def release(path: str, mine: Run) -> None:
    """Give the inventory back at the end of a run; the end of its process would do, save for other controllers."""
    if _same(_read(path), mine):
        with contextlib.suppress(OSError):
            os.unlink(path)


def _read(path: str) -> Run | None:
    """The run that the file names; None when there is none, or no file of ours."""
    try:
        with open(path, encoding="utf-8") as stream:
            return Run(**json.load(stream))
    except (OSError, ValueError, TypeError):
        return None


def _same(found: Run | None, mine: Run) -> bool:
    return found is not None and (found.pid, found.started, found.host) == (mine.pid, mine.started, mine.host)


@contextlib.contextmanager
def _alone(directory: str) -> t.Iterator[None]:
    """Nobody else looks and writes meanwhile, on file systems that know such locks."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def words(other: Run, path: str, mine: Run) -> str:
    """Who has it, since when, and the way out."""
    since = datetime.datetime.fromtimestamp(other.since).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    what = f" ({other.what})" if other.what else ""
    said = f"another run on this inventory: pid {other.pid} on {other.host}{what} since {since}"
    if other.host == mine.host:
        return f"{said}; wait for it, or stop it (kill -INT {other.pid})"
    return f"{said}; wait for it, or stop it there; if it has ended, remove {path}"
