# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on the output of ncclras: the node whose process the others wait for."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Finding
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import nccl_ras

PLAN = {
    "order": ["node1", "node2"],
    "nodes": {f"node{at}": {"name": f"node{at}", "address": f"10.0.0.1{at}"} for at in (1, 2)},
}
PROCESS = "  Process 4711 on node 10.0.0.12 managing GPU 5\n"
LOOK = (
    "Job summary\n===========\n\nWarnings\n========\n\n#0-0 (fa93) MISMATCH\n"
    "  Communicator ranks have different AllReduce operation counts\n  15 ranks have launched up to operation 9\n"
    "  Rank 12 has launched up to operation {} -- GPU 4 managed by process 8 on node 10.0.0.12\n\n"
)
REPORTED = "#0-0 (f) ERROR\n  Rank 3 reported {} -- GPU 3 managed by process 7 on node 10.0.0.11\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Job summary\n===========\n\nErrors\n======\n\nWarnings\n========\n", []),
        (f"DEAD\n{PROCESS}", [("fail", ("node2",), "4711")]),
        (f"INCOMPLETE\n{PROCESS}", [("warn", ("node2",), "4711")]),
        (f"DEAD\n{PROCESS.replace('10.0.0.12', '10.9.9.9')}", [("fail", (), "4711")]),
        (LOOK.format(8), [("info", ("node2",), "again in a minute")]),
        (LOOK.format(8) * 2, [("fail", ("node2",), "--pid 8")]),
        (LOOK.format(7) + LOOK.format(8), [("info", ("node2",), "again in a minute")] * 2),
        (f"{LOOK.format(8)}DEAD\n{PROCESS}", [("fail", ("node2",), "4711")]),
        (REPORTED.format("System error"), [("fail", ("node1",), "NCCL WARN")]),
        (REPORTED.format("Remote process error"), [("warn", ("node1",), "NCCL WARN")]),
    ],
)
def test_findings(text: str, expected: list[tuple[str, tuple[str, ...], str]]) -> None:
    files = {"node1": {"files": [{"kind": "nccl_log", "path": "/tmp/ras.txt", "text": text}]}}
    found = [each for each in nccl_ras.processes(Case(plan=PLAN, user=files)) if isinstance(each, Finding)]
    assert [(each.severity, each.hosts) for each in found] == [wanted[:2] for wanted in expected]
    assert all(wanted[2] in each.remedy for each, wanted in zip(found, expected))
    assert len(engine.merged(found, PLAN["order"])) <= len(found)
