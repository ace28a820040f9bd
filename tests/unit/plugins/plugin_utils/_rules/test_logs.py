# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on NCCL's logs, ds_report and collect_env: exact ids and hosts, nothing for healthy or unknown texts."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.nccl import parse
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import REGISTRY, Case, Finding
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import logs

PLAN = {
    "order": ["node1", "node2"],
    "nodes": {
        f"node{number}": {"name": f"node{number}", "address": f"10.0.0.1{number}", "hostname": f"gpu{number}"}
        for number in (1, 2)
    },
}
HCA = {"rdma": {"devices": [{"name": "mlx5_0", "ports": [{"port": 1, "state": "ACTIVE"}]}]}}


def case(kind: str, text: str, holder: str = "node1", **more: t.Any) -> Case:
    file = {"kind": kind, "path": "/tmp/seen.txt", "exists": True, "text": text, "error": None}
    return Case(plan=PLAN, user={holder: {"files": [file]}}, **more)


def findings(given: Case) -> list[Finding]:
    ours = [rule for rule in REGISTRY if rule.judge.__module__ == logs.__name__]
    found = engine.merged((answer for rule in ours for answer in rule.judge(given)), given.order)
    return [answer for answer in found if isinstance(answer, Finding)]


def told(given: Case) -> list[tuple[str, tuple[str, ...], str]]:
    return [(finding.rule, finding.hosts, finding.severity) for finding in findings(given)]


WARN = "gpu1:7:9 [0] x.cc:1 NCCL WARN "


@pytest.mark.parametrize(
    ("text", "identity", "hosts"),
    [
        ("socketPollConnect: Connect to 10.0.0.12<5> returned 113(No route to host)", "system", ("node2",)),
        ("Net : Connect to 10.0.0.12<5> failed : Connection refused", "system", ("node2",)),
        ("Call to connect failed : Connection timed out", "system", ("node1",)),
        ("Net : Connection closed by remote peer gpu2<77>", "system", ("node2",)),
        ("Bootstrap : no socket interface found", "nccl-ifname-absent-on-node", ("node1",)),
        ("Failed to initialize any NET plugin", "nccl-net-forced-ib", ("node1",)),
        ("Mismatched NCCL version detected : rank 0 version 1 rank 1 version 2", "nccl-version-mismatch", ("node1",)),
        ("Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 1", "nccl-duplicate-gpu", ("node1",)),
        (
            "NET/IB : req 0/1 tag 0 peer 10.0.0.12<5> collective mismatch error, local size 4 remote size 6",
            "nccl-collective-mismatch",
            ("node1", "node2"),
        ),
        (
            "NET/IB: Got completion from peer 10.0.0.12<5> with status=12 opcode=1 len=1 vendor err 129",
            "ib-retry-exceeded",
            ("node1", "node2"),
        ),
        ("Call to ibv_reg_mr failed with error Cannot allocate memory", "ib-memlock", ("node1",)),
        ("Call to ibv_modify_qp failed with 110 Connection timed out", "ib-rails-not-connected", ("node1",)),
        ("NET/IB : ibv_open_device failed", "ib-container-devices", ("node1",)),
        (
            "Error: failed to extend /dev/shm/nccl-XX to 5 bytes, error: No space left on device (28)",
            "shm-too-small",
            ("node1",),
        ),
        ("socket failed : Too many open files", "fd-limit", ("node1",)),
        ("Attribute arch of node cpu not found", "nccl-internal-error-init", ("node1",)),
        ("Call to ibv_reg_dmabuf_mr failed with error Operation not supported", "gdr-unavailable", ("node1",)),
        (
            "NET/IB : Got completion from peer 10.0.0.12<5> with status=11 opcode=129 len=8 vendor err 137 (Recv)",
            "p2p-acs-iommu",
            ("node1", "node2"),
        ),
        ("Cuda failure 401 'the operation cannot be performed in the present state'", "drv-fabricmanager", ("node1",)),
        ("NET/IB: read failed in ncclIbRoceGetVersionNum: Invalid argument", "roce-gid-index", ("node1",)),
        ("Thread creation failed: Resource temporarily unavailable", "process-limit", ("node1",)),
        ("MNNVL (cliqueSize 8) is available but not working on this system.", "system", ("node1",)),
        ("Could not find NET with id 0", "system", ("node1",)),
    ],
)
def test_a_warning_names_the_fault_and_the_host(text: str, identity: str, hosts: tuple[str, ...]) -> None:
    later = "\ntorch.distributed.DistBackendError: unhandled system error (run with NCCL_DEBUG=INFO for details)\n"
    given = case("nccl_log", WARN + text + later)
    identity = "nccl-system-error-first-collective" if identity == "system" else identity
    assert told(given) == [(identity, hosts, "fail")]
    assert text[:40] in findings(given)[0].evidence[hosts[0]]


def test_the_generic_errors_alone() -> None:
    for text, identity in (
        (
            "RuntimeError: NCCL error in: x.cpp:1, unhandled system error, NCCL version 2.10.3",
            "system-error-first-collective",
        ),
        ("RuntimeError: NCCL error in: x.cpp:1, internal error, NCCL version 2.14.3", "internal-error-init"),
        ("ncclInternalError: Internal check failed.", "internal-error-init"),
        ("[E] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=3)", "watchdog-timeout"),
    ):
        given = case("nccl_log", text)
        assert told(given) == [(f"nccl-{identity}", (), "fail")]
        assert findings(given)[0].evidence == {"/tmp/seen.txt": f"/tmp/seen.txt line 1: {text}"}


def test_an_internal_error_keeps_its_id_with_the_warning_before_it() -> None:
    text = WARN + "Net : Connect to 10.0.0.12<5> failed : No route to host\nncclInternalError: Internal check failed.\n"
    assert told(case("nccl_log", text)) == [("nccl-internal-error-init", ("node2",), "fail")]


def test_hosts_that_are_not_in_the_plan_are_not_blamed() -> None:
    given = case("nccl_log", "other:1:1 [0] x.cc:1 NCCL WARN socket failed : Too many open files")
    assert told(given) == [("fd-limit", (), "fail")]
    assert list(findings(given)[0].evidence) == ["other"]


def test_different_versions_by_host() -> None:
    text = "gpu1:1:1 [0] NCCL INFO NCCL version 2.27.6+cuda12.8\ngpu2:1:1 [0] NCCL INFO NCCL version 2.26.2+cuda12.8\n"
    assert told(case("nccl_log", text)) == [("nccl-version-mismatch", ("node2",), "fail")]


def test_ways_between_the_ranks() -> None:
    line = "gpu1:1:1 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[0] [send] via NET/IB/0"
    assert told(case("nccl_log", line)) == [("gdr-unavailable", ("node1",), "warn")]
    assert told(case("nccl_log", line + "/GDRDMA")) == []
    given = case("nccl_log", line, gpu={"node1": {"gpus": [{"name": "GeForce RTX 4090"}]}})
    assert told(given) == []  # which never have it
    off = "gpu1:1:1 [0] NCCL INFO NET/IB : GPU Direct RDMA Disabled for HCA 0 'mlx5_0'\n"
    assert told(case("nccl_log", off)) == [("gdr-unavailable", ("node1",), "warn")]
    assert told(case("nccl_log", off + line + "/GDRDMA")) == []
    line = "gpu2:1:1 [0] NCCL INFO NET/Socket : Using [0]eth0:10.0.0.12<0> [1]veth75fa783:fe80::14ad%veth75fa783<0>"
    assert told(case("nccl_log", line)) == [("nccl-ifname-auto-virtual", ("node2",), "warn")]


@pytest.mark.parametrize(
    ("before", "identity", "severity"),
    [
        ("gpu1:1:1 [0] NCCL INFO NCCL_IB_DISABLE set by environment to 1.\n", "ib-disabled-on-ib", "fail"),
        (WARN + "Failed to open libibverbs.so[.1]\n", "ib-libibverbs-missing", "fail"),
        ("", "perf-ethernet-bound", "warn"),
    ],
)
def test_sockets_beside_an_active_port(before: str, identity: str, severity: str) -> None:
    text = before + "gpu1:1:1 [0] NCCL INFO Using network Socket\n"
    assert told(case("nccl_log", text, fabric={"node1": HCA})) == [(identity, ("node1",), severity)]
    assert told(case("nccl_log", text)) == []


def test_sockets_where_the_plugin_for_efa_finds_nothing() -> None:
    text = "gpu2:5:5 [0] get_ofi_provider:312 NCCL WARN NET/OFI Could not find any optimal provider\n"
    text += "gpu2:5:5 [0] NCCL INFO x.cc:1 -> 2\ngpu2:5:5 [0] NCCL INFO Using network Socket\n"
    ready = "gpu2:5:5 [0] NCCL INFO comm 0x5 rank 0 nranks 2 cudaDev 0 busId 1 - Init COMPLETE\n"
    assert told(case("nccl_log", text + ready)) == []  # one node alone needs no network
    text += "gpu2:5:5 [0] NCCL INFO Channel 00/0 : 1[0] -> 0[0] [receive] via NET/Socket/0\n" + ready
    given = case("nccl_log", text)
    assert told(given) == [("perf-ethernet-bound", ("node2",), "warn")]
    assert "fi_info" in findings(given)[0].remedy
    assert told(case("nccl_log", text.replace("Using network Socket", "Using network AWS Libfabric"))) == []
    assert told(case("nccl_log", text.replace("any optimal provider", "symbol ncclGetVersion"))) == []


def test_what_an_adapter_of_efa_refuses() -> None:
    text = "gpu2:5:6 [0] NCCL INFO Ring 00 : 7 -> 8 [send] via NET/AWS Libfabric/0\n"  # without GDRDMA: not of IB
    assert told(case("nccl_log", text)) == []
    text += "gpu2:5:5 [0] register:61 NCCL WARN NET/OFI Unable to register memory. RC: -22, Error: Invalid argument\n"
    given = case("nccl_log", text + "gpu2:5:5 [0] NCCL INFO x.cc:1 -> 2\n")
    assert told(given) == [("nccl-system-error-first-collective", ("node2",), "fail")]
    assert "EFA installer" in findings(given)[0].remedy
    full = text.replace("RC: -22, Error: Invalid argument", "RC: -12, Error: Cannot allocate memory")
    given = case("nccl_log", full + "gpu2:5:5 [0] NCCL INFO x.cc:1 -> 2\n")
    assert told(given) == [("ib-memlock", ("node2",), "fail")]
    assert findings(given)[0].remedy.startswith("ulimit -l")
    fast = "gpu2:5:6 [0] NCCL INFO Channel 00/0 : 7[0] -> 8[0] [send] via NET/FastSocket/0\n"
    assert told(case("nccl_log", fast)) == []
    assert told(case("nccl_log", fast.replace("FastSocket", "IB"))) == [("gdr-unavailable", ("node2",), "warn")]


def test_a_gpu_that_only_another_container_sees() -> None:
    text = "gpu1:7:9 [0] misc/nvmlwrap.cc:1 NCCL WARN nvmlDeviceGetHandleByPciBusId() failed: Not Found\n"
    assert told(case("nccl_log", text + "gpu1:7:9 [0] NCCL INFO Setting affinity for GPU 0 to ff\n")) == []
    given = case("nccl_log", text + "gpu1:7:9 [0] NCCL INFO graph/xml.cc:1 -> 2\n")
    assert told(given) == [("nccl-system-error-first-collective", ("node1",), "fail")]
    assert "NCCL_HOSTID" in findings(given)[0].remedy


def test_what_a_job_goes_on_without_is_no_cause() -> None:
    aside = "gpu1:7:9 [0] ras/client.cc:12 NCCL WARN Call to bind failed: Address in use\n"
    aside += "gpu1:7:9 [0] NCCL INFO ras/client.cc:9 -> 2\n"
    aside += "gpu1:7:9 [0] sharp_plugin.c:3 NCCL WARN NET/IB : SHARP coll init error: no job\n"
    aside += "gpu1:7:9 [0] NCCL INFO transport.cc:2 -> 2\n"
    aside += "gpu1:7:9 [0] init:33 NCCL WARN NET/OFI Failed to initialize GDRCopy\n"
    assert told(case("nccl_log", aside)) == []
    given = case("nccl_log", aside + "[rank0]: ncclInternalError: Internal check failed.\n")
    assert [each.rule for each in findings(given)] == ["nccl-internal-error-init"]
    assert "ras/" not in str(findings(given)[0].evidence)


def test_sums_that_come_out_wrong() -> None:
    text = "gpu1:7:8 [0] NCCL INFO comm 0x5 rank 0 nranks 2 cudaDev 0 busId 1 - Init COMPLETE\n"
    assert told(case("nccl_log", text + "# Out of bounds values : 0 OK\n")) == []
    assert told(case("nccl_log", text + "# Out of bounds values : 12 FAILED\n")) == [
        ("p2p-acs-iommu", ("node1",), "fail")
    ]


def test_a_buffer_without_nvlink_sharp_is_no_failure_of_a_job_that_runs() -> None:
    text = "gpu1:7:9 [0] transport/nvls.cc:5 NCCL WARN Cuda failure 1 'invalid argument'\n"
    ready = "gpu1:7:8 [0] NCCL INFO comm 0x5 rank 0 nranks 8 cudaDev 0 busId 1 - Init COMPLETE\n"
    assert told(case("nccl_log", ready + text * 3)) == []
    assert told(case("nccl_log", text)) == [("drv-fabricmanager", ("node1",), "fail")]
    broken = ready + text + "[rank0]: ncclUnhandledCudaError: Call to CUDA function failed.\n"
    assert told(case("nccl_log", broken)) == [("drv-fabricmanager", ("node1",), "fail")]


def test_what_a_library_of_another_vendor_warns_of_at_its_start_is_no_failure() -> None:
    text = WARN + 'Missing "iommu=pt" from kernel command line which can lead to system instablity or hang!\n'
    text += "gpu1:7:9 [0] NCCL INFO init.cc:1 -> 3\nRCCL version 2.20.5+hip6.2\n"
    assert told(case("nccl_log", text)) == []


def test_the_probe_of_collectives_is_judged_by_the_same_rules() -> None:
    said = parse("gpu2:1:1 [0] NCCL INFO Using network Socket\n")
    given = Case(plan=PLAN, fabric={"node2": HCA}, collective={"nccl": {"node2": said, "gone": said, "node1": None}})
    assert told(given) == [("perf-ethernet-bound", ("node2",), "warn")]


def test_the_probe_s_logs_are_one_run_and_the_root_is_told_once() -> None:
    said = {
        "node1": parse("gpu1:1:1 [0] x.cc:1 NCCL WARN Connection closed by remote peer gpu2<77>\n"),
        "node2": parse("gpu2:1:1 [0] x.cc:1 NCCL WARN Call to ibv_reg_mr failed with error Cannot allocate memory\n"),
    }
    assert told(Case(plan=PLAN, collective={"nccl": said})) == [("ib-memlock", ("node2",), "fail")]


DS = "ninja .................. [OKAY]\ncpu_adam ............... [NO] ....... [OKAY]\ntorch version ... 2.9.1\n"


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (DS, []),
        (DS.replace("[NO] ....... [OKAY]", "[NO] ....... [NO]"), [("build-cpu-adam", ("node1",), "warn")]),
        (DS + "async_io ............... [NO] ....... [NO]\n", [("build-aio-missing", ("node1",), "info")]),
        (DS.replace("[OKAY]", "[FAIL]", 1), [("build-ninja-missing", ("node1",), "warn")]),
        (
            DS.replace("[NO] ....", "[YES] ....") + "deepspeed wheel compiled w. ...... torch 2.1, cuda 12.1\n",
            [("build-ops-other-torch", ("node1",), "fail")],
        ),
        (DS + "deepspeed wheel compiled w. ...... torch 0.0, cuda 0.0\n", []),
    ],
)
def test_reports_of_deepspeed(text: str, want: list[t.Any]) -> None:
    assert told(case("ds_report", text)) == want


def test_a_report_under_pdsh_blames_its_hosts() -> None:
    text = "gpu2: async_io ............... [NO] ....... [NO]\ngpu1: async_io ............... [NO] ....... [OKAY]\n"
    assert told(case("ds_report", text)) == [("build-aio-missing", ("node2",), "info")]


def test_environments() -> None:
    text = "PyTorch version: 2.9.1\n(2, 28, 9)\n[pip3] nvidia-nccl-cu12==2.27.5\n"
    assert told(case("collect_env", text)) == [("nccl-version-mismatch", ("node1",), "warn")]
    files = {
        name: {"files": [{"kind": "collect_env", "path": "/e", "text": f"PyTorch version: {version}\n"}]}
        for name, version in (("node1", "2.9.1"), ("node2", "2.8.0"))
    }
    assert told(Case(plan=PLAN, user=files)) == [("ver-python-torch-differs", ("node1", "node2"), "fail")]


@pytest.mark.parametrize("text", ["", "\ufffd" * 50, "all is well\n"])
def test_what_is_empty_or_strange_says_nothing(text: str) -> None:
    for kind in ("nccl_log", "ds_report", "collect_env", "hostfile"):
        assert told(case(kind, text)) == []
    assert told(Case(plan=PLAN, user={"node1": {"files": [{}, {"kind": "nccl_log"}]}}, collective={"nccl": None})) == []


COLLECTED = "PyTorch version: {}\nOS: Ubuntu 22.04\nGPU 0: NVIDIA H100\nGPU 1: NVIDIA H100\n[pip3] torch=={}"
NO_AIO = "async_io ............... [NO] ....... [NO]\ntorch version .................... 2.6.0"
TOGETHER: dict[str, t.Callable[[str, str], str]] = {
    "pdsh": lambda one, two: "".join(
        f"{host}: {line}\n" for host, text in (("gpu1", one), ("gpu2", two)) for line in text.split("\n")
    ),
    "clush": lambda one, two: f"------\ngpu1 (1)\n------\n{one}\n------\ngpu2 (1)\n------\n{two}\n",
    "ansible": lambda one, two: f"gpu1 | CHANGED | rc=0 >>\n{one}\ngpu2 | CHANGED | rc=0 >>\n{two}\n",
    "loop": lambda one, two: f"=== node1 ===\n{one}\n=== node2 ===\n{two}\n",
}


@pytest.mark.parametrize("form", TOGETHER)
def test_reports_of_several_nodes_in_one_file(form: str) -> None:
    together = TOGETHER[form]
    text = together(COLLECTED.format("2.6.0", "2.6.0"), COLLECTED.format("2.5.1", "2.5.1"))
    assert told(case("collect_env", text)) == [("ver-python-torch-differs", ("node1", "node2"), "fail")]
    same = together(COLLECTED.format("2.6.0", "2.6.0"), COLLECTED.format("2.6.0", "2.6.0"))
    assert told(case("collect_env", same)) == []
    text = together(NO_AIO.replace("[NO] ....... [NO]", "[NO] ....... [OKAY]"), NO_AIO)
    assert told(case("ds_report", text)) == [("build-aio-missing", ("node2",), "info")]
