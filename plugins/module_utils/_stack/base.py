# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an environment can be made with on a node, before one is made."""

from __future__ import annotations

import os
import pwd
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import environments
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import prefix as install_prefix

Record = dict[str, t.Any]

COMMANDS = ("rsync", "pdsh", "mpirun")
"""What launchers call, and the role python_env installs where it may."""


class Wish(t.NamedTuple):
    """What is asked for: an interpreter (path or version), the directory of conda, the prefix."""

    python: str | None = None
    conda: str | None = None
    prefix: str | None = None


def read(wish: Wish, run: t.Callable[..., command.Outcome], limit: float) -> Record | None:
    """The facts ``base``, or None when nothing is asked for."""
    if not any(wish):
        return None
    return {
        "interpreter": _interpreter(wish, run, limit) if wish.python else None,
        "pythons": install_prefix.pythons(wish.prefix or ""),
        "conda": is_conda(wish.conda) if wish.conda else None,
        "prefix_problem": prefix_problem(wish.prefix) if wish.prefix else None,
        "missing_commands": install_prefix.missing_tools([{"command": name} for name in COMMANDS]),
    }


def prefix_problem(prefix: str) -> str | None:
    """Why nothing can be made in the prefix by this user; None where all is well, or this user may not look."""
    environment = f"{prefix}/env"
    try:
        account = pwd.getpwuid(os.geteuid())
        is_there = os.path.isdir(environment) and bool(os.listdir(environment))
        problem = install_prefix.owner_fault(prefix, account.pw_uid, account.pw_name)
    except (OSError, KeyError):
        return None
    state = "there" if is_there else "absent"
    return (
        mount_fault(prefix, is_there)
        or problem
        or install_prefix.claim_fault(prefix, state, install_prefix.read_claim(environments.base(prefix)))
        or None
    )


def mount_fault(prefix: str, made: bool) -> str:
    """What the mount of the nearest directory that is there lets nobody do, with the ways out; empty without one.

    ``made``: an environment is there already, which may be read from.
    """
    place = os.path.realpath(prefix)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    flags = os.statvfs(place).f_flag
    option = "noexec" if flags & os.ST_NOEXEC else "read-only" if flags & os.ST_RDONLY and not made else ""
    if not option:
        return ""
    cannot, wish = ("no program can run there", "exec") if flags & os.ST_NOEXEC else ("nothing can be written", "rw")
    return (
        f"{prefix} is on a file system that is mounted {option}, so that {cannot}: set trainmesh_prefix to another "
        f"directory, or mount -o remount,{wish} it, and in /etc/fstab"
    )


def _interpreter(wish: Wish, run: t.Callable[..., command.Outcome], limit: float) -> Record:
    found = install_prefix.look(wish.python or "", run, limit, wish.prefix or "")
    return {name: getattr(found, name) or None for name in ("path", "version", "problem")}


def is_conda(directory: str) -> bool:
    """Whether conda is there in full."""
    return os.access(f"{directory}/bin/conda", os.X_OK) and install_prefix.is_whole(directory)
