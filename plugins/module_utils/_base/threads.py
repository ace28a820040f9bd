# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run what can't be cancelled, such as getaddrinfo, and wait for it no longer than a limit.

What ends by itself, such as a command with a limit of its own, needs no more than a ThreadPoolExecutor, which waits
for its threads, also at the end of the process.
"""

from __future__ import annotations

import queue
import threading
import time
import typing as t

WORKERS = 64
Job = t.Callable[[], t.Any]


def in_threads(jobs: t.Mapping[str, Job], limit: float, workers: int = WORKERS) -> dict[str, t.Any]:
    """Run jobs, ``workers`` at once, for at most ``limit`` seconds; those that are late are missing from the result.

    An exception of a job is its result. The threads are daemons: one that hangs does not keep the process alive.
    """
    waiting: queue.SimpleQueue[tuple[str, Job]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, t.Any]] = queue.SimpleQueue()
    for item in jobs.items():
        waiting.put(item)

    def work() -> None:
        while True:
            try:
                name, job = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((name, job()))
            except Exception as error:  # a thread has nobody to raise to: the caller judges it
                done.put((name, error))

    for _count in range(min(workers, len(jobs))):
        threading.Thread(target=work, daemon=True).start()
    results: dict[str, t.Any] = {}
    deadline = time.monotonic() + limit
    while len(results) < len(jobs):
        try:
            name, value = done.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        results[name] = value
    return results
