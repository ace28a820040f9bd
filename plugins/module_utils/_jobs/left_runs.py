# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check runs of ours that still go on, and their end.

A run of ansible-playbook that is killed leaves its job behind: it holds the port of the rendezvous until it
has trained. Only runs with the names that our own checks have are meant, never a job of a user.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command

OWN = re.compile(r"check-\d{8}-\d{6}-\w+\Z")
_MARKS = ("trainmesh-run=", "TRAINMESH_RUN_ID=")
MAX_TEXT = 128 * 1024
STOP_LIMIT_S, PAUSE_S = 30.0, 0.3

Runner = t.Callable[..., command.Outcome]


def living(proc: str = "/proc") -> dict[str, list[int]]:
    """The processes of each check run on this node that this user may see, ``{run: pids}``."""
    found: dict[str, list[int]] = {}
    for name in sorted(filter(str.isdigit, os.listdir(proc)), key=int):
        if int(name) == os.getpid():
            continue
        words = _words(f"{proc}/{name}/cmdline")
        marks = [*words, *_words(f"{proc}/{name}/environ")]
        runs = [word.partition("=")[2] for word in marks if word.startswith(_MARKS)]
        runs += [after for word, after in zip(words, words[1:]) if word == "--run-id"]
        for run in sorted({run for run in runs if OWN.match(run)}):
            found.setdefault(run, []).append(int(name))
    return found


def _words(path: str) -> list[str]:
    try:
        with open(path, "rb") as stream:
            return stream.read(MAX_TEXT).decode("utf-8", "replace").split("\0")
    except OSError:
        return []  # it has ended, or is another user's


def end(prefix: str, limit: float, run: Runner = command.run, proc: str = "/proc") -> tuple[list[str], list[int]]:
    """End the check runs on this node; the runs, and the processes that are left after ``limit`` seconds.

    Every node ends its own part. The launch script on the head then sees that its job is gone, and ends by itself.
    """
    deadline = time.monotonic() + limit
    ended: list[str] = []
    found = living(proc)
    script = f"{prefix}/bin/trainmesh-stop"
    while found and time.monotonic() < deadline:
        for name in [name for name in found if name not in ended]:
            ended.append(name)
            if os.access(script, os.X_OK):
                run([script, "--here", "--quiet", name], STOP_LIMIT_S)
        time.sleep(PAUSE_S)
        found = living(proc)
    for name in [name for name in ended if name not in found]:
        shutil.rmtree(f"{prefix}/var/runs/{name}/tmp", ignore_errors=True)  # torchrun, killed, has not done it
    return ended, sorted({pid for pids in found.values() for pid in pids})
