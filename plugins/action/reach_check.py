# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(trainmesh.cluster.reach_check)."""

from __future__ import annotations

import importlib.util
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import action, redact
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import check
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.target import Target, play_of, target

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "group": {"type": "str", "default": "all"},
    "timeout": {"type": "float", "default": 10.0},
    "workers": {"type": "int", "default": 64},
    "fail": {"type": "bool", "default": False},
}
NO_PARAMIKO = "paramiko is not installed on the controller: pip install paramiko"


class ActionModule(ActionBase):
    """Tries every host of the inventory from the controller; changes nothing anywhere."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run once for all hosts; fails only when it is asked to."""
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, given = self.validate_argument_spec(ARGUMENTS)
        limit, workers = given["timeout"], given["workers"]
        try:
            names = action.members(variables, given["group"])
            if limit <= 0 or workers <= 0:
                raise ValueError("timeout and workers must be more than 0")
        except ValueError as error:
            return {**result, "failed": True, "msg": str(error)}
        # A machine may say what it likes before it has proved who it is.
        rows = redact.walk(check.check(self._targets(variables, names), limit, workers), redact.harmless)
        bad = [name for name, row in rows.items() if row["ok"] is False]
        if bad:
            action.show(check.table(rows))
        dead = [name for name in bad if check.is_dead(rows[name], limit)]
        answer = {**result, "changed": False, "hosts": rows, "failed_hosts": bad, "dead": dead}
        if bad and given["fail"]:
            answer |= {"failed": True, "msg": f"{len(bad)} of {len(rows)} hosts can't be used: {', '.join(bad)}"}
        return answer

    def _targets(self, variables: t.Mapping[str, t.Any], names: t.Iterable[str]) -> list[Target]:
        """What Ansible would do with each host; nothing is tried without the library."""
        if importlib.util.find_spec("paramiko") is None:
            return [Target(name, name, untested=NO_PARAMIKO) for name in names]
        play = play_of(self._task, self._play_context, variables)
        return [target(name, variables["hostvars"][name], play) for name in names]
