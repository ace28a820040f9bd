# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(trainmesh.cluster.cluster_report)."""

from __future__ import annotations

import typing as t

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.trainmesh.cluster.plugins.plugin_utils import _report
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._job_verdict import verdict
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._versions import Finding, compare

display = Display()
UNREACHED = "could not be reached; ssh's own words stand above, the other nodes were looked after without it"
LEFT = "left the run; the error of its task stands above"


def changed_tasks(values: t.Mapping[str, t.Any]) -> list[str]:
    """Names of the roles' registers whose task changed the node: every changing task registers __ROLE_changed_WHAT."""
    names = [name for name in values if name.startswith("__") and "_changed_" in name]
    return [name for name in names if isinstance(values[name], t.Mapping) and values[name].get("changed")]


class ActionModule(ActionBase):
    """Judges what the play has gathered and prints it."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run once for all hosts; fails when anything failed."""
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        hostvars, live = variables["hostvars"], list(variables["ansible_play_hosts"])
        plan = self._task.args["plan"]
        evidence = self._evidence(variables, hostvars, live, plan)
        if self._task.args.get("stage", "report") == "gate":
            wanted = boolean(self._task.args.get("jobs", True))
            return {**result, "changed": False, "untested": _report.blocker(evidence, wanted)}
        found = _report.faults(evidence)
        display.display(_report.text(evidence))
        if found:
            return {**result, "failed": True, "msg": f"{len(found)} fault(s), the first: {found[0]}"}
        return {**result, "changed": False, "verdicts": list(evidence.verdicts)}

    def _evidence(
        self,
        variables: t.Mapping[str, t.Any],
        hostvars: t.Mapping[str, t.Any],
        live: list[str],
        plan: t.Mapping[str, t.Any],
    ) -> _report.Evidence:
        """All that the roles have registered on the hosts."""
        facts = {name: hostvars[name].get("ansible_facts") or {} for name in live}
        stacks = {name: found["trainmesh_stack"] for name, found in facts.items() if found.get("trainmesh_stack")}
        return _report.Evidence(
            plan=plan,
            rows=self._each(hostvars, live, "__verify_probe", "row"),
            listeners=self._each(hostvars, live, "__verify_listener", "problems"),
            stacks=stacks,
            findings=self._findings(stacks, facts),
            verdicts=self._verdicts(hostvars, live, plan),
            dropped=self._dropped(hostvars, variables["ansible_play_hosts_all"], live),
            untested=str(self._task.args.get("untested") or ""),
            changed={name: changed_tasks(hostvars[name]) for name in live},
            check_mode=self._task.check_mode,
        )

    @staticmethod
    def _each(hostvars: t.Mapping[str, t.Any], live: t.Iterable[str], register: str, key: str) -> dict[str, t.Any]:
        """One key of a registered result for every node that has it."""
        found = {name: (hostvars[name].get(register) or {}).get(key) for name in live}
        return {name: value for name, value in found.items() if value is not None}

    @staticmethod
    def _dropped(hostvars: t.Mapping[str, t.Any], every: t.Iterable[str], live: t.Collection[str]) -> dict[str, str]:
        """Nodes that are no longer in the run: never reached if they have no facts, else failed on the way."""
        away = {}
        for name in every:
            if name not in live:
                read = (hostvars[name].get("ansible_facts") or {}).get("trainmesh_fabric")
                away[name] = LEFT if read else UNREACHED
        return away

    def _findings(self, stacks: dict[str, t.Any], facts: dict[str, t.Any]) -> list[Finding]:
        """What comparing the installed stacks shows; check mode has installed nothing to compare."""
        if self._task.check_mode:
            return []
        return compare(stacks, {name: facts[name].get("trainmesh_gpu") or {} for name in stacks})

    @classmethod
    def _verdicts(
        cls, hostvars: t.Mapping[str, t.Any], live: list[str], plan: t.Mapping[str, t.Any]
    ) -> list[dict[str, t.Any]]:
        """The verdict on each job, from the records of its ranks."""
        records = cls._each(hostvars, live, "__verify_records", "records")
        jobs = (hostvars[live[0]].get("__verify_jobs") or {}).get("results") or [] if live else []
        verdicts = []
        for job in jobs:
            launcher = str(job["__verify_launcher"])
            by_node = {
                name: [record for record in found if record.get("run_id") == job.get("run_id")]
                for name, found in records.items()
            }
            tail = str(job.get("log_tail") or job.get("msg") or "")
            judged = verdict(plan, launcher, by_node, job.get("rc"), tail, float(job.get("seconds") or 0))
            verdicts.append({**judged, "log": job.get("log")})
        return verdicts
