# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the software of all nodes, and name the ones that stand out.

Which versions have to be equal, how bad a difference is and why is data
(``data/version_rules.json``); the rules on a single node are in ``_version_rules``.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.constraints import look_up, text_at
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import key, table
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import SEVERITIES, Finding
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.versions_node import CHECKS, Node

Facts = t.Mapping[str, t.Any]

ABSENT = "not installed"
_MOST_NAMES = 5


def compare(stack_by_host: t.Mapping[str, Facts], gpu_by_host: t.Mapping[str, Facts]) -> list[Finding]:
    """Every fault of the versions of a cluster, the worst first; [] when all is well.

    ``stack_by_host`` has ``trainmesh_facts_stack`` and ``gpu_by_host`` ``trainmesh_facts_gpu`` of each host, in
    the order of the inventory; a host without facts is left out of the comparison. Equal faults of
    several hosts are one finding. With as many nodes for one version as for another, those of the
    first host of the inventory count as the majority.
    """
    findings = _missing_environments(stack_by_host) + _differences(stack_by_host, gpu_by_host)
    for host, stack in stack_by_host.items():
        node = Node(host, stack, gpu_by_host.get(host) or {})
        for check in CHECKS:
            check(node)
        findings += node.findings
    return sorted(_merged(findings), key=lambda finding: SEVERITIES.index(finding.severity))


def groups(values: t.Mapping[str, str], parts: int) -> list[tuple[str, list[str]]]:
    """(version, hosts) of each different version, the largest group first.

    ``parts`` is how many leading numbers count (0: the whole text). On a tie the group with the
    earlier host comes first. The version is the one of the group's first host. Hosts without the
    package come last, however many: what is missing is what has to be brought.
    """
    found: dict[t.Any, list[str]] = {}
    for host, value in values.items():
        found.setdefault(key(value)[:parts] or value if parts else value, []).append(host)
    # a stable sort: within one size, the group with the earlier host stays first
    ordered = sorted(found.values(), key=lambda hosts: (values[hosts[0]] == ABSENT, -len(hosts)))
    return [(values[hosts[0]], hosts) for hosts in ordered]


def version_table(stack_by_host: t.Mapping[str, Facts], gpu_by_host: t.Mapping[str, Facts]) -> list[dict[str, t.Any]]:
    """One row for each version that has to be equal: ``what``, ``values`` by host, ``outliers``.

    For reports; rows that no host knows anything of are left out.
    """
    rows = []
    for entry in table("version_rules")["equal"]:
        values = _values(entry["fact"], stack_by_host, gpu_by_host)
        if values:
            ordered = groups(values, entry["parts"])
            outliers = [host for _version, hosts in ordered[1:] for host in hosts]
            rows.append({"what": entry["what"], "values": values, "outliers": outliers})
    return rows


def names(hosts: t.Sequence[str]) -> str:
    """``node1, node2`` and, beyond five, ``and 59 more``."""
    listed = ", ".join(hosts[:_MOST_NAMES])
    return listed if len(hosts) <= _MOST_NAMES else f"{listed} and {len(hosts) - _MOST_NAMES} more"


def _values(fact: str, stack_by_host: t.Mapping[str, Facts], gpu_by_host: t.Mapping[str, Facts]) -> dict[str, str]:
    """The value of each host that knows it; a package missing on some hosts only is a value, too."""
    area, _dot, rest = fact.partition(".")
    source, path = (gpu_by_host, rest) if area == "gpu" else (stack_by_host, fact)
    found = {host: value for host, facts in source.items() if (value := text_at(facts, path))}
    if area == "packages" and found:
        for host, facts in source.items():
            if host not in found and _has_environment(facts):
                found[host] = ABSENT
        return {host: found[host] for host in source if host in found}
    return found


def _has_environment(stack: Facts) -> bool:
    return bool(text_at(stack, "python.version")) and not look_up(stack, "python.problem")


def _missing_environments(stack_by_host: t.Mapping[str, Facts]) -> list[Finding]:
    """path-differs: the interpreter is there on some nodes only. On none, nothing is installed yet."""
    missing = {host: problem for host, stack in stack_by_host.items() if (problem := text_at(stack, "python.problem"))}
    if not missing or not any(_has_environment(stack) for stack in stack_by_host.values()):
        return []
    return [
        Finding(
            "path-differs",
            "fail",
            tuple(missing),
            missing,
            "The Python environment does not work there: launchers start the same path on every node.",
            "Run site.yml again, which installs it.",
        )
    ]


def _differences(stack_by_host: t.Mapping[str, Facts], gpu_by_host: t.Mapping[str, Facts]) -> list[Finding]:
    """The entries of the table that do not hold; the hosts of a finding are those outside the majority."""
    findings = []
    differing = set()
    for entry in table("version_rules")["equal"]:
        values = _values(entry["fact"], stack_by_host, gpu_by_host)
        ordered = groups(values, entry["parts"])
        if len(ordered) < 2:
            continue
        differing.add(entry["what"])
        if entry.get("unless") in differing:
            continue
        seen = "; ".join(f"{version} on {names(hosts)}" for version, hosts in ordered)
        outliers = [host for _version, hosts in ordered[1:] for host in hosts]
        findings.append(
            Finding(
                entry["rule"],
                entry["severity"],
                tuple(outliers),
                values,
                f"{_capital(entry['what'])} is not the same on all nodes ({seen}): {entry['why']}.",
                entry.get("remedy") or f"Run site.yml again: it brings {names(outliers)} to {ordered[0][0]}.",
            )
        )
    return findings


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:] if text.startswith("the ") else text


def _merged(findings: t.Iterable[Finding]) -> list[Finding]:
    """One finding for the same fault of several hosts."""
    found: dict[tuple[str, ...], Finding] = {}
    for one in findings:
        place = (one.rule, one.severity, one.cause, one.remedy)
        known = found.get(place)
        if known:
            hosts, evidence = known.hosts + one.hosts, {**known.evidence, **one.evidence}
            found[place] = dataclasses.replace(one, hosts=hosts, evidence=evidence)
        else:
            found[place] = one
    return list(found.values())


__all__ = ("ABSENT", "compare", "groups", "names", "version_table")
