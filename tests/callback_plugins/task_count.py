# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A callback for the tests: how many task executions a run costs on each host.

Every result of a task is a fork and a round trip, the skipped ones too, so all are counted; the items of a loop are one
execution. The file named by the environment variable ``TRAINMESH_TASK_COUNT`` gets, as JSON,
``{"counts": {host: number}, "tasks": {host: [name of each execution, in order]}, "recap": {host: {"changed": number,
"unreachable": number, ...}}}``, the last being what Ansible prints as its recap. Without it nothing is written.

    ANSIBLE_CALLBACK_PLUGINS=tests/callback_plugins ANSIBLE_CALLBACKS_ENABLED=task_count \\
        TRAINMESH_TASK_COUNT=/tmp/count.json ansible-playbook site.yml -i inventory
"""

from __future__ import annotations

import json
import os
import typing as t

from ansible import constants as C
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: task_count
type: aggregate
short_description: Counts the task executions on each host
description:
  - Writes the number and the names of all task executions on each host, skipped ones included, and the recap to a
    JSON file.
requirements:
  - Enable it in the environment, E(ANSIBLE_CALLBACKS_ENABLED).
"""


class CallbackModule(CallbackBase):
    """Collects the name of every executed task by host and writes the file at the end of the run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_count"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        """Start with no host; where the file goes is read once."""
        super().__init__(*args, **kwargs)
        self._path = os.environ.get("TRAINMESH_TASK_COUNT", "")
        self._tasks: dict[str, list[str]] = {}

    def _count(self, result: t.Any) -> None:
        """Note one execution. The host is the one that the task ran for, not one it was delegated to."""
        if result._task.action not in C._ACTION_META:  # the controller does these by itself
            self._tasks.setdefault(result._host.get_name(), []).append(result._task.get_name())

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """A task that ended well, changed or not."""
        self._count(result)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        """A task that failed."""
        self._count(result)

    def v2_runner_on_skipped(self, result: t.Any) -> None:
        """A task that its condition skipped: still a fork."""
        self._count(result)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        """A task that did not reach its host."""
        self._count(result)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        """The end of the run: write the file."""
        if not self._path:
            return
        content: dict[str, t.Any] = {
            "counts": {host: len(names) for host, names in self._tasks.items()},
            "tasks": self._tasks,
        }
        content["recap"] = {host: stats.summarize(host) for host in stats.processed}
        with open(self._path, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2, sort_keys=True)
            file.write("\n")
