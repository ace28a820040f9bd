# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records that the ranks of a run wrote on this node."""

from __future__ import annotations

import json
import os
import re
import shutil
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._jobs import left_runs

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
RECORD = re.compile(r"rank-(-?\d+)\.json\Z")
MAX_BYTES = 256 * 1024


def runs_directory(prefix: str) -> str:
    """Where all runs are."""
    return f"{prefix}/var/runs"


def read_records(prefix: str, runs: t.Iterable[str]) -> list[dict[str, t.Any]]:
    """The records of the runs in the order of runs, launchers and ranks; ValueError for what is no run's name.

    ``run_id``, ``launcher`` and ``rank`` are those of the place where the record lies. One that cannot
    be read is given with an ``error``, so that it is not taken for a rank that never came so far.
    """
    found = []
    for run_id in runs:
        if not RUN_ID.match(run_id):
            raise ValueError(f"a run's name has letters, digits, dots and dashes: {run_id!r} has not")
        directory = os.path.join(runs_directory(prefix), run_id)
        for launcher in _names(directory):
            group = os.path.join(directory, launcher)
            matches = [match for match in map(RECORD.match, _names(group)) if match]
            for match in sorted(matches, key=lambda match: int(match[1])):
                place = {"run_id": run_id, "launcher": launcher, "rank": int(match[1])}
                found.append({**_read(os.path.join(group, match.string)), **place})
    return found


def _read(path: str) -> dict[str, t.Any]:
    """One record."""
    try:
        with open(path, encoding="utf-8") as source:
            record = json.loads(source.read(MAX_BYTES))
        if isinstance(record, dict):
            return record
        return {"error": f"{path} is not a record"}
    except (OSError, ValueError) as error:
        return {"error": f"{path}: {error}"}


def old_runs(prefix: str, keep: int, spare: t.Container[str]) -> list[str]:
    """The directories of our own old runs: all but the ``keep`` newest and those of ``spare``."""
    directory = runs_directory(prefix)
    ages = []
    for name in _names(directory):
        path = os.path.join(directory, name)
        if left_runs.OWN.match(name) and name not in spare and os.path.isdir(path) and not os.path.islink(path):
            try:
                ages.append((os.stat(path).st_mtime, path))
            except FileNotFoundError:
                continue  # removed meanwhile
    return [path for _age, path in sorted(ages, reverse=True)[keep:]]


def torchruns_own(prefix: str) -> list[str]:
    """The directories of temporary files that torchrun leaves behind in every run of ours which has ended."""
    running = left_runs.living()
    found = []
    for name in _names(runs_directory(prefix)):
        path = os.path.join(runs_directory(prefix), name, "tmp")
        if left_runs.OWN.match(name) and name not in running and os.path.isdir(path):
            found.append(path)
    return found


def remove(paths: t.Iterable[str]) -> None:
    """Remove directories; what cannot be removed stays, it is in nobody's way."""
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)


def _names(directory: str) -> list[str]:
    """Names in a directory, sorted; none when there is no such directory."""
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
