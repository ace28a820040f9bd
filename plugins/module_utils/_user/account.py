# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of an account, of PAM and of the TCP wrappers may refuse a login whose key is right.

All of it is read, and nothing is tried: a login that fails is noted by PAM and counted against the user.
"""

from __future__ import annotations

import datetime
import grp
import os
import pwd
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree, to_int
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import access_files

Record = dict[str, t.Any]

DAY_S = 86400
NOLOGIN = ("/run/nologin", "/var/run/nologin", "/etc/nologin")
NO_SHELL = ("nologin", "false")
MOST_GROUPS, LONGEST = 64, 200
# What SELinux lets sshd read a user's keys from: the policy's ssh_home_t, and what stands in for a home.
LABELS = frozenset(("ssh_home_t", "sshd_key_t", "user_home_t", "user_home_dir_t", "admin_home_t", "home_root_t"))
LABELS_OF_KEYS = frozenset(("ssh_home_t", "sshd_key_t"))
# A label of a whole file system of another machine, and the switch by which homes may be there.
SHARED_HOMES = {"nfs_t": "use_nfs_home_dirs", "cifs_t": "use_samba_home_dirs", "fusefs_t": "use_fusefs_home_dirs"}


def blank() -> Record:
    """The facts when nothing is known."""
    keys = "password expired password_expired shell_problem groups nologin hosts_access pam directory labels"
    return dict.fromkeys(keys.split())


def read(tree: Tree, user: pwd.struct_passwd, peers: t.Sequence[str], now: float) -> Record:
    """``password`` (locked, none, unusable, set), and what is there of the rest; None is unknown, or nothing.

    ``directory``: the option by which sssd asks whether the user may. That and ``hosts_access`` and the rows of ``pam``
    have ``file``, ``line``, ``text`` and ``peers``, null where it is all.
    """
    root = user.pw_uid == 0
    groups = _groups(user)
    login = access_files.Login(user.pw_name, user.pw_uid, tuple(groups))
    return {
        **blank(),
        **shadow(tree.text("/etc/shadow", 1024 * 1024) or "", user.pw_name, int(now // DAY_S)),
        "shell_problem": shell_problem(tree, user.pw_shell or "/bin/sh"),
        "groups": groups,
        "nologin": None if root else nologin(tree),
        "hosts_access": access_files.wrappers(tree, peers),
        "pam": access_files.pam(tree, login, peers),
        "directory": access_files.directory(tree, login, peers),
    }


def _groups(user: pwd.struct_passwd) -> list[str]:
    found = []
    for number in dict.fromkeys(os.getgrouplist(user.pw_name, user.pw_gid)):
        try:
            found.append(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    return found[:MOST_GROUPS]


def shadow(text: str, name: str, today: int) -> Record:
    """``password``, ``expired`` and ``password_expired`` by a line of /etc/shadow: shadow(5), days since 1970."""
    line = next((row for row in text.splitlines() if row.startswith(f"{name}:")), "")
    fields = line.split(":")
    if len(fields) < 8:
        return {}
    changed, most, inactive, expire = (to_int(fields[number]) for number in (2, 4, 6, 7))
    aged = changed is not None and most is not None and 0 <= most < 99999 and changed + most < today
    late = "must be changed at the next login" if changed == 0 else ""
    if aged and changed is not None and most is not None:
        late = f"expired on {day(changed + most)}"
        if inactive is not None and inactive >= 0 and changed + most + inactive < today:
            return {**_password(fields[1]), "expired": f"inactive since {day(changed + most + inactive)}"}
    gone = expire is not None and 0 < expire <= today
    return {
        **_password(fields[1]),
        "expired": f"expired on {day(expire)}" if gone and expire is not None else None,
        "password_expired": late or None,
    }


def _password(field: str) -> Record:
    """Of which kind a password's field is: what begins with ! is locked for sshd, ``*`` is not."""
    if field.startswith(("!", "*LK*")):
        return {"password": "locked"}
    return {"password": "none" if not field else "unusable" if field.startswith("*") else "set"}


def day(number: int) -> str:
    """The date of a day since 1970."""
    try:
        return str(datetime.date(1970, 1, 1) + datetime.timedelta(days=number))
    except OverflowError:
        return f"day {number}"


def shell_problem(tree: Tree, shell: str) -> str | None:
    """Why nobody gets a session with this login shell."""
    if os.path.basename(shell) in NO_SHELL:
        return f"its login shell is {shell}"
    if not os.path.exists(tree.path(shell)):
        return f"its login shell {shell} does not exist"
    if not os.access(tree.path(shell), os.X_OK):
        return f"its login shell {shell} is not executable"
    return None


def nologin(tree: Tree) -> Record | None:
    """The file that shuts all but root out, and what it says."""
    for path in NOLOGIN:
        if tree.has(path):
            return {"file": path, "text": " ".join((tree.text(path) or "").split())[:LONGEST]}
    return None


def labels(tree: Tree, paths: t.Mapping[str, str]) -> dict[str, str] | None:
    """The types of SELinux with which sshd may not read the keys, by path; None where SELinux does not enforce."""
    if tree.line("/sys/fs/selinux/enforce") != "1":
        return None
    found = {}
    for name, path in paths.items():
        try:
            label = os.getxattr(tree.path(path), "security.selinux").decode("ascii", "replace").strip("\0")
        except OSError:
            continue
        kind = [*label.split(":"), "", "", ""][2]
        fits = LABELS_OF_KEYS if name == "authorized_keys" else LABELS
        switch = SHARED_HOMES.get(kind)
        if switch:  # the current value comes first: 1 0 is on until the next boot
            fits = (
                frozenset((kind,)) if (tree.line(f"/sys/fs/selinux/booleans/{switch}") or "1").startswith("1") else fits
            )
        if kind and kind not in fits:
            found[path] = kind
    return found
