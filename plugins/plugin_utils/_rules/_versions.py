# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions that have to be equal on all nodes, and how the nodes group by them.

Which these are, how bad a difference is and why is data (``_compat/data/version_rules.json``).
"""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.constraints import look_up, text_at
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import key, table

Facts = t.Mapping[str, t.Any]

ABSENT = "not installed"
_MOST_NAMES = 5


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
        values = values_of(entry["fact"], stack_by_host, gpu_by_host)
        if values:
            ordered = groups(values, entry["parts"])
            outliers = [host for _version, hosts in ordered[1:] for host in hosts]
            rows.append({"what": entry["what"], "values": values, "outliers": outliers})
    return rows


def names(hosts: t.Sequence[str]) -> str:
    """``node1, node2`` and, beyond five, ``and 59 more``."""
    listed = ", ".join(hosts[:_MOST_NAMES])
    return listed if len(hosts) <= _MOST_NAMES else f"{listed} and {len(hosts) - _MOST_NAMES} more"


def values_of(fact: str, stack_by_host: t.Mapping[str, Facts], gpu_by_host: t.Mapping[str, Facts]) -> dict[str, str]:
    """The value of each host that knows it; a package missing on some hosts only is a value, too."""
    area, _dot, rest = fact.partition(".")
    source, path = (gpu_by_host, rest) if area == "gpu" else (stack_by_host, fact)
    found = {host: value for host, facts in source.items() if (value := text_at(facts, path))}
    if area == "packages" and found:
        for host, facts in source.items():
            if host not in found and has_environment(facts):
                found[host] = ABSENT
        return {host: found[host] for host in source if host in found}
    return found


def has_environment(stack: Facts) -> bool:
    return bool(text_at(stack, "python.version")) and not look_up(stack, "python.problem")
