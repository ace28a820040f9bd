# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job from the command line to its ranks and back: only pdsh, ssh and torchrun are stand-ins."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

ROLE = pathlib.Path(__file__).parents[3] / "roles/launch_config/files"
NASTY = ["two words", "$HOME `x`", "it's", "%n", "*", "", "--", "--nnodes", "ünï\nnewline", '{"k": [1]}']
# One node; as pdsh does, it gives the command to a shell and puts the node before each line.
PDSH = r"""#!{python}
import subprocess, sys, threading
words = sys.argv[1:]
at = words.index("-w") + 2
command = " ".join(words[at:]).replace("%n", "0").replace("%%", "%")
process = subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
def copy(source, target):
    for line in source:
        target.write(b"node1: " + line)
        target.flush()
pairs = ((process.stdout, sys.stdout.buffer), (process.stderr, sys.stderr.buffer))
threads = [threading.Thread(target=copy, args=pair, daemon=True) for pair in pairs]
for thread in threads:
    thread.start()
status = process.wait()
for thread in threads:
    thread.join(3)
if status:
    print("pdsh@node1: node1: ssh exited with exit code", status % 256, file=sys.stderr)
sys.exit(status % 256)
"""
# Starts two ranks, and ends the other one, slowly, when one fails.
TORCHRUN = r"""#!{python}
import os, subprocess, sys, time
words = sys.argv[sys.argv.index("--no-python") + 1:]
ranks = [subprocess.Popen(words, env={{**os.environ, "RANK": str(rank), "WORLD_SIZE": "2"}}) for rank in (0, 1)]
while any(rank.poll() is None for rank in ranks) and not any(rank.poll() for rank in ranks):
    time.sleep(0.05)
failed = [rank.returncode for rank in ranks if rank.poll()]
for rank in ranks:
    rank.poll() is None and rank.terminate()
for rank in ranks:
    rank.wait()
sys.exit(1 if failed else 0)
"""


@pytest.fixture
def node(install, tmp_path):
    """A cluster of one node with all of our own programs."""
    from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Node

    made = install(Node("node1", 0, "10.0.0.11", 22, 2, "eth7", "node1", "node1"))
    shutil.copy(ROLE / "bin/trainmesh-stop", made.root / "bin/trainmesh-stop")
    made.real_python()
    made.program("env/bin/pdsh", PDSH.format(python=sys.executable))
    made.program("env/bin/torchrun", TORCHRUN.format(python=sys.executable))
    return made


def environment(node):
    return {"PATH": f"{node.root}/env/bin:/usr/bin:/bin", "HOME": "/", "PWD": f"{node.root}/workspace"}


def left(node, run):
    """The processes that are still there of a run."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"TRAINMESH_RUN_ID={run}".encode() in words:
            found.append(int(path.name))
    return found


def test_arguments_and_variables_reach_every_rank(node):
    (node.root / "workspace/train.py").write_text(
        "import json, os, sys\nprint(json.dumps([os.environ['FOO'], os.environ['RANK'], os.getcwd(), *sys.argv]))"
    )
    result = node.run("--env", "FOO=a b$c;%h", "--run-id", "whole-1", "train.py", *NASTY, env=environment(node))
    assert result.returncode == 0, result.stderr
    lines = sorted(result.stdout.splitlines())
    for rank, line in enumerate(lines):
        tag, _space, told = line.partition("]: ")
        assert tag == f"node1: [rank{rank}"
        place = f"{node.root}/workspace"
        assert json.loads(told) == ["a b$c;%h", str(rank), place, f"{place}/train.py", *NASTY]
    assert len(lines) == 2


FAILING = """
import os, time
print("begun", flush=True)
if os.environ["RANK"] == "1":
    time.sleep(0.5)
    {how}
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("raise ValueError('bad batch')", "exit status 1 of process {pid}: ValueError: bad batch"),
        ("os.kill(os.getpid(), 9)", "signal 9 (SIGKILL) of process {pid}: "),
        ("os.kill(os.getpid(), 11)", "signal 11 (SIGSEGV) of process {pid}"),
    ],
)
def test_one_rank_that_fails_ends_the_others_and_is_told_last(node, how, told):
    (node.root / "workspace/train.py").write_text(FAILING.format(how=how))
    begun = time.monotonic()
    result = node.run("--run-id", "whole-2", "train.py", env=environment(node))
    assert result.returncode == 1
    assert time.monotonic() - begun < 30
    last = next(line for line in result.stderr.splitlines()[-4:] if " failed first: " in line)
    before, after = told.split("{pid}")
    assert last.startswith(f"trainmesh: rank 1 on node1 failed first: {before}") and after in last
    assert left(node, "whole-2") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_nothing_is_left_after_ctrl_c_and_a_closed_terminal(node, number):
    (node.root / "workspace/train.py").write_text(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('begun', flush=True)\ntime.sleep(60)"
    )
    command = [f"{node.root}/bin/trainmesh", "run", "--run-id", "whole-3", "train.py"]
    process = subprocess.Popen(
        command, cwd=node.root / "workspace", env=environment(node), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() and process.stdout.readline()
        process.send_signal(number)
        assert process.wait(40) == 128 + number
        assert left(node, "whole-3") == []
    finally:
        for pid in [process.pid, *left(node, "whole-3")]:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass


def test_a_launcher_that_is_killed_on_its_node_ends_the_job_and_is_told(node):
    (node.root / "workspace/train.py").write_text("import time\nprint('begun', flush=True)\ntime.sleep(60)")
    (node.root / "env/bin/torchrun").write_text(
        (node.root / "env/bin/torchrun")
        .read_text()
        .replace("while any", "time.sleep(2); os.kill(os.getpid(), 9)\nwhile any")
    )
    result = node.run("--run-id", "whole-5", "train.py", env=environment(node))
    assert result.returncode == 1
    assert re.search(
        r"rank \d on node1 failed first.*: its launcher on this node, process \d+, was killed", result.stderr
    )
    assert left(node, "whole-5") == []


def test_nothing_is_left_when_the_leader_is_killed(node):
    (node.root / "workspace/train.py").write_text("import time\nprint('begun', flush=True)\ntime.sleep(60)")
    command = [f"{node.root}/bin/trainmesh", "run", "--run-id", "whole-4", "train.py"]
    process = subprocess.Popen(
        command, cwd=node.root / "workspace", env=environment(node), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout.readline() and process.stdout.readline()
        process.kill()
        process.wait()
        end = time.monotonic() + 30
        while left(node, "whole-4") and time.monotonic() < end:
            time.sleep(0.2)
        assert left(node, "whole-4") == []
    finally:
        for pid in left(node, "whole-4"):
            os.kill(pid, signal.SIGKILL)
