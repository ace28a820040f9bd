# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(trainmesh.cluster.cluster_report)."""

from __future__ import annotations

import os
import time
import typing as t

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.trainmesh.cluster.plugins.plugin_utils import (
    _action,
    _evidence,
    _judge,
    _report_data,
    _report_files,
    _report_terminal,
    _rule_options,
    _run_lock,
    _thresholds,
    _variables,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._catalogue import entry
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._mesh_view import calls
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rule import Case, Untested
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules_collective import expected_mbps
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules_environment import NO_TORCH


class ActionModule(ActionBase):
    """Judges what the play has gathered, prints it and writes it down."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run once for all hosts; fails when anything stands in the way of a job."""
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        live = list(variables["ansible_play_hosts"])
        try:
            _action.refuse_variables_of_nodes(variables["hostvars"], variables["ansible_play_hosts_all"])
            if self._task.args.get("stage") == "unread":
                return {**result, **self._unread(variables)}
            options = _variables.read(variables["hostvars"][live[0]], "cluster")
            case, judged = self._judged(variables, live, options)
        except ValueError as error:
            return {**result, "failed": True, "msg": str(error)}
        if self._task.args.get("stage", "report") == "gate":
            wanted, _why = expected_mbps(case, {"backend": "nccl" if case.plan["gpus"] else "gloo"})
            untested = self._blocker(case, judged, live)
            # a caller who did not come through has not said good-bye: its listener still holds the port of the jobs
            waiting = any(not item.ok for item in calls(case))
            answer = {"untested": untested, "slow_below": wanted / 8000, "listeners_wait": waiting}
            return {**result, "changed": False, **answer}
        _run_lock.release(os.path.join(self._task.args["state_dir"], _run_lock.FILE), _run_lock.own(time.time()))
        return {**result, **self._report(case, judged, variables, live, options)}

    def _unread(self, variables: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Write the report of a run in which no node could be read: Ansible ends such a run before the last play.

        Nothing is printed but where it lies, and nothing fails: the task that did, or is about to, says why.
        """
        hostvars = variables["hostvars"]
        names = [name for name in variables["ansible_play_hosts_all"] if name in self._task.args["hosts"]]
        if not names or any("trainmesh_facts_fabric" in (hostvars[name].get("ansible_facts") or {}) for name in names):
            return {"changed": False, "files": []}
        try:
            options = _variables.read(hostvars[names[0]], "cluster")
            case = _evidence.unread(
                list(self._task.args["hosts"]), hostvars, names, _thresholds.read(options["thresholds"])
            )
            judged = _judge.judge(case, _rule_options.read(options))
        except ValueError as error:
            return {"failed": True, "msg": str(error)}
        data = _report_data.build(case, judged, {}, self._task.check_mode, look=entry)
        directory = options["report_dir"] or os.path.join(self._task.args["state_dir"], "report")
        written = [] if self._task.check_mode else self._written(directory, data, options["report_mask_addresses"])
        if written:
            _action.show(f"\nNo node could be read. The report: {', '.join(written)}")
        return {"changed": False, "outcome": data["outcome"], "summary": data["summary"], "files": written}

    def _judged(
        self, variables: t.Mapping[str, t.Any], live: list[str], options: t.Mapping[str, t.Any]
    ) -> tuple[Case, _judge.Judgement]:
        """The evidence, and what the rules say of it."""
        wishes = _rule_options.read(options)
        case = _evidence.assemble(
            {**self._task.args["plan"], "env": options["env"]},  # the plan has the names only
            variables["hostvars"],
            live,
            list(variables["ansible_play_hosts_all"]),
            _thresholds.read(options["thresholds"]),
            str(self._task.args.get("untested") or ""),
        )
        if self._task.check_mode and not case.plan.get("read_only"):
            # what a real run would mend must not be judged
            return case, _judge.Judgement((Untested("jobs", (), "check mode starts no jobs"),), ())
        return case, _judge.judge(case, wishes)

    def _blocker(self, case: Case, judged: _judge.Judgement, live: t.Collection[str]) -> str:
        """Why no job is to be started, in words: over ways that are blocked it would only wait for its time limit."""
        away = [name for name in case.order if name not in live]
        if self._task.check_mode:
            return "check mode starts no jobs"
        if not boolean(self._task.args.get("jobs", True)):
            return "trainmesh_verify_jobs is false"
        if away:
            return f"{', '.join(away)} {'is' if len(away) == 1 else 'are'} not in this run"
        if judged.failed:
            return "the faults above come first"
        return next((answer.why for answer in judged.untested if answer.rule == NO_TORCH), "")

    def _report(
        self,
        case: Case,
        judged: _judge.Judgement,
        variables: t.Mapping[str, t.Any],
        live: list[str],
        options: t.Mapping[str, t.Any],
    ) -> dict[str, t.Any]:
        """Print and write the report; the result fails with the first fault."""
        hostvars = variables["hostvars"]
        changed = {name: _evidence.changed_tasks(hostvars[name]) for name in live}
        limited = set(case.order) - set(variables["ansible_play_hosts_all"])  # --limit: the user wants no jobs
        wanted = boolean(self._task.args.get("jobs", True)) and not limited
        data = _report_data.build(case, judged, changed, self._task.check_mode, jobs_wanted=wanted, look=entry)
        directory = options["report_dir"] or os.path.join(self._task.args["state_dir"], "report")
        written = [] if self._task.check_mode else self._written(directory, data, options["report_mask_addresses"])
        _action.show(_report_terminal.text(data, written))
        answer = {"changed": False, "outcome": data["outcome"], "summary": data["summary"], "files": written}
        if data["outcome"] == "faults":
            first = data["findings"][0]
            where = ", ".join(first["hosts"]) or "the cluster"
            said = f"{data['summary']['fail']} fault(s), the first on {where}: {first['cause']} [{first['rule']}]"
            return {**answer, "failed": True, "msg": said}
        if data["outcome"] == "incomplete":
            return {**answer, "unreachable": True, "msg": "not everything could be tested: see the report"}
        return answer

    @staticmethod
    def _written(directory: str, data: t.Mapping[str, t.Any], mask_addresses: bool) -> list[str]:
        """The files of the report; a place that can't be written must not cost what the terminal shows."""
        try:
            return _report_files.write(directory, data, mask_addresses)
        except OSError as error:
            _action.warn(f"the report could not be written to {directory} ({error}): set trainmesh_report_dir")
            return []
