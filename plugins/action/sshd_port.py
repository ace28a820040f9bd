# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(trainmesh.cluster.sshd_port)."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Changes sshd, logs in anew, and only then lets the change stay."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module; where it has changed sshd, run it again through a connection that is made now."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        result.update(self._execute_module(task_vars=task_vars))
        if result.get("failed") or not result.get("waits") or self._task.check_mode:
            return result
        try:
            self._connection.reset()
            kept = self._execute_module(module_args={**self._task.args, "keep": True}, task_vars=task_vars)
        except AnsibleConnectionFailure as error:
            raise AnsibleConnectionFailure(
                "sshd was changed, and a new login does not work since: the node puts the old configuration back two "
                f"minutes after the change ({error})"
            ) from error
        if kept.get("failed"):
            return {**kept, "diff": result.get("diff", [])}
        return {**result, "waits": kept.get("waits", False)}
