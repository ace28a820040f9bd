# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A callback for the benchmark: what simulated nodes have to know before the run that asks them.

The plan of a run goes to the file that TRAINMESH_BENCH_PLAN names. The present state that a node tells is digested
under a secret that is new in each run; here the plan is compared under the one in TRAINMESH_BENCH_KEY.
"""

from __future__ import annotations

import json
import os
import pathlib
import typing as t
from unittest import mock

from ansible.plugins.callback import CallbackBase

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import changes

DOCUMENTATION = r"""
name: simulated_nodes
type: aggregate
short_description: Lets nodes be simulated
description:
  - Keeps the plan, and compares it under a secret that is known beforehand.
requirements:
  - Enable it in the environment, E(ANSIBLE_CALLBACKS_ENABLED).
"""


class Known(changes.Desired):
    """The desired state under the known secret."""

    def __init__(self, plan: changes.Plan, key: str, scripts: t.Sequence[t.Mapping[str, str]]) -> None:
        """As always, but for the secret."""
        super().__init__(plan, os.environ["TRAINMESH_BENCH_KEY"], scripts)


class CallbackModule(CallbackBase):
    """Its class is loaded before Ansible forks, so that the process that plans knows the secret."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "simulated_nodes"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        """Let the secret be the known one."""
        super().__init__(*args, **kwargs)
        mock.patch.object(changes, "Desired", Known).start()

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """Keep the plan."""
        if result._task.action == "trainmesh.cluster.cluster_plan":
            pathlib.Path(os.environ["TRAINMESH_BENCH_PLAN"]).write_text(json.dumps(result._result), encoding="utf-8")
