# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Case of a run, out of what its tasks have registered on the hosts."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.job_result import verdict
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Data, Hosts

UNREACHED = "unreachable"
LEFT = "lost during the run; the error of its last task is above"


def assemble(
    plan: Data, hostvars: Hosts, live: t.Sequence[str], every: t.Sequence[str], thresholds: Data, skipped: str
) -> Case:
    """What is known of the cluster.

    ``live`` are the hosts still in the run, ``every`` those it began with; ``skipped`` says why jobs
    were not run, empty when they were.
    """
    facts = {name: hostvars[name].get("ansible_facts") or {} for name in live}
    first = hostvars[live[0]] if live else {}
    return Case(
        plan={**plan, "managed": bool(plan.get("managed"))},
        fabric=_facts(facts, "trainmesh_facts_fabric"),
        gpu=_facts(facts, "trainmesh_facts_gpu"),
        stack=_facts(facts, "trainmesh_facts_stack"),
        user=_facts(facts, "trainmesh_facts_user"),
        mesh=each(hostvars, live, "__verify_probe", "row"),
        listeners=each(hostvars, live, "__verify_listener", "problems"),
        links=each(hostvars, live, "__verify_links", "row"),
        load=_load(hostvars, live),
        collective=_collective(hostvars, live),
        jobs=_verdicts(hostvars, live, plan),
        reach=(first.get("trainmesh_reach") or {}).get("hosts") or {},
        unreached=each(hostvars, live, "__verify_probe", "unreached"),
        lost=_dropped(hostvars, every, live),
        excluded=tuple(name for name in [*plan["order"], *(plan.get("left_out") or ())] if name not in every),
        skipped=skipped,
        thresholds=thresholds,
        views={},
    )


def unread(hosts: t.Sequence[str], hostvars: Hosts, every: t.Sequence[str], thresholds: Data) -> Case:
    """What is known where no node could be read: what the controller saw of each, and nothing else."""
    reach = (hostvars[every[0]].get("trainmesh_reach") or {}).get("hosts") or {} if every else {}
    return Case(
        plan={"order": list(hosts), "nodes": {}, "managed": False},
        reach=reach,
        lost={name: LEFT if (reach.get(name) or {}).get("ok") else UNREACHED for name in every},
        excluded=tuple(name for name in hosts if name not in every),
        skipped="no node could be read",
        thresholds=thresholds,
        views={},
    )


def each(hostvars: Hosts, live: t.Iterable[str], register: str, key: str) -> dict[str, t.Any]:
    """One key of a registered result for every node that has it."""
    found = {name: (hostvars[name].get(register) or {}).get(key) for name in live}
    return {name: value for name, value in found.items() if value is not None}


def changed_tasks(values: t.Mapping[str, t.Any]) -> list[str]:
    """Names of the roles' registers whose task changed the node: every changing task registers __ROLE_changed_WHAT."""
    names = [name for name in values if name.startswith("__") and "_changed_" in name]
    return [name for name in names if isinstance(values[name], t.Mapping) and values[name].get("changed")]


def _facts(facts: Hosts, key: str) -> dict[str, Data]:
    return {name: found[key] for name, found in facts.items() if found.get(key)}


def _load(hostvars: Hosts, live: t.Iterable[str]) -> t.Mapping[str, Data]:
    """How busy each node was during each probe."""
    found: dict[str, dict[str, t.Any]] = {}
    for part, register in (("mesh", "__verify_probe"), ("links", "__verify_links")):
        for name, load in each(hostvars, live, register, "load").items():
            found.setdefault(name, {})[part] = load
    return found


def _collective(hostvars: Hosts, live: t.Sequence[str]) -> Data | None:
    """The answer of collective_probe, which ran once for all."""
    answer: Data = (hostvars[live[0]].get("__verify_collective") or {}) if live else {}
    return answer if "sweep" in answer else None


def _dropped(hostvars: Hosts, every: t.Iterable[str], live: t.Collection[str]) -> dict[str, str]:
    """Nodes that are no longer in the run: never reached if nothing ever was, else failed on the way."""
    away = {}
    for name in every:
        if name not in live:
            read = (hostvars[name].get("ansible_facts") or {}).get("trainmesh_facts_fabric")
            rows = (hostvars[name].get("trainmesh_reach") or {}).get("hosts") or {}
            away[name] = LEFT if read or (rows.get(name) or {}).get("ok") else UNREACHED
    return away


def _verdicts(hostvars: Hosts, live: t.Sequence[str], plan: Data) -> list[dict[str, t.Any]]:
    """The verdict on each job, from the records of its ranks."""
    records = each(hostvars, live, "__verify_records", "records")
    jobs = (hostvars[live[0]].get("__verify_jobs") or {}).get("results") or [] if live else []
    verdicts = []
    for job in [job for job in jobs if not job.get("skipped")]:
        launcher = str(job["__verify_launcher"])
        by_node = {
            name: [record for record in found if record.get("run_id") == job.get("run_id")]
            for name, found in records.items()
        }
        tail = str(job.get("log_tail") or job.get("msg") or "")
        judged = verdict(plan, launcher, by_node, job.get("rc"), tail, float(job.get("seconds") or 0))
        verdicts.append({**judged, "log": job.get("log")})
    return verdicts
