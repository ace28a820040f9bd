# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The compilers and tools that launchers and builds need on a node."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack.libraries import files_named, real, which

Runner = t.Callable[..., command.Outcome]
Record = dict[str, t.Any]

MOST_COMPLAINT = 500
"""Characters that are kept of what a tool complains of."""

_GCC = re.compile(r"^(\d{1,3}(?:\.\d{1,3}){0,2})\s*$", re.MULTILINE)
_OPEN_MPI = re.compile(r"\((?:Open MPI|OpenRTE)\) (\d{1,3}(?:\.\d{1,3}){1,2}\w*)")
_PDSH = re.compile(r"^pdsh-(\d{1,3}(?:\.\d{1,3}){0,2})", re.MULTILINE)
_PDSH_MODULES = re.compile(r"^rcmd modules: *([\w, -]*?) *(?:\(default: *(\w+)\))? *$", re.MULTILINE)
_PDSH_COMPLAINT = re.compile(r"^pdsh@[^:\s]{1,255}: (.+)$", re.MULTILINE)
# `"PATH": World writable and sticky bit is not set`, `skipping insecure module "PATH" (check perms)`; pdsh mod.c
_PDSH_DISTRUSTED = re.compile(r'"(/[^"]+)"(?:: | \(check )')
_EXEC = re.compile(r"'''exec' \"?(/[^\"]*?)\"? \"\$0\"")
LAUNCHERS = ("torchrun", "deepspeed", "accelerate", "ninja")
_AIO_HEADERS = ("/usr/include/libaio.h", "/usr/local/include/libaio.h")


def gcc_version(text: str) -> str | None:
    """The version from ``gcc -dumpfullversion -dumpversion``, such as ``12.2.0``."""
    match = _GCC.search(text)
    return match.group(1) if match else None


def open_mpi_version(text: str) -> str | None:
    """The version from ``mpirun --version``; None when it is not Open MPI's mpirun."""
    match = _OPEN_MPI.search(text)
    return match.group(1) if match else None


def pdsh_facts(text: str) -> Record:
    """Version, remote-command modules and default module from ``pdsh -V``.

    Distributions build it with different modules; the launchers need ``ssh`` among them. ``problem`` is
    what it complains of, or None; ``insecure`` whether it is that others may write to its modules (pdsh
    src/pdsh/mod.c), ``distrusted`` the paths that it names then.
    """
    version, modules = _PDSH.search(text), _PDSH_MODULES.search(text)
    complaints = dict.fromkeys(line.strip().rstrip(".") for line in _PDSH_COMPLAINT.findall(text))
    problem = "; ".join(complaints)[:MOST_COMPLAINT]
    names = [name.strip() for name in modules.group(1).split(",")] if modules else []
    return {
        "version": version.group(1) if version else None,
        "rcmd_modules": [name for name in names if name],
        "default_rcmd": modules.group(2) if modules else None,
        "ssh": "ssh" in names,
        "problem": problem or None,
        "insecure": "insecure" in problem,
        "distrusted": list(dict.fromkeys(_PDSH_DISTRUSTED.findall(problem))),
    }


def compilers(tree: Tree, path: str | None, run: Runner, limit: float) -> Record:
    """``gcc``, ``g++`` and ``c++`` on ``path``, each with ``path`` and ``version``, or None.

    Two names of the same file are asked once.
    """
    found: Record = {}
    asked: dict[str, str | None] = {}
    for name in ("gcc", "g++", "c++"):
        place = which(tree, name, path)
        if not place:
            found[name] = None
            continue
        target = real(tree, place)
        if target not in asked:
            asked[target] = gcc_version(run([tree.path(place), "-dumpfullversion", "-dumpversion"], limit).out)
        found[name] = {"path": place, "version": asked[target]}
    return found


def tools(tree: Tree, path: str | None, environment_bin: str | None, run: Runner, limit: float) -> Record:
    """pdsh, Open MPI, ninja, git and rsync, each None or with its ``path``.

    A version is asked only where it decides something (pdsh's modules, Open MPI). ``ninja`` may
    also lie in the ``bin`` directory of the environment, which a session has not on its PATH.
    """
    pdsh, mpirun = which(tree, "pdsh", path), which(tree, "mpirun", path)
    ninja = which(tree, "ninja", path)
    inner = which(tree, "ninja", environment_bin)
    plain = {name: which(tree, name, path) for name in ("git", "rsync")}
    found: Record = {name: {"path": place} if place else None for name, place in plain.items()}
    found["pdsh"] = {"path": pdsh, **pdsh_facts(run([tree.path(pdsh), "-V"], limit).text)} if pdsh else None
    found["mpirun"] = None
    if mpirun:
        version = open_mpi_version(run([tree.path(mpirun), "--version"], limit).text)
        found["mpirun"] = {"path": mpirun, "open_mpi": version}
    found["ninja"] = {"path": ninja or inner, "on_path": bool(ninja)} if ninja or inner else None
    return found


def launchers(tree: Tree, path: str | None) -> list[Record]:
    """``name`` and ``path`` of the programs on PATH that run a Python, and the ``interpreter`` of their first line.

    None for a program that is no script, or whose first line names none.
    """
    found: list[Record] = []
    for name in LAUNCHERS:
        place = which(tree, name, path)
        if place:
            interpreter = interpreter_of(tree, tree.text(place, 4096) or "", path)
            found.append({"name": name, "path": place, "interpreter": interpreter})
    return found


def interpreter_of(tree: Tree, text: str, path: str | None) -> str | None:
    """The Python that a script is run by; pip writes ``/bin/sh`` and an exec where the path is long or has blanks."""
    lines = [*text.split("\n", 2)[:2], ""]
    words = lines[0][2:].split() if lines[0].startswith("#!") else []
    if words and words[0].endswith("/env"):
        name = next((word for word in words[1:] if not word.startswith("-") and "=" not in word), "")
        return which(tree, name, path) if name.startswith("python") else None
    if words and words[0].endswith("/sh"):
        match = _EXEC.match(lines[1])
        return match.group(1) if match else None
    name = words[0].rpartition("/")[2] if words else ""
    return words[0] if name.startswith(("python", "pypy")) else None


def libaio(tree: Tree, directories: t.Iterable[str]) -> Record:
    """The file of libaio and its header (DeepSpeed's async_io needs both); None for what is missing."""
    libraries = files_named(tree, directories, r"libaio\.so(\.\d+)*(t64)?(\.\d+)*\Z")
    return {
        "library": libraries[0] if libraries else None,
        "header": next((path for path in _AIO_HEADERS if tree.has(path)), None),
    }
