# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of the modules that look at the cluster from one of its nodes."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

FACT = "trainmesh_facts_verify"


class ProbeAction(ActionBase):
    """Runs the module of the same name, with what the plan of this run knows, and keeps its answer as a fact.

    Without the variable C(trainmesh_plan), which M(trainmesh.cluster.cluster_plan) makes, the arguments of the task are
    all there is, and the answer is only returned.
    """

    TRANSFERS_FILES = False
    PART = ""
    """Key of the fact under which the answer is kept; empty to keep none."""
    KEPT: t.ClassVar[tuple[str, ...]] = ()
    """Keys of the module's answer that are kept."""
    FIRST = False
    """Whether this is the first of the probes: what an earlier run has left in a cache of facts ends here."""

    @staticmethod
    def derived(*_known: t.Any) -> dict[str, t.Any]:
        """Arguments out of the plan, for a node (its name) in a run (the names of all nodes in it)."""
        return {}

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module."""
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        plan = variables.get("trainmesh_plan")
        arguments = dict(self._task.args)
        if plan and self._task.args.get("state") != "stopped":
            derived = self.derived(plan, variables["inventory_hostname"], variables["ansible_play_hosts"])
            arguments = {**derived, **arguments}
        answer = self._execute_module(module_args=arguments, task_vars=variables)
        found = {key: answer[key] for key in self.KEPT if key in answer}
        if plan and found:
            before = {} if self.FIRST else (variables.get("ansible_facts") or {}).get(FACT) or {}
            answer["ansible_facts"] = {FACT: {**before, self.PART: found}}
        return {**result, **answer}
