# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(trainmesh.cluster.node_apply)."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import action
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import apply_steps, changes


class ActionModule(ActionBase):
    """Runs the module, with the steps that the plan has for this node."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module."""
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        if "trainmesh_plan" in variables and "steps" not in arguments:
            name = variables["inventory_hostname"]
            stored = action.stored(variables["hostvars"], name)
            plan, fabric = stored["trainmesh_plan"], action.facts(variables["hostvars"], name)["trainmesh_facts_fabric"]
            active = [each["name"] for each in fabric.get("firewalls") or [] if each["active"] is True]
            differs = changes.at_once(changes.Change(**row) for row in plan["changes"].get(name, []))
            node = apply_steps.Node(name, plan, variables, active)
            arguments = {**arguments, **apply_steps.arguments(node, differs)}
        return {**result, **self._execute_module(module_args=arguments, task_vars=variables)}
