# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run as plain data, which is report.json.

Every other form (terminal, HTML, Markdown) is made from this and knows nothing more.
``assets/report.schema.json`` describes it.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import math
import pathlib
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import redact
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    SEVERITIES,
    Answer,
    Case,
    Data,
    Finding,
    Untested,
    dig,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import inventory as machines
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import matrices, since
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._versions import version_table

SCHEMA = "1"
COLLECTION = "trainmesh.cluster"
_ROOT = pathlib.Path(__file__).resolve().parents[3]
CLEAN, FAULTS, INCOMPLETE = "clean", "faults", "incomplete"
# Ansible ends with 2 when a task failed and with 4 when a host was unreachable.
EXIT_CODES = {CLEAN: 0, FAULTS: 2, INCOMPLETE: 4}

Look = t.Callable[[str], t.Optional[Data]]


class Judged(t.Protocol):
    """What the rules said: the answers in the order in which they are to be read, the ids that hold, and the others."""

    @property
    def answers(self) -> t.Sequence[Answer]:
        """Findings and what could not be judged."""

    @property
    def held(self) -> t.Sequence[str]:
        """The ids of the rules that looked and found nothing."""

    @property
    def not_applicable(self) -> t.Sequence[str]:
        """The ids of the rules that had nothing to look at."""


def build(
    case: Case,
    judged: Judged,
    changed: t.Mapping[str, t.Sequence[str]],
    check_mode: bool = False,
    *,
    jobs_wanted: bool = True,
    started: str = "",
    finished: str = "",
    inventory: str = "",
    last: t.Any = None,
    look: Look,
) -> dict[str, t.Any]:
    """The report: keys in a fixed order, nodes in rank order, no secret and no control character in any text.

    ``changed`` maps hosts to the registers of the tasks that changed them. ``jobs_wanted`` is false when
    the user asked for none. ``started`` and ``finished`` are ISO 8601 with a zone; without them
    ``started`` stays empty and ``finished`` is now. ``inventory`` is its name; ``last`` the report of the last run,
    or whatever was read in its place. ``look`` gives a rule's entry of the catalogue.
    """
    found = judged.answers
    findings = [_finding(answer, look) for answer in found if isinstance(answer, Finding)]
    untested = [_untested(answer, look) for answer in found if isinstance(answer, Untested)]
    outcome = judge(case, found, check_mode, jobs_wanted)
    report = {
        "schema": SCHEMA,
        "collection": COLLECTION,
        "version": version(),
        "generated": finished or _now(),
        "started": started,
        "inventory": inventory,
        "check_mode": check_mode,
        "outcome": outcome,
        "summary": _summary(findings, untested, judged.held),
        "findings": findings,
        "untested": untested,
        "held": sorted(judged.held),
        "not_applicable": sorted(judged.not_applicable),
        **_evidence(case),
        "changed": {name: sorted(what) for name, what in sorted(changed.items()) if what},
        "next": _next(case, outcome),
    }
    clean = redact.walk(plain(report), _clean)
    change = since.compare(last, clean, case, found, [*judged.held, *judged.not_applicable])
    return {**clean, "since": redact.walk(change, _clean)}


def _clean(text: str) -> str:
    return redact.secrets(redact.harmless(text))


def _evidence(case: Case) -> dict[str, t.Any]:
    """What the run has gathered, judged or not."""
    return {
        "cluster": _cluster(case),
        "nodes": machines.nodes(case),
        "skipped": case.skipped,
        "matrices": matrices.build(case),
        "versions": version_table(case.stack, case.gpu),
        "jobs": [_job(job) for job in case.jobs],
        "collective": _collective(case.collective),
        "speed": [_speed(name, case.speed[name]) for name in case.order if case.speed.get(name)],
        "nics": machines.nics(case),
        "rdma": machines.rdma(case),
        "gpus": machines.gpus(case),
        "thresholds": dict(sorted(case.thresholds.items())),
    }


def judge(case: Case, answers: t.Iterable[Answer], check_mode: bool = False, jobs_wanted: bool = True) -> str:
    """``faults``, else ``incomplete`` when something asked for could not be tested, else ``clean``.

    A job that was not wanted, or that check mode does not start, was not asked for.
    """
    if any(isinstance(answer, Finding) and answer.severity == FAIL for answer in answers):
        return FAULTS
    skipped = bool(case.skipped) and jobs_wanted and not check_mode
    # ended by a time limit of ours, which no rule calls a fault
    unfinished = any(dig(job, "ok") is False for job in case.jobs) or bool(dig(case.collective, "late"))
    return INCOMPLETE if skipped or unfinished or machines.missing(case) else CLEAN


@functools.cache
def version() -> str:
    """The version of this collection: of its manifest when it is installed, of galaxy.yml in a checkout."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads((_ROOT / "MANIFEST.json").read_text(encoding="utf-8"))
        return str(found["collection_info"]["version"])
    with contextlib.suppress(OSError, ValueError):
        line = re.search(r"^version:\s*(\S+)", (_ROOT / "galaxy.yml").read_text(encoding="utf-8"), re.MULTILINE)
        return line[1] if line else ""
    return ""


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def plain(value: t.Any) -> t.Any:
    """``value`` as JSON has it: no other classes, text keys, no endless or undefined numbers."""
    if isinstance(value, t.Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return [plain(item) for item in sorted(value, key=str)]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    # file names and outputs may hold half characters, which no file takes
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _finding(finding: Finding, look: Look) -> dict[str, t.Any]:
    entry = look(finding.rule) or {}
    return {
        "rule": finding.rule,
        "title": dig(entry, "title", ""),
        "layer": dig(entry, "layer", ""),
        "severity": finding.severity,
        "hosts": list(finding.hosts),
        "evidence": dict(finding.evidence),
        "cause": finding.cause,
        "remedy": finding.remedy,
        "source": finding.source or _joined(dig(entry, "source", "")),
    }


def _untested(answer: Untested, look: Look) -> dict[str, t.Any]:
    entry = look(answer.rule) or {}
    title, layer = dig(entry, "title", ""), dig(entry, "layer", "")
    return {"rule": answer.rule, "title": title, "layer": layer, "hosts": list(answer.hosts), "why": answer.why}


def _joined(source: t.Any) -> str:
    return "; ".join(map(str, source)) if isinstance(source, (list, tuple)) else str(source)


def _summary(findings: list[dict[str, t.Any]], untested: t.Sized, held: t.Sized) -> dict[str, int]:
    counts = {severity: sum(item["severity"] == severity for item in findings) for severity in SEVERITIES}
    return {**counts, "untested": len(untested), "held": len(held)}


def _cluster(case: Case) -> dict[str, t.Any]:
    plan = case.plan
    return {
        "head": dig(plan, "head", ""),
        "order": list(case.order),
        "master": {"address": dig(plan, "master.address", ""), "port": dig(plan, "master.port")},
        "world_size": dig(plan, "world_size", 0),
        "user": dig(plan, "user", ""),
        "prefix": dig(plan, "prefix", ""),
        "precision": dig(plan, "precision", ""),
        "launchers": list(dig(plan, "launchers", [])),
        "gpus": bool(dig(plan, "gpus", False)),
        "managed": bool(dig(plan, "managed", False)),
    }


def _job(job: Data) -> dict[str, t.Any]:
    keys = ("launcher", "ok", "world_size", "seconds", "timed_out", "faults", "log")
    return {key: job.get(key) for key in keys}


def _collective(found: Data | None) -> dict[str, t.Any] | None:
    if found is None:
        return None
    keys = ("ok", "backend", "world_size", "via", "error", "late", "sweep", "ranks", "trials", "suspects", "nccl")
    lists = {"sweep", "ranks", "trials", "suspects"}
    return {key: dig(found, key, [] if key in lists else {} if key == "nccl" else None) for key in keys}


def _speed(host: str, found: Data) -> dict[str, t.Any]:
    """What was measured on one node."""
    keys = ("index", "name", "uuid", "reason", "tflops", "memory_gbps", "host_gbps", "peer_gbps", "under_load")
    about = {key: dig(found, key) for key in ("device", "precision", "reason", "cpu")}
    return {"host": host, **about, "gpus": [{key: dig(gpu, key) for key in keys} for gpu in dig(found, "gpus", [])]}


def _next(case: Case, outcome: str) -> dict[str, str]:
    """What to do after reading: a sentence, and the line to type when there is one."""
    if outcome == FAULTS:
        return {
            "text": "The cluster is NOT READY: fix the first failure above, then run the same command again.",
            "command": "",
        }
    if outcome == INCOMPLETE:
        return {
            "text": "Not all of the cluster was tested: fix what is listed under 'not tested', then run the same "
            "command again.",
            "command": "",
        }
    command = _own_job(case) if not case.skipped else ""
    return {"text": "Run your own job on every node:" if command else "", "command": command}


def _own_job(case: Case) -> str:
    """The line that starts a job; empty on a cluster without our launch scripts."""
    launchers = dig(case.plan, "launchers", [])
    head = dig(case.plan, "nodes", {}).get(dig(case.plan, "head")) or {}
    if not launchers or not head or dig(case.plan, "managed", True) is False:
        return ""
    script = f"{dig(case.plan, 'prefix', '')}/bin/trainmesh-{str(launchers[0]).replace('_', '-')}"
    login = f"ssh -p {head.get('ssh_port')} {dig(case.plan, 'user', '')}@{head.get('address')}"
    return f"{login} {script} /path/to/train.py"
