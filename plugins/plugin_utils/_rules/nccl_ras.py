# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on what ncclras has printed of a job that runs: which process the others wait for."""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import ras
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import shortened, text
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    Data,
    Finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._nccl_logs import files_there, node_of, texts

_LOOK = "dmesg and nvidia-smi there, the last words of the process in the log of the run, and py-spy dump --pid {pid}"
_SAYS: t.Mapping[str, tuple[str, str, str]] = {
    "dead": (FAIL, "A process of the job does not answer NCCL any more: all others wait for it", f"Look at {_LOOK}"),
    "missing": (
        WARN,
        "A process of the job did not answer when NCCL was asked: it hangs, was stopped, or ends",
        f"Ask ncclras again in a minute: DEAD means that it is gone. Look at {_LOOK}",
    ),
    "error": (
        FAIL,
        "NCCL has failed in a process of the job: it does not go on",
        "Look at the NCCL WARN lines of that rank in the log of the run (NCCL_DEBUG=WARN, trainmesh_env)",
    ),
    "behind": (
        INFO,
        "Ranks have started fewer collectives than the others, as in any job that runs; in one that hangs it is them "
        "that the others wait for",
        "Ask ncclras again in a minute: the job hangs where the numbers stay the same",
    ),
    "stuck": (
        FAIL,
        "The job hangs: ranks have started fewer collectives than the others, and no more between two looks",
        f"The ranks behind run other code or wait for something else (data, a disk, a lock). Look at {_LOOK}",
    ),
}


@rule(
    About(
        "nccl-ras",
        layer="nccl",
        severity=FAIL,
        also=(WARN, INFO),
        title="A process does not answer NCCL, or is behind the others",
        symptom="`DEAD`, `INCOMPLETE` or `MISMATCH` in the output of ncclras",
        source="NCCL user guide, RAS; NC#1730, NC#1911",
    ),
    applies=files_there("nccl_log"),
)
def processes(case: Case) -> t.Iterator[Answer]:
    """Processes that are gone, before those that wait for them."""
    said = [(name, path, record) for name, path, content in texts(case, "nccl_log") for record in _queries(content)]
    looks = collections.Counter(_key(each[2]) for each in said if text(each[2], "kind") == "behind")
    kinds = {text(each[2], "kind") for each in said}
    told: set[tuple[str, ...]] = set()
    for holder, path, record in said:
        kind = text(record, "kind")
        if kind == "behind":
            if kinds & {"dead", "missing", "error"}:
                continue
            kind = "stuck" if looks[_key(record)] > 1 else kind
        key = (kind, *_key(record)) if kind in ("behind", "stuck") else (kind, *_who(record))
        if key not in told:
            told.add(key)
            yield _finding(case, kind, holder, path, record)


def _queries(content: str) -> t.Iterator[Data]:
    """The records of each output of ncclras in a text."""
    for part in content.split("Job summary"):
        yield from ras.parse(part)


def _who(record: Data) -> tuple[str, str]:
    return text(record, "host"), text(record, "pid")


def _key(record: Data) -> tuple[str, ...]:
    return (*_who(record), text(record, "comm"), text(record, "line"))


def _finding(case: Case, kind: str, holder: str, path: str, record: Data) -> Finding:
    severity, cause, remedy = _SAYS[kind]
    if kind == "error" and "Remote" in text(record, "line"):
        severity, cause = WARN, "NCCL has failed in a process of the job, as another one has ended before"
    word, pid = _who(record)
    host = node_of(case, word) or word
    process = f"process {pid} (GPU {text(record, 'gpu')}): " if pid else ""
    hosts = (host,) if host in case.plan["nodes"] else ()
    evidence = {host or holder: f"{path}: {process}{shortened(text(record, 'line'))}"}
    return Finding("nccl-ras", severity, hosts, evidence, f"{cause}.", f"{remedy.format(pid=pid or 'PID')}.")
