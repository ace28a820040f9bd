# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One rank on its node: its output, signals, its end, and that nothing is left of it."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import time

import pytest
from trainmesh import ending, rank

BARS = r"""
import sys, time
sys.stderr.write("\r  0%|          | 0/4")
for step in range(1, 5):
    time.sleep(0.3)
    sys.stderr.write(f"\r {25 * step}%|##        | {step}/4")
sys.stderr.write("\nthe end\n")
"""


def words(cluster, script, *more):
    (cluster.root / "workspace/train.py").write_text(script)
    cluster.real_python()
    told = ["trainmesh-run=r1", f"in={cluster.root}/workspace", *more, f"script={cluster.root}/workspace/train.py"]
    return [f"{cluster.root}/libexec/trainmesh-rank", *told]


def run(cluster, script, *more, **variables):
    environment = {"PATH": "/usr/bin:/bin", **variables}
    return cluster.call(*words(cluster, script, *more), env=environment)


@pytest.mark.parametrize(
    ("variables", "out", "err"),
    [
        ({"RANK": "3"}, "[rank3]: a\n[rank3]: b\n", "[rank3]: c\n"),
        ({}, "a\nb\n", "c\n"),
        (
            {
                "OMPI_COMM_WORLD_RANK": "3",
                **{f"OMPI_COMM_WORLD_{key}": "4" for key in ("SIZE", "LOCAL_RANK", "LOCAL_SIZE")},
            },
            "node1: [rank3]: a\nnode1: [rank3]: b\n",
            "node1: [rank3]: c\n",
        ),
    ],
)
def test_every_line_begins_with_the_rank(cluster, variables, out, err):
    result = run(cluster, "import sys\nprint('a\\r\\nb')\nprint('c', file=sys.stderr, end='')", **variables)
    assert (result.returncode, result.stdout, result.stderr) == (0, out, err)


def test_torchs_own_rank_is_not_said_twice(cluster):
    assert run(cluster, "print('[rank3]: Traceback')", RANK="3").stdout == "[rank3]: Traceback\n"


def test_the_bar_of_rank_0_is_told_as_it_goes(cluster):
    told = cluster.call(*words(cluster, BARS), env={"PATH": "/usr/bin:/bin", "RANK": "0"}, text=False).stderr
    lines = told.decode().split("\n")
    assert lines[-3:] == ["[rank0]:  100%|##        | 4/4", "[rank0]: the end", ""]
    states = lines[:-3]
    assert 1 <= len(states) <= 4
    assert all(line.startswith("[rank0]: \r ") and "%|" in line for line in states)


@pytest.mark.parametrize(("number", "more"), [("1", []), ("0", ["bars=none"])])
def test_other_bars_are_left_out(cluster, number, more):
    assert run(cluster, BARS, *more, RANK=number).stderr == f"[rank{number}]: the end\n"


def test_all_bars_on_request(cluster):
    assert " 100%|" in run(cluster, BARS, "bars=all", RANK="1").stderr


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ((b"a\r", b"\nb\n"), b"a\nb\n"),
        ((b" 1%|x", b"x|\r 2%|xx|\r", b"done\n"), b"done\n"),
        ((b"\r 1%|\r     \rnext line\n",), b"next line\n"),
        ((b"\r 9%|x|\n",), b""),
        ((b"no end",), b"no end\n"),
    ],
)
def test_what_stays_of_lines_that_are_written_over(pieces, shown, tmp_path):
    target = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    stream = rank.Stream(target, b"", b"", bars=False)
    for piece in pieces:
        stream.take(piece)
    stream.end()
    assert (tmp_path / "out").read_bytes() == shown


def test_an_exception_is_named(cluster):
    result = run(cluster, "def f():\n    raise ValueError('bad batch')\nf()", RANK="2")
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("[rank2]: trainmesh-rank: rank 2 on node1 failed: exit status 1 of process ")
    assert last.endswith(": ValueError: bad batch")


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_a_signal_is_told_and_handed_on(cluster, name):
    number = getattr(signal, name)
    result = run(cluster, f"import os\nos.kill(os.getpid(), {int(number)})", RANK="0")
    assert result.returncode == -number
    assert f"failed: signal {int(number)} ({name}) of process" in result.stderr


def test_a_signal_to_the_wrapper_reaches_the_program_and_is_no_failure(cluster, begun):
    script = (
        "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print('up', flush=True)\ntime.sleep(50)"
    )
    process = begun(words(cluster, script), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    assert (process.wait(20), process.stderr.read()) == (7, "")


SLEEPER = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(50)"


def gone(pid):
    end = time.monotonic() + 20
    while os.path.exists(f"/proc/{pid}") and "State:\tZ" not in pathlib.Path(f"/proc/{pid}/status").read_text():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_nothing_is_left_when_the_wrapper_is_killed(cluster, begun):
    process = begun(words(cluster, SLEEPER), stdout=subprocess.PIPE, text=True)
    pid = int(process.stdout.readline())
    process.kill()
    process.wait()
    assert gone(pid)


def test_nothing_is_left_when_nobody_reads_any_more(cluster, begun):
    process = begun(words(cluster, SLEEPER), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    pid = int(process.stdout.readline())
    process.stdout.close()  # as sshd does when the connection is lost
    assert process.wait(20) == 143
    assert gone(pid)


def test_a_child_that_outlives_the_program_does_not_hold_the_rank(cluster):
    begun = time.monotonic()
    result = run(cluster, "import subprocess\nsubprocess.Popen(['sleep', '20'])\nprint('done')")
    assert result.stdout == "done\n"
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize(
    ("status", "lines", "cause"),
    [
        (1, ["Traceback (most recent call last):", "[rank1]: torch.OutOfMemoryError: CUDA out of memory. Tried"],
         "torch.OutOfMemoryError: CUDA out of memory. Tried"),
        (1, ["a", "node1:7:8 [0] NCCL WARN Call to bind failed: Address already in use", "b"],
         "node1:7:8 [0] NCCL WARN Call to bind failed: Address already in use"),
        (3, ["no word of it"], ""),
        (-11, [], ""),
        (-6, ["ValueError: caught long ago", " 93%|###| 93/100terminate called without an active exception"],
         "terminate called without an active exception"),
        (-11, ["Fatal Python error: Segmentation fault", "", "Thread:"], "Fatal Python error: Segmentation fault"),
    ],
)  # fmt: skip
def test_the_cause_is_what_the_last_lines_name(status, lines, cause):
    assert ending.cause(status, lines, {}) == cause


@pytest.mark.parametrize(
    ("before", "now", "word"),
    [
        ({"group": 1, "machine": 4}, {"group": 2, "machine": 5}, "OOM killed"),
        ({"group": 1, "machine": 4}, {"group": 1, "machine": 5}, "probably by the OOM killer"),
        ({"machine": 4}, {"machine": 4}, "not by the OOM killer"),
        ({}, {}, "its largest process had"),
        ({"group": 1}, {"group": 1}, "its largest process had"),
    ],
)
def test_who_has_killed_it(before, now, word, monkeypatch):
    monkeypatch.setattr(ending, "oom_kills", lambda: now)
    assert ending.cause(-9, [], before).startswith(word)


@pytest.mark.parametrize(
    ("group", "file", "content"),
    [
        ("0::/user.slice/a\n", "sys/fs/cgroup/user.slice/a/memory.events", "low 0\noom 3\noom_kill 2\n"),
        ("0::/\n", "sys/fs/cgroup/memory.events", "oom_kill 2\n"),
        ("5:cpu:/x\n4:memory:/docker/1\n0::/y\n", "sys/fs/cgroup/memory/docker/1/memory.oom_control", "oom_kill 2\n"),
    ],
)
def test_the_kernels_count_of_both_kinds_of_control_groups(tmp_path, group, file, content):
    for name, text in (("proc/self/cgroup", group), (file, content), ("proc/vmstat", "pgfault 7\noom_kill 9\n")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert ending.oom_kills(f"{tmp_path}/") == {"group": 2, "machine": 9}


def test_a_rank_that_can_not_be_started_is_told_as_any_that_fails(cluster):
    command = words(cluster, "")
    (cluster.root / "workspace/train.py").unlink()
    result = cluster.call(*command, env={"PATH": "/usr/bin:/bin", "RANK": "2"})
    assert result.returncode == 66
    assert re.match(
        r"trainmesh-rank: rank 2 on node1 failed: exit status 66 of process \d+: node1 has no file /", result.stderr
    )


def test_a_node_that_is_none_of_the_run_is_named(cluster):
    result = run(cluster, "", "nodes=node2,node3", "world=3", "master=10.0.0.12", RANK="0")
    assert result.returncode == 66
    assert result.stderr.endswith("node1 is none of the nodes of this run, node2, node3: run the site playbook\n")
