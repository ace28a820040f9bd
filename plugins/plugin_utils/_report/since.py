# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is new, fixed and still there since the last run, by check and host.

A finding counts as fixed only where this run has looked again: every node took part, the check was judged, and what
it needs was measured. Any other finding of before is kept as not tested, until a run does look.
"""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Answer, Case, Rule, Untested
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import inventory, matrices

Data = t.Mapping[str, t.Any]
# A rule, and a host; of a finding about the cluster the host is empty.
Key = tuple[str, str]
_COLLECTIVE = "all-reduce"
# Which matrices show that this part of the evidence was measured as before.
_OF_PART = {"mesh": {"ssh", "tcp"}, "links": {"latency_us", "mbps"}}


def last(directory: str) -> t.Any:
    """What is in report.json of the last run, None when there is none that can be read."""
    try:
        with open(os.path.join(directory, "report.json"), encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError, RecursionError):
        return None


def compare(
    before: t.Any, now: Data, case: Case, answers: t.Sequence[Answer], silent: t.Collection[str]
) -> dict[str, t.Any] | None:
    """The changes from ``before``, whatever that is, to the report ``now``; None when it is no report to compare with.

    That is one of the same format and the same cluster, and in a run that has checked anything. ``silent`` are the
    checks that were asked and found nothing.
    """
    try:
        if not _is_comparable(before, now) or not (silent or now["findings"]):
            return None
        found, known = _keys(now["findings"]), _known(before)
        place = {*case.order, *case.excluded, *case.lost, ""}
        asked = {*silent, *(answer.rule for answer in answers)}  # not so what was silenced since
        gone = [key for key in known if key not in found and key[0] in asked and key[1] in place]
        rules, wanted = engine.load(), _measured(before) | _wanted(before)
        lacking = wanted - _measured(now)
        fixed = [key for key in gone if _is_tested(key, lacking, case, answers, rules)]
        change = {
            "new": _rows(key for key in found if key not in known),
            "fixed": _rows(fixed),
            "still": _rows(key for key in found if key in known),
            "not_tested": _rows(key for key in gone if key not in fixed),
        }
        measured = sorted(wanted) if change["not_tested"] else []
        return {"generated": str(before["generated"]), **change, "measured": measured}
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return None  # damaged, or not ours


def _is_comparable(before: t.Any, now: Data) -> bool:
    """Whether both have the same format, and a node in common by name and address."""
    if any(before[key] != now[key] for key in ("schema", "collection")):
        return False
    here, there = (
        {(node["name"], node["address"]) for node in report["nodes"] if node["address"]} for report in (before, now)
    )
    return bool(here & there)


def _known(before: Data) -> list[Key]:
    """What was found by the last run, and what earlier ones had found and it did not look for."""
    return list(dict.fromkeys([*_keys(before["findings"]), *_keys((before.get("since") or {}).get("not_tested", ()))]))


def _keys(rows: t.Iterable[Data]) -> list[Key]:
    found = [(row["rule"], host) for row in rows for host in row["hosts"] or [""]]
    if not all(isinstance(part, str) for key in found for part in key):
        raise TypeError("a rule and a host are texts")
    return list(dict.fromkeys(found))


def _rows(keys: t.Iterable[Key]) -> list[dict[str, t.Any]]:
    """A row for each rule, and one without hosts for a finding about the cluster."""
    hosts: dict[tuple[str, bool], list[str]] = {}
    for rule, host in keys:
        hosts.setdefault((rule, bool(host)), []).extend([host] if host else [])
    return [{"rule": rule, "hosts": found} for (rule, _of_hosts), found in hosts.items()]


def _measured(report: Data) -> set[str]:
    """What not every run measures, and this one did; jobs that a time limit of ours ended have shown nothing."""
    found = {kind for kind, matrix in report["matrices"].items() if matrices.tried(matrix)}
    found |= {f"job {job['launcher']}" for job in report["jobs"] if not job["timed_out"]}
    collective = report["collective"]
    return found | ({_COLLECTIVE} if collective and not collective.get("late") else set())


def _wanted(report: Data) -> set[str]:
    """What had been measured when its untested findings were seen."""
    return {str(what) for what in (report.get("since") or {}).get("measured", ())}


def _is_tested(key: Key, lacking: set[str], case: Case, answers: t.Sequence[Answer], rules: t.Sequence[Rule]) -> bool:
    """Whether this run has looked where one before found something; ``lacking`` is what it did not measure."""
    identity, host = key
    if case.excluded or inventory.missing(case):
        return False  # many checks compare nodes, or try from one to another
    for answer in answers:
        if answer.rule == identity and isinstance(answer, Untested) and host in (*(answer.hosts or [host]), ""):
            return False
    asked = [rule for rule in rules if identity in rule.ids]
    # of_jobs only because it is measured after the gate; whether it was shows in its part of the evidence
    of_jobs = any(rule.of_jobs and "speed" not in rule.needs for rule in asked)
    if of_jobs and (case.skipped or any(_is_of_jobs(what) for what in lacking)):
        return False
    needs = {part for rule in asked for part in rule.needs}
    return all(_has(case, part, host) and not lacking & _OF_PART.get(part, set()) for part in needs)


def _is_of_jobs(what: str) -> bool:
    return what == _COLLECTIVE or what.startswith("job ")


def _has(case: Case, part: str, host: str) -> bool:
    """Whether this part of the evidence is there, and of the host."""
    found = getattr(case, part)
    return bool(found) and (not host or host in found)
