# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(trainmesh.cluster.first_contact)."""

from __future__ import annotations

import importlib.util
import typing as t

from ansible.errors import AnsiblePromptInterrupt, AnsiblePromptNoninteractive
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import action, redact
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap import contact, table
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap.host import Host, Wish
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import variables as inventory_variables
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.target import play_of, target

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "hosts": {"type": "list", "elements": "str", "required": True},
    "accept_host_keys": {"type": "str", "choices": ["ask", "new"], "default": "ask"},
    "make_key": {"type": "bool", "default": False},
    "sudo": {"type": "str", "choices": ["as_is", "nopasswd"], "default": "as_is"},
    "timeout": {"type": "float", "default": 30.0},
    "install_timeout": {"type": "float", "default": 900.0},
    "workers": {"type": "int", "default": 64},
}
NO_PARAMIKO = "paramiko is not installed on the controller: pip install paramiko"
ALONE = "nobody is at the terminal who could confirm the key"
display = Display()


class ActionModule(ActionBase):
    """Sets up the first login on all hosts at once."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run once for all hosts; a failed host is told in its row, and the task that reports the rows fails it."""
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, given = self.validate_argument_spec(ARGUMENTS)
        if importlib.util.find_spec("paramiko") is None:
            return {**result, "failed": True, "msg": NO_PARAMIKO}
        if min(given["timeout"], given["install_timeout"], given["workers"]) <= 0:
            return {**result, "failed": True, "msg": "timeout, install_timeout and workers must be more than 0"}
        check = bool(self._task.check_mode)
        wish = Wish(
            check=check,
            accept_new=given["accept_host_keys"] == "new",
            make_key=given["make_key"],
            nopasswd=given["sudo"] == "nopasswd",
            limit=given["timeout"],
            install_limit=given["install_timeout"],
        )
        try:
            hosts = self._hosts(variables, given["hosts"], wish)
        except ValueError as error:
            return {**result, "failed": True, "msg": str(error)}
        contact.meet_all(hosts, wish, given["workers"], in_check_mode if check else ask)
        # A host may say what it likes before it has proved who it is.
        rows = redact.walk({name: table.row(host) for name, host in hosts.items()}, redact.harmless)
        action.show(table.summary(rows, check))
        return {
            **result,
            "changed": any(row["changed"] for row in rows.values()),
            "hosts": rows,
            "failed_hosts": [name for name, row in rows.items() if row["ok"] is False],
        }

    def _hosts(self, variables: t.Mapping[str, t.Any], names: t.Iterable[str], wish: Wish) -> dict[str, Host]:
        """What Ansible would do with each host, and the fingerprints that the inventory has for it."""
        play, hostvars = play_of(self._task, self._play_context, variables), variables["hostvars"]
        hosts = {}
        for name in names:
            fingerprints = hostvars[name].get("trainmesh_host_key_fingerprints") or []
            try:
                expected = inventory_variables.VARIABLES["host_key_fingerprints"].read(fingerprints)
            except ValueError as error:
                raise ValueError(f"{name}: trainmesh_host_key_fingerprints: {error}") from None
            hosts[name] = Host(target(name, hostvars[name], play), expected, wish)
        return hosts


def in_check_mode(_hosts: t.Mapping[str, Host]) -> str:
    """Nothing is recorded, so nobody is asked."""
    return "in check mode nobody is asked"


def ask(hosts: t.Mapping[str, Host]) -> str:
    """Show the unknown keys, and ask whether they are the right ones."""
    action.show(table.keys(hosts))
    question = "Compare them with ssh-keygen -lf on the hosts. Record them? [yes/no]: "
    try:
        answer = display.prompt_until(question)
    except AnsiblePromptNoninteractive:
        return ALONE
    except AnsiblePromptInterrupt:
        return "the question was interrupted"
    return "" if answer.decode(errors="replace").strip().lower() in ("yes", "y") else "the key was not confirmed"
