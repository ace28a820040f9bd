# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(trainmesh.cluster.archive_copy)."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import uncompressed

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "src": {"type": "path", "required": True},
    "dest": {"type": "path", "required": True},
    "mode": {"type": "raw"},
    "directory_mode": {"type": "raw"},
}


class ActionModule(ActionBase):
    """Ansible's own copy, over a connection that does not compress."""

    TRANSFERS_FILES = False  # copy makes its own temporary directory

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Copy the file unless it is there."""
        super().run(tmp, task_vars)
        self.validate_argument_spec(ARGUMENTS)
        copy = self._shared_loader_obj.action_loader.get(
            "ansible.legacy.copy",
            task=self._task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        with uncompressed.files(self._connection):
            answer: dict[str, t.Any] = copy.run(task_vars=task_vars)
        return answer
