# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the environments are made with: the version of Python, and the nodes that lack it.

A node whose environment is there already needs neither interpreter nor conda. Where trainmesh_python names none, it is
the system's own Python if that is alike everywhere, else one that all nodes have, else one that is installed.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import minor, table
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.torch_builds import requires_python
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import common_python, conda
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.common_python import Node, Span, have
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.fault import Fault

SYSTEM_PYTHON = "/usr/bin/python3"
INSTALL = "trainmesh_python_install: true"
# Rounded up: what is unpacked, the archive or installer beside it, and an environment with Python alone. The packages
# of the lock are no part of it.
PYTHON_BYTES, CONDA_BYTES = 300 << 20, 2 << 30
Facts = t.Mapping[str, t.Any]
Stacks = t.Mapping[str, Facts]


class Choice(t.NamedTuple):
    """Kind of the environments, interpreter or version asked for, major.minor, and the nodes that get a Python."""

    kind: str
    python: str
    version: str
    installs: tuple[str, ...] = ()


def wanted(options: Facts) -> str:
    """The interpreter (a path or a version) that environments are made with; of conda its version."""
    return str(options["python"] or (table("stack")["python"] if options["python_env"] == "conda" else SYSTEM_PYTHON))


def base(options: Facts) -> dict[str, str]:
    """What M(trainmesh.cluster.node_facts) has to look for on every node."""
    if options["verify_python"]:
        return {}  # the environment is made by others
    place = {"base_conda": f"{options['prefix']}/var/conda"}
    if options["python_env"] == "conda":
        return {"base_prefix": options["prefix"], **place}
    maybe = place if options["python_install"] else {}
    return {"base_prefix": options["prefix"], "base_python": wanted(options), **maybe}


def choose(cluster: Cluster, stacks: Stacks, options: Facts, faults: list[Fault], reasons: list[str]) -> Choice:
    """One version for all nodes, since the lock is one; sentences go to ``faults`` and ``reasons``.

    ``stacks`` are the stack facts of the nodes that were read; what no node was asked for is not judged.
    """
    torch = str(options["torch"] or table("stack")["torch"])
    span = requires_python(torch)
    if options["python_env"] == "conda":
        python = str(options.get("conda_lock_python") or wanted(options))
        version = named(python)
        if options["python"] and named(str(options["python"])) != version:
            advice = "set trainmesh_python to that, or make the lock anew"
            faults.append(
                Fault(f"trainmesh_conda_lock has Python {version}, and trainmesh_python is another: {advice}")
            )
        faults += _conda(cluster, stacks, options, version, reasons)
        choice = Choice("conda", python, version)
    elif options["python"]:
        choice = _asked(cluster, stacks, options, span, faults, reasons)
    else:
        choice = _automatic(cluster, stacks, options, span, faults, reasons)
    if choice.version and not common_python.fits(choice.version, span) and span:
        names = [node.name for node in cluster.nodes]
        found = f"torch {torch} has wheels for Python {span[0]} to {span[1]}, found {choice.version}"
        faults.append(Fault(f"{found}: {_advice(_nodes(stacks, options), span)}, or an older trainmesh_torch", *names))
    return choice


def _asked(
    cluster: Cluster, stacks: Stacks, options: Facts, span: Span, faults: list[Fault], reasons: list[str]
) -> Choice:
    """The interpreter or version of trainmesh_python; a version may be installed where it lacks."""
    python, advice = wanted(options), _advice(_nodes(stacks, options), span)
    version = _one_version(cluster, stacks, python, advice, faults)
    lacking = _lacking(stacks, options, version, advice)
    if "/" in python or not lacking or not options["python_install"]:
        faults += lacking
        return Choice("venv", python, version)
    names = tuple(name for fault in lacking for name in fault.hosts)
    return _installed(cluster, stacks, options, common_python.Choice(version, names), faults, reasons)


def _automatic(
    cluster: Cluster, stacks: Stacks, options: Facts, span: Span, faults: list[Fault], reasons: list[str]
) -> Choice:
    """The system's own Python where it does for all, else one that every node has or gets."""
    nodes = _nodes(stacks, options)
    unlike: list[Fault] = []
    version = _one_version(cluster, stacks, SYSTEM_PYTHON, _advice(nodes, span), unlike)
    lacking = _lacking(stacks, options, version, _advice(nodes, span))
    if not nodes or not (unlike or lacking or (version and not common_python.fits(version, span))):
        faults += unlike + lacking
        return Choice("venv", SYSTEM_PYTHON, version)
    choice = common_python.choose(nodes, span, str(table("stack")["python"]))
    if not choice.lacking:
        reasons.append(f"Python {choice.version}: every node has it, and {_why(cluster, stacks, lacking)}")
        return Choice("venv", choice.version, choice.version)
    if options["python_install"]:
        return _installed(cluster, stacks, options, choice, faults, reasons)
    faults.append(_offer(nodes, choice, span, lacking, options))
    return Choice("venv", choice.version, "")


def _why(cluster: Cluster, stacks: Stacks, lacking: t.Sequence[Fault]) -> str:
    """Why it is not the system's own Python."""
    versions = _versions(cluster, stacks, SYSTEM_PYTHON)
    if len(set(versions.values())) > 1:
        found = ", ".join(f"{name} {version}" for name, version in versions.items())
        return f"their system Pythons are unlike ({found})"
    if lacking:
        return f"{SYSTEM_PYTHON} makes no environments on {', '.join(lacking[0].hosts)}"
    return f"torch has no wheels for {SYSTEM_PYTHON}, {next(iter(versions.values()))}"


def _offer(
    nodes: t.Sequence[Node], choice: common_python.Choice, span: Span, lacking: t.Sequence[Fault], options: Facts
) -> Fault:
    """No Python is on every node: what could be installed where, and what else could be done."""
    fit = f" that torch has wheels for (Python {span[0]} to {span[1]})" if span else ""
    problems = "".join(f". {fault.partition(' (')[0]}" for fault in lacking)
    return Fault(
        f"the nodes have no Python in common{fit}: {have(nodes)}{problems}. Set {INSTALL} and Python "
        f"{choice.version} is installed below {options['prefix']} on {', '.join(choice.lacking)}; or install it there "
        "by hand, or set trainmesh_python_env: conda"
    )


def _installed(
    cluster: Cluster,
    stacks: Stacks,
    options: Facts,
    choice: common_python.Choice,
    faults: list[Fault],
    reasons: list[str],
) -> Choice:
    """A Python of uv's for the nodes that lack it; conda for all where that can't be had, or is there already."""
    version, names = choice
    what = f"Python {version}: {', '.join(names)} {'lack' if names[1:] else 'lacks'} it, and"
    with_conda = [name for name, stack in stacks.items() if _environment(stack, options) == ("conda", version)]
    problem = "" if with_conda else options["python_problem"](version, cluster.nodes[0].arch)
    if not with_conda and not problem:
        faults += room(stacks, names, PYTHON_BYTES, f"Python {version}", options["prefix"])
        reasons.append(f"{what} {'get' if names[1:] else 'gets'} uv's build of it below {options['prefix']}")
        return Choice("venv", version, version, names)
    if with_conda or options["conda_installer"]:
        cause = problem or f"{', '.join(with_conda)} {'have' if with_conda[1:] else 'has'} one of conda already"
        reasons.append(f"{what} every node gets an environment of conda: {cause}")
        faults += _conda(cluster, stacks, {**options, "python_env": "conda"}, version, reasons)
        return Choice("conda", version, version)
    advice = (
        "set trainmesh_python_mirror to a URL or a directory on the controller that has uv's Pythons, or "
        "trainmesh_conda_installer to have environments of conda instead"
    )
    faults.append(Fault(f"Python {version} is to be installed, and {problem}: {advice}", *names))
    return Choice("venv", version, version, names)


def _one_version(cluster: Cluster, stacks: t.Mapping[str, Facts], python: str, advice: str, faults: list[Fault]) -> str:
    """Major.minor of the interpreter, which must be the same on every node."""
    known = _versions(cluster, stacks, python)
    if len(set(known.values())) > 1:
        what = "system Pythons" if python == SYSTEM_PYTHON else f"Pythons at {python}"
        found = ", ".join(f"{name} {version}" for name, version in known.items())
        faults.append(Fault(f"the nodes have unlike {what} ({found}): {advice}"))
        return ""
    return next(iter(known.values()), "")


def _versions(cluster: Cluster, stacks: Stacks, python: str) -> dict[str, str]:
    """Major.minor of the interpreter by node, where it is known."""
    found = {node.name: _version(stacks.get(node.name, {}), python, node.python_version) for node in cluster.nodes}
    return {name: version for name, version in found.items() if version}


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
        Fault(f"{problem} ({have(_of(stacks, names))}): install it there, or {advice}", *names)
        for problem, names in problems.items()
    ]


def _of(stacks: Stacks, names: t.Iterable[str]) -> list[Node]:
    return [Node(name, frozenset(_pythons(stacks[name]))) for name in names]


def _nodes(stacks: Stacks, options: Facts) -> list[Node]:
    """The nodes that were asked, with the versions that they can make environments with."""
    return [
        Node(name, frozenset(_pythons(stack)), dict([_environment(stack, options)]).get("venv", ""))
        for name, stack in stacks.items()
        if stack.get("base")
    ]


def _pythons(stack: Facts) -> list[str]:
    return [str(one) for one in (stack.get("base") or {}).get("pythons") or {}]


def _environment(stack: Facts, options: Facts) -> tuple[str, str]:
    """Kind and major.minor of the environment below the prefix; empty where there is none that works."""
    found = stack.get("python") or {}
    if found.get("path") != f"{options['prefix']}/env/bin/python" or found.get("problem"):
        return "", ""
    return str(found.get("kind") or ""), minor(str(found.get("version") or ""))


def _advice(nodes: t.Sequence[Node], span: Span) -> str:
    """What to set: a Python that every node has and torch has wheels for, where there is one."""
    choice = common_python.choose(nodes, span, str(table("stack")["python"])) if nodes else None
    if choice and not choice.lacking:
        return f'set trainmesh_python: "{choice.version}", which every node has, or trainmesh_python_env: conda'
    return f'set trainmesh_python to one that all have, such as "3.11", or {INSTALL}, or trainmesh_python_env: conda'


def _conda(cluster: Cluster, stacks: Stacks, options: Facts, version: str, reasons: list[str]) -> list[Fault]:
    """Nodes that need conda when it, or room for it, can't be had; what it is goes to ``reasons``."""
    names = [
        name
        for name, stack in stacks.items()
        if (stack.get("base") or {}).get("conda") is False and not _has_environment(stack, options, version)
    ]
    if not names:
        return []
    reasons += conda.terms(options["conda_installer"], options["conda_channels"])
    problem = options.get("conda_problem", lambda _arch: "")(cluster.nodes[0].arch)
    faults = room(stacks, names, CONDA_BYTES, "conda", options["prefix"])
    if problem:
        advice = (
            "set trainmesh_conda_installer to the URL of a Miniforge or Miniconda installer (with "
            "trainmesh_conda_installer_checksum), or to its path on the controller"
        )
        faults.append(Fault(f"conda is not there, and {problem}: {advice}", *names))
    return faults


def room(stacks: Stacks, names: t.Iterable[str], needed: int, what: str, prefix: str) -> list[Fault]:
    """The nodes of these on which too little is free below the prefix; of which that is not known, none."""
    faults = []
    for name in names:
        free = stacks[name].get("free_bytes")
        if isinstance(free, int) and free < needed:
            found = f"{free >> 20} MiB are free for {prefix}, and {what} needs about {needed >> 20} MiB"
            faults.append(Fault(f"{found}: free some space, or set trainmesh_prefix to a larger disk", name))
    return faults
