# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask every rule, and put the answers in order.

The rules live in the folder ``_rules``; importing one registers its rules.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import importlib
import pathlib
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import options
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import rule as diagnosis_rule
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.catalogue import entry
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import shorten
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    LAYERS,
    REGISTRY,
    SEVERITIES,
    Answer,
    Case,
    Finding,
    Rule,
    Untested,
)

_PLACE = "ansible_collections.trainmesh.cluster.plugins.plugin_utils"
# What a run may know of a node, in the words of the report.
_PARTS = {
    "fabric": "its network and system could not be read",
    "gpu": "its GPUs could not be read",
    "stack": "its software could not be read",
    "user": "the job user's files could not be read",
    "mesh": "connectivity to the other nodes was not tested",
    "listeners": "its ports were not tested",
    "links": "its links were not measured",
    "reach": "the controller did not try to reach it",
}
_NO_SCRIPTS = (
    "no launcher was started: this collection did not set the cluster up, and its launch scripts are not there"
)


@dataclasses.dataclass(frozen=True)
class Judgement:
    """The answers, the worst first, and the ids of the rules that hold everywhere.

    ``not_applicable`` are the ids of those that had nothing to look at. ``before_jobs`` is what rules have said that no
    job can change, for a second judgement of the same evidence.
    """

    answers: tuple[Answer, ...]
    held: tuple[str, ...]
    before_jobs: tuple[Answer, ...] = ()
    not_applicable: tuple[str, ...] = ()

    @property
    def findings(self) -> list[Finding]:
        """The faults alone."""
        return [answer for answer in self.answers if isinstance(answer, Finding)]

    @property
    def untested(self) -> list[Untested]:
        """What could not be judged."""
        return [answer for answer in self.answers if isinstance(answer, Untested)]

    @property
    def failed(self) -> bool:
        """Whether any finding stands in the way of a job."""
        return any(finding.severity == diagnosis_rule.FAIL for finding in self.findings)


def load() -> list[Rule]:
    """Every rule of the collection; importing the modules registers them."""
    root = pathlib.Path(__file__).parents[1]
    for path in sorted((root / "_rules").rglob("[!_]*.py")):
        importlib.import_module(".".join([_PLACE, *path.relative_to(root).with_suffix("").parts]))
    return REGISTRY


def judge(case: Case, wishes: options.Options, before_jobs: t.Sequence[Answer] | None = None) -> Judgement:
    """Ask every rule about ``case``, the ones that the user added among them, and apply what the user wants of each.

    With ``before_jobs`` of an earlier judgement only the rules on jobs are asked: nothing else may have changed.
    """
    with _uncollected():
        return _judge(case if case.views is not None else dataclasses.replace(case, views={}), wishes, before_jobs)


@contextlib.contextmanager
def _uncollected() -> t.Iterator[None]:
    """Without the collector of cycles: each time it would look through the facts of all nodes, of which none can go."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _judge(case: Case, wishes: options.Options, before_jobs: t.Sequence[Answer] | None) -> Judgement:
    rules = load()
    ready = [rule for rule in rules if all(getattr(case, part) for part in rule.needs)]
    if before_jobs is None:
        before_jobs = [answer for rule in ready if not rule.of_jobs for answer in _ask(rule, case)]
    of_jobs = [answer for rule in ready if rule.of_jobs for answer in _ask(rule, case)]
    answers: list[Answer] = [*_missing_parts(case), *options.extra(case, wishes), *before_jobs, *of_jobs]
    silent = {identity for rule in rules for identity in rule.ids} - {answer.rule for answer in answers}
    held = silent & {one for rule in ready if _applies(rule, case) for one in rule.ids if one not in rule.elsewhere}
    answers = options.apply(answers, wishes)
    ordered = tuple(sorted(map(_with_source, merged(answers, case.order)), key=_weight))
    return Judgement(ordered, tuple(sorted(held)), tuple(before_jobs), tuple(sorted(silent - held)))


def to_rows(answers: t.Iterable[Answer]) -> list[dict[str, t.Any]]:
    """Answers as plain data, for the result of a task."""
    return [dataclasses.asdict(answer) for answer in answers]


def from_rows(rows: t.Iterable[t.Mapping[str, t.Any]]) -> list[Answer]:
    """The answers again."""
    return [(Untested if "why" in row else Finding)(**{**row, "hosts": tuple(row["hosts"])}) for row in rows]


def _ask(rule: Rule, case: Case) -> list[Answer]:
    """One rule's answers; a rule that breaks has told nothing, and must not take the report with it."""
    try:
        return list(rule.judge(case))
    except Exception as error:  # pylint: disable=broad-exception-caught
        why = f"the rule itself failed ({type(error).__name__}: {error}): please report it"
        return [Untested(identity, (), why) for identity in rule.ids]


def _applies(rule: Rule, case: Case) -> bool:
    try:
        return rule.applies(case)
    except Exception:  # pylint: disable=broad-exception-caught
        return False  # then nothing has been looked at


def _missing_parts(case: Case) -> t.Iterator[Untested]:
    """What no rule can say anything about, because a node told nothing."""
    away = {*case.lost, *case.excluded}
    for part, why in _PARTS.items():
        known: t.Mapping[str, t.Any] = getattr(case, part)
        silent = tuple(name for name in case.order if name not in known and name not in away)
        if silent and not (part in ("mesh", "listeners", "links", "reach") and not known):
            yield Untested(part, silent, why)
    if case.lost:
        yield Untested("node", tuple(case.lost), "lost during the run; remaining checks skipped")
    if case.excluded:
        yield Untested("node", case.excluded, "excluded from this run by --limit")
    if case.skipped:
        yield Untested("jobs", (), case.skipped)
    elif case.collective is not None and case.plan.get("managed") is False:
        yield Untested("jobs", (), _NO_SCRIPTS)


def merged(answers: t.Iterable[Answer], order: t.Sequence[str] = ()) -> list[Answer]:
    """One finding for the same fault of several hosts, these in ``order``; several things seen on a host are joined."""
    found: dict[tuple[t.Any, ...], Answer] = {}
    evidence: dict[tuple[t.Any, ...], dict[str, list[str]]] = {}
    for answer in answers:
        if isinstance(answer, Untested):
            found.setdefault((answer.rule, answer.why, answer.hosts), answer)
            continue
        place = (answer.rule, answer.severity, answer.cause, answer.remedy)
        known = found.get(place)
        hosts = known.hosts if isinstance(known, Finding) else ()
        found[place] = dataclasses.replace(answer, hosts=tuple(dict.fromkeys((*hosts, *answer.hosts))))
        for host, text in answer.evidence.items():
            evidence.setdefault(place, {}).setdefault(host, []).append(text)
    rank = {name: number for number, name in enumerate(order)}
    return [
        _whole(answer, evidence[place], rank) if isinstance(answer, Finding) else answer
        for place, answer in found.items()
    ]


def _whole(finding: Finding, evidence: t.Mapping[str, list[str]], rank: t.Mapping[str, int]) -> Finding:
    def ordered(hosts: t.Iterable[str]) -> list[str]:
        return sorted(hosts, key=lambda host: rank.get(host, len(rank)))

    texts = {host: shorten(evidence[host]) for host in ordered(evidence)}
    return dataclasses.replace(finding, hosts=tuple(ordered(finding.hosts)), evidence=texts)


def _with_source(answer: Answer) -> Answer:
    if isinstance(answer, Finding) and not answer.source:
        return dataclasses.replace(answer, source=str((entry(answer.rule) or {}).get("source") or ""))
    return answer


def _weight(answer: Answer) -> tuple[int, int, str]:
    """The worst first; among equals the lowest layer, because the others may follow from it."""
    known = entry(answer.rule)
    layer = LAYERS.index(known["layer"]) if known else len(LAYERS)
    if isinstance(answer, Untested):
        return (len(SEVERITIES), layer, answer.rule)
    return (SEVERITIES.index(answer.severity), layer, answer.rule)
