# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of Ansible with all its counts, and where the files of the measurements lie."""

from __future__ import annotations

import collections
import itertools
import json
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import typing as t

from ansible_collections.trainmesh.cluster.tests.bench.scale.meter import Group, MeasurementError, Row, run

ROOT = pathlib.Path(__file__).resolve().parents[3]
HERE = ROOT / "tests" / "bench" / "scale"
SLOWEST_TASKS = 8


class Bench:
    """A directory for everything temporary, and the control group of all that runs on the controller."""

    def __init__(self, name: str, logs: pathlib.Path) -> None:
        self.name, self.logs = name, logs
        self.place = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-"))  # short: ssh puts its sockets here
        self.group = Group.make(name)

    def close(self) -> None:
        """Leave nothing behind."""
        self.group.remove()
        shutil.rmtree(self.place, ignore_errors=True)

    @property
    def environment(self) -> dict[str, str]:
        """How Ansible runs here: with the settings of the checkout, and counted."""
        return {
            "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.place / "ssh"),
            "ANSIBLE_CALLBACK_PLUGINS": f"{ROOT / 'tests' / 'callback_plugins'}:{HERE / 'callback_plugins'}",
            "ANSIBLE_CALLBACKS_ENABLED": "task_count,node_starts",
            "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",  # also for `ansible`
            "TRAINMESH_TASK_COUNT": str(self.place / "tasks.json"),
            "TRAINMESH_BENCH_STARTS": str(self.place / "starts.jsonl"),
            "TRAINMESH_BENCH_GROUP": str(self.group.path),
        }

    def ansible(
        self,
        title: str,
        command: t.Sequence[str | pathlib.Path],
        hosts: t.Mapping[str, str],
        *,
        good: t.Container[int] = (0,),
        memory: bool = False,
        **environment: str,
    ) -> Row:
        """Run a command of Ansible on these hosts (name: address); what it cost.

        An exit status that is not ``good`` fails the measurement, as it may have left out what should be measured.
        """
        for name in ("tasks.json", "starts.jsonl"):
            (self.place / name).unlink(missing_ok=True)
        log = self.logs / f"{title}.log"
        row = run(
            [str(word) for word in command],
            self.group,
            cwd=ROOT,
            environment={**self.environment, **environment},
            log=log,
            memory=memory,
        )
        if row["rc"] not in good:
            tail = log.read_text(encoding="utf-8", errors="replace")[-600:]
            raise MeasurementError(f"exit status {row['rc']}, see {log}: ...{tail}")
        return {**row, **self._counts(hosts)}

    @staticmethod
    def ended(inventory: pathlib.Path) -> None:
        """Let the last run with this inventory have ended: one without verify is taken for an interrupted one."""
        (inventory.parent / ".trainmesh" / "run.json").unlink(missing_ok=True)

    def _counts(self, hosts: t.Mapping[str, str]) -> Row:
        """Task executions, starts and bytes by node, and the tasks that took the most of the controller's CPU."""
        names = {address: name for name, address in hosts.items()}
        starts = collections.Counter[str]()
        sent = collections.Counter[str]()
        begins: list[tuple[str, float]] = []
        path = self.place / "starts.jsonl"
        for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            line = json.loads(text)
            if "begins" in line:
                begins.append((line["begins"], line["cpu_s"]))
            elif line["address"] in names:
                starts[names[line["address"]]] += 1
                sent[names[line["address"]]] += line["bytes"]
        cost: dict[str, float] = {}
        for (task, before), (_next, after) in itertools.pairwise(begins):
            cost[task] = cost.get(task, 0.0) + after - before
        path = self.place / "tasks.json"
        counted = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"counts": {}, "recap": {}}
        recap = counted["recap"]
        return {
            "executions": spread(counted["counts"], hosts),
            "starts": spread(starts, hosts),
            "piped_bytes": spread(sent, hosts),
            "changed": spread({name: recap[name]["changed"] for name in recap}, hosts),
            "failed": sorted(name for name in recap if recap[name]["failures"]),
            "unreachable": sorted(name for name in recap if recap[name]["unreachable"]),
            "tasks_cpu_s": dict(sorted(cost.items(), key=lambda item: -item[1])[:SLOWEST_TASKS]),
        }


def spread(counts: t.Mapping[str, int], hosts: t.Iterable[str]) -> Row:
    """Of a number that each node has: the median, which the node that works for all does not shift, mean and most."""
    found = [counts.get(name, 0) for name in hosts]
    return {"median": statistics.median(found), "mean": statistics.mean(found), "most": max(found)}
