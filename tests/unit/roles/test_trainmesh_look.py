# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``trainmesh ps``, ``logs`` and ``stop``, with a stand-in for ssh that runs the command here."""

from __future__ import annotations

import io
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest
import yaml
from trainmesh import fanout, look, processes

# ssh -T -o... -o... NODE COMMAND
SSH = """#!/bin/sh
case $4 in
node2) eval "$5" ;;
node3) echo "ssh: connect to host node3 port 22: No route to host" >&2; exit 255 ;;
esac
"""
SLEEP = ["sleep", "60"]


@pytest.fixture
def shell(cluster, tmp_path):
    """Calls trainmesh with a stand-in for ssh."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path/ssh").write_text(SSH)
    (tmp_path / "path/ssh").chmod(0o755)
    environment = {"PATH": f"{tmp_path}/path:/usr/bin:/bin"}
    return lambda *words, **more: cluster.call(cluster.root / "bin/trainmesh", *words, env=environment, **more)


def record(cluster, name, **values):
    directory = cluster.root / f"var/runs/{name}"
    directory.mkdir(parents=True)
    given = {
        "run_id": name,
        "launcher": "torchrun",
        "command": ["/w/train.py", "--lr", "a b"],
        "nodes": ["node1"],
        "pid": 1,
        "born": "1@never",
        "started": 100.0,
        "ended": None,
        "status": None,
        **values,
    }
    (directory / "run.json").write_text(json.dumps(given))
    return directory


@pytest.fixture
def started(begun):
    """Starts processes that look like those of a run, and ends them."""
    all_of_them = []

    def start(run, **variables):
        all_of_them.append(begun(SLEEP, env={"TRAINMESH_RUN_ID": run, **variables}))
        return all_of_them[-1]

    yield start
    for process in all_of_them:
        process.kill()
        process.wait()


def test_runs_are_shown_with_their_nodes_and_what_is_left_behind(cluster, shell, started):
    process = started("test-left")
    started("test-by-hand", TRAINMESH_NODE_ONLY="1")
    record(cluster, "test-left", launcher="mpirun")
    result = shell("ps")
    assert result.returncode == 1, "node3 does not answer"
    (row,) = [line for line in result.stdout.splitlines() if re.match(r"test-left +\d", line)]
    assert re.fullmatch(r"test-left +\d+ s +mpirun +node1:- node2:- +train.py --lr 'a b'", row)
    assert "test-left: nothing on the head leads it any more: trainmesh stop test-left" in result.stdout
    assert "test-by-hand: nothing" not in result.stdout
    assert result.stdout.splitlines()[-1] == "node3: not known (ssh: connect to host node3 port 22: No route to host)"
    assert process.poll() is None


def test_ended_runs_on_request(cluster, shell):
    record(cluster, "done", ended=200.0, status=3)
    record(cluster, "lost", started=50.0)
    lines = shell("ps", "--all").stdout.splitlines()
    at = next(at for at, line in enumerate(lines) if line.startswith("ENDED"))
    assert [re.split(r"  +", line)[::3] for line in lines[at + 1 : at + 3]] == [["done", "3"], ["lost", "?"]]


def test_ranks_are_those_of_the_wrappers(tmp_path):
    def process(pid, words, variables):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / f"{pid}/cmdline").write_text("\0".join(words))
        (tmp_path / f"{pid}/environ").write_text("\0".join(variables))
        (tmp_path / f"{pid}/stat").write_text(
            f"{pid} (a b) c) S {' '.join('0' * 18)} {100 * os.sysconf('SC_CLK_TCK')} 0"
        )

    (tmp_path / "uptime").write_text("160.0 1\n")
    wrapper = ["/p/env/bin/python", "-ISB", "/p/lib/trainmesh", "rank", "trainmesh-run=r1", "in=/w", "script=/w/a.py"]
    process(1, ["init"], ["RANK=7"])
    process(10, wrapper, ["RANK=3"])
    process(11, ["/p/env/bin/python", "-u", "/w/a.py"], ["RANK=3", "TRAINMESH_RUN_ID=r1"])
    process(12, wrapper, ["RANK=2"])
    process(13, ["torchrun", "x"], ["TRAINMESH_RUN_ID=r2"])
    assert processes.processes(str(tmp_path)) == {
        "r1": {"processes": 3, "ranks": [2, 3], "age": 60.0, "by_hand": False},
        "r2": {"processes": 1, "ranks": [], "age": 60.0, "by_hand": False},
    }


def test_a_node_that_prints_more_than_the_answer_and_one_that_says_nonsense():
    answers = {
        "a": fanout.Answer(0, 'Welcome!\n{"processes": {}}\n', ""),
        "b": fanout.Answer(0, "Welcome!\n", ""),
        "c": fanout.Answer(127, "", "sh: 1: trainmesh: not found\n"),
        "d": fanout.Answer(None, "", ""),
    }
    said, silent = fanout.understood(answers)
    assert said == {"a": {"processes": {}}}
    assert silent["b"].startswith("an answer that can't be read")
    assert (silent["c"], silent["d"]) == ("sh: 1: trainmesh: not found", "no answer in time")


def test_a_node_that_hangs_does_not_hold_the_others(cluster, shell, tmp_path, monkeypatch):
    from trainmesh.installation import find

    monkeypatch.setenv("PATH", f"{tmp_path}/path:/usr/bin:/bin")
    begun = time.monotonic()
    answers = fanout.on(find(str(cluster.root)), ["node1", "node2", "node3"], "echo $PPID; sleep 20 & echo x >&2", 1.0)
    assert time.monotonic() - begun < 10
    assert {name: answer.status for name, answer in answers.items()} == {"node1": 0, "node2": 0, "node3": 255}
    answers = fanout.on(find(str(cluster.root)), ["node2"], "echo begun; exec sleep 20", 1.0)
    assert answers == {"node2": fanout.Answer(None, "begun\n", "")}


@pytest.mark.parametrize("command", ["ps"])
def test_a_worker_of_a_star_names_the_head(cluster, shell, command):
    for file, old, new in (("cluster", "TOPOLOGY=mesh", "TOPOLOGY=head"), ("node", "NODE_RANK=0", "NODE_RANK=1")):
        path = cluster.root / f"etc/{file}.env"
        path.write_text(path.read_text().replace(old, new))
    result = shell(command)
    assert (result.returncode, len(result.stderr.splitlines())) == (64, 1)
    assert "only the head, node1, logs in to the other nodes" in result.stderr


@pytest.mark.parametrize(("words", "asked"), [(["r1"], "r1\n"), (["--all"], "--all\n")])
def test_stop_is_the_script_for_it(cluster, shell, words, asked):
    assert shell("stop", *words).returncode == 0
    assert (cluster.root / "stopped").read_text() == asked


def test_a_run_that_the_head_does_not_know_is_said_to_be_so_and_looked_for(cluster, shell):
    record(cluster, "test-known")
    known, other = shell("stop", "test-known"), shell("stop", "test-knwon")
    assert (known.returncode, known.stderr) == (0, "") and other.returncode == 0
    assert "no run test-knwon is known here (trainmesh ps --all shows the newest runs)" in other.stderr
    assert (cluster.root / "stopped").read_text().strip() == "test-knwon"


@pytest.mark.parametrize("words", [[], ["r1", "--all"], ["../x"]])
def test_stop_wants_one_run(cluster, shell, words):
    assert shell("stop", *words).returncode == 64
    assert not (cluster.root / "stopped").exists()


def test_logs_of_the_newest_run_and_of_another(cluster, shell):
    (record(cluster, "old", ended=1.0) / "log").write_text("a\nb\n")
    (record(cluster, "new", started=200.0, ended=300.0, status=5) / "log").write_text("c\nd\ne\n")
    (cluster.root / "var/runs/check-1").mkdir()
    (cluster.root / "var/runs/check-1/torchrun.log").write_text("x\n")
    assert shell("logs").stdout == "c\nd\ne\n"
    assert shell("logs", "old", "-n", "1").stdout == "b\n"
    assert shell("logs", "check-1").stdout == "x\n"
    followed = shell("logs", "-f", "new", "-n2")
    assert (followed.returncode, followed.stdout) == (5, "d\ne\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "there is no log of a run nothing"),
        (["a/b"], "letters, digits"),
        (["-n", "x"], "a number of lines"),
    ],
)
def test_wrong_calls_are_explained(cluster, shell, words, message):
    result = shell("logs", *words)
    assert (result.returncode, message in result.stderr) == (64, True)


def test_a_run_that_goes_on_is_followed_to_its_end_and_left_alone_by_ctrl_c(cluster):
    cluster.program("env/bin/deepspeed", f"#!/bin/sh\necho one\nwhile [ ! -e {cluster.root}/go ]; do sleep 0.1; done\n"
                    "echo two\nexit 4\n")  # fmt: skip
    command = str(cluster.root / "bin/trainmesh")
    run = [command, "run", "--launcher", "deepspeed", "--detach", "--run-id", "r1", "train.py"]
    assert cluster.call(*run).stdout == "r1\n"
    watchers = [
        subprocess.Popen([command, "logs", "-f", "r1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _each in range(2)
    ]
    try:
        assert [watcher.stdout.readline() for watcher in watchers] == ["one\n", "one\n"]
        watchers[0].send_signal(signal.SIGINT)
        assert (watchers[0].wait(20), watchers[0].stderr.read()) == (130, "")
        (cluster.root / "go").write_text("")
        assert watchers[1].wait(30) == 4
        assert watchers[1].stdout.read().startswith("two\n")
    finally:
        (cluster.root / "go").write_text("")
        for watcher in watchers:
            watcher.kill()


@pytest.mark.parametrize("lines", [0, 1, 2, 3, 9])
@pytest.mark.parametrize("text", [b"", b"a\n", b"a\nb", b"a\nbb\n\nccc\n", b"x" * 50 + b"\n" + b"y" * 50])
def test_the_last_lines(text, lines, monkeypatch):
    monkeypatch.setattr(look, "BLOCK", 4)
    expected = b"".join(text.splitlines(keepends=True)[-lines:]) if lines else b""
    assert text[look.last_lines(io.BytesIO(text), lines) :] == expected


def test_the_role_installs_every_module():
    role = pathlib.Path(__file__).parents[3] / "roles/launch_config"
    installed = {
        each["path"] for each in yaml.safe_load((role / "vars/main.yml").read_text())["__launch_config_scripts"]
    }
    there = {str(path.relative_to(role / "files")) for path in (role / "files").rglob("*") if path.is_file()}
    assert installed == {path for path in there if "__pycache__" not in path}
