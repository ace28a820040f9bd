# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``trainmesh exec``, ``doctor``, ``env`` and ``top``, with stand-ins for ssh and nvidia-smi."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import time

import pytest
from trainmesh import doctor, execute, facts, fanout, top

SSH = """#!/bin/sh
case $4 in
node2) eval "$5" ;;
node3) echo "ssh: connect to host node3 port 22: No route to host" >&2; exit 255 ;;
*) exit 0 ;;
esac
"""
SMI = """#!/bin/sh
case $1 in
*compute-apps*) echo "GPU-b, {pid}, 512, python"; echo "GPU-b, 1, 20, nvidia-cuda-mps-server" ;;
*) echo "0, GPU-a, NVIDIA H100 80GB HBM3, 97, 40321, 81559, 61, 512.30"
   echo "1, GPU-b, NVIDIA H100 80GB HBM3, [N/A], 0, 81559, 33, [Not Supported]" ;;
esac
"""


def alike(**changes):
    """What a healthy node of two GPUs says, with changes."""
    said = {
        "environment": {"python": ["python3.12"], "packages": {"torch": "2.9.1", "numpy": "2.3.1"}},
        "configuration": {"hostfile": "a", "cluster.env": "b", "cluster.json": "c"},
        "code": {"there": True, "complete": True, "files": {"train.py": "1", "model.py": "2"}},
        "gpus": {"expected": True, "error": "", "gpus": [{}, {}], "processes": []},
        "slots": "2", "free": 1 << 40, "unconnected": {}, "logins": {}, "runs": [],
    }  # fmt: skip
    return {**said, **changes}


def judged(said, mine=()):
    return [
        doctor.logins(said, True), doctor.reached(said, "10.0.0.1", [29500]), doctor.same_configuration(said),
        doctor.same_environment(said), doctor.same_code(said, "/job"), *doctor.graphics(said, mine),
        doctor.room(said, "/p"),
    ]  # fmt: skip


def test_a_healthy_cluster_passes():
    assert {check.ok for check in judged({name: alike() for name in "abc"})} == {True}


@pytest.mark.parametrize(
    ("change", "evidence"),
    [
        ({"logins": {"b": "Permission denied (publickey)."}}, "c to b: Permission denied (publickey)."),
        ({"unconnected": {"29500": "No route to host"}}, "c to port 29500: No route to host"),
        ({"configuration": {"hostfile": "x", "cluster.env": "b", "cluster.json": "c"}}, "c: etc/hostfile"),
        (
            {"environment": {"python": ["python3.11"], "packages": {"torch": "2.8.0", "peft": "1"}}},
            "c: python3.11, numpy is missing (elsewhere 2.3.1), peft 1 (elsewhere none), torch 2.8.0 (elsewhere 2.9.1)",
        ),
        ({"code": {"there": False, "complete": True, "files": {}}}, "c: there is no such directory"),
        ({"code": {"there": True, "complete": True, "files": {"train.py": "9"}}}, "c: model.py, train.py"),
        ({"gpus": {"expected": True, "error": "", "gpus": [{}], "processes": []}},
         "c: 1 GPUs, and 2 ranks are to be started there"),
        ({"gpus": {"expected": True, "error": "No devices were found", "gpus": [], "processes": []}},
         "c: No devices were found"),
        ({"free": 1 << 20}, "c: 1 MiB"),
    ],
)  # fmt: skip
def test_the_node_that_differs_is_named_and_no_other(change, evidence):
    checks = judged({"a": alike(), "b": alike(), "c": alike(**change)})
    failed = [check for check in checks if check.ok is False]
    assert [list(check.evidence) for check in failed] == [[evidence]]
    assert all(check.fix for check in failed)


def gpu_process(**changes):
    process = {"uuid": "GPU-a", "pid": "7", "user": "trainer", "run": "", "memory": "512", **changes}
    return {"gpus": {"expected": True, "error": "", "gpus": [{}, {}], "processes": [process]}}


@pytest.mark.parametrize(
    ("change", "free"),
    [
        (gpu_process(user="eve"), False),
        (gpu_process(run="r1"), True),
        (gpu_process(run="left"), False),
        ({**gpu_process(user="?"), "runs": ["r1"]}, True),
        (gpu_process(user="?"), False),
    ],
)
def test_who_uses_a_gpu(change, free):
    checks = doctor.graphics({"a": alike(), "b": alike(**change)}, ["r1"])
    assert [check.ok for check in checks] == [True, free]


def test_what_can_not_be_judged_is_not_tested():
    said = {"a": alike(code={"there": True, "complete": False, "files": {}})}
    assert doctor.same_code(said, "/job").ok is None
    home = os.path.expanduser("~")
    assert (
        doctor.same_code({"a": alike(), "b": alike(code={"there": True, "complete": True, "files": {}})}, home).ok
        is None
    )
    assert doctor.logins(said, False).ok is None
    assert doctor.reached(said, "10.0.0.1", []).ok is None
    used = OSError(errno.EADDRINUSE, "Address already in use")
    assert [doctor.rendezvous(29500, used, runs).ok for runs in ([], ["r1"])] == [False, None]
    assert doctor.graphics({"a": alike(gpus={"expected": False})}, []) == []
    assert doctor.same_environment({}).ok is True


def test_the_head_listens_meanwhile():
    with doctor.listening("127.0.0.1", [0, 0]) as (ports, problem):
        assert problem is None
        assert facts.unconnected("127.0.0.1", ports) == {}
        with doctor.listening("127.0.0.1", [ports[0]]) as (none, taken):
            assert (none, taken.errno) == ([], errno.EADDRINUSE)
    assert facts.unconnected("127.0.0.1", ports) == dict.fromkeys(map(str, ports), os.strerror(errno.ECONNREFUSED))


@pytest.fixture
def shell(cluster, tmp_path):
    """Calls trainmesh with stand-ins for ssh and nvidia-smi, on a head whose address is of this machine."""
    (tmp_path / "path").mkdir()
    for name, text in (("ssh", SSH), ("nvidia-smi", SMI.replace("{pid}", str(os.getpid())))):
        (tmp_path / f"path/{name}").write_text(text)
        (tmp_path / f"path/{name}").chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = cluster.root / "etc/cluster.env"
    text = re.sub(r"(MASTER_ADDR=).*", r"\g<1>127.0.0.1", path.read_text())
    path.write_text(re.sub(r"(MASTER_PORT=).*", rf"\g<1>{port}", text))
    facts_module = cluster.root / "lib/trainmesh/facts.py"
    facts_module.write_text(facts_module.read_text().replace('f"{SYSTEM_PATH}:/usr/lib/wsl/lib"', f'"{tmp_path}/path"'))
    packages = cluster.root / "env/lib/python3.12/site-packages"
    for name in ("torch-2.9.1", "flash_attn-2.8", "~orch-1"):
        (packages / f"{name}.dist-info").mkdir(parents=True)
    environment = {"PATH": f"{tmp_path}/path:/usr/bin:/bin"}
    return lambda *words, **more: cluster.call(cluster.root / "bin/trainmesh", *words, env=environment, **more)


def test_the_doctor_looks_at_every_node(cluster, shell):
    result = shell("doctor")
    assert result.returncode == 1, result.stderr
    failed = [line for line in result.stdout.splitlines() if line.startswith("FAILED")]
    assert failed == ["FAILED      2 of 3 nodes answer", "FAILED      the nodes log in to each other"]
    assert "node3: ssh: connect to host node3 port 22: No route to host" in result.stdout
    assert "node1 to node3: ssh: connect to host node3 port 22: No route to host" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("6 checks passed, 2 failed, 0 not tested (")


def test_the_environment_is_shown(shell):
    result = shell("env")
    assert result.stdout.splitlines()[0].endswith("/env: python3.12, 2 packages")
    assert {"torch==2.9.1", "flash-attn==2.8"} <= set(result.stdout.splitlines())
    assert (result.returncode, result.stdout.splitlines()[-1][:16]) == (1, "node3: not known")


def test_environments_beside_each_other_are_shown(cluster, shell):
    old, new = "torch-2.8.0-cpu-py3.12", "torch-2.9.1-cpu-py3.12"
    cluster.side_by_side(old, new)
    lines = shell("env").stdout.splitlines()
    assert lines[:2] == [f"{cluster.root}/environments/{old}", f"{cluster.root}/environments/{new} (in use)"]
    assert lines[2].endswith("/env: python3.12, 2 packages")


@pytest.mark.parametrize(("name", "word"), [("torch-2.8.0-cpu-py3.12", "torch-2.8.0-cpu-py3.12"), ("", "env")])
def test_a_node_that_was_not_switched_is_told(name, word):
    environment = alike()["environment"]
    nodes = {each: alike(environment={**environment, "name": "torch-2.9.1-cpu-py3.12"}) for each in "ab"}
    check = doctor.same_environment({**nodes, "c": alike(environment={**environment, "name": name})})
    assert check.ok is False
    assert check.evidence == [f"c: {word} is in use (elsewhere torch-2.9.1-cpu-py3.12)"]


def test_top_shows_gpus_their_runs_and_strangers(cluster, shell):
    path = cluster.root / "etc/cluster.env"
    path.write_text(path.read_text().replace("DEVICE=cpu", "DEVICE=cuda"))
    lines = shell("top", "--once").stdout.splitlines()
    assert [re.split(r"  +", line)[:7] for line in lines[:3]] == [
        ["NODE", "GPU", "MODEL", "USE", "MEMORY", "TEMP", "POWER"],
        ["node1", "0", "NVIDIA H100 80GB HBM3", "97 %", "40321/81559 MiB", "61 °C", "512 W"],
        ["node1", "1", "NVIDIA H100 80GB HBM3", "? %", "0/81559 MiB", "33 °C", "? W"],
    ]
    assert f"process {os.getpid()} of " in lines[2]
    assert lines[-1].startswith("node3: not known (ssh: connect")


def test_top_of_nodes_without_gpus(shell):
    assert re.search(r"^node2 +- +\d+ cores +load \d", shell("top").stdout, re.MULTILINE)
    assert top.number("[N/A]") == "?"


def test_equal_answers_are_told_once(shell):
    result = shell("exec", "--nodes", "node1,node2", "echo", "'a  b';", "command", "-v", "torchrun")
    assert result.returncode == 0
    first, *rest = result.stdout.splitlines()
    assert (first, rest[0]) == ("--- node1 node2 (2 of 2)", "a  b")
    assert rest[1].endswith("/env/bin/torchrun")
    result = shell("exec", "true")
    assert result.returncode == 255
    assert result.stdout.splitlines()[1] == "--- node3 (1 of 3): exit status 255"


def test_answers_that_differ():
    answers = {"a": fanout.Answer(1, "", "bad\n"), "b": fanout.Answer(0, "x\n", ""), "c": fanout.Answer(0, "x\n", "")}
    assert execute.folded(answers) == ["--- b c (2 of 3)", "x", "--- a (1 of 3): exit status 1", "bad"]
    assert execute.folded({"a": fanout.Answer(None, "", "")}) == ["--- a: no answer in time"]


@pytest.mark.parametrize(("words", "message"), [([], "which command"), (["--limit", "x", "ls"], "a number of seconds")])
def test_wrong_calls_are_explained(shell, words, message):
    result = shell("exec", *words)
    assert (result.returncode, message in result.stderr) == (64, True)


def test_time_and_ctrl_c_end_the_command_on_every_node(cluster, shell, tmp_path):
    result = shell("exec", "--nodes", "node2", "--limit", "1", "echo begun; sleep 50")
    assert (result.returncode, result.stdout) == (124, "--- node2: no answer in time\nbegun\n")
    assert re.fullmatch(r"--quiet exec-\d{8}-\d{6}-\d+\n", (cluster.root / "stopped").read_text())
    (cluster.root / "stopped").unlink()
    process = subprocess.Popen(
        [f"{cluster.root}/bin/trainmesh", "exec", "--nodes", "node2", f": >{tmp_path}/begun; sleep 50"],
        env={"PATH": f"{tmp_path}/path:/usr/bin:/bin"},
    )
    try:
        end = time.monotonic() + 20
        while not (tmp_path / "begun").exists() and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    finally:
        process.kill()
    assert (cluster.root / "stopped").exists()
