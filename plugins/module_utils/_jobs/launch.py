# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one of the launch scripts within a time limit.

The script writes to a file instead of a pipe, so that nothing is lost when it is stopped, and a
process that outlives it cannot hold the module. Stopping goes through ``trainmesh-stop``, which ends
the run on every node.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import run
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import (
    job_excerpt,
    job_exits,
    job_failure,
    job_log,
    job_root,
)

TAIL_CHARACTERS = 4000
SCRIPTS: t.Mapping[str, str] = {
    "deepspeed": "trainmesh-deepspeed",
    "accelerate": "trainmesh-accelerate",
    "accelerate_standard": "trainmesh-accelerate-standard",
    "torchrun": "trainmesh-torchrun",
    "mpirun": "trainmesh-mpirun",
}


ENGINES: t.Mapping[str, str] = {
    "deepspeed": "deepspeed",
    "accelerate": "accelerate",
    "accelerate_standard": "accelerate",
    "torchrun": "ddp",
    "mpirun": "ddp",
}
RANKS_WAIT_SECONDS = 120


class Job(t.NamedTuple):
    """A job to run; ``arguments`` are the training script and its own arguments, empty for our small job."""

    prefix: str
    launcher: str
    run_id: str
    arguments: t.Sequence[str]
    options: t.Sequence[str]
    directory: str
    timeout: float


class Result(t.NamedTuple):
    """What the job came to; ``rc`` is None when it was stopped at its time limit, and with it the ranks.

    ``first_error`` is what failed first as the log tells it, None where nothing did or nothing says so.
    """

    rc: int | None
    seconds: float
    timed_out: bool
    log: str
    tail: str
    killed: t.Sequence[job_exits.Killed]
    first_error: dict[str, t.Any] | None


def new_run_id(launcher: str, now: time.struct_time) -> str:
    """A name for a run of ours; job_records removes old runs of such names and no others."""
    return f"check-{time.strftime('%Y%m%d-%H%M%S', now)}-{launcher}"


def command(job: Job) -> list[str]:
    """The command line of the job."""
    script = f"{job.prefix}/bin/{SCRIPTS[job.launcher]}"
    return [script, "--run-id", job.run_id, *job.options, *(job.arguments or small_job(job))]


def small_job(job: Job) -> list[str]:
    """The small training job that proves the cluster; ranks give up on each other well within the limit."""
    engine = ENGINES[job.launcher]
    words = [f"{job.prefix}/share/probe_train.py", "--engine", engine]
    words += ["--record-dir", f"{job.prefix}/var/runs/{job.run_id}/{job.launcher}"]
    words += ["--timeout", str(int(min(RANKS_WAIT_SECONDS, max(10, job.timeout / 2))))]
    if engine == "deepspeed":
        words += ["--deepspeed_config", f"{job.prefix}/etc/deepspeed/zero{_zero_stage(job.prefix)}.json"]
    return words


def _zero_stage(prefix: str) -> int:
    """The cluster's ZeRO stage, as launch_config wrote it down; 2 when it cannot be read."""
    try:
        with open(f"{prefix}/etc/cluster.json", encoding="utf-8") as source:
            return int(json.load(source)["zero_stage"])
    except (OSError, ValueError, KeyError, TypeError):
        return 2


def log_path(job: Job) -> str:
    """Where the script's output goes, on the head."""
    return f"{job.prefix}/var/runs/{job.run_id}/{job.launcher}.log"


def run_job(job: Job) -> Result:
    """Run the job; OSError when the script or the log cannot be opened."""
    log = log_path(job)
    os.stat(command(job)[0])  # nothing is laid down where nothing is installed
    os.makedirs(os.path.dirname(log), exist_ok=True)
    started = time.monotonic()
    with open(log, "wb") as output:
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function # run_command has no limit
            command(job),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=job.directory,
        )
        try:
            rc: int | None = process.wait(job.timeout)
        except subprocess.TimeoutExpired:
            rc = None
            stop(job, process)
    seconds = round(time.monotonic() - started, 3)
    killed, first_error = explained(log, rc)
    return Result(rc, seconds, rc is None, log, end_of(log), killed, first_error)


def explained(path: str, rc: int | None) -> tuple[list[job_exits.Killed], dict[str, t.Any] | None]:
    """(the ranks that a signal ended before any launcher did, what failed first) of a job with this status.

    How the ranks of a stopped job ended is our own doing.
    """
    try:
        found = job_log.parse(job_excerpt.of_file(path))
    except OSError:
        return [], None
    if rc is None:
        found = found._replace(exits=[])
    root = job_root.root([job_root.Source(path, "", found)], failed=rc != 0)
    killed = [job_exits.Killed(each.node, -each.code) for each in job_exits.killed(found.exits)]
    if root is None or root.kind == "silent":
        return killed, None
    first = root.places[0]
    place = {"node": first.node, "rank": first.rank, "line": first.line, "text": first.text}
    return killed, {"kind": root.kind, "own": root.weight == job_failure.ROOT, **place}


def stop(job: Job, process: subprocess.Popen[bytes]) -> None:
    """End the run on every node, then the script; returns within about a minute whatever happens."""
    run([f"{job.prefix}/bin/trainmesh-stop", "--quiet", job.run_id], limit=45)
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(10)
            return
        except subprocess.TimeoutExpired:
            continue
        except OSError:
            return  # already gone


def end_of(path: str) -> str:
    """The last characters of a text file; an empty text when it cannot be read."""
    try:
        with open(path, "rb") as source:
            source.seek(0, os.SEEK_END)
            source.seek(max(0, source.tell() - 4 * TAIL_CHARACTERS))
            return source.read().decode("utf-8", "replace")[-TAIL_CHARACTERS:]
    except OSError:
        return ""
