# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on real nodes: the collection's, those of the usual playbook, and a ping to compare with.

Set-up alone: nodes without training environments show what grows with their number, and thirty of them fit on one
machine.
"""

from __future__ import annotations

import json
import pathlib
import statistics
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.python_env import NO_TORCH
from ansible_collections.trainmesh.cluster.tests.bench.scale.ansible_run import HERE, ROOT, Bench
from ansible_collections.trainmesh.cluster.tests.bench.scale.lab import Nodes
from ansible_collections.trainmesh.cluster.tests.bench.scale.meter import MeasurementError, Row

SET_UP = ("--tags", "hosts,ssh_mesh,firewall,launch_config")
WITHOUT_TORCH = ("--skip-tags", "python_env,torch_stack", "-e", "trainmesh_verify_jobs=false")
PINGS = 3
# Without torch the report says what it could not test, and with dead nodes that they are.
ANY_VERDICT = (0, 2, 4)

Note = t.Callable[[str, t.Callable[[], Row]], None]


def findings(report: pathlib.Path) -> list[str]:
    """The checks that found something above info, but for the environment that these nodes do not have."""
    found = json.loads(report.read_text(encoding="utf-8"))["findings"]
    return sorted(each["rule"] for each in found if each["severity"] != "info" and each["rule"] != NO_TORCH)


class Runs:
    """Runs of one cluster of ``size`` nodes."""

    def __init__(self, bench: Bench, lab: Nodes, size: int) -> None:
        self.bench, self.lab, self.size = bench, lab, size
        self.names = list(lab.hosts)[:size]

    def run(self, step: str, *command: str, names: t.Sequence[str] = (), good: t.Container[int] = (0,)) -> Row:
        """One run, with what it cost on the nodes, too."""
        hosts = {name: self.lab.hosts[name] for name in names or self.names}
        cpu, sent = self.lab.cpu_seconds(), self.lab.bytes_from_controller()
        row = self.bench.ansible(f"{step}-{self.size}", command, hosts, good=good)
        row["nodes_cpu_s"] = self.lab.cpu_seconds() - cpu
        row["network_bytes"] = {"mean": (self.lab.bytes_from_controller() - sent) / len(hosts)}
        return row

    def play(
        self,
        step: str,
        playbook: str,
        *arguments: str,
        names: t.Sequence[str] = (),
        leaving: t.Sequence[str] = (),
        good: t.Container[int] = (0,),
    ) -> Row:
        """Run a playbook with an inventory of these nodes."""
        inventory = self.lab.inventory(names or self.names, leaving)
        self.bench.ended(inventory)
        return self.run(
            step, "ansible-playbook", str(ROOT / playbook), "-i", str(inventory), *arguments, names=names, good=good
        )

    def set_up(self, step: str, **more: t.Any) -> Row:
        """site.yml without the training environment, without verify."""
        return self.play(step, "site.yml", *SET_UP, **more)

    def verified(self, step: str, playbook: str, *arguments: str) -> Row:
        """A run that ends with a report, which fails on one node in the name of all where it has findings."""
        row = self.play(step, playbook, *arguments, good=ANY_VERDICT)
        if len(row["failed"]) > 1 or row["unreachable"]:
            raise MeasurementError(f"failed on {row['failed']}, unreachable {row['unreachable']}")
        return {**row, "findings": findings(self.lab.directory / ".trainmesh" / "report" / "report.json")}

    def ping(self) -> Row:
        """``ansible all -m ping`` over connections that are open, the median of some."""
        inventory = str(self.lab.inventory(self.names))
        rows = [self.run("ping", "ansible", "-i", inventory, "all", "-m", "ping") for _turn in range(PINGS + 1)][1:]
        columns = ("wall_s", "controller_cpu_s", "nodes_cpu_s")
        return {**rows[-1], **{column: statistics.median(row[column] for row in rows) for column in columns}}

    def dead(self) -> Row:
        """A run in which three nodes, of few nodes one, are dead; just before it one in which all live."""
        dying = self.names[-3:] if self.size >= 8 else self.names[-1:]
        living = self.set_up("living")
        self.lab.kill(dying)
        try:
            row = self.set_up("dead", good=ANY_VERDICT)
        finally:
            self.lab.revive(dying)
        missing = set(dying) - set(row["unreachable"])
        if missing or set(row["unreachable"]) - set(dying) or row["failed"]:
            raise MeasurementError(f"dead were {dying}, unreachable {row['unreachable']}, failed {row['failed']}")
        return {**row, "dead": len(dying), "living_wall_s": living["wall_s"]}

    def add(self) -> Row:
        """The run that adds a node: the median is that of the old ones."""
        return self.set_up("add", names=list(self.lab.hosts))

    def remove(self) -> Row:
        """The run that takes it out again."""
        everybody = list(self.lab.hosts)
        return self.set_up("remove", names=everybody, leaving=everybody[self.size :])


def measure(bench: Bench, size: int, note: Note) -> None:
    """All runs of the collection with so many nodes; ``note`` takes the name of each and how to make it."""
    lab = Nodes(bench)
    try:
        print(f"  making {size + 1} nodes", flush=True)
        lab.up(size + 1)
        runs = Runs(bench, lab, size)
        note("first", lambda: runs.set_up("first"))
        note("no_change", lambda: runs.set_up("no_change"))
        note("ping", runs.ping)
        note("site", lambda: runs.verified("site", "site.yml", *WITHOUT_TORCH))
        note("verify", lambda: runs.verified("verify", "playbooks/verify.yml", *WITHOUT_TORCH[2:]))
        note("dead", runs.dead)
        note("add", runs.add)
        note("remove", runs.remove)
    finally:
        lab.down()


def measure_usual(bench: Bench, size: int, note: Note) -> None:
    """The usual playbook on as many new nodes, twice."""
    lab = Nodes(bench)
    try:
        print(f"  making {size} nodes", flush=True)
        lab.up(size)
        runs, playbook = Runs(bench, lab, size), str(HERE.relative_to(ROOT) / "usual.yml")
        note("usual_first", lambda: runs.play("usual_first", playbook, good=(0, 2, 4)))
        note("usual_again", lambda: runs.play("usual_again", playbook, good=(0, 2, 4)))
    finally:
        lab.down()
