# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collective probe's processes: started, followed, and ended whatever they do; ssh is played by a script."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import sys
import time
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._collective import probe as collective_probe
from ansible_collections.trainmesh.cluster.plugins.module_utils._collective import runner as collective_runner
from ansible_collections.trainmesh.cluster.plugins.module_utils._collective.probe import Wish, nothing, probe, undecided
from ansible_collections.trainmesh.cluster.plugins.module_utils._collective.rank import MARK
from ansible_collections.trainmesh.cluster.plugins.module_utils._collective.runner import Command, Node, Runner, payload

NODES = [Node(f"node{number}", f"node{number}", "127.0.0.1", 1, "") for number in (1, 2)]
# The last word is the remote command; node9 is away.
SSH = """#!/bin/sh
for word; do
    last=$word
    [ "$word" != node9 ] || { echo "ssh: connect to host node9: No route to host"; exit 255; }
done
exec sh -c "$last"
"""


@pytest.fixture(autouse=True)
def _ssh(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ssh").write_text(SSH, encoding="utf-8")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(collective_runner, "GRACE_SECONDS", 0.5)


def lines(host: str, *events: dict[str, t.Any], then: str = "") -> Command:
    """A process that says these events of one rank, then runs a line of Python."""
    text = "".join(MARK + json.dumps(each) + "\n" for each in events)
    return Command(host, [sys.executable, "-c", f"import os,sys,time\nos.write(1, {text.encode()!r})\n{then}"], b"")


def end(rank: int, **more: t.Any) -> dict[str, t.Any]:
    return {"e": "end", "rank": rank, "error": None, "own": 0.01, "rows": [], "complete": True, **more}


def wish(**more: t.Any) -> Wish:
    given: dict[str, t.Any] = {
        "nodes": NODES, "python": sys.executable, "launcher": "", "script": "", "run_id": "r", "backend": "gloo",
        "sizes": [], "port": 29599, "environment": {}, "timeout": 60, "stall": 5, "slow_below": 0,
    }  # fmt: skip
    return Wish(**{**given, **more})


def test_all_ranks_come_through() -> None:
    commands = [lines("node1", {"e": "up", "rank": 0}, end(0)), lines("node2", end(1), {"e": "up", "rank": 9})]
    trial = Runner(NODES, 20, 5).run(commands)
    assert (trial.error, [rank.phase for rank in trial.ranks.values()]) == ("", ["end", "end"])


def test_other_lines_are_kept_by_host_under_a_launcher() -> None:
    then = "print('node2: n2:1:1 [0] NCCL INFO Using network IB\\npdsh@h: node2: ssh exited')"
    trial = Runner(NODES, 20, 5).run([lines("", end(0), end(1), then=f"{then};sys.stdout.flush();time.sleep(0.3)")])
    assert trial.error == ""
    trial = Runner(NODES, 20, 5).run([lines("", end(0), then=then)])
    assert trial.texts["node2"].splitlines() == ["n2:1:1 [0] NCCL INFO Using network IB", "ssh exited"]
    assert "rank 1 on node2 was never started (ssh exited)" in trial.error


def test_a_stall_and_the_limit_end_everything() -> None:
    loaded = [{"e": "torch", "rank": 0}, {"e": "torch", "rank": 1}]
    for stall, reason in ((0.5, "no progress for 0 s"), (30, "not finished within 2 s")):
        started = time.monotonic()
        runner = Runner(NODES, 2, stall)
        trial = runner.run([lines("", *loaded, then="time.sleep(60)")])
        assert trial.error.startswith(reason)
        assert time.monotonic() - started < 12
        assert all(process.poll() is not None for _command, process in runner.processes)


def test_the_state_of_a_stopped_rank_is_seen() -> None:
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    try:
        os.kill(child, signal.SIGSTOP)
        events = [{"e": "up", "rank": 1, "pid": child}, {"e": "torch", "rank": 0}, {"e": "torch", "rank": 1}]
        trial = Runner(NODES, 20, 0.5).run([lines("", *events, then="time.sleep(60)")])
        assert trial.ranks[1].state == "T"
        assert not undecided(trial)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_the_program_runs_through_ssh_and_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    found = probe(wish(timeout=40))
    assert found["ok"] is False
    assert (found["via"], found["world_size"], found["sweep"]) == ("ssh", 0, [])
    assert [rank["error"] for rank in found["ranks"]] == ["ModuleNotFoundError: No module named 'torch'"] * 2
    assert found["trials"][0]["hosts"] == ["node1", "node2"]


def test_a_node_that_ssh_cannot_reach_is_the_suspect() -> None:
    away = Node("away", "node9", "127.0.0.1", 1, "")
    found = probe(wish(nodes=[NODES[0], away], timeout=40, python="/bin/false"))
    assert found["ok"] is False
    runner = Runner([NODES[0], away], 20, 5)
    ssh = ["ssh", "node9", "true"]
    trial = runner.run([lines("node1", {"e": "up", "rank": 0}, then="time.sleep(60)"), Command("away", ssh, b"x")])
    assert "rank 1 on away was never started (ssh: connect to host node9: No route to host)" in trial.error
    blamed = collective_probe.result.blamed(trial.ranks)
    assert [each["hosts"] for each in blamed] == [["away"]]
    assert "No route to host" in blamed[0]["evidence"]


def test_a_command_that_does_not_exist_and_nothing_at_all() -> None:
    trial = Runner(NODES, 5, 5).run([Command("node1", ["/nowhere/ssh"], b"x"), Command("node2", ["/nowhere/ssh"], b"")])
    assert "/nowhere/ssh" in trial.error
    assert nothing(wish())["ok"] is None


def test_the_payload_is_a_program() -> None:
    spec = {"slots": 0, "first": 0, "limit": 1.0}
    compile(payload(spec), "probe", "exec")
    assert payload(spec).decode().endswith(f"guard({spec!r})\n")


def trial_of(ended: str, **phases: str) -> t.Any:
    """A trial that ended so, each rank of node1, node2, ... in a phase."""
    ranks = {}
    for number, (host, phase) in enumerate(phases.items()):
        ranks[number] = collective_probe.result.Rank(host)
        ranks[number].phase = phase
    return collective_runner.Trial(ranks, f"ended: {ended}", "not_started", "", ended, {}, 45.0)


def test_ranks_that_still_load_torch_at_our_limit_are_late_and_not_at_fault() -> None:
    assert collective_probe.late(trial_of("stalled", node1="", node2=""))
    assert collective_probe.late(trial_of("stalled", node1="up", node2="torch"))
    assert collective_probe.late(trial_of("timeout", node1="done", node2="ready"))


def test_what_says_something_by_itself_is_not_late() -> None:
    stopped, noted, hung = (
        trial_of("stalled", a="up", b=""),
        trial_of("stalled", a="", b=""),
        trial_of("stalled", a="ready", b="ready"),
    )
    stopped.ranks[0].state, noted.ranks[0].note = "T", "Permission denied (publickey)."
    assert not any(collective_probe.late(trial) for trial in (stopped, noted, hung))
    failed = trial_of("stalled", a="", b="end")
    failed.ranks[1].end = {"error": "ImportError: no torch"}
    assert not collective_probe.late(failed) and not collective_probe.late(trial_of("early", a="", b=""))


def test_late_ranks_start_no_search_for_suspects(monkeypatch: pytest.MonkeyPatch) -> None:
    late = trial_of("stalled", node1="", node2="")
    tried = []
    monkeypatch.setattr(collective_probe.Probe, "attempt", lambda *rest: tried.append(rest) or late)
    answer = probe(wish())
    assert answer["late"] == late.error and answer["suspects"] == [] and len(tried) == 1


def test_the_time_to_start_follows_the_time_for_all() -> None:
    assert Runner(NODES, 400, 12).start == 300 and Runner(NODES, 20, 5).start == 45
