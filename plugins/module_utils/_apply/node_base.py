# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give a node its base: the job user, packages for builds, a clock daemon, and the limits of logins.

All of it is judged before any of it is done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command, textfile
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import which
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric.clock import time_source
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric.host import container
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import (
    account,
    node_base,
    session_limits,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages import installation
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.manager import Manager, reason
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault, Transaction, Unknown, Want

UNIT_SECONDS = 60.0
OPTIONS: dict[str, dict[str, t.Any]] = {
    "parts": {"type": "list", "elements": "str", "choices": list(node_base.PARTS), "default": []},
    "user": {"type": "str"},
    "uid": {"type": "int"},
    "python": {"type": "str", "default": "/usr/bin/python3"},
    "memlock": {"type": "str", "default": "unlimited"},
    "nofile": {"type": "int", "default": 1048576},
    "timeout": {"type": "int", "default": 1800},
}


@dataclasses.dataclass
class Todo:
    """What has to be done."""

    missing: list[str] = dataclasses.field(default_factory=list)
    wants: list[Want] = dataclasses.field(default_factory=list)
    packages: Transaction = dataclasses.field(default_factory=Transaction)
    files: list[textfile.Change] = dataclasses.field(default_factory=list)
    account: account.Present | None = None

    @property
    def diffs(self) -> list[dict[str, str]]:
        """Before and after of all of it."""
        found = [installation.diff_of(self.packages)] if self.missing else []
        return [*found, *(change.diff for change in self.files)]


def converge(module: AnsibleModule, given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Compare, judge, and do what is missing."""
    tree, todo = Tree(), Todo()
    result: dict[str, t.Any] = {"missing": [], "account_problem": "", "limits": {}}
    try:
        result["account_problem"] = _judge_account(given, todo)
        if result["account_problem"] and not module.check_mode:
            raise Fault(result["account_problem"])
        manager = _judge_packages(module, given, tree, todo)
        if "limits" in given["parts"]:
            _judge_limits(given, tree, todo)
        result.update(missing=todo.missing, account_missing=todo.account is not None, limits_changed=bool(todo.files))
        if not module.check_mode:
            _apply(module, given, tree, todo, manager)
        if "limits" in given["parts"] and not (module.check_mode and todo.files):
            result["limits"] = _verify_limits(module, given, tree, todo)
    except Fault as error:
        module.fail_json(msg=str(error), account_problem=result["account_problem"])
    diffs = todo.diffs + ([_account_diff(given)] if todo.account else [])
    return {**result, "changed": bool(diffs), "diff": diffs}


def _account_diff(given: t.Mapping[str, t.Any]) -> dict[str, str]:
    return {
        "before_header": "users",
        "after_header": "users",
        "before": "",
        "after": f"{given['user']} {given['uid']}\n",
    }


def _judge_account(given: t.Mapping[str, t.Any], todo: Todo) -> str:
    """Why the job user can't be had; what is missing of it goes to ``todo``."""
    if given["uid"] is None:
        return ""
    if not given["user"] or given["user"] == "root":
        return f"a uid is given for {given['user'] or 'no user'}: set trainmesh_user to the name of the user to make"
    have = account.read(given["user"], given["uid"])
    problem = account.problem(given["user"], given["uid"], have)
    todo.account = have if have.uid is None and not problem else None
    return problem


def _judge_packages(module: AnsibleModule, given: t.Mapping[str, t.Any], tree: Tree, todo: Todo) -> Manager | None:
    """What is missing, in which packages, and whether they can be had."""
    parts = [part for part in node_base.PARTS if part in given["parts"] and part != "limits"]
    python = node_base.python_at(given["python"]) if "python_headers" in parts else None
    todo.missing = [part for part in parts if not node_base.is_there(part, python, tree)]
    if not todo.missing:
        return None
    manager = installation.manager(limit=given["timeout"])
    groups = [group for part in todo.missing for group in node_base.packages_of(part, manager.name, python)]
    if not module.check_mode:
        manager.refresh()
    may_remove = node_base.TIME_DAEMONS if "chrony" in todo.missing else ()
    try:
        todo.wants, todo.packages = installation.planned(manager, groups, may_remove, f"{', '.join(todo.missing)}: ")
    except Unknown as error:
        if not module.check_mode:
            raise
        # only a real run reads the lists anew
        module.warn(f"not known before the lists of packages are read: {error}")
        todo.packages = Transaction(new={group[0].name: "" for group in groups})
    return manager


def _judge_limits(given: t.Mapping[str, t.Any], tree: Tree, todo: Todo) -> None:
    limits = session_limits.wanted(given["memlock"], given["nofile"])
    text = session_limits.text_of(limits, given["user"] or "")
    pam = session_limits.pam_change(tree)
    todo.files = textfile.changes_of([(session_limits.FILE, text, 0o644)]) + ([pam] if pam else [])
    if todo.files:
        session_limits.judge(tree, limits)


def _apply(
    module: AnsibleModule, given: t.Mapping[str, t.Any], tree: Tree, todo: Todo, manager: Manager | None
) -> None:
    if todo.account:
        account.create(given["user"], given["uid"], todo.account)
    if manager:
        installation.apply(manager, todo.wants, todo.packages, f"{', '.join(todo.missing)}: ")
        _verify_parts(module, given, tree, todo, manager)
    if todo.files:
        _write_limits(module, given, tree, todo)


def _verify_parts(
    module: AnsibleModule, given: t.Mapping[str, t.Any], tree: Tree, todo: Todo, manager: Manager
) -> None:
    """What was installed does what it is for; a clock daemon runs."""
    python = node_base.python_at(given["python"]) if "python_headers" in todo.missing else None
    if "chrony" in todo.missing:
        _start_chrony(module, tree, manager)
    lacking = [part for part in todo.missing if not node_base.is_there(part, python, tree)]
    if lacking:
        raise Fault(
            f"{', '.join(lacking)}: the packages {', '.join(want.name for want in todo.wants)} are installed, and the "
            "node still lacks it: see what they have brought (dpkg -L, rpm -ql)"
        )


def _start_chrony(module: AnsibleModule, tree: Tree, manager: Manager) -> None:
    systemctl, unit = which("systemctl"), node_base.UNITS[manager.name]
    outcome = command.run([systemctl, "enable", "--now", unit], UNIT_SECONDS) if systemctl else None
    if time_source(tree):
        return
    if container(tree, os.environ):
        module.warn("chrony is installed and does not run: this is a container, whose clock is that of its host")
        return
    why = reason(outcome, UNIT_SECONDS) if outcome else "there is no systemctl"
    raise Fault(f"chrony is installed and does not run ({why}): see journalctl -u {unit}")


def _write_limits(module: AnsibleModule, given: t.Mapping[str, t.Any], tree: Tree, todo: Todo) -> None:
    """Write; where no login can be opened any more the files come back as they were."""
    user = given["user"] or "root"
    could = session_limits.of_login(tree, user) is not None
    for change in todo.files:
        os.makedirs(os.path.dirname(change.path), mode=0o755, exist_ok=True)
        textfile.write(module, change)
    if could and session_limits.of_login(tree, user) is None:
        _take_back(module, todo)
        raise Fault(f"limits: no session of {user} could be opened with them, and the files are as they were")


def _verify_limits(
    module: AnsibleModule, given: t.Mapping[str, t.Any], tree: Tree, todo: Todo
) -> dict[str, int | None]:
    """The limits that a login gets now; raises Fault where other settings make them lower than wanted."""
    limits = session_limits.wanted(given["memlock"], given["nofile"])
    user = given["user"] or "root"
    found = session_limits.of_login(tree, user) or {}
    low = session_limits.lower(found, limits)
    if not low:
        return found
    if not module.check_mode:
        _take_back(module, todo)
    others = "; ".join(session_limits.rivals(tree, limits)) or "none in /etc/security: see the limits of sshd itself"
    back = ", and the files are as they were" if todo.files else ""
    raise Fault(f"limits: a login of {user} still gets less ({', '.join(low)}){back}; other settings: {others}")


def _take_back(module: AnsibleModule, todo: Todo) -> None:
    for change in todo.files:
        if change.before:
            textfile.write(module, change._replace(before=change.after, after=change.before), backup=False)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(change.path)
