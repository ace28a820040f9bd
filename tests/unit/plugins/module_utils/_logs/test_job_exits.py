# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who was killed first, as launchers tell it; the lines are made after their formats."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.job_exits import ranks


def agent(node, code, pid=26, stamp="E1129 07:45:12.345000 123 torch/distributed/elastic/multiprocessing/api.py:869] "):
    return f"{node}: {stamp}failed (exitcode: {code}) local_rank: 0 (pid: {pid}) of binary: /opt/x/trainmesh-rank"


def block(node, *codes):
    rows = ["=" * 20, "trainmesh-rank FAILED", "Failures:"]
    for number, code in enumerate(codes):
        rows += [
            f"[{number}]:",
            f"  rank      : {number} (local_rank: {number})",
            f"  exitcode  : {code} (pid: {26 + number})",
        ]
        rows += [f"  traceback : Signal {-code} received by PID {26 + number}" if code < 0 else "  traceback : see"]
    return [f"{node}: {row}" for row in rows]


def deepspeed(node, code):
    info, error = (f"[2026-11-29 07:45:12,345] [{level}] [launch.py:32:sigkill_handler]" for level in ("INFO", "ERROR"))
    words = f"['/x/trainmesh-rank', '@Zm9v'] exits with return code = {code}"
    return [f"{node}: {info} Killing subprocess 4711", f"{node}: {error} {words}"]


def sent(node):
    return f"{node}: W1129 07:45:13 multiprocessing/api.py:900] Sending process 33 closing signal SIGTERM"


MPI = "mpirun noticed that process rank 2 with PID 4711 on node node3 exited on signal 9 (Killed)."
LOGS = {
    "torchrun": [agent("node3", -9), *block("node3", -9)],
    "old torchrun": [agent("node3", -9, stamp="ERROR:torch.distributed.elastic.multiprocessing.api:")],
    "the others ended by their agents": [sent("node1"), agent("node1", -15), agent("node3", -9), *block("node1", -15)],
    "the others ended by themselves": [agent("node1", 1), *block("node1", 1), agent("node3", -9), agent("node2", 1)],
    "the others aborted": [agent("node1", -6), agent("node3", -9), agent("node2", -6)],
    "one that did not obey its agent": [agent("node1", 1), *block("node1", 1, -9, -15), agent("node3", -9)],
    "deepspeed": [*deepspeed("node1", -15), *deepspeed("node3", -9), *deepspeed("node2", 1)],
    "mpirun": ["-" * 30, MPI, "-" * 30],
    "prterun": [
        MPI.replace("mpirun", "prterun"),
        "   2 total processes killed (some possibly by mpirun during cleanup)",
    ],
}


@pytest.mark.parametrize("log", LOGS.values(), ids=list(LOGS))
def test_the_rank_that_was_killed_is_found_and_none_that_its_launcher_ended(log):
    assert ranks("\n".join(log)) == [("node3", 9)]


def test_more_than_one():
    log = [agent("node2", -9), agent("node3", -11), agent("node1", 1)]
    assert ranks("\n".join(log)) == [("node2", 9), ("node3", 11)]


def test_an_abort_counts_where_nothing_else_ended_a_rank():
    assert ranks(agent("node2", -6)) == [("node2", 6)]


@pytest.mark.parametrize(
    ("line", "node"),
    [
        (agent("gpu-7.example.org", -9), "gpu-7.example.org"),
        (agent("10.0.0.7", -9), "10.0.0.7"),
        (agent("[fd00::7]", -9), "fd00::7"),
        ("[2026-11-29 07:45:12,345] [ERROR] [launch.py:325:sigkill_handler] ['x'] exits with return code = -9", ""),
        ("ERROR:torch.distributed.elastic.multiprocessing.api:failed (exitcode: -9) local_rank: 0 (pid: 1) of x", ""),
    ],
)
def test_the_node_is_that_of_the_line(line, node):
    assert ranks(line) == [(node, 9)]


@pytest.mark.parametrize(
    "log",
    [
        "",
        "all went well\n",
        agent("node1", 1),
        agent("node1", -15),
        "node1: step 9: loss exits with return code = 0",
        sent("node1"),
    ],
)
def test_nobody(log):
    assert ranks(log) == []
