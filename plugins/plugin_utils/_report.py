# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: the table at the end of a run, faults first."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._versions import Finding

Data = t.Mapping[str, t.Any]
# What a failed ssh or TCP attempt means and what to do about it.
_LAYERS = {
    "name": "the name does not resolve: run site.yml, or mend /etc/hosts",
    "refused": "nothing listens there, or a firewall rejects with a reset",
    "no_route": "a firewall rejects, or there is no route: trainmesh_firewall opens firewalld and ufw only",
    "timeout": "a firewall drops the packets, or the machine hangs",
    "hostkey_unknown": "its host key is not pinned: run site.yml over all nodes",
    "hostkey_changed": "its host key changed: if the machine was reinstalled, run site.yml over all nodes",
    "permission": "it refuses the key: look at the modes of home and .ssh, at sshd's AllowUsers and PermitRootLogin",
    "closed": "it closes the connection: look at its sshd log, MaxStartups and AllowUsers",
    "config": "ssh refuses its own configuration file",
    "noise": "its shell start-up file prints in non-interactive logins, which garbles launchers",
    "wrong_machine": "another machine has this address, or its host name was changed",
    "stranger": "another program has the port: a job that is left over, or choose another trainmesh_master_port",
}


@dataclasses.dataclass
class Evidence:
    """All that a run knows of its nodes, by inventory name, and of its jobs.

    ``rows`` are those of mesh_probe, ``listeners`` the ports that could not be had, ``stacks`` the
    facts of stack_facts, ``findings`` what comparing them showed, ``verdicts`` those of the jobs,
    ``dropped`` the nodes that left the run and why, ``untested`` why the jobs were not run
    (empty when they were), ``changed`` the registers of the tasks that changed a node.
    """

    plan: Data
    rows: t.Mapping[str, Data]
    listeners: t.Mapping[str, Data]
    stacks: t.Mapping[str, Data]
    verdicts: t.Sequence[Data]
    dropped: t.Mapping[str, str]
    untested: str
    changed: t.Mapping[str, t.Sequence[str]]
    findings: t.Sequence[Finding] = ()
    check_mode: bool = False


def faults(evidence: Evidence) -> list[str]:
    """One sentence a fault, the host first; nodes that dropped out lead, jobs come last."""
    found = probe_faults(evidence)
    for verdict in evidence.verdicts:
        if not verdict["ok"]:
            for item in verdict["faults"] or [{"host": "", "cause": "failed without a cause"}]:
                host = item["host"] or evidence.plan["head"]
                found.append(f"{host}: {verdict['launcher']}: {item['cause']} (see {verdict.get('log')})")
    return found


def probe_faults(evidence: Evidence) -> list[str]:
    """The faults that are known before any job is started."""
    found = [f"{name}: {reason}" for name, reason in evidence.dropped.items()]
    for name, listeners in evidence.listeners.items():
        for port, problem in listeners.items():
            found.append(f"{name}: port {port} can't be had ({problem[1]}): a job that is left over holds it")
    found += [_sentence(finding) for finding in evidence.findings if finding.severity == "fail"]
    return found + _pair_faults(evidence)


def blocker(evidence: Evidence, jobs_wanted: bool) -> str:
    """Why no job is to be started, in words; empty when nothing stands in the way.

    A job over ways that are blocked would only wait for its own time limit.
    """
    missing = [name for name in evidence.plan["order"] if name not in evidence.stacks]
    if evidence.check_mode:
        return "check mode starts no jobs"
    if not jobs_wanted:
        return "trainmesh_verify_jobs is false"
    if missing:
        return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not in this run"
    return "the faults above come first" if probe_faults(evidence) else ""


def _sentence(finding: Finding) -> str:
    return f"{', '.join(finding.hosts)}: {finding.cause} {finding.remedy} [{finding.rule}]"


def _pair_faults(evidence: Evidence) -> list[str]:
    """Failed attempts of all pairs: those towards one node with one cause are one sentence that names every source."""
    sources: dict[tuple[str, str, str], list[str]] = {}
    examples: dict[tuple[str, str, str], str] = {}
    for source, row in evidence.rows.items():
        for target, results in row.items():
            for kind in ("ssh", "tcp") if target not in evidence.dropped else ():
                bad = [(item, result) for item, result in results[kind].items() if not result["ok"]]
                if bad:
                    item, result = bad[0]
                    what = f"ssh {item}" if kind == "ssh" else f"TCP to port {item}"
                    key = (target, what, result["layer"])
                    sources.setdefault(key, []).append(source)
                    advice = _LAYERS.get(result["layer"], "see the evidence")
                    examples.setdefault(key, f"{what} fails: {result['evidence']}; {advice}")
    return [f"{key[0]}: from {', '.join(names)}: {examples[key]}" for key, names in sources.items()]


def _score(evidence: Evidence, name: str, kind: str) -> str:
    """How many of the attempts towards a node went well, from all nodes."""
    results = [
        result["ok"] for source, row in evidence.rows.items() for result in row.get(name, {}).get(kind, {}).values()
    ]
    if not results:
        return "-"
    return "ok" if all(results) else f"{sum(results)}/{len(results)}"


def _node_rows(evidence: Evidence) -> list[list[str]]:
    rows = [["node", "address", "port", "slots", "GPU", "torch", "deepspeed", "accelerate", "ssh", "ports"]]
    for name in evidence.plan["order"]:
        node = evidence.plan["nodes"][name]
        packages = evidence.stacks.get(name, {}).get("packages") or {}
        versions = [packages.get(package) or "-" for package in ("torch", "deepspeed", "accelerate")]
        gpu = f"{len(node['gpus'])} x {node['gpus'][0]}" if node["gpus"] else "none"
        scores = [_score(evidence, name, kind) for kind in ("ssh", "tcp")]
        rows.append([name, node["address"], str(node["ssh_port"]), str(node["slots"]), gpu, *versions, *scores])
    return rows


def _job_rows(evidence: Evidence) -> list[list[str]]:
    rows = [["launcher", "world size", "seconds", "verdict"]]
    for verdict in evidence.verdicts:
        seconds = f"{verdict['seconds']:.0f}"
        rows.append([verdict["launcher"], str(verdict["world_size"]), seconds, "ok" if verdict["ok"] else "FAILED"])
    return rows


def table(rows: t.Sequence[t.Sequence[str]]) -> list[str]:
    """Rows in columns as wide as they need."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return [f"  {lines[0]}", f"  {'  '.join('-' * width for width in widths)}", *(f"  {line}" for line in lines[1:])]


def text(evidence: Evidence) -> str:
    """The report as the terminal shows it."""
    found = faults(evidence)
    lines = [""]
    if found:
        lines += [f"{len(found)} fault(s):", *(f"  {number}. {fault}" for number, fault in enumerate(found, 1)), ""]
    lines += [*table(_node_rows(evidence)), ""]
    if evidence.verdicts:
        lines += [*table(_job_rows(evidence)), ""]
    notes = [_sentence(finding) for finding in evidence.findings if finding.severity == "warn"]
    if notes:
        lines += ["To be looked at:", *(f"  {note}" for note in notes), ""]
    if evidence.untested:
        lines += [f"Jobs could not be tested: {evidence.untested}.", ""]
    lines += _closing(evidence, bool(found))
    return "\n".join(lines)


def _closing(evidence: Evidence, failed: bool) -> list[str]:
    """What this run changed, and the one line to type next."""
    touched = [name for name, what in evidence.changed.items() if what]
    would = "would change" if evidence.check_mode else "changed"
    said = f"This run {would}: {', '.join(touched)}." if touched else f"This run {would} nothing on any node."
    if failed:
        return [said, "The cluster is NOT ready: mend the first fault above and run the same command again."]
    if evidence.untested:
        return [said]
    head, prefix = evidence.plan["nodes"][evidence.plan["head"]], evidence.plan["prefix"]
    launcher = evidence.plan["launchers"][0].replace("_", "-")
    command = f"ssh -p {head['ssh_port']} {evidence.plan['user']}@{head['address']}"
    return [said, "Your own job, on every node:", f"  {command} {prefix}/bin/trainmesh-{launcher} /path/to/train.py"]


__all__ = ("Evidence", "faults", "table", "text")
