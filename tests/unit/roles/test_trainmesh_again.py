# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``trainmesh run --restarts``: pdsh, ssh and torchrun are stand-ins, a file says whether a node is away."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from trainmesh import again, relay

# The launcher: one rank, which fails as long as there are lines in the file "faults".
PDSH = """#!{python}
import os, pathlib, sys
words = sys.argv[1:]
place = pathlib.Path({root!r})
if "stop" in " ".join(words):
    sys.exit(0)
told = [word for word in words if word.startswith("set=TRAINMESH_RESTART")]
faults = (place / "faults").read_text().splitlines()
(place / "faults").write_text("\\n".join(faults[1:]))
print("node1: [rank0]: begun", *told, flush=True)
if faults and faults[0] == "lost":
    print("node2: Timeout, server node2 not responding.", file=sys.stderr)
    print("pdsh@node1: node2: ssh exited with exit code 255", file=sys.stderr)
    sys.exit(1)
if faults:
    how = f"exit status 1 of process {{os.getpid()}}: {{faults[0]}}"
    print(f"node1: [rank0]: trainmesh-rank: rank 0 on node1 failed: {{how}}", file=sys.stderr)
    sys.exit(1)
"""
SSH = """#!/bin/sh
[ ! -e {root}/away ] || {{ echo "ssh: connect to host node2 port 22: No route to host" >&2; exit 255; }}
"""


# The real trainmesh-stop is here, which finds processes by the name of the run: those of other tests have other ones.
RUN = f"again-{os.getpid()}"


@pytest.fixture
def node(install):
    """A head and another node."""
    from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Node

    made = install(
        Node("node1", 0, "10.0.0.11", 22, 1, "eth7", "node1", "node1"),
        Node("node2", 1, "10.0.0.12", 22, 1, "eth7", "node2", "node2"),
    )
    role = again.__file__.rsplit("/lib/", 1)[0]
    shutil.copy(f"{role}/bin/trainmesh-stop", made.root / "bin/trainmesh-stop")
    made.real_python()
    shutil.rmtree(made.root / "libexec/path")
    (made.root / "libexec/path").mkdir()
    made.program("env/bin/pdsh", PDSH.format(python=sys.executable, root=str(made.root)))
    made.program("env/bin/ssh", SSH.format(root=made.root))
    library = made.root / "lib/trainmesh/again.py"
    library.write_text(library.read_text().replace("PAUSE_SECONDS = 5.0", "PAUSE_SECONDS = 0.1"))
    return made


def environment(node):
    return {"PATH": f"{node.root}/env/bin:/usr/bin:/bin", "HOME": "/", "PWD": f"{node.root}/workspace"}


def run(node, faults, *options):
    (node.root / "faults").write_text("\n".join(faults))
    result = node.run("--run-id", RUN, *options, "train.py", env=environment(node))
    return result, "\n" + (node.root / f"var/runs/{RUN}/log").read_text()


def test_it_is_started_again_until_it_ends_well(node):
    result, log = run(node, ["KeyError: 1", "OSError: no file"], "--restarts", "3")
    assert result.returncode == 0, result.stderr
    starts = [line for line in log.splitlines() if line.startswith("node1: [rank0]: begun")]
    assert [line.rsplit("=", 1)[1] for line in starts] == ["0", "1", "2"]
    assert "trainmesh: restart 1 of 3\n" in log and "trainmesh: restart 2 of 3\n" in log
    assert "rank 0 on node1 failed first: exit status 1" in log and "ended with status" not in log
    assert json.loads((node.root / f"var/runs/{RUN}/run.json").read_text())["status"] == 0
    assert not (node.root / f"var/runs/{RUN}/restarts").exists()


def test_without_the_option_nothing_is_started_again_or_told(node):
    result, log = run(node, ["KeyError: 1"])
    assert result.returncode == 1 and log.count("\nnode1: [rank0]: begun") == 1 and "RESTART" not in log
    place = f"{node.root}/var/runs/{RUN}/log"
    assert log.splitlines()[-1] == f"trainmesh: the run {RUN} ended with status 1; its log is {place}"


def test_the_last_restart_is_told(node):
    result, log = run(node, ["A: 1", "B: 2", "C: 3"], "--restarts", "1")
    assert result.returncode == 1 and log.count("\nnode1: [rank0]: begun") == 2
    assert log.splitlines()[-2:] == ["trainmesh: restart 1 of 1 was the last one", log.splitlines()[-1]]


def test_what_fails_at_once_in_the_same_way_is_not_tried_forever(node):
    result, log = run(node, ["ValueError: bad"] * 9, "--restarts", "8")
    assert result.returncode == 1 and log.count("\nnode1: [rank0]: begun") == 2
    assert "failed twice at once in the same way (exit status 1: ValueError: bad)" in log


def test_a_lost_node_is_no_error_of_the_script(node):
    result, log = run(node, ["lost"] * 4, "--restarts", "8")
    assert result.returncode == 0 and log.count("\nnode1: [rank0]: begun") == 5
    assert "trainmesh: the connection to node2 has ended: Timeout, server node2 not responding." in log


def test_a_node_that_is_away_is_waited_for_with_a_limit(node):
    (node.root / "away").touch()
    result, log = run(node, ["lost"], "--restarts", "8", "--wait", "1")
    assert result.returncode == 1 and log.count("\nnode1: [rank0]: begun") == 1
    assert "waiting for node2 (ssh: connect to host node2 port 22: No route to host), " in log
    assert "trainmesh: node2 did not come back within 1 s" in log


def started(node, *options):
    (node.root / "away").touch()
    (node.root / "faults").write_text("lost")
    command = [str(node.root / "bin/trainmesh"), "run", "--run-id", RUN, "--restarts", "3", *options, "train.py"]
    process = subprocess.Popen(command, cwd=node.root / "workspace", env=environment(node), stderr=subprocess.PIPE)
    for line in process.stderr:
        if b"waiting for node2" in line:
            return process
    raise AssertionError("it does not wait")


def test_a_run_that_waits_for_a_node_can_be_stopped_and_interrupted(node):
    process = started(node)
    rows = node.call(node.root / "bin/trainmesh", "ps", env=environment(node)).stdout.splitlines()
    assert any(row.startswith(f"{RUN} ") and row.split()[-2:] == ["-", "train.py"] for row in rows)
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 143
    process = started(node)
    (node.root / "away").unlink()
    node.call(node.root / "bin/trainmesh-stop", "--here", RUN)
    said = process.stderr.read().decode()
    assert process.wait(40) == 1 and "somebody has stopped the run" in said


def test_a_closed_connection_is_told_with_the_reason_of_ssh():
    made = relay.Relay({"node1", "node2"}, {2: relay.Sink(os.open(os.devnull, os.O_WRONLY))}, None)
    made.take(2, b"node2: ssh: connect to host node2 port 22: Connection refused\n")
    made.take(2, b"pdsh@node1: node2: ssh exited with exit code 255\npdsh@node1: node1: ssh exited with exit code 1\n")
    assert made.lost == {"node2": "ssh: connect to host node2 port 22: Connection refused"}
    assert again.signature(made, 1) == ""


def test_waiting_ends_at_a_signal():
    with pytest.raises(again.Interrupted, match="15"), again.interrupting():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
