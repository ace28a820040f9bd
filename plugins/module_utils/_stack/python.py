# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Python environment and the packages in it, without importing any.

The interpreter itself is asked once where it would look (its ``sys.path`` in a non-interactive
session, so PYTHONPATH and the user's own packages count); the rest is reading file names and files.
"""

from __future__ import annotations

import ast
import json
import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack.libraries import executable

Runner = t.Callable[..., command.Outcome]
Record = dict[str, t.Any]

# The place of the headers is that of sysconfig.get_path("include"), without the price of importing sysconfig.
_CHILD = (
    "import json, sys; print(json.dumps({'version': '%d.%d.%d' % sys.version_info[:3], 'prefix': sys.prefix, "
    "'path': sys.path, "
    "'include': '%s/include/python%d.%d%s' % (sys.base_prefix, *sys.version_info[:2], sys.abiflags)}))"
)
_METADATA = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._]*)-(?P<version>[^-]+)(?:-py[\d.]+)?\.(?:dist|egg)-info\Z")
_DEVELOP = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\.egg-info\Z")
_PKG_INFO = re.compile(r"^Version: *(\S+) *$", re.MULTILINE)
PATIENCE = 3


def child_environment(environment: t.Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """(words to put before a command, variables) that give a child exactly ``environment``.

    The bounded runner only adds variables; ``env -u`` takes away those that a login would not have.
    """
    present = {*os.environ} | {"LC_ALL", "LANG"}
    drop = [word for name in sorted(present - {*environment}) if "=" not in name for word in ("-u", name)]
    return (["/usr/bin/env", *drop] if drop else []), dict(environment)


def interpreter(tree: Tree, python: str, environment: t.Mapping[str, str], run: Runner, limit: float) -> Record:
    """What the interpreter says of itself, or its directory shows when it does not run (``problem``)."""
    facts: Record = {
        "path": python,
        "version": None,
        "prefix": None,
        "kind": None,
        "sites": [],
        "headers": False,
        "problem": None,
    }
    if not executable(tree, python):
        facts["problem"] = f"{python} does not exist or is not executable"
        return facts
    words, variables = child_environment(environment)
    argv = [*words, tree.path(python), "-B", "-c", _CHILD]
    outcome = run(argv, limit, env=variables, cwd="/")
    if outcome.timed_out:  # on a busy node, or from a cold disk, a good one takes as long: once more, with more time
        limit *= PATIENCE
        outcome = run(argv, limit, env=variables, cwd="/")
    said = parse_interpreter(outcome.out)
    if said:
        include = said.pop("include")
        facts.update(said, headers=bool(include) and tree.has(f"{include}/Python.h"))
    elif outcome.timed_out:  # perhaps on a file server that is down: then reading its files would hang here
        facts["problem"] = f"{python} did not answer in {limit:g} s"
    else:
        last = outcome.err.strip().splitlines()[-1:] or [f"it ended with status {outcome.rc}"]
        facts.update(from_directory(tree, python), problem=f"{python} does not run: {last[0][:300]}")
    facts["kind"] = kind(tree, facts["prefix"])
    return facts


def parse_interpreter(text: str) -> Record | None:
    """The one line of JSON that our child process printed, checked; None when it is not there."""
    for line in reversed(text.splitlines()):
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(said, dict) and isinstance(said.get("version"), str) and isinstance(said.get("path"), list):
            prefix, include = said.get("prefix"), said.get("include")
            return {
                "version": said["version"],
                "prefix": prefix if isinstance(prefix, str) else None,
                "sites": [entry for entry in said["path"] if isinstance(entry, str) and entry.startswith("/")],
                "include": include if isinstance(include, str) else None,
            }
    return None


def from_directory(tree: Tree, python: str) -> Record:
    """The same from the layout of the environment, for an interpreter that does not run."""
    prefix = os.path.dirname(os.path.dirname(python))
    names = [name for name in tree.names(f"{prefix}/lib") if re.match(r"python3\.\d+\Z", name)]
    sites = [f"{prefix}/lib/{name}/site-packages" for name in names]
    match = re.search(r"^version(?:_info)? *= *(\d+\.\d+\.\d+)", tree.text(f"{prefix}/pyvenv.cfg") or "", re.MULTILINE)
    return {"version": match.group(1) if match else None, "prefix": prefix, "sites": sites}


def kind(tree: Tree, prefix: str | None) -> str | None:
    """``venv``, ``conda`` or ``system``; None for no interpreter."""
    if not prefix:
        return None
    if tree.has(f"{prefix}/pyvenv.cfg"):
        return "venv"
    return "conda" if tree.has(f"{prefix}/conda-meta") else "system"


def normalised(name: str) -> str:
    """A package name as packaging tools compare it: ``nvidia_nccl_cu13`` is ``nvidia-nccl-cu13``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def distributions(tree: Tree, sites: t.Iterable[str]) -> list[tuple[str, str, str]]:
    """(normalised name, version, path of its metadata) of everything installed, first found first.

    From the names of the metadata directories alone; only a development install (``x.egg-info``)
    has to be opened.
    """
    found = []
    for site in sites:
        for entry in tree.names(site):
            path = os.path.join(site, entry)
            match = _METADATA.match(entry)
            if match:
                found.append((normalised(match.group("name")), match.group("version"), path))
                continue
            develop = _DEVELOP.match(entry)
            version = _PKG_INFO.search(tree.text(f"{path}/PKG-INFO") or "") if develop else None
            if develop and version:
                found.append((normalised(develop.group("name")), version.group(1), path))
    return found


def module_files(tree: Tree, sites: t.Iterable[str], relative: str) -> list[str]:
    """Every copy of a module's file on the search path; the first one is what an import takes."""
    return [f"{site}/{relative}" for site in sites if tree.text(f"{site}/{relative}", 1) is not None]


def literals(text: str) -> Record:
    """The constants that a Python file assigns at top level; {} when it is not Python.

    ``cuda: Optional[str] = '13.0'`` counts too. Nothing is run.
    """
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    found: Record = {}
    for statement in body:
        if isinstance(statement, ast.Assign):
            targets: list[ast.expr] = statement.targets
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        else:
            continue
        try:
            value = ast.literal_eval(t.cast(ast.expr, statement.value))
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
        found.update({target.id: value for target in targets if isinstance(target, ast.Name)})
    return found
