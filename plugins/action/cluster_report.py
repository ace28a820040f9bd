# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(trainmesh.cluster.cluster_report)."""

from __future__ import annotations

import os
import time
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import action, redact
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import (
    engine,
    evidence,
    repetition,
    speed,
    thresholds,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import options as diagnosis_options
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.catalogue import entry
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.mesh import tcp_results
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Untested
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import node_variables
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import variables as inventory_variables
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory.parsers import auto_or_boolean
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import run_lock
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import data as report_data
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import run, terminal, write
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.collective import expected_mbps
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.ports import PORT_TAKEN
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.python_env import NO_TORCH

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "stage": {"type": "str", "choices": ["gate", "report", "unread", "end"], "default": "report"},
    "hosts": {"type": "list", "elements": "str", "default": []},
    "jobs": {"type": "bool", "default": True},
    "speed": {"type": "str", "default": "false"},
    "gate": {"type": "dict", "default": {}},
    "collective": {"type": "dict", "default": {}},
    "results": {"type": "list", "elements": "dict", "default": []},
    "state_dir": {"type": "path"},
}


class ActionModule(ActionBase):
    """Judges what the play has gathered, prints it and writes it down."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run once for all hosts; fails when anything stands in the way of a job."""
        result = super().run(tmp, task_vars)
        _validation, self._given = self.validate_argument_spec(ARGUMENTS)
        if self._given["stage"] == "end":
            self._release()
            return {**result, "changed": False}
        variables = task_vars or {}
        live = list(variables["ansible_play_hosts"])
        try:
            node_variables.refuse(variables["hostvars"], variables["ansible_play_hosts_all"])
            if self._given["stage"] == "unread":
                return {**result, **self._unread(variables)}
            options = inventory_variables.read(variables["hostvars"][live[0]], "cluster")
            mode = auto_or_boolean(self._given["speed"])
            case, judged = self._judged(variables, live, options)
        except ValueError as error:
            return {**result, "failed": True, "msg": str(error)}
        if self._given["stage"] == "gate":
            wanted, _why = expected_mbps(case, {"backend": "nccl" if case.plan["gpus"] else "gloo"})
            untested = self._blocker(case, judged, live)
            # a caller who did not come through has not said good-bye: its listener still holds the port of the jobs
            waiting = any(not item.ok for item in tcp_results(case))
            repeat = repetition.checks(case, judged.findings, diagnosis_options.read(options))
            answer = {"untested": untested, "slow_below": wanted / 8000, "listeners_wait": waiting, "repeat": repeat}
            answer["speed"] = not self._task.check_mode and speed.wanted(case, mode)
            answers = redact.walk(engine.to_rows(judged.before_jobs), redact.secrets)
            return {**result, "changed": False, **answer, "judged": {"hosts": live, "answers": answers}}
        self._release()
        return {**result, **self._report(case, judged, variables, live, options)}

    def _release(self) -> None:
        """Give the inventory back for the next run."""
        run_lock.release(os.path.join(self._given["state_dir"], run_lock.FILE), run_lock.own(time.time()))

    def _unread(self, variables: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Write the report of a run in which no node could be read: Ansible ends such a run before the last play.

        Nothing is printed but where it lies, and nothing fails: the task that did, or is about to, says why.
        """
        hostvars = variables["hostvars"]
        names = [name for name in variables["ansible_play_hosts_all"] if name in self._given["hosts"]]
        if not names or any("trainmesh_facts_fabric" in action.facts(hostvars, name) for name in names):
            return {"changed": False, "files": []}
        try:
            options = inventory_variables.read(hostvars[names[0]], "cluster")
            case = evidence.unread(self._given["hosts"], hostvars, names, thresholds.read(options["thresholds"]))
            judged = engine.judge(case, diagnosis_options.read(options))
        except ValueError as error:
            return {"failed": True, "msg": str(error)}
        directory = options["report_dir"] or os.path.join(self._given["state_dir"], "report")
        about = run.about(variables, directory)
        data = report_data.build(case, judged, {}, self._task.check_mode, look=entry, **about)
        written = [] if self._task.check_mode else self._written(directory, data, options["report_mask_addresses"])
        if written:
            action.show(f"\nNo node could be read. The report: {', '.join(written)}")
        return {"changed": False, "outcome": data["outcome"], "summary": data["summary"], "files": written}

    def _judged(
        self, variables: t.Mapping[str, t.Any], live: list[str], options: t.Mapping[str, t.Any]
    ) -> tuple[Case, engine.Judgement]:
        """The evidence, and what the rules say of it."""
        wishes, given = diagnosis_options.read(options), self._given
        case = evidence.assemble(
            {**variables["trainmesh_plan"], "env": options["env"]},  # the plan has the names only
            variables["hostvars"],
            live,
            [
                name
                for name in variables["ansible_play_hosts_all"]
                if not action.is_leaving(variables["hostvars"], name)
            ],
            thresholds.read(options["thresholds"]),
            evidence.Jobs(given["collective"], given["results"], given["gate"].get("untested") or ""),
        )
        if self._task.check_mode and not case.plan.get("read_only"):
            # what a real run would fix must not be judged
            return case, engine.Judgement((Untested("jobs", (), "check mode starts no jobs"),), ())
        gate = given["gate"].get("judged") or {}
        # a node that was lost since takes its facts with it
        before_jobs = engine.from_rows(gate["answers"]) if gate and list(gate["hosts"]) == live else None
        return case, engine.judge(case, wishes, before_jobs)

    def _blocker(self, case: Case, judged: engine.Judgement, live: t.Collection[str]) -> str:
        """Why no job is to be started, in words: over ways that are blocked it would only wait for its time limit."""
        away = [name for name in case.order if name not in live]
        if self._task.check_mode:
            return "check mode starts no jobs"
        if not self._given["jobs"]:
            return "trainmesh_verify_jobs is false"
        if away:
            return f"{', '.join(away)} {'is' if len(away) == 1 else 'are'} not in this run"
        if judged.failed:
            return "skipped: fix the failures above first"
        return next((answer.why for answer in judged.untested if answer.rule in (NO_TORCH, PORT_TAKEN)), "")

    def _report(
        self,
        case: Case,
        judged: engine.Judgement,
        variables: t.Mapping[str, t.Any],
        live: list[str],
        options: t.Mapping[str, t.Any],
    ) -> dict[str, t.Any]:
        """Print and write the report; the result fails with the first fault."""
        hostvars = variables["hostvars"]
        changed = {name: evidence.changed_tasks(action.stored(hostvars, name)) for name in live}
        limited = set(case.order) - set(variables["ansible_play_hosts_all"])  # --limit: the user wants no jobs
        wanted = self._given["jobs"] and not limited
        directory = options["report_dir"] or os.path.join(self._given["state_dir"], "report")
        about = run.about(variables, directory)
        data = report_data.build(case, judged, changed, self._task.check_mode, jobs_wanted=wanted, look=entry, **about)
        written = [] if self._task.check_mode else self._written(directory, data, options["report_mask_addresses"])
        action.show(terminal.text(data, written))
        answer = {"changed": False, "outcome": data["outcome"], "summary": data["summary"], "files": written}
        if data["outcome"] == "faults":
            first = data["findings"][0]
            where = ", ".join(first["hosts"]) or "the cluster"
            said = f"{data['summary']['fail']} failure(s), the first on {where}: {first['cause']} [{first['rule']}]"
            return {**answer, "failed": True, "msg": said}
        if data["outcome"] == "incomplete":
            return {**answer, "unreachable": True, "msg": "not everything could be tested, see the report above"}
        return answer

    @staticmethod
    def _written(directory: str, data: t.Mapping[str, t.Any], mask_addresses: bool) -> list[str]:
        """The files of the report; a place that can't be written must not cost what the terminal shows."""
        try:
            return write.write(directory, data, mask_addresses)
        except OSError as error:
            action.warn(f"the report could not be written to {directory} ({error}): set trainmesh_report_dir")
            return []
