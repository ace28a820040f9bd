# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job user with a number that is the same on every node, as shared file systems need it.

An account that exists is never changed: its files would be somebody else's.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import path_of
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault

Runner = t.Callable[..., command.Outcome]

NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z")
SHELL = "/bin/bash"
SECONDS = 60.0


class Present(t.NamedTuple):
    """What the node knows of a name and a number: the user's number, and who has the user's and the group's number."""

    uid: int | None
    uid_owner: str | None
    gid: int | None
    gid_owner: str | None
    home_owner: int | None


def read(name: str, uid: int) -> Present:
    """Asked of the system's databases, so that users of a directory service count too."""
    entry, group = _get(pwd.getpwnam, name), _get(grp.getgrnam, name)
    owner, group_owner = _get(pwd.getpwuid, uid), _get(grp.getgrgid, uid)
    home = f"/home/{name}"
    return Present(
        entry.pw_uid if entry else None,
        owner.pw_name if owner else None,
        group.gr_gid if group else None,
        group_owner.gr_name if group_owner else None,
        os.stat(home).st_uid if os.path.exists(home) else None,
    )


def _get(ask: t.Callable[[t.Any], t.Any], key: str | int) -> t.Any:
    try:
        return ask(key)
    except KeyError:
        return None


def problem(name: str, uid: int, have: Present) -> str:
    """Why this node can't have the user with this number; empty where it has, or can."""
    if not NAME.match(name):
        return f"{name} is no name for a new user: expected small letters, digits, dashes and underscores"
    if have.uid is not None:
        there = f"the user {name} has the number {have.uid} here, and trainmesh_user_uid is {uid}"
        return "" if have.uid == uid else f"{there}: choose {have.uid}, or another user; its files would not follow"
    if have.uid_owner is not None:
        return f"the number {uid} is that of the user {have.uid_owner} here: choose another trainmesh_user_uid"
    if have.gid is not None and have.gid != uid:
        return f"there is a group {name} with the number {have.gid} here, expected {uid}: remove or rename it"
    if have.gid is None and have.gid_owner is not None:
        return f"the number {uid} is that of the group {have.gid_owner} here: choose another trainmesh_user_uid"
    if have.home_owner not in (None, uid):
        return (
            f"/home/{name} belongs to the number {have.home_owner} here, expected {uid}: move it, or change its owner"
        )
    return ""


def create(name: str, uid: int, have: Present, run: Runner = command.run) -> None:
    """Make the group and the user, with a home and no password. Raises Fault, with nothing left behind."""
    if have.gid is None:
        _done(run([path_of("groupadd"), "-g", str(uid), name], SECONDS), "groupadd")
    # "*" is no password, and unlike "!" no lock, which an sshd without PAM would heed
    words = ["-u", str(uid), "-g", str(uid), "-m", "-s", SHELL, "-p", "*", name]
    outcome = run([path_of("useradd"), *words], SECONDS)
    if not outcome.ok:
        if have.gid is None:
            run([path_of("groupdel"), name], SECONDS)
        _done(outcome, "useradd")


def _done(outcome: command.Outcome, what: str) -> None:
    if not outcome.ok:
        why = outcome.err.strip() or ("no end in time" if outcome.timed_out else f"exit status {outcome.rc}")
        raise Fault(f"{what} failed, and the node is as it was: {why}")
