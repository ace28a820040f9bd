# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments side by side below a prefix, of which ``env`` is the one in use.

At first ``env`` is a directory. Another torch or Python is made in ``environments/NAME/env``, with its records in
``environments/NAME/var``, and ``env`` becomes a link to it. The scripts in an environment name its Python by its whole
path. What was made as ``env`` can therefore be used only through the link, and the others in both ways.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._install import packages, uv
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import prefix as install_prefix

DIRECTORY = "environments"
# Of what is in a base, these are the job user's.
OF_THE_USER = ("env", "var")
DIRECTORIES = ("var", "var/cache", "var/tools")
RECORDS = ("environment.json", "stack-packages", "added")
"""What belongs to one environment and lies in C(var) beside it, the claim of it first."""
# The names that users give in trainmesh_environments.
OWN = re.compile(r"(?!torch-)[a-z][a-z0-9_-]{0,31}\Z", re.ASCII)
_NAME = re.compile(r"torch-[A-Za-z0-9._+-]+\Z", re.ASCII)
_LINK = re.compile(rf"{DIRECTORY}/(torch-[A-Za-z0-9._+-]+)/env\Z", re.ASCII)


def name_of(torch: str, build: str, kind: str, python: str) -> str:
    """The name of an environment, ``torch-2.13.0-cu126-py3.11``; empty where one of its parts is not known.

    A venv does not say so, and neither does torch of no particular build.
    """
    version = torch.partition("+")[0]
    if not (version and kind and python):
        return ""
    name = "-".join(["torch", version, *([build] if build else []), *([] if kind == "venv" else [kind]), f"py{python}"])
    return name if _NAME.match(name) else ""


def is_name(text: str) -> bool:
    """Whether this is a name that name_of() may have made."""
    return bool(_NAME.match(text))


def base_of(prefix: str, name: str) -> str:
    """The directory of an environment and its records; that of ``env`` as a directory is the prefix itself."""
    return f"{prefix}/{DIRECTORY}/{name}" if name else prefix


def linked(prefix: str) -> str:
    """The name of the environment to which ``env`` leads; empty where it is none of ours."""
    try:
        match = _LINK.match(os.readlink(f"{prefix}/env"))
    except OSError:
        return ""
    return match.group(1) if match else ""


def base(prefix: str, name: str = "") -> str:
    """The directory of an environment by its name, or of the one in use; raises ValueError for what is no name."""
    if name and not _NAME.match(name) and not OWN.match(name):
        raise ValueError(f"{name} is no name of an environment, such as torch-2.13.0-cpu-py3.11")
    return base_of(prefix, name or linked(prefix))


def is_fixed(prefix: str) -> bool:
    """Whether ``env`` is a mount or a link of others, which can't be switched."""
    path = f"{prefix}/env"
    return os.path.ismount(path) or (os.path.islink(path) and not linked(prefix))


def names(prefix: str) -> list[str]:
    """All environments of which one is in use, whole or not."""
    try:
        return sorted(name for name in os.listdir(f"{prefix}/{DIRECTORY}") if _NAME.match(name))
    except OSError:
        return []


def own(prefix: str) -> list[str]:
    """The environments with names that users have given."""
    try:
        return sorted(name for name in os.listdir(f"{prefix}/{DIRECTORY}") if OWN.match(name))
    except OSError:
        return []


def is_whole(directory: str) -> bool:
    """Whether an environment was made in this base, and an installation there has ended well."""
    where = uv.paths(directory)
    there = os.path.exists(f"{where.environment}/bin/python") and os.path.exists(where.record)
    return there and bool(install_prefix.read_claim(directory)) and not os.path.exists(where.marker)


def whole(prefix: str) -> list[str]:
    """The environments that can be used as they are."""
    return [name for name in names(prefix) if is_whole(base_of(prefix, name))]


def absent_directories(directory: str) -> list[str]:
    """The directories of a base that have to be made."""
    return [path for path in (f"{directory}/{name}" for name in DIRECTORIES) if not os.path.isdir(path)]


def content(directory: str) -> str:
    """The name of what is in a base; empty where that is not whole, or does not tell."""
    there, where = install_prefix.environment_there(directory), uv.paths(directory)
    return content_of(there, packages.read(where.environment, where.marker, where.record, there[1] if there else ""))


def content_of(there: t.Sequence[str] | None, have: packages.Have) -> str:
    """The name of what environment_there() and the list of packages tell; empty where an installation did not end."""
    torch = have.packages.get("torch", ())
    if not there or have.unfinished or len(torch) != 1:
        return ""
    return name_of(torch[0], have.torch_build, there[0], have.python)


class Target(t.NamedTuple):
    """Where the packages that are wanted are installed, and to which environment ``env`` has to lead afterwards.

    ``name`` is empty for the environment in use, ``switch`` where nothing is to switch. ``before`` is what is in use
    now, ``kept`` that the other one is there in full.
    """

    name: str = ""
    switch: str = ""
    before: str = ""
    kept: bool = False


def targets(found: t.Mapping[str, t.Mapping[str, t.Any]], wanted: str) -> dict[str, Target]:
    """The target of each node by what read() has told there; ``wanted`` is the name of what the plan asks for.

    Launchers start on every node the Python that they have on the head, by its path. So as soon as one node has a link
    all get one, and none does while there is a node on which nothing can be switched.
    """
    if any(one.get("fixed") for one in found.values()) and not any(one.get("linked") for one in found.values()):
        return dict.fromkeys(found, Target())
    each = {node: target(one, wanted) for node, one in found.items()}
    is_linked = any(one.get("linked") for one in found.values()) or any(one.switch for one in each.values())
    if wanted and is_linked:
        return {node: _followed(found[node], one, wanted) for node, one in each.items()}
    return each


def target(found: t.Mapping[str, t.Any], wanted: str) -> Target:
    """Where the environment ``wanted`` is to be made on one node.

    Beside the one in use where that one is worth keeping, or has a name that would not be true any more.
    """
    name, now = str(found.get("linked") or ""), str(found.get("content") or "")
    kept = wanted in (found.get("whole") or ())
    if not wanted or found.get("fixed") or is_same(name, wanted):
        return Target()
    if name or kept or (now and not is_same(now, wanted)):
        return Target(wanted, wanted, name or now, kept)
    return Target()


def _followed(found: t.Mapping[str, t.Any], alone: Target, wanted: str) -> Target:
    """The target of a node where others have a link: what it has as a directory gets its name, if it is the wanted."""
    if alone.switch or found.get("linked") or found.get("fixed"):
        return alone
    now = str(found.get("content") or "")
    return Target("" if now else wanted, wanted, now)


def is_same(now: str, wanted: str) -> bool:
    """Whether two names are of one environment: of a torch that does not tell its build, any will do."""
    return now == wanted or _without_build(now) == wanted or now == _without_build(wanted)


def _without_build(name: str) -> str:
    return re.sub(r"\A(torch-[^-]+)-(?!py\d|conda-)[^-]+", r"\1", name)


def read(prefix: str, now: str) -> dict[str, t.Any]:
    """What target() has to know of a node; ``now`` is content() of the environment in use."""
    return {"linked": linked(prefix), "content": now, "fixed": is_fixed(prefix), "whole": whole(prefix)}
