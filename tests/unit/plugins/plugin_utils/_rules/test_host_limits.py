# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.samples.checks import findings, one, told
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import GIB, healthy_case

MIB = 2**20


def gpus(case, name, count=8):
    case.gpu[name] = {"status": "ok", "gpus": [{"index": index} for index in range(count)]}
    case.fabric[name]["limits"] = {"memlock": -1, "nofile": 1024, "hard": {"memlock": -1, "nofile": 1048576}}
    case.fabric[name]["shm"] = {"total_bytes": 64 * GIB, "free_bytes": 64 * GIB}


def test_a_healthy_node_with_gpus():
    case = healthy_case()
    gpus(case, "node2")
    assert told(case) == {}


def test_a_small_shared_memory():
    case = healthy_case()
    case.fabric["node2"]["shm"] = {"total_bytes": 64 * MIB, "free_bytes": 64 * MIB}
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("shm-too-small", "warn", ("node2",))
    assert "/dev/shm has 64 MiB" in found.evidence["node2"]
    assert found.remedy.startswith("Start the container anew with --shm-size") and "CAP_SYS_ADMIN" in found.remedy
    case.fabric["node2"]["container"] = None
    assert "mount -o remount" in one(case).remedy
    case.fabric["node2"]["shm"] = {"total_bytes": None, "free_bytes": None}
    assert told(case) == {}


@pytest.mark.parametrize(
    ("count", "slots", "severity"),
    [(8, 8, "fail"), (8, 1, "warn"), (1, 1, "warn"), (0, 4, "warn"), (2, None, "fail"), (1, None, "warn")],
)
def test_a_small_shared_memory_fails_only_where_ranks_of_a_node_need_it(count, slots, severity):
    case = healthy_case()
    gpus(case, "node2", count)
    case.plan["nodes"]["node2"]["slots"] = slots
    case.fabric["node2"]["shm"] = {"total_bytes": 64 * MIB, "free_bytes": 64 * MIB}
    assert told(case)["shm-too-small", severity] == ("node2",)


def test_shared_memory_for_many_gpus_or_full_of_leftovers():
    few, full = healthy_case(), healthy_case()
    gpus(few, "node1")
    few.fabric["node1"]["shm"]["total_bytes"] = 2 * GIB
    assert told(few) == {("shm-too-small", "warn"): ("node1",)}
    full.fabric["node3"]["shm"]["free_bytes"] = MIB
    assert told(full) == {("shm-too-small", "fail"): ("node3",)}
    assert "nccl-*" in one(full).remedy


@pytest.mark.parametrize(
    ("soft", "hard", "with_gpus", "severity"),
    [
        (1024, 20000, False, None),
        (1024, 20000, True, None),
        (256, 256, False, "warn"),
        (1024, 1024, True, "fail"),
        (1024, 4095, True, "warn"),
        (512, 4096, False, "warn"),
        (-1, -1, True, None),
        (None, None, True, None),
    ],
)
def test_open_files(soft, hard, with_gpus, severity):
    case = healthy_case()
    if with_gpus:
        gpus(case, "node3")
    case.fabric["node3"]["limits"] = {"memlock": -1, "nofile": soft, "hard": {"nofile": hard}}
    assert told(case) == ({("fd-limit", severity): ("node3",)} if severity else {})


def test_locked_memory():
    case = healthy_case(gpus=2)
    case.fabric["node1"]["rdma"]["devices"] = []
    case.fabric["node1"]["limits"]["memlock"] = 65536
    assert told(case) == {}, "nothing there does RDMA"
    case.fabric["node1"]["rdma"]["devices"] = [{"name": "mlx5_0"}]
    found = one(case)
    assert (found.severity, found.hosts) == ("fail", ("node1",))
    assert "64 KiB; RDMA devices mlx5_0" in found.evidence["node1"]
    case.fabric["node1"]["limits"]["memlock"] = 64 * GIB
    assert told(case) == {}


def test_processes_that_the_kernel_killed():
    case = healthy_case()
    line = "Out of memory: Killed process 4711 (python)"
    case.user["node1"]["kernel_events"] = None
    case.user["node1"]["oom_kills"] = [{"time": "2026-11-20T10:00:00Z", "line": line}]
    found = [item for item in findings(case) if item.rule == "mem-host-oom"]
    assert [(item.severity, item.hosts) for item in found] == [("info", ("node1",))], "a container shows its host's log"
    case.fabric["node1"]["container"] = None
    assert told(case)["mem-host-oom", "warn"] == ("node1",)
    assert "4711" in next(item for item in findings(case, "warn") if item.rule == "mem-host-oom").evidence["node1"]
    case.user["node1"]["oom_kills"] = []
    assert [item for item in findings(case) if item.rule == "mem-host-oom"] == []


@pytest.mark.parametrize(
    ("soft", "of", "severity"),
    [
        (40, "login of trainer", "fail"),
        (1024, "ssh session", "warn"),
        (4096, "ssh session", None),
        (-1, "ssh session", None),
        (None, "ssh session", None),
        (40, "this process", None),
    ],
)
def test_few_processes_and_threads(soft, of, severity):
    case = healthy_case()
    case.fabric["node2"]["limits"].update(nproc=soft, of=of)
    assert told(case) == ({("process-limit", severity): ("node2",)} if severity else {})


def test_the_limit_of_a_login_is_not_roots_but_that_of_a_container_is():
    case = healthy_case()
    case.plan["user"] = "root"
    case.fabric["node2"]["limits"].update(nproc=40)
    assert told(case) == {}
    case.fabric["node2"]["cgroup_limits"] = {"pids": 100}
    found = one(case)
    assert (found.rule, found.severity) == ("process-limit", "fail") and "--pids-limit" in found.remedy


def test_what_systemd_lets_a_login_have_is_told_with_its_unit():
    case = healthy_case()
    case.fabric["node2"]["cgroup_limits"] = {"pids": None, "login": {"pids": 200, "unit": "user-1001.slice"}}
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("process-limit", "fail", ("node2",))
    assert found.evidence["node2"] == "user-1001.slice may have 200 processes and threads"
    assert found.remedy.startswith("systemctl set-property user-1001.slice TasksMax=infinity")
    case.fabric["node2"]["cgroup_limits"]["login"]["pids"] = 10813
    assert told(case) == {}
