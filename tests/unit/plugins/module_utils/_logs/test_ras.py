# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ncclras prints: processes that are gone, failed or behind, in text, JSON and monitor."""

from __future__ import annotations

import json
import time
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import ras

PROCESS = "  Process 4711 on node 10.0.0.12 managing GPU 5\n"
RANK = "  Rank {} {}-- GPU {} managed by process {} on node {}\n"
COUNTS = "#0-0 (fa93daea854b060b) MISMATCH\n  Communicator ranks have different AllGather operation counts\n"
STATUS = "#0-0 (9e17999afaa87dbb) MISMATCH\n  Communicator ranks have different status\n  26 ranks have status NOCOMM\n"


def told(text: str) -> list[tuple[str, str, str, str]]:
    return [(each["kind"], each["host"], each["pid"], each["line"]) for each in ras.parse(text)]


def document(*, dead: bool = False, missing: bool = True, counts: tuple[int, int] = (4, 4), error: int = 0) -> str:
    def rank(number: int) -> dict[str, t.Any]:
        return {"rank": number, "host": f"10.0.0.1{number}", "pid": 100 + number, "cuda_dev": 0, "nvml_dev": 0}

    states = {"init_state": 0, "async_error": error, "finalize_called": False, "abort_flag": False}
    ranks = [{**rank(at), "status": states, "collective_counts": {"AllReduce": counts[at - 1]}} for at in (1, 2)]
    gone = [{**rank(3), "status": {"unresponsive": True, "considered_dead": dead}}] if missing else []
    comm = {"hash": "0xae94", "secondary_hash": "0xb7:0xb8", "size": 3, "ranks": ranks, "missing_ranks": gone}
    return json.dumps({"nccl_version": "2.29.1", "communicators": [comm], "ras": {"timeouts_count": 0}}, indent=2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"DEAD\n  1 job process is considered dead\n{PROCESS}", [("dead", "10.0.0.12", "4711", PROCESS.strip())]),
        (f"INCOMPLETE\n  Missing data\n{PROCESS}", [("missing", "10.0.0.12", "4711", PROCESS.strip())]),
        (f"INCOMPLETE\n{PROCESS}\nDEAD\n{PROCESS}", [("dead", "10.0.0.12", "4711", PROCESS.strip())]),
        (
            "#0-0 (cf26) INCOMPLETE\n  Missing communicator data from 9 ranks\n",
            [("missing", "", "", "Missing communicator data from 9 ranks")],
        ),
        (
            f"#0-0 (cf26) ERROR\n  Asynchronous error on 1 rank\n{RANK.format(3, 'reported System error ', 3, 7, 'a')}",
            [("error", "a", "7", "Rank 3 reported System error")],
        ),
        (
            f"#0-0 (cf26) ERROR\n  2 ranks reported Internal error\n{RANK.format(3, '', 3, 7, 'a')}",
            [("error", "a", "7", "Rank 3 reported Internal error")],
        ),
        (
            f"{COUNTS}  30 ranks have launched up to operation 641\n"
            f"{RANK.format(12, 'has launched up to operation 640 ', 4, 8, 'b')}",
            [
                (
                    "behind",
                    "b",
                    "8",
                    "AllGather: 30 ranks have launched up to operation 641, Rank 12 has launched up to operation 640",
                )
            ],
        ),
        (
            f"{COUNTS}  30 ranks have launched up to operation 640\n  2 ranks have launched up to operation 641\n"
            f"{RANK.format(12, '', 4, 8, 'b')}",
            [
                (
                    "behind",
                    "",
                    "",
                    "AllGather: 30 ranks have launched up to operation 640, 2 ranks have launched up to operation 641",
                )
            ],
        ),
        (f"{STATUS}{RANK.format(0, '', 0, 5, 'c')}", []),
        ("TIMEOUT\n  Encountered 2 communication timeouts while gathering communicator data\n", []),
        (
            "[2025-12-19 13:07:07] PEER_DEAD: Process 15 on node 10.0.0.12 managing GPU 1\n",
            [("dead", "10.0.0.12", "15", "Process 15 on node 10.0.0.12 managing GPU 1")],
        ),
        (document(), [("missing", "10.0.0.13", "103", "Rank 3 unresponsive")]),
        (document(dead=True)[20:], [("dead", "10.0.0.13", "103", "Rank 3 considered_dead")]),
        (document(missing=False), []),
        (
            document(missing=False, counts=(4, 3)),
            [("behind", "10.0.0.12", "102", "AllReduce: 1 ranks at 3, 1 ranks at 4")],
        ),
        (
            document(missing=False, error=6),
            [("error", f"10.0.0.1{at}", f"10{at}", f"Rank {at} reported Remote process error") for at in (1, 2)],
        ),
    ],
)
def test_records(text: str, expected: list[tuple[str, str, str, str]]) -> None:
    assert told(text) == expected


@given(st.text(alphabet=st.sampled_from('DEADMISMATCH#0-(f)Rank "{}:,1\n \t'), max_size=400))
def test_nothing_raises(text: str) -> None:
    ras.parse(f'{text}"communicators"')
    ras.parse(text)


def test_floods_are_read_in_time() -> None:
    started = time.monotonic()
    for part in (
        '"rank": 1, "host": "',
        "Rank 1 has launched ",
        '"status": {',
        "#0-0 (f",
        " Process 1 on node a managing GPU 1 ",
    ):
        ras.parse('"communicators"' + part * 20_000)
        ras.parse(part * 20_000)
    assert time.monotonic() - started < 20
