# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A callback for the benchmark: what was started on which node, and the controller's CPU when each task began.

Appends JSON lines to the file that TRAINMESH_BENCH_STARTS names: ``{"address": ..., "task": ..., "bytes": ...}`` for
each command that Ansible runs on a node (with pipelining a module is one command), and for each task that begins
``{"begins": ..., "cpu_s": ...}``. TRAINMESH_BENCH_GROUP is the control group of the run.
"""

from __future__ import annotations

import functools
import json
import os
import pathlib
import typing as t
import zlib

from ansible.plugins.action import ActionBase
from ansible.plugins.callback import CallbackBase

from ansible_collections.trainmesh.cluster.tests.bench.scale.meter import Group

DOCUMENTATION = r"""
name: node_starts
type: aggregate
short_description: Counts what is started on the nodes
description:
  - Writes each start on a node, with its bytes, and the CPU seconds of the controller at the beginning of each task.
requirements:
  - Enable it in the environment, E(ANSIBLE_CALLBACKS_ENABLED).
"""
PATH = os.environ.get("TRAINMESH_BENCH_STARTS", "")


def note(**line: t.Any) -> None:
    """Append one line, in one write, as many processes do."""
    with open(PATH, "ab", buffering=0) as stream:
        stream.write(json.dumps(line).encode() + b"\n")


def counted(execute: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """The function through which all that Ansible runs on a node goes, with a note of each call."""

    @functools.wraps(execute)
    def counting(self: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
        data, address = kwargs.get("in_data") or b"", self._connection._play_context.remote_addr
        # Between real nodes ssh does this (-C in ansible.cfg), and the bridge counts what it makes of it.
        size = len(zlib.compress(data)) if self._connection.transport == "from_files" else len(data)
        note(address=address, task=self._task.get_name(), bytes=size)
        return execute(self, *args, **kwargs)

    return counting


class CallbackModule(CallbackBase):
    """Its class is loaded before Ansible forks, so that every process counts."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "node_starts"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        """Count from here on."""
        super().__init__(*args, **kwargs)
        self._group = Group(pathlib.Path(os.environ.get("TRAINMESH_BENCH_GROUP", "")))
        if PATH:
            ActionBase._low_level_execute_command = counted(ActionBase._low_level_execute_command)

    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:
        """A task begins, and the one before it has ended."""
        if PATH:
            note(begins=task.get_name(), cpu_s=self._group.seconds())

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        """The last task has ended."""
        if PATH:
            note(begins="", cpu_s=self._group.seconds())
