# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rule is, what it is given, and what it answers.

A rule is a pure function from a Case to Findings and Untesteds, registered under its public ids. It
reads no machine and knows no other rule. What is common to all findings of an id (layer, usual severity,
title, source) stands beside the function that mostly yields them, as an About.
"""

from __future__ import annotations

import dataclasses
import functools
import typing as t
from collections import abc

Data = t.Mapping[str, t.Any]
Hosts = t.Mapping[str, Data]

FAIL, WARN, INFO = "fail", "warn", "info"
SEVERITIES = (FAIL, WARN, INFO)
# The lowest first: what fails in a high one may follow from a low one.
LAYERS = (
    *("reach", "name", "ssh", "network", "gpu", "versions"),
    *("launcher", "accelerate", "nccl", "precision", "job"),
)


@dataclasses.dataclass(frozen=True)
class Finding:
    """One fault: which rule, how bad (``fail``, ``warn``, ``info``), where, what was seen, why, and the way out.

    ``hosts`` are the nodes it is attributed to (inventory names), empty when no single one is. ``evidence`` maps
    each host to what was seen there. ``cause`` and ``remedy`` are a sentence each; ``remedy`` names
    the exact command or variable. ``source`` is filled in from the catalogue when it is empty.
    """

    rule: str
    severity: str
    hosts: tuple[str, ...]
    evidence: dict[str, str]
    cause: str
    remedy: str
    source: str = ""


def finding(rule_id: str, severity: str, host: str, evidence: str, cause: str, remedy: str) -> Finding:
    """What was seen on, or because of, one host; the engine makes one Finding of equal ones on several hosts."""
    return Finding(rule_id, severity, (host,), {host: evidence}, cause, remedy)


@dataclasses.dataclass(frozen=True)
class Untested:
    """What could not be judged, on which hosts, and why: neither a pass nor a fault."""

    rule: str
    hosts: tuple[str, ...]
    why: str


Answer = t.Union[Finding, Untested]


@dataclasses.dataclass(frozen=True)
class Case:
    """All that a run knows of a cluster; every mapping is by inventory name and lacks the nodes that gave nothing.

    ``plan`` is that of cluster_plan. ``fabric``, ``gpu``, ``stack`` and ``user`` are the facts of the
    nodes. ``mesh`` (mesh_probe), ``links`` (link_probe) are source to target to result; ``listeners``
    the ports that could not be had (port_listener). ``load`` is how busy a node
    was during ``mesh``, ``links`` and ``speed``. ``speed`` are the answers of speed_probe, ``collective`` is that of
    collective_probe, None when it was not run. ``jobs`` are the verdicts on the launchers' jobs. ``reach`` is what the
    controller saw of each host (reach_check), ``unreached`` what each node saw of those that it could not reach
    (mesh_probe). ``switch`` are the nodes to be switched to another environment that were not, with its ``name``, and
    ``held`` and ``why`` where one was refused (environment_switch). ``lost`` are nodes that left the run, and why;
    ``excluded`` those that the user left out of it (--limit). ``skipped`` says why jobs and collectives were not run,
    empty when they were. ``thresholds`` are the limits in force, by name.
    """

    plan: Data
    fabric: Hosts = dataclasses.field(default_factory=dict)
    gpu: Hosts = dataclasses.field(default_factory=dict)
    stack: Hosts = dataclasses.field(default_factory=dict)
    user: Hosts = dataclasses.field(default_factory=dict)
    mesh: Hosts = dataclasses.field(default_factory=dict)
    listeners: Hosts = dataclasses.field(default_factory=dict)
    links: Hosts = dataclasses.field(default_factory=dict)
    load: Hosts = dataclasses.field(default_factory=dict)
    speed: Hosts = dataclasses.field(default_factory=dict)
    collective: Data | None = None
    jobs: t.Sequence[Data] = ()
    reach: Hosts = dataclasses.field(default_factory=dict)
    unreached: Hosts = dataclasses.field(default_factory=dict)
    switch: Hosts = dataclasses.field(default_factory=dict)
    lost: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    excluded: tuple[str, ...] = ()
    skipped: str = ""
    thresholds: Data = dataclasses.field(default_factory=dict)
    # What was derived from the parts above, by once(); None keeps nothing.
    views: dict[t.Any, t.Any] | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def order(self) -> t.Sequence[str]:
        """The nodes in rank order."""
        names: t.Sequence[str] = self.plan["order"]
        return names

    def node(self, name: str) -> Data:
        """What the plan says of a node."""
        found: Data = self.plan["nodes"][name]
        return found


Judge = t.Callable[[Case], t.Iterable[Answer]]
Applies = t.Callable[[Case], bool]


@dataclasses.dataclass(frozen=True)
class About:
    """What is common to all findings of an id.

    ``severity`` is the usual one, ``also`` those that a finding may have instead. ``symptom`` is what people see,
    ``source`` who described it. data/rules.json and docs/rules.md are made from these.
    """

    id: str
    layer: str = dataclasses.field(kw_only=True)
    severity: str = dataclasses.field(kw_only=True)
    title: str = dataclasses.field(kw_only=True)
    symptom: str = dataclasses.field(kw_only=True)
    source: str = dataclasses.field(kw_only=True)
    also: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)


def always(_case: Case) -> bool:
    """Every cluster has what the rule is about."""
    return True


@dataclasses.dataclass(frozen=True)
class Rule:
    """A registered function, the ids it answers for, and the parts of a Case it can't do without.

    ``elsewhere``: those of the ids that have their About at another function. Where this one alone had something to
    look at, the error of a job say, their check has not passed.
    ``of_jobs``: it reads the jobs or the collective of the run, so that its answers change when these have run.
    ``applies``: whether the cluster has what it is about, such as GPUs. It is asked all the same, but has passed only
    where there was something to look at.
    """

    ids: tuple[str, ...]
    needs: tuple[str, ...]
    judge: Judge
    of_jobs: bool = False
    applies: Applies = always
    elsewhere: frozenset[str] = frozenset()


REGISTRY: list[Rule] = []
ABOUT: dict[str, About] = {}


def rule(
    *answers: About | str, needs: t.Sequence[str] = (), of_jobs: bool = False, applies: Applies = always
) -> t.Callable[[Judge], Judge]:
    """Register a function for the ids of ``answers``; a mere id has its About at another function.

    ``needs`` names attributes of Case without which nothing can be said; ``of_jobs`` and ``applies`` are those of
    Rule.
    """
    abouts = [one for one in answers if isinstance(one, About)]
    for about in abouts:
        if about.id in ABOUT:
            raise ValueError(f"{about.id} is described twice")
        ABOUT[about.id] = about
    ids = tuple(dict.fromkeys(one.id if isinstance(one, About) else one for one in answers))

    def register(judge: Judge) -> Judge:
        elsewhere = frozenset(ids).difference(about.id for about in abouts)
        REGISTRY.append(Rule(ids, tuple(needs), judge, of_jobs, applies, elsewhere))
        return judge

    return register


def dig(data: t.Any, path: str, default: t.Any = None) -> t.Any:
    """The value at a dotted path of mappings, ``default`` where there is none or it is None."""
    for part in path.split("."):
        # asked once for every pair of nodes and more: a dict is known at once, and t.Mapping takes ten times as long
        data = data.get(part) if isinstance(data, (dict, abc.Mapping)) else None
    return default if data is None else data


Derived = t.TypeVar("Derived", bound=t.Callable[..., t.Any])


def once(function: Derived) -> Derived:
    """Keep what ``function(case, ...)`` returns with the Case, where that keeps views: many rules walk the same ones.

    Without this the rules cost N^3 to N^4 for N nodes. The arguments must be hashable, and nobody may change
    what is returned.
    """

    @functools.wraps(function)
    def kept(case: Case, *args: t.Hashable) -> t.Any:
        if case.views is None:
            return function(case, *args)
        key = (function, *args)
        if key not in case.views:
            case.views[key] = function(case, *args)
        return case.views[key]

    return t.cast("Derived", kept)
