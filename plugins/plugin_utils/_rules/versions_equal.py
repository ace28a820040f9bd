# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules on software that has to be the same on all nodes."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.constraints import text_at
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import table
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    Finding,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._versions import (
    groups,
    has_environment,
    names,
    values_of,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.python_env import by_site
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.versions_node import driver_too_old


@rule("path-differs", needs=("stack",))
def missing_environments(case: Case) -> t.Iterator[Answer]:
    """The interpreter is there on some nodes only. On none, nothing is installed yet."""
    stacks = {host: case.stack[host] for host in case.order if host in case.stack}
    if not any(has_environment(stack) for stack in stacks.values()):
        return
    cause = "The Python environment does not work there: launchers start the same path on every node."
    remedy = by_site(case, "Run site.yml again, which installs it.")
    for host, stack in stacks.items():
        problem = text_at(stack, "python.problem")
        if problem:
            yield finding("path-differs", FAIL, host, problem, cause, remedy)


@rule(
    About(
        "acc-version-differs",
        layer="accelerate",
        severity=WARN,
        also=(FAIL,),
        title="Accelerate versions differ between nodes",
        symptom="defaults differ",
        source="field notes",
    ),
    About(
        "mpi-version-differs",
        layer="versions",
        severity=WARN,
        also=(FAIL,),
        title="MPI versions differ between nodes",
        symptom="mpirun fails or hangs at the start",
        source="Open MPI FAQ",
    ),
    About(
        "ver-nvcc-differs",
        layer="versions",
        severity=WARN,
        title="CUDA toolkit versions differ between nodes",
        symptom="compiled operators differ",
        source="NVIDIA CUDA toolkit release notes",
    ),
    About(
        "drv-differs",
        layer="versions",
        severity=WARN,
        also=(INFO,),
        title="GPU driver versions differ between nodes",
        symptom="a fault on some nodes only",
        source="NVIDIA CUDA compatibility",
    ),
    About(
        "ver-compiler-differs",
        layer="versions",
        severity=INFO,
        title="Compiler versions differ between nodes",
        symptom="compiled operators differ",
        source="DeepSpeed op_builder/builder.py",
    ),
    "ver-python-torch-differs",
    "nccl-version-mismatch",
    needs=("stack",),
)
def differences(case: Case) -> t.Iterator[Answer]:
    """The entries of the table that do not hold, attributed to the nodes outside the majority.

    With as many nodes for one version as for another, those of the first node count as the majority.
    """
    stacks = {host: case.stack[host] for host in case.order if host in case.stack}
    gpus = {host: case.gpu.get(host) or {} for host in stacks}
    too_old = any(True for _found in driver_too_old(case))  # the same driver is what has to be changed
    differing = set()
    for entry in table("version_rules")["equal"]:
        values = values_of(entry["fact"], stacks, gpus)
        ordered = groups(values, entry["parts"])
        if len(ordered) < 2:
            continue
        differing.add(entry["what"])
        if entry.get("unless") in differing or (too_old and entry["rule"] == "drv-differs"):
            continue
        shown = "; ".join(f"{version} on {names(hosts)}" for version, hosts in ordered)
        outliers = [host for _version, hosts in ordered[1:] for host in hosts]
        yield Finding(
            entry["rule"],
            entry["severity"],
            tuple(outliers),
            values,
            f"{_capital(entry['what'])} is not the same on all nodes ({shown}): {entry['why']}.",
            entry.get("remedy")
            or by_site(case, f"Run site.yml again: it brings {names(outliers)} to {ordered[0][0]}."),
        )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:] if text.startswith("the ") else text
