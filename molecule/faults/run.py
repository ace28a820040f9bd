# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Break a healthy cluster in one way at a time, and see what verify.yml says of it.

    run.py --inventory hosts.yml --nodes faults [--only NAME ... | --every N] [--results results.json [--resume]]

The nodes are the containers trainmesh-NODES-node1 and so on. A fault (``cases/*.yml``) has

- ``name``, ``what``: a slug and a sentence;
- ``break``: node (or ``all``) to shell script, run as root on the node; ``undo``: the same, the way back;
- ``vars``: extra variables of the playbook that has to name it;
- ``rule``, ``hosts``, ``severity``: what has to be named, and nothing beside it except ``also`` (rule to reason);
- ``repair``: ``site`` (site.yml mends it), ``remedy`` (the command in the printed remedy does: ``command`` is
  the pattern that finds it, ``node`` the one to run it on), or ``undo`` (it is not for a program to mend);
- ``jobs``: true when only a job shows it; ``during``: node to script, started beside the playbook.

A file has the list under ``faults``, and may have the ground that they stand on: ``before`` and ``after`` (node to
script) make it and take it away, ``vars`` go to every run of a playbook.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import typing as t

import yaml

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from results import Outcome, Results

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
NODES = ("node1", "node2", "node3")
PLAYBOOK_LIMIT = 400
SCRIPT_LIMIT = 60


class Cluster:
    """The cluster under test: its nodes' containers and its playbooks."""

    def __init__(self, inventory: str, nodes: str, results: Results) -> None:
        self.inventory = inventory
        self.results = results
        self.nodes = nodes
        self.report = pathlib.Path(inventory).parent / ".trainmesh" / "report" / "report.json"
        self.ground: t.Mapping[str, t.Any] = {}

    def shell(self, node: str, script: str, check: bool = True, limit: float = SCRIPT_LIMIT) -> str:
        """Run a script as root on a node (``controller`` is this machine)."""
        argv = ["bash", "-euc", script]
        if node != "controller":
            argv = ["docker", "exec", f"trainmesh-{self.nodes}-{node}", *argv]
        env = {**os.environ, "NODES": self.nodes, "INVENTORY": self.inventory}
        env.update(FAULTS=str(HERE), PYTHON=sys.executable)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=limit, check=False, env=env)
        if check and done.returncode:
            raise RuntimeError(f"{node}: {script!r} ended with {done.returncode}: {done.stderr[-500:]}")
        return done.stdout

    def scripts(self, scripts: t.Mapping[str, str] | None, check: bool = True) -> None:
        """Run one script on each of some nodes; ``all`` are all nodes."""
        for name, script in (scripts or {}).items():
            for node in NODES if name == "all" else (name,):
                self.shell(node, script, check)

    def stand_on(self, ground: t.Mapping[str, t.Any]) -> None:
        """Take the ground of the faults before away and make that of the next ones; on it the cluster is healthy."""
        if ground == self.ground:
            return
        self.scripts(self.ground.get("after"))
        self.ground = ground
        self.scripts(ground.get("before"))
        self.healthy()

    def play(self, playbook: str, variables: t.Mapping[str, t.Any], jobs: bool = False) -> tuple[int, dict[str, t.Any]]:
        """Run a playbook as a user does; its status and the report it wrote."""
        self.report.unlink(missing_ok=True)
        extra = {"trainmesh_verify_jobs": jobs, **(self.ground.get("vars") or {}), **variables}
        argv = ["ansible-playbook", str(PROJECT / playbook), "-i", self.inventory, "-e", json.dumps(extra)]
        env = {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=PLAYBOOK_LIMIT, check=False, env=env, cwd="/"
        )
        if not self.report.exists():
            raise RuntimeError(f"{playbook} wrote no report (status {done.returncode}): {done.stdout[-1500:]}")
        return done.returncode, json.loads(self.report.read_text())

    def healthy(self, playbook: str = "playbooks/verify.yml") -> list[str]:
        """What is accused although nothing should be wrong."""
        _rc, report = self.play(playbook, {})
        found = [f"{item['rule']} on {', '.join(item['hosts'])}: {item['cause']}" for item in accused(report)]
        self.results.healthy(found, {node["os"] for node in report["nodes"] if node["os"]})
        return found


def accused(report: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """The findings that accuse: failures and warnings."""
    return [item for item in report["findings"] if item["severity"] in ("fail", "warn")]


def judge(fault: t.Mapping[str, t.Any], report: t.Mapping[str, t.Any], rc: int, outcome: Outcome) -> None:
    """Compare what was said with what is true."""
    found = [item for item in accused(report) if item["rule"] == fault["rule"]]
    outcome.detected = bool(found)
    outcome.right_host = any(sorted(item["hosts"]) == sorted(fault["hosts"]) for item in found)
    others = [item for item in accused(report) if item["rule"] not in {fault["rule"], *fault.get("also", {})}]
    outcome.alone = not others and len(found) <= 1
    if not outcome.detected:
        outcome.problems.append(f"{fault['rule']} was not named")
    elif not outcome.right_host:
        outcome.problems.append(f"hosts {[item['hosts'] for item in found]} instead of {fault['hosts']}")
    outcome.problems += [f"also accused: {item['rule']} on {item['hosts']}: {item['cause']}" for item in others]
    if len(found) > 1:
        outcome.problems.append(f"named {len(found)} times: {[item['hosts'] for item in found]}")
    worst = found[0]["severity"] if found else "fail"
    if worst != fault.get("severity", "fail"):
        outcome.problems.append(f"severity {worst} instead of {fault.get('severity', 'fail')}")
    if (rc == 0) != (worst == "warn"):
        outcome.problems.append(f"exit status {rc} with severity {worst}")


def repair(cluster: Cluster, fault: t.Mapping[str, t.Any], report: t.Mapping[str, t.Any], outcome: Outcome) -> None:
    """Mend the fault in the way that the case names, and see that the cluster is healthy again."""
    how = fault["repair"]
    if how == "remedy":
        remedy = " ".join(item["remedy"] for item in report["findings"] if item["rule"] == fault["rule"])
        match = re.search(fault["command"], remedy)
        if not match:
            outcome.problems.append(f"no {fault['command']!r} in the remedy {remedy!r}")
            how = "undo"
        else:
            cluster.shell(fault["node"], match.group(match.lastindex or 0))
    if how == "undo":
        cluster.scripts(fault["undo"])
    left = cluster.healthy("site.yml" if how == "site" else "playbooks/verify.yml")
    outcome.repaired = not left
    outcome.problems += [f"after {how}: {one}" for one in left]


def try_fault(cluster: Cluster, fault: t.Mapping[str, t.Any]) -> Outcome:
    """Break, look, judge, mend."""
    outcome = Outcome(fault["name"], fault["what"], fault["rule"], list(fault["hosts"]), fault["repair"])
    started = time.monotonic()
    try:
        cluster.scripts(fault.get("break"))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            beside = [
                pool.submit(cluster.shell, node, script, limit=PLAYBOOK_LIMIT)
                for node, script in (fault.get("during") or {}).items()
            ]
            started = time.monotonic()
            rc, report = cluster.play("playbooks/verify.yml", fault.get("vars") or {}, bool(fault.get("jobs")))
            outcome.seconds = round(time.monotonic() - started, 1)
            for one in beside:
                one.result()
        judge(fault, report, rc, outcome)
        kept = cluster.report.parent / f"{fault['name']}.json"
        kept.write_text(json.dumps(report, indent=1)) if outcome.problems else kept.unlink(missing_ok=True)
        started = time.monotonic()
        repair(cluster, fault, report, outcome)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        outcome.problems.append(str(error))
    outcome.repair_seconds = round(time.monotonic() - started, 1)
    if not outcome.repaired:
        reset(cluster, fault, outcome)
    return outcome


def reset(cluster: Cluster, fault: t.Mapping[str, t.Any], outcome: Outcome) -> None:
    """Bring the cluster back at any price, so that one bad case does not spoil the others."""
    try:
        cluster.scripts(fault.get("undo"), check=False)
        left = cluster.healthy("site.yml")
        outcome.problems += [f"not healthy after the case: {one}" for one in left]
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        outcome.problems.append(f"not healthy after the case: {error}")


def load(only: t.Collection[str], every: int = 1) -> list[dict[str, t.Any]]:
    """The faults of all files in their order; with ``every`` the first of each so many."""
    faults: list[dict[str, t.Any]] = []
    for path in sorted((HERE / "cases").glob("*.yml")):
        content = yaml.safe_load(path.read_text())
        ground = {key: content[key] for key in ("before", "after", "vars") if key in content}
        faults += [{**fault, "ground": ground} for fault in content["faults"]]
    return [fault for fault in faults if fault["name"] in only] if only else faults[::every]


def tell(outcome: Outcome) -> None:
    """One line, and one for each problem."""
    state = "ok" if not outcome.problems else "WRONG"
    print(f"{state:5} {outcome.name} ({outcome.seconds:.0f} s, {outcome.repair} {outcome.repair_seconds:.0f} s)")
    for problem in outcome.problems:
        print(f"      {problem}")
    sys.stdout.flush()


def main() -> int:
    """Entry point; 0 when every fault was named rightly and nothing was accused without cause."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inventory", required=True, help="of the healthy cluster")
    parser.add_argument("--nodes", required=True, help="name of the node set")
    parser.add_argument("--results", type=pathlib.Path, help="file for the results as JSON, written after each fault")
    parser.add_argument("--resume", action="store_true", help="leave out what --results has as named rightly")
    parser.add_argument("--docs", type=pathlib.Path, help="file for the results as a page of the documentation")
    parser.add_argument("--beside", type=pathlib.Path, nargs="*", default=[], help="those on other systems, for --docs")
    parser.add_argument("--healthy", type=int, default=0, help="runs on the healthy cluster before the first fault")
    parser.add_argument("--every", type=int, default=1, help="try one fault of so many, to be quick")
    parser.add_argument("--only", nargs="*", default=[], help="names of faults")
    given = parser.parse_args()
    results = Results(given.results, given.resume)
    cluster = Cluster(given.inventory, given.nodes, results)
    for _number in range(given.healthy):
        cluster.healthy()
    for fault in load(given.only, given.every):
        if results.settled(fault["name"]):
            continue
        cluster.stand_on(fault["ground"])
        results.add(try_fault(cluster, fault))
        tell(results.outcomes[fault["name"]])
    cluster.stand_on({})
    tried, accusations = len(results.outcomes), results.false_accusations
    print(f"{tried - len(results.wrong())} of {tried} faults named rightly; {results.healthy_runs} healthy runs,")
    print(f"{len(accusations)} false accusations in them")
    if given.docs:
        given.docs.write_text(results.page(load([]), [Results(path, resume=True) for path in given.beside]))
    return 1 if results.wrong() or accusations else 0


if __name__ == "__main__":
    sys.exit(main())
