# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes on which the prefix, or the commands of the launchers, can't be had."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.fault import Fault

Facts = t.Mapping[str, t.Any]


def faults(cluster: Cluster, stacks: t.Mapping[str, Facts], options: Facts) -> list[Fault]:
    """What the role python_env would stop at, one sentence for each problem with the nodes that have it.

    ``stacks`` are the stack facts of the nodes that were read.
    """
    nodes: dict[str, list[str]] = {}
    for name, stack in stacks.items():
        base = stack.get("base") or {}
        problems = [base["prefix_problem"]] if base.get("prefix_problem") else []
        lacking = sorted(commands(cluster, name) & set(base.get("missing_commands") or ()))
        if lacking and not options["packages_install"]:
            advice = "install it there, or set trainmesh_packages_install to true"
            problems.append(f"{', '.join(lacking)} is missing, and trainmesh_packages_install is false: {advice}")
        for problem in problems:
            nodes.setdefault(problem, []).append(name)
    return [Fault(problem, *names) for problem, names in nodes.items()]


def commands(cluster: Cluster, name: str) -> set[str]:
    """Commands that a node must have: all launchers but mpirun are started over pdsh, from the head."""
    others = set(cluster.launchers) - {"mpirun"}
    wanted = {"rsync"} | ({"mpirun"} & set(cluster.launchers))
    return wanted | ({"pdsh"} if others and name == cluster.head.name else set())
