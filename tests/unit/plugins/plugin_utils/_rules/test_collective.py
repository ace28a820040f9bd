# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on jobs and on the sum over all nodes: exact ids and hosts, nothing for healthy or unknown data."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import REGISTRY, Case, Finding, Untested
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import collective as rules_collective

ORDER = ["node1", "node2", "node3"]
PLAN = {"order": ORDER, "nodes": {name: {"name": name, "slots": 1, "interface": "eth0"} for name in ORDER}}
ROWS = [{"bytes": 1024, "busbw_gbps": 0.001}, {"bytes": 4 * 1024**2, "busbw_gbps": 0.2}]
LINKS = {name: {other: {"ok": True, "mbps": 20000.0} for other in ORDER if other != name} for name in ORDER}
CLOSED = "rank 0: RuntimeError: [../gloo/transport/tcp/pair.cc:598] Connection closed by peer [10.0.0.3]:4242"


def findings(given: Case) -> list[Finding]:
    ours = [rule for rule in REGISTRY if rule.judge.__module__ == rules_collective.__name__]
    found = engine.merged((answer for rule in ours for answer in rule.judge(given)), given.order)
    return [answer for answer in found if isinstance(answer, Finding)]


def told(given: Case) -> list[tuple[str, tuple[str, ...], str]]:
    return [(finding.rule, finding.hosts, finding.severity) for finding in findings(given)]


def job(*faults: tuple[str, ...], launcher: str = "torchrun") -> dict[str, t.Any]:
    """A job that failed; a fault is (host, text) or (host, text, failure)."""
    rows = [dict(zip(("host", "cause", "failure"), (*fault, "error"))) for fault in faults]
    return {"launcher": launcher, "ok": False, "faults": rows}


NO_RECORD = ("no record of rank 1: it never came so far, or was killed", "no_record")
OUR_LIMIT = ("", "not finished within 337 s", "timeout")


def summed(**more: t.Any) -> dict[str, t.Any]:
    ranks = [{"rank": number, "host": name, "seconds": 0.008, "error": None} for number, name in enumerate(ORDER)]
    return {
        "ok": True,
        "backend": "gloo",
        "sweep": ROWS,
        "ranks": ranks,
        "nccl": {},
        "suspects": [],
        "error": None,
        **more,
    }


def failed(
    evidence: str = "", hosts: t.Sequence[str] = ("node2",), failure: str = "failed", **more: t.Any
) -> dict[str, t.Any]:
    suspects = [{"hosts": list(hosts), "failure": failure, "evidence": evidence}] if evidence else []
    return summed(ok=False, sweep=[], suspects=suspects, **more)


def test_healthy_and_unknown_say_nothing() -> None:
    for given in (
        Case(plan=PLAN),
        Case(plan=PLAN, collective=summed(), links=LINKS, jobs=[{"launcher": "torchrun", "ok": True, "faults": []}]),
        Case(plan=PLAN, collective=summed()),
        Case(plan=PLAN, collective={"ok": None, "ranks": [{}], "sweep": [{}], "suspects": None}, jobs=[{}]),
    ):
        assert told(given) == []


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        (
            "rank 1: DistNetworkError: connect failed: No route to host (errno: 113 - No route to host)",
            "rdzv-errno-113",
        ),
        (
            "rank 1: [c10d] socket has failed to connect to [node1]:29500 (errno: 111 - Connection refused).",
            "rdzv-errno-111",
        ),
        ("rank 1: connect() timed out: Connection timed out (errno: 110)", "rdzv-errno-110"),
        ("rank 0: DistNetworkError: failed to listen. port: 29500, code: -98, name: EADDRINUSE", "rdzv-errno-98"),
        (
            "rank 1: RuntimeError: Timed out initializing process group in store based barrier on rank: 1",
            "rdzv-store-barrier",
        ),
        (
            "rank 1: Gloo connectFullMesh failed with connect to [127.0.1.1]:4242: Connection refused",
            "name-loopback-127-0-1-1",
        ),
        ("rank 1: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "mem-gpu-oom"),
        ("Process 7 exits with return code = -9", "job-rank-killed"),
        ("rank 1: ModuleNotFoundError: No module named 'deepspeed'", "ver-python-torch-differs"),
        ("trainmesh-rank: node2 has no file /data/train.py: bring it to every node", "path-differs"),
        ("rank 1: RuntimeError: CUDA error: invalid device ordinal", "hostfile-slots-exceed-gpus"),
        ("rank 1: ncclInternalError: Internal check failed.", "nccl-internal-error-init"),
        ("rank 1: NCCL error in: x.cpp:1, unhandled system error", "nccl-system-error-first-collective"),
        ("rank 1: Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 1000", "nccl-duplicate-gpu"),
        ("rank 1: Watchdog caught collective operation timeout: WorkNCCL(SeqNum=3)", "nccl-watchdog-timeout"),
        ("rank 1: OSError: [Errno 24] Too many open files", "fd-limit"),
        ("rank 1: something new", "job-failed"),
    ],
)
def test_the_words_of_a_job_lead_to_an_id(text: str, identity: str) -> None:
    given = Case(plan=PLAN, jobs=[job(("node2", text))])
    assert told(given) == [(identity, ("node2",), "fail")]
    assert findings(given)[0].evidence == {"node2": f"torchrun: {text}"}


def test_a_killed_rank_is_the_cause_and_its_peers_are_not() -> None:
    killed = job(("node1", CLOSED), ("node2", CLOSED), ("node3", *NO_RECORD))
    assert told(Case(plan=PLAN, jobs=[killed])) == [("job-rank-killed", ("node3",), "fail")]
    user = {"node3": {"oom_kills": [{"time": "now", "line": "Killed process 7 (python)"}]}}
    assert told(Case(plan=PLAN, jobs=[killed], user=user)) == [("mem-host-oom", ("node3",), "fail")]


DIED = "no record of rank 2: signal 9 (Killed) ended a rank here before any other"
ENDED = ("no record of rank 0: ended after a rank on node3 was gone", "ended")


@pytest.mark.parametrize(
    "others",
    [
        [("node1", *ENDED), ("node2", CLOSED)],
        [("node1", *ENDED), ("node2", *ENDED)],
        [("node1", *ENDED), ("node2", "rank 1: connect() timed out: Connection timed out (errno: 110)")],
        [("node1", *ENDED), ("node2", "rank 1: NCCL error in: x.cpp:1, unhandled system error")],
        [("node1", "rank 0: something new"), ("node2", *ENDED), ("", "the launcher ended with status 1", "launcher")],
    ],
)
def test_ranks_that_were_only_ended_are_not_told_beside_the_one_that_was_killed(others: t.Any) -> None:
    given = job(*others, ("node3", DIED, "killed"))
    assert told(Case(plan=PLAN, jobs=[given])) == [("job-rank-killed", ("node3",), "fail")]
    assert told(Case(plan=PLAN, jobs=[given], user={"node3": {"oom_kills": [{}]}})) == [
        ("mem-host-oom", ("node3",), "fail")
    ]


def test_a_cause_of_its_own_is_told_beside_the_rank_that_was_killed() -> None:
    given = job(("node2", "rank 1: ModuleNotFoundError: No module named 'torch'"), ("node3", DIED, "killed"))
    assert sorted(told(Case(plan=PLAN, jobs=[given]))) == [
        ("job-rank-killed", ("node3",), "fail"),
        ("ver-python-torch-differs", ("node2",), "fail"),
    ]


@pytest.mark.parametrize(
    ("words", "identity"), [("11 (Segmentation fault)", "job-rank-killed"), ("7 (Bus error)", "shm-too-small")]
)
def test_a_rank_that_crashed(words: str, identity: str) -> None:
    given = job(("node1", *ENDED), ("node3", DIED.replace("9 (Killed)", words), "crashed"))
    assert told(Case(plan=PLAN, jobs=[given])) == [(identity, ("node3",), "fail")]
    assert "killed from outside" not in findings(Case(plan=PLAN, jobs=[given]))[0].cause


def test_out_of_memory_is_told_of_a_node_with_a_dot_in_its_name() -> None:
    plan = {**PLAN, "nodes": {"a.b": {}}, "order": ["a.b"]}
    given = Case(plan=plan, jobs=[job(("a.b", DIED, "killed"))], user={"a.b": {"oom_kills": [{}]}})
    assert told(given) == [("mem-host-oom", ("a.b",), "fail")]


def test_a_specific_cause_stands_for_the_whole_job() -> None:
    given = job(
        ("node2", "rank 1: ModuleNotFoundError: No module named 'torch'"),
        ("node1", CLOSED),
        ("", "the launcher ended with status 1", "launcher"),
    )
    assert told(Case(plan=PLAN, jobs=[given])) == [("ver-python-torch-differs", ("node2",), "fail")]


def test_the_same_cause_under_two_launchers_is_one_finding() -> None:
    text = "rank 0: failed to listen, port: 29500, EADDRINUSE"
    given = Case(plan=PLAN, jobs=[job(("node1", text)), job(("node1", text), launcher="deepspeed")])
    assert told(given) == [("rdzv-errno-98", ("node1",), "fail")]
    assert findings(given)[0].evidence == {"node1": f"torchrun: {text}; deepspeed: {text}"}


def test_a_job_that_only_hung_is_told_by_the_sum() -> None:
    jobs = [job(OUR_LIMIT)]
    stuck = failed("rank 1 is stopped (process state T), it waits in sum 4", failure="stopped")
    assert told(Case(plan=PLAN, jobs=jobs, collective=stuck)) == [("collective-stalled", ("node2",), "fail")]
    assert told(Case(plan=PLAN, jobs=jobs)) == [("job-failed", (), "fail")]
    assert told(Case(plan=PLAN, jobs=[job()])) == [("job-failed", (), "fail")]


@pytest.mark.parametrize(
    ("failure", "evidence", "identity"),
    [
        ("killed", "in our words", "job-rank-killed"),
        ("in_kernel", "in our words", "collective-stalled"),
        ("stopped", "in our words", "collective-stalled"),
        ("awaited", "in our words", "collective-stalled"),
        ("not_started", "ssh: connect to host node2 port 22: Connection timed out", "ssh-port-blocked"),
        ("not_started", "user@node2: Permission denied (publickey).", "ssh-key-missing-pair"),
        ("failed", "rank 1: ModuleNotFoundError: No module named 'torch'", "ver-python-torch-differs"),
        ("trials", "node1 + node2: no progress for 12 s: rank 0 on node1 waits in sum 3", "collective-failed"),
    ],
)
def test_suspects_of_the_sum(failure: str, evidence: str, identity: str) -> None:
    given = Case(plan=PLAN, collective=failed(evidence, failure=failure))
    assert told(given) == [(identity, ("node2",), "fail")]


def test_the_words_of_the_verdict_itself_are_not_read() -> None:
    given = job(("node2", "rank 1 spoke from 127.0.1.1 instead of 10.0.0.12", "unplanned"))
    assert told(Case(plan=PLAN, jobs=[given])) == [("job-failed", ("node2",), "fail")]


def test_a_rank_that_only_waits_is_not_accused() -> None:
    waits = {"hosts": [], "failure": "waits", "evidence": "no progress for 12 s: rank 0 on node1 waits in sum 3"}
    given = Case(plan=PLAN, collective=failed(error=waits["evidence"], reason=waits))
    assert told(given) == [("collective-failed", (), "fail")]


def test_a_pair_and_an_error_without_suspects() -> None:
    given = Case(plan=PLAN, collective=failed("broke", hosts=("node1", "node3")))
    assert told(given) == [("collective-failed", ("node1", "node3"), "fail")]
    one = {"hosts": ["node1"], "failure": "failed", "evidence": "rank 0 on node1: EADDRINUSE"}
    given = Case(plan=PLAN, collective=failed(error=one["evidence"], reason=one))
    assert told(given) == [("rdzv-errno-98", ("node1",), "fail")]
    given = Case(plan=PLAN, collective=failed(error="no progress"))
    assert findings(given)[0].evidence == {"collective probe": "no progress"}


def test_what_nccl_itself_has_logged_is_not_told_twice() -> None:
    text = "rank 1: DistBackendError: NCCL error in: x.cpp:1, unhandled system error"
    logged = {"node2": {"cause": {"kind": "memlock", "weight": 0, "text": "ibv_reg_mr"}}}
    assert told(Case(plan=PLAN, collective=failed(text, nccl=logged))) == []
    assert told(Case(plan=PLAN, collective=failed(error=text, nccl=logged))) == []
    assert [each[0] for each in told(Case(plan=PLAN, collective=failed(text)))] == [
        "nccl-system-error-first-collective"
    ]


def test_a_slow_link_and_a_slow_sum() -> None:
    slow = summed(suspects=[{"hosts": ["node2"], "evidence": "node1 + node2: only 0.0001 GB/s"}])
    assert told(Case(plan=PLAN, collective=slow, links=LINKS)) == [("collective-slow", ("node2",), "warn")]
    slow = summed(sweep=[{"bytes": 4 * 1024**2, "busbw_gbps": 0.05}])
    given = Case(plan=PLAN, collective=slow, links=LINKS)
    assert told(given) == [("collective-slow", (), "warn")]
    assert "400 Mbit/s at 4194304 bytes, at least 500 expected" in findings(given)[0].evidence["collective probe"]
    assert told(Case(plan=PLAN, collective=slow, links=LINKS, thresholds={"collective_gloo_cap_mbps": 300})) == []
    assert told(Case(plan=PLAN, collective=slow)) == []


def test_the_share_of_the_network_between_gpus() -> None:
    port = {"port": 1, "state": "ACTIVE", "rate_gbps": 200}
    fabric = {
        name: {"rdma": {"devices": [{"name": "mlx5_0", "ports": [port]}, {"name": "mlx5_1", "ports": [port]}]}}
        for name in ORDER
    }
    fast = summed(backend="nccl", nccl={"node1": {"networks": ["IB"]}}, sweep=[{"bytes": 1024**3, "busbw_gbps": 20.0}])
    assert told(Case(plan=PLAN, fabric=fabric, collective=fast)) == []
    slow = {**fast, "sweep": [{"bytes": 1024**3, "busbw_gbps": 10.0}]}
    assert told(Case(plan=PLAN, fabric=fabric, collective=slow)) == [("collective-slow", (), "warn")]
    speeds = {name: {"interfaces": [{"name": "eth0", "speed_mbps": 1000}]} for name in ORDER}
    sockets = {**fast, "nccl": {"node1": {"networks": ["Socket"]}}}
    assert (
        told(Case(plan=PLAN, fabric=speeds, collective={**sockets, "sweep": [{"bytes": 1024**3, "busbw_gbps": 0.1}]}))
        == []
    )
    assert told(
        Case(plan=PLAN, fabric=speeds, collective={**sockets, "sweep": [{"bytes": 1024**3, "busbw_gbps": 0.05}]})
    ) == [("collective-slow", (), "warn")]


@pytest.mark.parametrize(
    ("backend", "seconds", "hosts"),
    [
        ("gloo", (0.008, 0.008, 0.08), ["node3"]),
        ("gloo", (0.008, 0.012, 0.02), []),
        ("gloo", (0.0005, 0.0005, 0.004), []),
        ("nccl", (0.010, 0.010, 0.012), ["node3"]),
        ("nccl", (0.010, 0.0104, 0.011), []),
        ("gloo", (0.008, None, 0.008), []),
    ],
)
def test_stragglers(backend: str, seconds: tuple[float | None, ...], hosts: list[str]) -> None:
    ranks = [{"rank": number, "host": name, "seconds": own} for number, (name, own) in enumerate(zip(ORDER, seconds))]
    given = Case(plan=PLAN, collective=summed(backend=backend, ranks=ranks))
    assert told(given) == [("collective-straggler", (name,), "warn") for name in hosts]


def left(given: Case) -> list[Untested]:
    ours = [rule for rule in REGISTRY if rule.judge.__module__ == rules_collective.__name__]
    return [answer for rule in ours for answer in rule.judge(given) if isinstance(answer, Untested)]


@pytest.mark.parametrize(
    "faults",
    [
        [OUR_LIMIT],
        [OUR_LIMIT, ("node2", *NO_RECORD)],
        [("node1", CLOSED), ("node2", *NO_RECORD)],
        [("node1", "rank 0: killed by signal 9"), ("", "not finished within 337 s: exitcode : -9", "timeout")],
    ],
)
def test_a_job_that_our_own_limit_ended_was_not_killed_by_others(faults: list[tuple[str, ...]]) -> None:
    given = Case(plan=PLAN, jobs=[{**job(*faults), "timed_out": True}])
    assert told(given) == [] and [answer.rule for answer in left(given)] == ["job-failed"]
    assert "trainmesh_job_timeout" in left(given)[0].why


def test_what_a_job_says_by_itself_stands_beside_our_limit() -> None:
    refused = ("node2", "rank 1: connect failed: No route to host (errno: 113 - No route to host)")
    given = Case(plan=PLAN, jobs=[{**job(refused, OUR_LIMIT), "timed_out": True}])
    assert [found[0] for found in told(given)] == ["rdzv-errno-113"] and left(given) == []


def test_ranks_that_were_not_started_in_time_are_not_tested() -> None:
    answer = failed(error="no progress for 45 s: rank 0 on node1 was never started")
    given = Case(plan=PLAN, collective={**answer, "late": answer["error"]})
    assert told(given) == [] and [each.rule for each in left(given)] == ["collective-failed"]
    assert "45 s" in left(given)[0].why and "trainmesh_job_timeout" in left(given)[0].why


def test_sums_of_busy_nodes_are_not_tested() -> None:
    ranks = [{"rank": number, "host": name, "seconds": 0.9 if number else 0.1} for number, name in enumerate(ORDER)]
    slow = summed(sweep=[{"bytes": 4 * 1024**2, "busbw_gbps": 0.001}], ranks=ranks)
    idle = Case(plan=PLAN, collective=slow, links=LINKS)
    assert {found[0] for found in told(idle)} >= {"collective-slow"}
    load = {name: {"links": {"load1": 24.0, "cores": 2}} for name in ORDER}
    given = Case(plan=PLAN, collective=slow, links=LINKS, load=load)
    assert told(given) == [] and "collective-slow" in {each.rule for each in left(given)}
    assert "load 24.0 on 2 processors" in left(given)[0].why
