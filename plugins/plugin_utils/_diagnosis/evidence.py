# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Case of a run: each node's facts, with what its probes have found, and the results of the jobs of all."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import action, whole
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.job_result import verdict
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Data, Hosts, dig

UNREACHED = "unreachable"
LEFT = "lost during the run; the error of its last task is above"


class Jobs(t.NamedTuple):
    """What ran on all nodes together: ``collective`` is the answer of collective_probe, ``results`` are launch_job's.

    ``skipped`` says why jobs were not run, empty when they were.
    """

    collective: Data
    results: t.Sequence[Data]
    skipped: str


def assemble(
    plan: Data, hostvars: Hosts, live: t.Sequence[str], every: t.Sequence[str], thresholds: Data, jobs: Jobs
) -> Case:
    """What is known of the cluster. ``live`` are the hosts still in the run, ``every`` those it began with."""
    facts = {name: action.facts(hostvars, name) for name in live}
    probes = {name: _probes(found.get("trainmesh_facts_verify") or {}) for name, found in facts.items()}
    return Case(
        plan={**plan, "managed": bool(plan.get("managed"))},
        fabric=_facts(facts, "trainmesh_facts_fabric"),
        gpu=_facts(facts, "trainmesh_facts_gpu"),
        stack=_facts(facts, "trainmesh_facts_stack"),
        user=_facts(facts, "trainmesh_facts_user"),
        mesh=_mesh(plan, probes),
        listeners=_found(probes, "listener", "problems"),
        links=_found(probes, "links", "row"),
        load=_load(probes),
        speed=_found(probes, "speed", "speed"),
        collective=jobs.collective if "sweep" in jobs.collective else None,
        jobs=_verdicts(plan, _found(probes, "records", "records"), jobs.results),
        reach=_reach(hostvars, live),
        unreached=_found(probes, "mesh", "unreached"),
        switch=_switch(plan, hostvars, live),
        lost={name: _lost(hostvars, name) for name in every if name not in live},
        excluded=tuple(name for name in [*plan["order"], *(plan.get("left_out") or ())] if name not in every),
        skipped=jobs.skipped,
        thresholds=thresholds,
        views={},
    )


def unread(hosts: t.Sequence[str], hostvars: Hosts, every: t.Sequence[str], thresholds: Data) -> Case:
    """What is known where no node could be read: what the controller saw of each, and nothing else."""
    reach = _reach(hostvars, every)
    return Case(
        plan={"order": list(hosts), "nodes": {}, "managed": False},
        reach=reach,
        lost={name: LEFT if (reach.get(name) or {}).get("ok") else UNREACHED for name in every},
        excluded=tuple(name for name in hosts if name not in every),
        skipped="no node could be read",
        thresholds=thresholds,
        views={},
    )


def changed_tasks(values: t.Mapping[str, t.Any]) -> list[str]:
    """Names of the roles' registers whose task changed the node: every changing task registers __ROLE_changed_WHAT."""
    names = [name for name in values if name.startswith("__") and "_changed_" in name]
    return [name for name in names if isinstance(values[name], t.Mapping) and values[name].get("changed")]


def _facts(facts: Hosts, key: str) -> dict[str, Data]:
    return {name: found[key] for name, found in facts.items() if found.get(key)}


def _probes(found: Data) -> dict[str, t.Any]:
    return {probe: whole.answer(said) for probe, said in found.items()}


def _found(probes: Hosts, probe: str, key: str) -> dict[str, t.Any]:
    """One key of a probe's answer for every node that has it."""
    found = {name: (answers.get(probe) or {}).get(key) for name, answers in probes.items()}
    return {name: value for name, value in found.items() if value is not None}


def _mesh(plan: Data, probes: Hosts) -> dict[str, t.Any]:
    """The rows of the mesh in full."""
    rows, common = _found(probes, "mesh", "row"), _found(probes, "mesh", "alike")
    return {name: whole.mesh(row, common.get(name), plan["nodes"]) for name, row in rows.items()}


def _load(probes: Hosts) -> t.Mapping[str, Data]:
    """How busy each node was during each probe."""
    found: dict[str, dict[str, t.Any]] = {}
    for probe in ("mesh", "links"):
        for name, load in _found(probes, probe, "load").items():
            found.setdefault(name, {})[probe] = load
    for name, speed in _found(probes, "speed", "speed").items():
        found.setdefault(name, {})["speed"] = (speed or {}).get("load") or {}
    return found


def _reach(hostvars: Hosts, names: t.Sequence[str]) -> Data:
    """What the controller saw of each host, which every host of the run has been told."""
    return (action.stored(hostvars, names[0]).get("trainmesh_reach") or {}).get("hosts") or {} if names else {}


def _lost(hostvars: Hosts, name: str) -> str:
    """Why a host is no longer in the run: never reached if nothing ever was, else failed on the way."""
    row = ((action.stored(hostvars, name).get("trainmesh_reach") or {}).get("hosts") or {}).get(name) or {}
    return LEFT if action.facts(hostvars, name).get("trainmesh_facts_fabric") or row.get("ok") else UNREACHED


def _switch(plan: Data, hostvars: Hosts, live: t.Sequence[str]) -> dict[str, Data]:
    """The nodes that keep their environment though the plan has another one; a run that only looks has none."""
    wanted = {name: dig(node, "environment.switch", "") for name, node in plan["nodes"].items()}
    stored = {name: action.stored(hostvars, name) for name in live}
    if not any("__torch_stack_verified" in values for values in stored.values()):
        return {}
    found: dict[str, Data] = {}
    for name in filter(wanted.get, plan["order"]):
        tried, done = (dig(stored.get(name), f"__torch_stack_{each}", {}) for each in ("verified", "changed_switch"))
        if name not in stored or tried.get("failed") or done.get("failed") or done.get("skipped"):
            refused: Data = next((each for each in (tried, done) if each.get("failed")), {})
            why = {"held": refused.get("held") is True, "why": str(refused["msg"])} if "msg" in refused else {}
            found[name] = {"name": wanted[name], **why}
    return found


def _verdicts(
    plan: Data, records: t.Mapping[str, t.Sequence[Data]], results: t.Sequence[Data]
) -> list[dict[str, t.Any]]:
    """The verdict on each job, from the records of its ranks."""
    verdicts = []
    for job in [job for job in results if not job.get("skipped")]:
        by_node = {
            name: [record for record in found if record.get("run_id") == job.get("run_id")]
            for name, found in records.items()
        }
        first = job.get("first_error") or {"text": _last_line(str(job.get("log_tail") or job.get("msg") or ""))}
        launcher, seconds = str(job["launcher"]), float(job.get("seconds") or 0)
        killed = job.get("killed") or ()
        judged = verdict(plan, launcher, by_node, job.get("rc"), first, seconds, killed)
        verdicts.append({**judged, "log": job.get("log")})
    return verdicts


def _last_line(text: str) -> str:
    """The last line with anything in it."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
