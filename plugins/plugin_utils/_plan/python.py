# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the environments are made with: the version of Python, and the nodes that lack it.

A node whose environment is there already needs neither interpreter nor conda.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import key, minor, table
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.torch_builds import requires_python
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.fault import Fault

SYSTEM_PYTHON = "/usr/bin/python3"
Facts = t.Mapping[str, t.Any]


def wanted(options: Facts) -> str:
    """The interpreter (a path or a version) that environments are made with; of conda its version."""
    return str(options["python"] or (table("stack")["python"] if options["python_env"] == "conda" else SYSTEM_PYTHON))


def base(options: Facts) -> dict[str, str]:
    """What M(trainmesh.cluster.node_facts) has to look for on every node."""
    if options["verify_python"]:
        return {}  # the environment is made by others
    if options["python_env"] == "conda":
        return {"base_prefix": options["prefix"], "base_conda": f"{options['prefix']}/var/conda"}
    return {"base_prefix": options["prefix"], "base_python": wanted(options)}


def choose(cluster: Cluster, stacks: t.Mapping[str, Facts], options: Facts, faults: list[Fault]) -> tuple[str, str]:
    """(interpreter or version asked for, major.minor of the environment on every node, since the lock is one).

    ``stacks`` are the stack facts of the nodes that were read; what no node was asked for is not judged.
    """
    python, torch = wanted(options), options["torch"] or table("stack")["torch"]
    advice = _advice(stacks, torch)
    if options["python_env"] == "conda":
        version = named(python)
        faults += _conda(stacks, options, version)
    else:
        version = _one_version(cluster, stacks, python, advice, faults)
        faults += _lacking(stacks, options, version, advice)
    span = requires_python(torch)
    if span and version and not key(span[0]) <= key(version) <= key(span[1]):
        names = [node.name for node in cluster.nodes]
        found = f"torch {torch} has wheels for Python {span[0]} to {span[1]}, found {version}"
        faults.append(Fault(f"{found}: {advice}, or an older trainmesh_torch", *names))
    return python, version


def _one_version(cluster: Cluster, stacks: t.Mapping[str, Facts], python: str, advice: str, faults: list[Fault]) -> str:
    """Major.minor of the interpreter, which must be the same on every node."""
    versions = {node.name: _version(stacks.get(node.name, {}), python, node.python_version) for node in cluster.nodes}
    known = {name: version for name, version in versions.items() if version}
    if len(set(known.values())) > 1:
        what = "system Pythons" if python == SYSTEM_PYTHON else f"Pythons at {python}"
        found = ", ".join(f"{name} {version}" for name, version in known.items())
        faults.append(Fault(f"the nodes have unlike {what} ({found}): {advice}"))
        return ""
    return next(iter(known.values()), "")


def named(python: str) -> str:
    """Major.minor in the name of an interpreter, or of a version; empty where it names none."""
    match = re.search(r"(\d+\.\d+)(?:\.\d+)?\Z", python)
    return match.group(1) if match else ""


def _interpreter(stack: Facts) -> Facts:
    return (stack.get("base") or {}).get("interpreter") or {}


def _version(stack: Facts, python: str, of_system: str) -> str:
    """Major.minor that the environment of a node will have; empty where nobody knows."""
    if "/" not in python:
        return named(python)
    own = str(_interpreter(stack).get("version") or "") or named(python)
    return own or (minor(of_system) if python == SYSTEM_PYTHON else "")


def _has_environment(stack: Facts, options: Facts, version: str) -> bool:
    """Whether the environment that is wanted is there, or another one was looked at and nobody knows."""
    found = stack.get("python") or {}
    if found.get("path") != f"{options['prefix']}/env/bin/python":
        return True
    right = found.get("kind") == options["python_env"] and str(found.get("version")).startswith(f"{version}.")
    return right and not found.get("problem")


def _lacking(stacks: t.Mapping[str, Facts], options: Facts, version: str, advice: str) -> list[Fault]:
    """The nodes on which no environment can be made with the interpreter, one sentence for each problem."""
    problems: dict[str, list[str]] = {}
    for name, stack in stacks.items():
        found = _interpreter(stack)
        problem = found.get("problem")
        if found.get("version") and "/" not in wanted(options) and found["version"] != version:
            problem = f"{found.get('path')} is Python {found['version']}"
        if problem and not _has_environment(stack, options, version):
            problems.setdefault(str(problem), []).append(name)
    return [
        Fault(f"{problem} ({_have(stacks, names)}): install it there, or {advice}", *names)
        for problem, names in problems.items()
    ]


def _pythons(stack: Facts) -> list[str]:
    return sorted((stack.get("base") or {}).get("pythons") or {}, key=key)


def _have(stacks: t.Mapping[str, Facts], names: t.Iterable[str]) -> str:
    """Which Pythons these nodes have; nodes with the same ones together."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(", ".join(_pythons(stacks[name])) or "no other Python", []).append(name)
    return "; ".join(f"{' and '.join(nodes)} {'have' if nodes[1:] else 'has'} {what}" for what, nodes in alike.items())


def _advice(stacks: t.Mapping[str, Facts], torch: str) -> str:
    """What to set: a Python that every node has and torch has wheels for, where there is one."""
    span = requires_python(torch)
    everywhere = [set(_pythons(stack)) for stack in stacks.values() if stack.get("base")]
    common = sorted(set.intersection(*everywhere) if everywhere else (), key=key)
    fitting = [one for one in common if not span or key(span[0]) <= key(one) <= key(span[1])]
    if fitting:
        tested = str(table("stack")["python"])
        best = tested if tested in fitting else fitting[-1]
        return f'set trainmesh_python: "{best}", which every node has, or trainmesh_python_env: conda'
    return 'set trainmesh_python to one that all have, such as "3.11", or trainmesh_python_env: conda'


def _conda(stacks: t.Mapping[str, Facts], options: Facts, version: str) -> list[Fault]:
    """Nodes that need conda when there is no installer of it."""
    names = [
        name
        for name, stack in stacks.items()
        if (stack.get("base") or {}).get("conda") is False and not _has_environment(stack, options, version)
    ]
    installer, problem = options["conda_installer"], options.get("conda_installer_problem")
    if not names or (installer and not problem):
        return []
    cause = problem or "trainmesh_conda_installer names no installer"
    advice = (
        "set it to the URL of a Miniconda or Miniforge installer (with trainmesh_conda_installer_checksum), or to its "
        "path on the controller"
    )
    return [Fault(f"conda is not there, and {cause}: {advice}", *names)]
