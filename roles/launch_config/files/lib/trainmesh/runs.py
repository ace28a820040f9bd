# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of the runs on the head: what was started, whether it still runs, how it ended, and its log."""

from __future__ import annotations

import contextlib
import json
import os
import time
import typing as t

from trainmesh.installation import Installation, Refused
from trainmesh.job import CHECK, Job
from trainmesh.launchers import directory_of, run_files
from trainmesh.words import masked

RECORD, LOG = "run.json", "log"
RESTARTS = "restarts"  # there while a run may be started again; trainmesh-stop takes it away
KEPT_RUNS = 100


def begin(installation: Installation, job: Job) -> dict[str, t.Any]:
    """Lay down what belongs to a run, and its record; a run of the same name that still goes on is refused."""
    directory = directory_of(installation, job.run_id)
    before = read(directory)
    if before is not None and goes_on(before):
        raise Refused(f"a run {job.run_id} goes on already (process {before['pid']}): choose another --run-id")
    record = {
        "run_id": job.run_id,
        "launcher": job.launcher,
        "command": masked([job.program, *job.arguments]),
        "directory": job.directory,
        "nodes": [node.name for node in job.nodes],
        "master_port": job.port,
        "pid": os.getpid(),
        "born": born(os.getpid()),
        "started": time.time(),
        "ended": None,
        "status": None,
    }
    try:
        os.makedirs(directory, exist_ok=True)
        if job.run_id.startswith(CHECK):
            os.makedirs(f"{directory}/tmp", exist_ok=True)
        for name, content in run_files(installation, job).items():
            _write(f"{directory}/{name}", content)
        if logged(job):
            _write(f"{directory}/{RECORD}", json.dumps(record))
    except OSError as error:
        raise Refused(f"{directory} can't be written: {error.strerror}") from None
    return record


def logged(job: Job) -> bool:
    """Whether we keep record and log of a run: those that check the cluster do it themselves."""
    return not job.run_id.startswith(CHECK)


def end(installation: Installation, job: Job, record: t.Mapping[str, t.Any], status: int) -> None:
    """Note how it ended, and remove what was laid down for this run; a directory with records or a log stays."""
    directory = directory_of(installation, job.run_id)
    for name in run_files(installation, job):
        with contextlib.suppress(OSError):
            os.unlink(f"{directory}/{name}")
    if logged(job):
        with contextlib.suppress(OSError):
            _write(f"{directory}/{RECORD}", json.dumps({**record, "ended": time.time(), "status": status}))
        forget_old(installation)
    for path in (f"{directory}/tmp", directory):
        with contextlib.suppress(OSError):
            os.rmdir(path)


def forget_old(installation: Installation) -> None:
    """Remove record and log of all but the newest runs that have ended; what else is in their directories stays."""
    for record in all_of(installation)[KEPT_RUNS:]:
        if not goes_on(record):
            for name in (RECORD, LOG, RESTARTS):
                with contextlib.suppress(OSError):
                    os.unlink(f"{directory_of(installation, record['run_id'])}/{name}")
            with contextlib.suppress(OSError):
                os.rmdir(directory_of(installation, record["run_id"]))


def all_of(installation: Installation) -> list[dict[str, t.Any]]:
    """The records of all runs, the newest first."""
    try:
        names = os.listdir(f"{installation.prefix}/var/runs")
    except OSError:
        return []
    found = [record for record in map(read, (directory_of(installation, name) for name in names)) if record]
    return sorted(found, key=lambda record: -record["started"])


def read(directory: str) -> dict[str, t.Any] | None:
    """The record of a run; None where there is none that can be read."""
    try:
        with open(f"{directory}/{RECORD}", encoding="utf-8") as source:
            record = json.load(source)
    except (OSError, ValueError):
        return None
    wanted: dict[str, t.Any] = {
        "run_id": str,
        "pid": int,
        "started": (int, float),
        "command": list,
        "launcher": str,
        "nodes": list,
    }
    fits = isinstance(record, dict) and all(isinstance(record.get(key), kind) for key, kind in wanted.items())
    return record if fits and record["run_id"] == os.path.basename(directory) else None


def goes_on(record: t.Mapping[str, t.Any]) -> bool:
    """Whether the process that runs it is still there."""
    known = record.get("born")
    return record.get("ended") is None and known is not None and born(record["pid"]) == known


def born(pid: int) -> str | None:
    """When a process has started, in ticks since this boot, with the boot itself: a number given again is seen."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as source:
            ticks = source.read().rpartition(")")[2].split()[19]
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as source:
            return f"{ticks}@{source.read().strip()}"
    except (OSError, IndexError):
        return None


def _write(path: str, content: str) -> None:
    """The file appears complete or not at all, for its owner alone: arguments may be nobody else's business."""
    temporary = f"{path}.{os.getpid()}"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as target:
        target.write(content)
    os.replace(temporary, path)
