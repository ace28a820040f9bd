# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``trainmesh run`` on the head, with stand-ins for the launchers: what it starts, shows, records and ends."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import shutil
import signal
import stat
import subprocess
import sys
import time

import pytest
from trainmesh import ending, launchers, relay, supervise, words

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import job_log, job_root
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import processes

NASTY = ["two words", "$HOME `x`", "it's", "%n", "*", "", "--", "~", "ünï\nnewline", "+20", "a;b|c&d", '{"k": [1]}']
LINES = """#!/bin/sh
echo "node1: starting"
echo "node2: [rank2]: Traceback (most recent call last):" >&2
echo "node2: [rank2]: ValueError: bad batch" >&2
echo "node2: [rank2]: trainmesh-rank: rank 2 on node2 failed: exit status 1 of process 7: ValueError: bad batch" >&2
"""


def dry(cluster, *options):
    result = cluster.run("--dry-run", "--run-id", "r1", *options, "train.py", "--lr", "1", "a b")
    assert result.returncode == 0, result.stderr
    return result.stdout


def records(cluster, run_id):
    return json.loads((cluster.root / f"var/runs/{run_id}/run.json").read_text())


@pytest.mark.parametrize("word", [*NASTY, "plain", "\udcff", "x" * 300])
def test_words_survive_and_are_plain(word):
    told = words.encode(word)
    assert words.decode(told) == word
    assert re.fullmatch(r"[\w@=:,./+-]+", told, re.ASCII)
    assert told != "--"


def test_ordinary_words_can_be_read():
    for word in ("train.py", "--learning-rate=1e-4", "user@host:/a/b,c"):
        assert words.encode(word) == word


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["--hf_token", "abc"], ["--hf_token", "..."]),
        (["--wandb-api-key=abc"], ["--wandb-api-key=..."]),
        (["PASSWORD=x", "--lr", "1"], ["PASSWORD=...", "--lr", "1"]),
        (["--no-token", "--lr"], ["--no-token", "--lr"]),
    ],
)
def test_values_called_like_secrets_are_not_recorded(given, kept):
    assert words.masked(given) == kept


@pytest.mark.parametrize("launcher", launchers.LAUNCHERS)
def test_command_lines_can_be_read(cluster, launcher):
    text = dry(cluster, "--launcher", launcher)
    assert f"trainmesh-run=r1 in={cluster.root}/workspace" in text
    assert f"script={cluster.root}/workspace/train.py --lr 1 a+20b" in text
    assert "TRAINMESH_RUN_ID=r1" in text


OLD, NEW = "torch-2.13.0-cpu-py3.11", "torch-2.14.0-cpu-py3.11"


def bin_of(cluster, name):
    return f"{cluster.root}/environments/{name}/env/bin"


@pytest.mark.parametrize("launcher", ["deepspeed", "accelerate"])
@pytest.mark.parametrize(("options", "name"), [([], NEW), (["--environment", OLD], OLD), (["--env", OLD], OLD)])
def test_a_job_has_the_environment_in_use_or_the_one_that_is_named(cluster, launcher, options, name):
    cluster.side_by_side(OLD, NEW)
    text = dry(cluster, "--launcher", launcher, *options)
    # with its own Python before it: the script of one that was moved names the one in use
    assert f" {bin_of(cluster, name)}/python {bin_of(cluster, name)}/{launcher} " in text
    assert f"PATH={cluster.root}/libexec/path:{bin_of(cluster, name)}:" in text and f" environment={name} " in text
    assert f"{cluster.root}/env/" not in text


def test_a_job_may_have_an_environment_of_the_users(cluster):
    (cluster.root / "environments/vision").mkdir(parents=True)
    shutil.copytree(cluster.root / "env", cluster.root / "environments/vision/env")
    text = dry(cluster, "--launcher", "deepspeed", "--environment", "vision")
    assert f" {bin_of(cluster, 'vision')}/python {bin_of(cluster, 'vision')}/deepspeed " in text
    assert " environment=vision " in text and " environment=" not in dry(cluster, "--launcher", "deepspeed")


def test_every_node_and_rank_keeps_to_the_environment_that_the_job_has_started_with(cluster):
    cluster.side_by_side(OLD, NEW)
    words = dry(cluster, "--launcher", "torchrun").split()
    (cluster.root / "env").unlink()
    (cluster.root / "env").symlink_to(f"environments/{OLD}/env")  # meanwhile all nodes are switched
    part = cluster.call(cluster.root / "bin/trainmesh", *words[words.index("part") :])
    got = json.loads(part.stdout)
    assert got["argv"][0] == f"{bin_of(cluster, NEW)}/torchrun"
    rank = got["argv"][got["argv"].index(f"{cluster.root}/libexec/trainmesh-rank") :]
    (cluster.root / "environments" / NEW / "env/bin/python").write_text(
        f"#!{sys.executable}\nimport os\nprint('new', os.environ['PATH'].split(':')[0])\n"
    )
    assert cluster.call(*rank, env={"PATH": "/usr/bin:/bin"}).stdout == f"new {bin_of(cluster, NEW)}\n"


@pytest.mark.parametrize("name", ["vision", "torch-2.12.0-cpu-py3.11", "../../etc", ""])
def test_an_environment_that_is_not_there_is_told_with_those_that_are(cluster, name):
    cluster.side_by_side(OLD, NEW)
    result = cluster.run("--environment", name, "train.py")
    assert (result.returncode, len(result.stderr.splitlines())) == (64, 1)
    assert f"there is no {name} here; in {cluster.root}/environments: {OLD}, {NEW}" in result.stderr


def test_a_variable_without_a_value_is_no_environment_by_chance(cluster):
    (cluster.root / "environments" / OLD / "env/bin").mkdir(parents=True, exist_ok=True)
    result = cluster.run("--env", "NCCL_DEBUG", "train.py")
    assert result.returncode == 64
    assert "--env NCCL_DEBUG is no KEY=VALUE, and there is no NCCL_DEBUG here" in result.stderr
    result = cluster.run("--environment", OLD, "--env", "NCCL_DEBUG", "train.py")
    assert (result.returncode, "--env wants KEY=VALUE, not NCCL_DEBUG" in result.stderr) == (64, True)


def test_where_there_is_one_environment_its_name_is_env(cluster):
    text = dry(cluster, "--launcher", "torchrun")
    assert " environment=" not in text
    (cluster.root / "env").rename(cluster.root / "disk")
    (cluster.root / "env").symlink_to(cluster.root / "disk")  # a link of the user's
    assert dry(cluster, "--launcher", "torchrun") == text


def test_a_subset_of_the_nodes_is_a_world_of_its_own(cluster):
    text = dry(cluster, "--launcher", "torchrun", "--nodes", "node3,node2")
    assert "-w node2,node3 exec" in text
    assert "nodes=node2,node3 world=3 master=10.0.0.12" in text
    result = cluster.run("--launcher", "deepspeed", "--nodes", "node2", "--run-id", "r2", "train.py")
    argv = json.loads(result.stdout)["argv"]
    assert argv[: argv.index("--no_python")] == [
        *("--hostfile", f"{cluster.root}/var/runs/r2/hostfile", "--master_addr", "10.0.0.12", "--master_port", "29500"),
        *("--no_ssh_check", "--force_multi"),
    ]
    assert not (cluster.root / "var/runs/r2/hostfile").exists()
    text = dry(cluster, "--launcher", "accelerate", "--nodes", "node1,node3")
    assert "--num_machines 2 --num_processes 3 --main_process_ip 10.0.0.11" in text
    assert "--deepspeed_inclusion_filter node1:0,1@node3:0" in text
    assert "-np 3 " in dry(cluster, "--launcher", "mpirun", "--nodes", "node1,node3")


@pytest.mark.parametrize("launcher", launchers.ON_EACH_NODE)
def test_each_node_of_a_subset_knows_its_place(cluster, launcher):
    node_env = cluster.root / "etc/node.env"
    node_env.write_text(node_env.read_text().replace("NODE_RANK=0", "NODE_RANK=2").replace("SLOTS=2", "SLOTS=1"))
    told = ["trainmesh-run=r1", f"in={cluster.root}/workspace", "nodes=node2,node3", "world=3", "master=10.0.0.12"]
    part = [f"launcher={launcher}", "port=29600", "argument=--x+20y", *told, "script=train.py", "a+20b"]
    if launcher == "accelerate-standard":
        part.insert(2, "config=cpu")
    result = cluster.call(cluster.root / "bin/trainmesh", "part", *part)
    got = json.loads(result.stdout)
    text = " ".join(got["argv"])
    assert got["argv"][got["argv"].index(f"{cluster.root}/libexec/trainmesh-rank") - 2 :][0] == "--x y"
    if launcher == "torchrun":
        assert "--nnodes 2 --node-rank 1 --nproc-per-node 1 --master-addr 10.0.0.12 --master-port 29600" in text
    else:
        assert "--num_machines 2 --machine_rank 1 --num_processes 2 --main_process_ip 10.0.0.12" in text
        assert got["env"]["ACCELERATE_USE_CPU"] == "true"
    words = got["argv"][got["argv"].index(f"{cluster.root}/libexec/trainmesh-rank") :]
    env = json.loads(cluster.call(*words, env={"PATH": "/usr/bin:/bin"}).stdout)["env"]
    names = ("NNODES", "WORLD_SIZE", "NODE_RANK", "MASTER_ADDR")
    assert [env[f"TRAINMESH_{name}"] for name in names] == ["2", "3", "1", "10.0.0.12"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nodes", "node9", "train.py"], "node9 is no node; there are node1, node2, node3"),
        (["--nodes", ",", "train.py"], "nothing is no node"),
        (["--launcher", "slurm", "train.py"], "invalid choice"),
        (["--env"], "--env needs a value"),
        (["--launcher", "deepspeed", "--node-only", "train.py"], "--node-only is for torchrun"),
        (["--launcher", "deepspeed", "--config", "cpu", "train.py"], "no --config"),
    ],
)
def test_wrong_calls_are_explained_in_one_line(cluster, options, message):
    result = cluster.run(*options)
    assert (result.returncode, len(result.stderr.splitlines())) == (64, 1)
    assert message in result.stderr
    assert not (cluster.root / "var/runs").exists()


def test_each_command_has_help(cluster):
    for options in (
        ["--help"],
        *([command, "--help"] for command in ("run", "ps", "logs", "stop", "exec", "doctor", "top", "env")),
    ):
        result = cluster.call(cluster.root / "bin/trainmesh", *options)
        assert result.returncode == 0
        assert "usage: trainmesh" in result.stdout


def test_the_rank_that_failed_is_told_last_and_the_run_is_stopped(cluster):
    cluster.program("env/bin/deepspeed", LINES + "exit 3\n")
    result = cluster.run("--launcher", "deepspeed", "--run-id", "r1", "train.py", "--hf_token", "abc")
    assert result.returncode == 3
    lines = result.stderr.splitlines()
    assert lines[-2] == "trainmesh: rank 2 on node2 failed first: exit status 1 of process 7: ValueError: bad batch"
    assert "  | ValueError: bad batch" in lines
    assert (cluster.root / "stopped").read_text() == "--quiet r1\n"
    record = records(cluster, "r1")
    assert (record["status"], record["command"][1:]) == (3, ["--hf_token", "..."])
    log = cluster.root / "var/runs/r1/log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert log.read_text().splitlines()[-1] == lines[-1]


def test_a_launcher_that_hides_a_failure_does_not_hide_it_from_the_status(cluster):
    cluster.program("env/bin/deepspeed", LINES)
    assert cluster.run("--launcher", "deepspeed", "train.py").returncode == 1


def test_a_failed_rank_ends_a_launcher_that_waits(cluster, monkeypatch):
    shorter = cluster.root / "lib/trainmesh/supervise.py"
    shorter.write_text(shorter.read_text().replace("FAILED_SECONDS = 8.0", "FAILED_SECONDS = 0.5"))
    cluster.program("bin/trainmesh-stop", f'#!/bin/sh\nkill -KILL "$(cat {cluster.root}/pid)"\n')
    cluster.program("env/bin/deepspeed", f"{LINES}echo $$ > {cluster.root}/pid\nexec sleep 50\n")
    begun = time.monotonic()
    assert cluster.run("--launcher", "deepspeed", "train.py").returncode == 1
    assert time.monotonic() - begun < 20
    cluster.program("env/bin/deepspeed", f"{LINES}echo $$ > {cluster.root}/pid\nsleep 2\n")
    done = cluster.run("--launcher", "deepspeed", "--launcher-arg", "--max-restarts=3", "train.py")
    assert done.returncode == 0, "a launcher that starts its ranks again is not ended by one of them"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_stop_the_run_on_every_node(cluster, number, status):
    cluster.program("bin/trainmesh-stop", f'#!/bin/sh\necho "$@" >{cluster.root}/stopped\n'
                    f'kill -KILL "$(cat {cluster.root}/pid)"\n')  # fmt: skip
    cluster.program("env/bin/deepspeed", f"#!/bin/sh\necho $$ >{cluster.root}/pid\nexec sleep 50\n")
    command = [f"{cluster.root}/bin/trainmesh", "run", "--launcher", "deepspeed", "--run-id", "r1", "train.py"]
    process = subprocess.Popen(command, cwd=cluster.root / "workspace", stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: (cluster.root / "pid").exists() and (cluster.root / "pid").read_text())
        assert cluster.run("--launcher", "deepspeed", "--run-id", "r1", "train.py").returncode == 64
        process.send_signal(number)
        assert process.wait(20) == status
    finally:
        process.kill()
    assert "stopping the run r1 on every node" in process.stderr.read()
    assert (cluster.root / "stopped").read_text() == "--quiet r1\n"
    assert records(cluster, "r1")["status"] == status


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def test_a_detached_run_outlives_its_terminal(cluster):
    cluster.program(
        "env/bin/deepspeed", f"#!/bin/sh\necho node1: begun\nsleep 1\necho node1: done >&2\n: >{cluster.root}/end\n"
    )
    leader, follower = pty.openpty()
    words = [
        f"{cluster.root}/bin/trainmesh",
        "run",
        "--launcher",
        "deepspeed",
        "--detach",
        "--run-id",
        "r1",
        "train.py",
    ]
    starter = "import os,sys,fcntl,termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    starter += f"os.execv({words[0]!r}, {words!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", starter],
        cwd=cluster.root / "workspace",
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    assert process.wait(20) == 0
    os.close(leader)  # the terminal is gone: its session gets SIGHUP
    wait_for((cluster.root / "end").exists)
    wait_for(lambda: records(cluster, "r1")["ended"])
    assert records(cluster, "r1")["status"] == 0
    assert (cluster.root / "var/runs/r1/log").read_text() == "node1: begun\nnode1: done\n"


def test_a_check_keeps_its_own_records_alone(cluster):
    result = cluster.run("--launcher", "deepspeed", "--run-id", "check-20260102-030405-x", "train.py")
    assert result.returncode == 0
    assert not (cluster.root / "var/runs/check-20260102-030405-x").exists()


def test_the_newest_runs_are_kept(cluster):
    runs = cluster.root / "lib/trainmesh/runs.py"
    runs.write_text(runs.read_text().replace("KEPT_RUNS = 100", "KEPT_RUNS = 1"))
    for name in ("a", "b"):
        cluster.run("--launcher", "deepspeed", "--run-id", name, "train.py")
        (cluster.root / f"var/runs/{name}/mine").write_text("")
    cluster.run("--launcher", "deepspeed", "--run-id", "c", "train.py")
    left = {str(path.relative_to(cluster.root / "var/runs")) for path in (cluster.root / "var/runs").rglob("*")}
    assert left == {"a", "a/mine", "b", "b/mine", "c", "c/log", "c/run.json"}


class Terminal(relay.Sink):
    """Collects what would be written."""

    def __init__(self, live):
        super().__init__(1)
        self.live, self.data = live, b""

    def _write(self, data):
        self.data += data


def test_a_progress_bar_is_written_over_on_a_terminal_and_rare_in_a_file(monkeypatch):
    moments = iter([10.0, 10.0, 11.0, 16.0, 16.0])
    monkeypatch.setattr(relay.time, "monotonic", lambda: next(moments))
    screen, file = Terminal(True), Terminal(False)
    both = relay.Relay({"n1"}, {1: screen, 2: screen}, file)
    for text in (b"n1: [rank0]: \r 1%|\n", b"n1: [rank0]: \r 2%|\n", b"n1: hello\n", b"n1: [rank0]: \r 9%|\n"):
        both.take(2, text)
    assert file.data == b"n1: [rank0]:  1%|\nn1: hello\nn1: [rank0]:  9%|\n"
    assert screen.data.count(b"\n") == 1
    assert b"\r\x1b[Kn1: hello\nn1: [rank0]:  2%|" in screen.data


def test_who_failed_first():
    both = relay.Relay({"n1", "n2"}, {1: Terminal(False), 2: Terminal(False)}, None)
    both.take(1, b"n1: [rank0]: step 1\nn2: [rank1]: step 1\nother: [rank1]: x\n")
    both.take(2, b"n1: [rank0]: trainmesh-rank: rank 0 on n1 failed: exit status 1 of process 3: RuntimeError: "
                 b"Connection closed by peer [10.0.0.2]:1\n")  # fmt: skip
    both.take(2, b"n2: [rank1]: trainmesh-rank: rank 1 on n2 failed: signal 9 (SIGKILL) of process 4: OOM killed: x\n")
    failure = both.first_failure()
    assert (failure.node, failure.rank, failure.lines) == ("n2", "1", ["step 1"])


def test_a_full_disk_ends_the_log_and_not_the_job():
    log = relay.Sink(os.open("/dev/full", os.O_WRONLY))
    sink = Terminal(False)
    both = relay.Relay({"n1"}, {1: sink, 2: sink}, log)
    both.take(1, b"n1: a\nn1: b\n")
    assert sink.data == b"n1: a\nn1: b\n"
    assert log.error == both.incomplete() == "No space left on device"


def test_the_last_words_have_room_in_a_full_log(tmp_path, monkeypatch):
    """A disk of 4000 bytes, which the ranks have filled."""
    real = os.write

    def write(target, data):
        room = 4000 - os.fstat(target).st_size
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(target, data[:room])

    monkeypatch.setattr(os, "write", write)
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sink = relay.Sink(log, own=True)
    both = relay.Relay({"n1"}, {1: sink, 2: sink}, None)
    both.take(1, b"n1: step\n" * 1000)
    both.say("trainmesh: one")
    both.say("trainmesh: two")
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[-3:] == ["... here lines are missing: No space left on device", "trainmesh: one", "trainmesh: two"]
    assert both.incomplete() == "No space left on device"


def test_the_log_has_the_last_words_when_the_terminal_is_closed(tmp_path):
    class Closed(Terminal):
        def _write(self, data):
            raise OSError(errno.EIO, "Input/output error")

    log = relay.Sink(os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT))
    both = relay.Relay({"n1"}, {1: Closed(True), 2: Closed(True)}, log)
    with pytest.raises(OSError):
        both.take(1, b"n1: begun\n")
    both.say("trainmesh: the last line")
    both.close()
    assert (tmp_path / "log").read_text() == "n1: begun\ntrainmesh: the last line\n"


def test_a_full_disk_below_the_output_does_not_end_the_job(cluster):
    with open("/dev/full", "w") as full:
        command = [f"{cluster.root}/bin/trainmesh", "run", "--launcher", "deepspeed", "--run-id", "r1", "train.py"]
        done = subprocess.run(
            command, cwd=cluster.root / "workspace", stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, (cluster.root / "stopped").exists()) == (0, False)
    assert "not all of the output could be written: No space left on device" in done.stderr
    assert "argv" in (cluster.root / "var/runs/r1/log").read_text()


def test_a_reader_that_has_gone_ends_the_job(cluster):
    pid = cluster.root / "pid"
    cluster.program("env/bin/deepspeed", f"#!/bin/sh\necho $$ >{pid}\nwhile echo node1: step; do sleep 0.1; done\n")
    cluster.program("bin/trainmesh-stop", f'#!/bin/sh\necho "$@" >{cluster.root}/stopped\nkill -KILL "$(cat {pid})"\n')
    done = cluster.call(
        "bash", "-o", "pipefail", "-c", f"{cluster.root}/bin/trainmesh run --launcher deepspeed train.py | head -1"
    )
    assert (done.returncode, done.stdout) == (141, "node1: step\n")
    assert (cluster.root / "stopped").exists()


def test_a_bar_and_lines_of_both_streams_share_one_terminal(cluster):
    cluster.program(
        "env/bin/deepspeed",
        "#!/bin/sh\nprintf 'node1: [rank0]: \\r 50%%|##\\n' >&2\nsleep 0.3\necho 'node1: [rank0]: hello'\nsleep 0.3\n",
    )
    leader, follower = pty.openpty()
    command = [f"{cluster.root}/bin/trainmesh", "run", "--launcher", "deepspeed", "train.py"]
    process = subprocess.Popen(command, cwd=cluster.root / "workspace", stdout=follower, stderr=follower)
    os.close(follower)
    assert process.wait(20) == 0
    shown = os.read(leader, 1 << 16)
    os.close(leader)
    state = b"\r\x1b[Knode1: [rank0]:  50%|##"
    assert shown == state + b"\r\x1b[Knode1: [rank0]: hello\r\nnode1: [rank0]:  50%|##\r\x1b[K"


def test_the_checks_read_what_is_shown():
    text = (
        "node1: [rank0]: step 1 loss 3\nnode2: [rank2]: Traceback (most recent call last):\n"
        'node2: [rank2]:   File "/x/train.py", line 3, in <module>\nnode2: [rank2]: ValueError: bad batch\n'
        "node2: [rank2]: trainmesh-rank: rank 2 on node2 failed: exit status 1 of process 7: ValueError: bad batch\n"
    )
    log = job_log.parse(text)
    assert [(event.node, event.rank, event.text) for event in log.events if event.fatal] == [
        ("node2", 2, "ValueError: bad batch")
    ]


@pytest.mark.parametrize(
    ("now", "kind"),
    [({"machine": 1}, "killed"), ({"machine": 2}, "killed"), ({"group": 2}, "oom_killer"), ({}, "killed")],
)
def test_the_checks_find_a_killed_rank_by_what_the_wrapper_says(now, kind, monkeypatch):
    monkeypatch.setattr(ending, "oom_kills", lambda: now)
    how = f"{ending.status_words(-9)} of process 7: {ending.cause(-9, [], {'machine': 1, 'group': 1})}"
    log = job_log.parse(
        f"node1: [rank0]: step 1\nnode3: [rank2]: trainmesh-rank: rank 2 on node3 failed: {how}\n"
        "node3: E1121 11:52:06.0 7 torch/x.py:862] failed (exitcode: -9) local_rank: 0 (pid: 7) of binary: /p/rank\n"
        "node1: [rank0]: RuntimeError: Connection closed by peer\n"
    )
    root = job_root.root([job_root.Source("log", "", log)], failed=True)
    assert (root.kind, root.places[0].node) == (kind, "node3")


def test_the_head_leads_a_run_of_other_nodes(tmp_path):
    command = (
        "pdsh -S -R ssh -w b,c exec /p/bin/trainmesh part launcher=torchrun port=1 trainmesh-run=r1 in=/x script=/x/y"
    )
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/uptime").write_text("100 1\n")
    (tmp_path / "proc/7/cmdline").write_text(command.replace(" ", "\0") + "\0")
    (found,) = processes.processes(Tree(str(tmp_path)), "/p")
    assert (found["kind"], found["run_id"], found["ours"]) == ("torchrun", "r1", True)


@pytest.mark.parametrize(
    ("how", "rule", "fix"),
    [
        ("exit status 1 of process 7: torch.OutOfMemoryError: CUDA out of memory.", "GPU's memory", "micro batch"),
        ("signal 9 (SIGKILL) of process 7: OOM killed: the kernel has ended", "killed a rank because", "fewer ranks"),
        ("signal 9 (SIGKILL) of process 7: its largest process had 1.0 GiB", "killed from outside", "journalctl"),
        ("signal 11 (SIGSEGV) of process 7", "A rank crashed", "journalctl"),
        ("exit status 1 of process 7: node1:7:8 [0] NCCL WARN socketStartConnect: Connect to 10.0.0.2<4> failed : "
         "No route to host", "firewall", "trainmesh_firewall"),
        ("exit status 66 of process 7: node2 has no file /w/train.py: bring it to every node",
         "A path that the job needs", "every node"),
    ],
)  # fmt: skip
def test_the_checks_causes_and_fixes_are_known_on_the_head(cluster, how, rule, fix):
    why, what = supervise.advice(str(cluster.root), how)
    assert why.startswith("trainmesh: why: ") and rule in why
    assert what.startswith("trainmesh: fix: ") and fix in what


def test_an_error_of_the_script_itself_has_no_advice(cluster):
    assert supervise.advice(str(cluster.root), "exit status 1 of process 7: ValueError: bad batch") == []
