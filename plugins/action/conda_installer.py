# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(trainmesh.cluster.conda_installer)."""

from __future__ import annotations

import os
import typing as t

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.conda import Installer
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import ToolError, Tools

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "state_dir": {"type": "path", "required": True},
    "arch": {"type": "str", "required": True},
    "installer": {"type": "str", "default": "", "no_log": True},
    "checksum": {"type": "str", "default": "", "no_log": False},
}


class ActionModule(ActionBase):
    """Fetches the installer on the controller; contacts no node."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run once for all nodes."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _report, args = self.validate_argument_spec(argument_spec=ARGUMENTS)
        place, arch = args["installer"], args["arch"]
        try:
            if place and "://" not in place:
                place = self._find_needle("files", place)
            tools = Tools("", "", insecure=True)  # no package is fetched, and the checksum is known
            found = Installer(os.path.abspath(args["state_dir"]), tools, place, args["checksum"])
            kept = found.kept(arch)
            if self._task.check_mode and not kept:
                return {**result, "changed": True, "path": "", "source": found.shown(arch)}
            return {**result, "changed": not kept, "path": found.get(arch), "source": found.shown(arch)}
        except (ToolError, AnsibleError, OSError) as error:
            return {**result, "failed": True, "msg": str(error)}
