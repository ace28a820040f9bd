# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(trainmesh.cluster.python_archive)."""

from __future__ import annotations

import os
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.pythons import Pythons
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import ToolError, Tools

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "state_dir": {"type": "path", "required": True},
    "python_version": {"type": "str", "required": True},
    "arch": {"type": "str", "required": True},
    "mirror": {"type": "str", "default": "", "no_log": True},
}


class ActionModule(ActionBase):
    """Fetches an archive on the controller; contacts no node."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run once for all nodes."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _report, args = self.validate_argument_spec(argument_spec=ARGUMENTS)
        tools = Tools(args["python_version"], "", insecure=True)  # no package is fetched, and uv knows the hashes
        pythons = Pythons(os.path.abspath(args["state_dir"]), tools, args["mirror"])
        wanted = args["python_version"], args["arch"]
        try:
            kept = pythons.kept(*wanted)
            if self._task.check_mode:
                return {**result, "changed": not kept, "path": kept}
            return {**result, "changed": not kept, "path": kept or pythons.fetch(*wanted)}
        except (ToolError, OSError) as error:
            return {**result, "failed": True, "msg": str(error)}
