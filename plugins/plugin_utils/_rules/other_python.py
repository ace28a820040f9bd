# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on code that is not the one that was meant: launchers of another Python, packages that only some nodes have,
code that its metadata does not describe, files that hide a package."""

from __future__ import annotations

import collections
import os.path
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    live,
    rows,
    shorten,
    text,
    texts,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    WARN,
    About,
    Answer,
    Case,
    dig,
    finding,
    rule,
)

_AS_MODULE = {
    "torchrun": "-m torch.distributed.run",
    "accelerate": "-m accelerate.commands.launch",
    "deepspeed": "-m deepspeed.launcher.runner",
}
# What installs packages, or only shows things: no script of a job needs the same on every node.
_TOOLS = frozenset("pip setuptools wheel uv distribute pkg-resources ipython jupyter pytest ruff black nvitop".split())
_USUAL = "/usr/bin"


def _folder(path: str) -> str:
    """The directory of an interpreter; /bin is /usr/bin."""
    folder = os.path.dirname(path)
    return _USUAL if folder == "/bin" else folder


@rule(
    About(
        "env-launcher-other-python",
        layer="versions",
        severity=FAIL,
        also=(WARN,),
        title="A launcher in PATH belongs to another Python",
        symptom="`ModuleNotFoundError` under torchrun alone, pip list is right",
        source="PT#77737",
    ),
    needs=("stack",),
)
def launchers(case: Case) -> t.Iterator[Answer]:
    """torchrun, deepspeed, accelerate or ninja that a login finds, and that start another Python than the jobs'.

    Our own scripts name theirs by path: there it only matters to who types the command.
    """
    managed = dig(case.plan, "managed") is True
    for host in live(case, "stack"):
        facts = case.stack[host]
        python = text(facts, "python.path")
        if not python or dig(facts, "python.problem"):
            continue
        for found in rows(facts, "launchers"):
            name, path, other = (text(found, key) for key in ("name", "path", "interpreter"))
            if not other or _folder(other) == _folder(python) or (managed and not _in_reach(facts, python)):
                continue
            how = f"{python} {_AS_MODULE[name]}" if name in _AS_MODULE else f"{python} -m pip install {name}"
            yield finding(
                "env-launcher-other-python",
                WARN if managed or name not in _AS_MODULE else FAIL,
                host,
                f"{path} starts {other}, the Python of the jobs is {python}",
                f"The {name} that a login finds first in PATH runs another Python, which has packages of its own.",
                f"{how} in its place; or put {_folder(python)} first in PATH, or take {path} away.",
            )


def _in_reach(facts: t.Any, python: str) -> bool:
    """Whether a login has the environment of the jobs in its PATH, so that something before it hides its programs."""
    return _folder(python) in text(facts, "login_environment.variables.PATH").split(":")


@rule(
    About(
        "ver-code-not-metadata",
        layer="versions",
        severity=WARN,
        title="The code of a package is not what its metadata says",
        symptom="`No module named transformers.deepspeed`, a missing name",
        source="packaging.python.org, core metadata",
    ),
    needs=("stack",),
)
def half_installed(case: Case) -> t.Iterator[Answer]:
    """A package whose code says another version than its metadata: requirements that look fulfilled are not."""
    for host in live(case, "stack"):
        for found in rows(case.stack[host], "code_versions"):
            name = text(found, "name")
            told = text(case.stack[host], f"packages.{name}") or "another version"
            python = text(case.stack[host], "python.path") or "python"
            yield finding(
                "ver-code-not-metadata",
                WARN,
                host,
                f"{text(found, 'path')} is {name} {text(found, 'version')}, its metadata says {told}",
                f"The code of {name} is of another version than its metadata: an installation broke off, or files were "
                "copied over it. Whoever asks for its version is told the wrong one.",
                f"{python} -m pip install --force-reinstall --no-deps {name}=={told}",
            )


@rule(
    About(
        "env-package-shadowed",
        layer="versions",
        severity=WARN,
        title="Packages from elsewhere hide those of the environment",
        symptom="pip list is right, and another version is imported; `undefined symbol`",
        source="conda#13746, Python documentation of PYTHONPATH and PYTHONNOUSERSITE",
    ),
    needs=("stack",),
)
def hidden(case: Case) -> t.Iterator[Answer]:
    """Packages of an environment that the user's own, or those of PYTHONPATH, come before; packages of another Python.

    A system's Python is left out: there one directory of packages before another is how it is meant.
    """
    for host in live(case, "stack"):
        facts = case.stack[host]
        prefix, python = text(facts, "python.prefix"), text(facts, "python.path") or "python"
        if dig(facts, "python.kind") not in ("venv", "conda") or not prefix:
            continue
        foreign = [site for site in texts(facts, "python.sites") if not site.startswith(f"{prefix}/")]
        seen = []
        for copy in rows(facts, "other_copies"):
            name, version, path = (text(copy, key) for key in ("name", "version", "path"))
            first = text(facts, f"packages.{name}")
            if path.startswith(f"{prefix}/") and first and first.partition("+")[0] != version.partition("+")[0]:
                seen.append(f"{name} {first} comes before {version} of {prefix}")
        seen += [f"{site} is of another Python" for site in foreign if _of_another(site, text(facts, "python.version"))]
        if seen:
            yield finding(
                "env-package-shadowed",
                WARN,
                host,
                shorten(seen),
                "What is imported is not what the environment has: directories of packages come before its own.",
                _show_again(facts, foreign, python),
            )


def _of_another(site: str, version: str) -> bool:
    """Whether a directory holds packages of another minor version than the interpreter's."""
    found = re.search(r"/python(3\.\d+)/(?:site|dist)-packages$", site.rstrip("/"))
    return found is not None and bool(version) and found[1] != ".".join(version.split(".")[:2])


def _show_again(facts: t.Any, foreign: t.Sequence[str], python: str) -> str:
    given = text(facts, "login_environment.variables.PYTHONPATH")
    if given and any(site in given.split(":") for site in foreign):
        return (
            f"unset PYTHONPATH for the job user (~/.bashrc, /etc/environment, /etc/profile.d, modules): it is {given}"
        )
    if any("/.local/lib/" in site for site in foreign):
        return (
            "PYTHONNOUSERSITE=1 in trainmesh_env or /etc/environment (conda env config vars set PYTHONNOUSERSITE=1), "
            f"or {python} -m pip uninstall them"
        )
    return f"{python} -m site shows the directories in their order: take {foreign[0] if foreign else 'the first'} out"


@rule(
    About(
        "ver-package-on-some-nodes",
        layer="versions",
        severity=WARN,
        title="A Python package is missing on some nodes",
        symptom="`ModuleNotFoundError` on one node only",
        source="field notes",
    ),
    needs=("stack",),
)
def on_some_nodes(case: Case) -> t.Iterator[Answer]:
    """Packages that some nodes have and others lack; where PyTorch itself differs that is told instead."""
    names = {host: set(text(case.stack[host], "package_names").split()) - _TOOLS for host in live(case, "stack")}
    known = {host: found for host, found in names.items() if "torch" in found}
    versions = {(text(case.stack[host], "packages.torch"), text(case.stack[host], "python.version")) for host in known}
    if len(known) < 2 or len(versions) > 1:
        return
    holders = collections.Counter(name for found in known.values() for name in found)
    partly = {name for name, count in holders.items() if count < len(known)}
    for host, found in known.items():
        lacking = sorted(name for name in partly - found if not name.startswith("nvidia-"))
        if lacking:
            python = text(case.stack[host], "python.path") or "python"
            install = f"{python} -m pip install {' '.join(lacking[:8])}"
            if dig(case.plan, "managed") is True:
                prefix = dig(case.plan, "prefix", "/opt/trainmesh")
                install = (
                    f"{prefix}/bin/trainmesh pip install {' '.join(lacking[:8])} on the head, or set "
                    "trainmesh_extra_packages to what the jobs need and run site.yml"
                )
            yield finding(
                "ver-package-on-some-nodes",
                WARN,
                host,
                f"{shorten(lacking)} (other nodes have {'it' if len(lacking) == 1 else 'them'})",
                "Some nodes have packages that others lack: a script that imports one ends on these.",
                f"{install}; or take them away where no job needs them.",
            )


@rule(
    About(
        "app-file-shadows-package",
        layer="launcher",
        severity=WARN,
        also=(FAIL,),
        title="A file of the user's has the name of a Python module",
        symptom="`partially initialized module`, `has no attribute`",
        source="Python tutorial, the module search path",
    ),
    needs=("user",),
)
def shadowed(case: Case) -> t.Iterator[Answer]:
    """Files in the directories where jobs start that Python takes for a module of its own, or for PyTorch."""
    workspace = f"{dig(case.plan, 'prefix', '/opt/trainmesh')}/workspace"
    for host in live(case, "user"):
        for path in texts(case.user[host], "shadows"):
            name = os.path.basename(path)
            module = name[:-3] if name.endswith(".py") else name
            inside = os.path.dirname(path) == workspace
            yield finding(
                "app-file-shadows-package",
                FAIL if inside and dig(case.plan, "managed") is True else WARN,
                host,
                path,
                "Python looks in the directory of the script, or in the current one, first: import takes these files "
                "for the modules whose names they have.",
                f"mv {path} {os.path.dirname(path)}/my_{name}, remove __pycache__ beside it, and import my_{module}.",
            )
