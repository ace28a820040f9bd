# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What NCCL_DEBUG=INFO prints: formats of NCCL 2.2 to 2.30, whole and damaged."""

from __future__ import annotations

import json
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.nccl import parse, split, transport_of
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.nccl_failure import classify, first_cause
from ansible_collections.trainmesh.cluster.tests.unit.plugins.module_utils._gpu.test_facts_fuzz import BOUNDED, damaged
from ansible_collections.trainmesh.cluster.tests.unit.samples.gpu_recordings import (
    expected_in,
    expected_values,
    recorded,
)

TWO_NODES = """\
a1:100:100 [0] NCCL INFO Bootstrap: Using eno1:10.0.0.1<0>
a1:100:100 [0] NCCL INFO cudaDriverVersion 12080
a1:100:100 [0] NCCL INFO NCCL version 2.27.6+cuda12.8
a1:100:120 [0] NCCL INFO NET/IB : Using [0]mlx5_0:1/IB [1]mlx5_1:1/RoCE [RO]; OOB eno1:10.0.0.1<0>
a1:100:120 [0] NCCL INFO Initialized NET plugin IB
a1:100:120 [0] NCCL INFO Using network IB
a1:100:120 [0] NCCL INFO ncclCommInitRankConfig comm 0x1 rank 0 nranks 2 cudaDev 0 nvmlDev 0 busId 1000 - Init START
a1:100:120 [0] NCCL INFO Channel 00/0 : 1[0] -> 0[0] [receive] via NET/IB/0/GDRDMA
a1:100:120 [0] NCCL INFO Channel 01/0 : 0[0] -> 1[0] [send] via NET/IB/0(1)/GDRDMA/Shared
a1:100:120 [0] NCCL INFO ncclCommInitRankConfig comm 0x1 rank 0 nranks 2 cudaDev 0 nvmlDev 0 busId 1000 - Init COMPLETE
b2:200:200 [0] NCCL INFO NCCL_IB_DISABLE set by environment to 1.
b2:200:200 [0] NCCL INFO Bootstrap : Using [0]eth0:10.0.0.2<0> [1]docker0:172.17.0.1<0>
b2:200:220 [0] NCCL INFO NET/Socket : Using [0]eth0:10.0.0.2<0> [1]docker0:172.17.0.1<0>
b2:200:220 [0] NCCL INFO Using network Socket
b2:200:220 [0] NCCL INFO comm 0x7 rank 1 nranks 2 cudaDev 0 busId 1000 - Init COMPLETE
"""


@pytest.mark.parametrize(("name", "want"), expected_in("nccl"))
def test_recorded_logs(name: str, want: dict[str, t.Any]) -> None:
    got = parse(recorded("nccl", name))
    for key, wanted in want.items():
        if key == "verdict":
            assert wanted.startswith("fail") == (got["cause"] is not None), got["cause"]
        elif isinstance(wanted, dict):
            assert len(got[key]) == wanted["count"]
        else:
            assert got[key] == wanted, key


@pytest.mark.parametrize(
    ("name", "kind", "details"),
    [
        ("issue-nccl-1105-no-route.log", "no_route_to_host", {"peer": "192.168.1.9", "host": "ps-8"}),
        ("issue-sglang-3820-no-route-to-host.log", "no_route_to_host", {"peer": "10.0.0.4", "port": 56849}),
        (
            "issue-nccl-1698-roce-completion-status12.log",
            "ib_completion",
            {"status": 12, "vendor_err": 129, "peer": "192.168.3.5", "hca": "mlx5_10"},
        ),
        ("issue-nccl-1405-ib-completion-status12-plugin.log", "ib_completion", {"status": 12, "vendor_err": 129}),
        ("issue-nccl-969-collective-mismatch.log", "collective_mismatch", {"peer": "10.10.23.6"}),
        ("issue-nccl-tests-15-old-prefix-timeout.log", "connect_timeout", {"host": "gpu-bql-144-103"}),
        ("issue-nccl-tests-166-closed-by-peer.log", "connection_aborted", {"peer": "10.0.0.2"}),
        ("issue-nccl-1837-ifname-missing.log", "no_interface", {"host": ""}),
    ],
)
def test_first_causes_of_recordings(name: str, kind: str, details: dict[str, t.Any]) -> None:
    cause = parse(recorded("nccl", name))["cause"]
    assert {"kind": kind, **details}.items() <= cause.items()


def test_two_nodes_are_told_apart() -> None:
    got = parse(TWO_NODES)
    assert (got["hosts"], got["nranks"], got["networks"]) == (["a1", "b2"], [2], ["IB", "Socket"])
    assert got["by_host"]["a1"] == {
        "nccl_versions": ["2.27.6"], "cuda_driver_versions": ["12080"], "networks": ["IB"], "plugins": ["IB"],
        "hcas": ["mlx5_0:1/IB", "mlx5_1:1/RoCE"],
        "interfaces": [{"name": "eno1", "address": "10.0.0.1", "use": "bootstrap"}],
        "transports": {"NET/IB": 2}, "channels": 2, "complete": [0], "started": [0], "gdrdma": True,
    }  # fmt: skip
    there = got["by_host"]["b2"]
    assert (there["complete"], there["gdrdma"], there["networks"]) == ([1], None, ["Socket"])
    assert [(each["use"], each["name"]) for each in there["interfaces"]] == [
        ("bootstrap", "eth0"), ("bootstrap", "docker0"), ("socket", "eth0"), ("socket", "docker0"),
    ]  # fmt: skip
    assert (got["environment"], got["bootstrap_ifaces"]) == ({"NCCL_IB_DISABLE": "1"}, ["eno1", "eth0"])


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "[1,0]<stdout>:",
        "0: ",
        "node-a: ",
        "[0] ",
        "451 ",
        "\x1b[0m ",
        "[2026-11-21 10:10:10] ",
        "[default0]:",
        "> ",
    ],
)
def test_what_launchers_put_in_front(prefix: str) -> None:
    got = parse("".join(f"{prefix}{line}\r\n" for line in TWO_NODES.splitlines()))
    assert (got["hosts"], got["init_complete_lines"]) == (["a1", "b2"], 2)


def test_lines_that_a_collector_keeps_as_objects() -> None:
    line = "gpu2:174:239 [0] enqueue.cc:802 NCCL WARN Cuda failure 'out of memory'"
    kept = "".join(json.dumps({"log": f"{each}\n", "stream": "stdout"}) + "\n" for each in ("step 1", line))
    (found,) = [each for each in split(kept) if each.level]
    assert (found.host, found.text, found.number) == ("gpu2", "Cuda failure 'out of memory'", 2)


def test_glued_lines_come_apart_at_known_hosts() -> None:
    glued = "a1:1:1 [0] NCCL INFO Connected all ringsa1:1:2 [1] NCCL INFO comm 0x1 rank 1 nranks 2 x - Init COMPLETE"
    lines = list(split(glued))
    assert [(line.host, line.device, line.text[:19]) for line in lines] == [
        ("a1", 0, "Connected all rings"),
        ("a1", 1, "comm 0x1 rank 1 nra"),
    ]


@pytest.mark.parametrize(
    ("via", "transport"),
    [
        ("NET/IB/0/GDRDMA", "NET/IB"),
        ("NET/IBext_v8/7/GDRDMA", "NET/IBext_v8"),
        ("P2P/CUMEM/read", "P2P/CUMEM"),
        ("SHM/direct/direct", "SHM"),
        ("NET/Socket/0", "NET/Socket"),
        ("", ""),
    ],
)
def test_transports(via: str, transport: str) -> None:
    assert transport_of(via) == transport


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Bootstrap : no socket interface found", "no_interface"),
        ("Call to ibv_reg_mr failed with error Cannot allocate memory", "memlock"),
        ("Call to ibv_create_qp failed with error Cannot allocate memory errno 12", "memlock"),
        ("Call to ibv_modify_qp failed with 110 Connection timed out, on dev mlx5_0:1", "modify_qp"),
        (
            "Error: failed to extend /dev/shm/nccl-a1b2c3 to 9637892 bytes, error: No space left on device (28)",
            "shm_full",
        ),
        ("Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 1000", "duplicate_gpu"),
        (
            "Mismatched NCCL version detected : rank 0 version 22703 rank 1 version 22605",
            "version_mismatch",
        ),
        ("Failed to initialize any NET plugin", "no_net_plugin"),
        ("Call to connect returned Connection refused, retrying", "connection_refused"),
        ("NET/IB: Got completion from peer 10.0.0.2<1> with status=5 opcode=0 len=0 vendor err 249", "ib_completion"),
        ("Watchdog caught collective operation timeout: WorkNCCL(SeqNum=3, OpType=ALLREDUCE)", "watchdog_timeout"),
        ("torch.distributed.DistBackendError: NCCL error in: x.cpp:1, unhandled system error", "system_error"),
        ("ncclInternalError: Internal check failed.", "internal_error"),
        ("socket: Too many open files", "fd_limit"),
        ("Failed to open libibverbs.so[.1]", "harmless"),
        ("Call to posix_fallocate failed : No space left on device", "shm_full"),
        ("Error while attaching to shared memory segment /dev/shm/nccl-\x01 (size 0), error: No such", "shm_handle"),
        ("Error while attaching to shared memory segment /dev/shm/nccl-a (size 9), error: No such file", "shm_missing"),
        ("Call to ibv_reg_dmabuf_mr failed with error Operation not supported", "gdr_refused"),
        ("Call to ibv_reg_mr_iova2 failed with error Bad address errno 14", "gdr_refused"),
        ("Call to ibv_create_cq failed", "memlock"),
        ("Call to ibv_query_gid failed with error Invalid argument", "modify_qp"),
        ("NET/IB: read failed in ncclIbRoceGetVersionNum: Invalid argument", "gid_read"),
        ("NET/IB : Unable to open device mlx5_3", "no_ib_device"),
        ("NET/IB : Got completion with error 4, opcode 1, len 21938, vendor err 81", "ib_access"),
        ("NET/IB: Got completion from peer 10.0.0.2<1> with status=IBV_WC_REM_ACCESS_ERR(10) opcode=1", "ib_access"),
        ("NET/IB : Got completion from peer 10.0.0.2<1> with error 11, opcode 2, len 8, vendor err 137", "ib_access"),
        ("NET/IB: Got completion from peer 10.0.0.2<1> with status=IBV_WC_RETRY_EXC_ERR(12) opcode=4", "ib_completion"),
        ("NET/OFI Unable to insert remote address into address vector for device 1", "efa_completion"),
        ("NET/OFI Unable to register memory (type = 2) for device 0. RC: -12, Error: Cannot allocate", "efa_memory"),
        ("Attribute arch of node cpu not found", "topology"),
        ("XML Topology has wrong version 0, 1 needed", "topology"),
        ("Error : no algorithm/protocol available for function AllGather with datatype ncclInt8.", "no_algorithm"),
        ("MNNVL (cliqueSize 8) is available but not working on this system. Check the IMEX", "imex"),
        ("Invalid NCCL_COMM_ID, please use format: <ipv4>:<port>", "comm_id"),
        ("Net : error encountered when getting address info : Name or service not known", "comm_id"),
        ("Bootstrap Root : mismatch in rank count from procs 16 : 8", "duplicate_rank"),
        ("Invalid rank requested : 4/4", "duplicate_rank"),
        ("Failed to find reverse path from remNode 0/2000 nlinks 3 to node 0/7000", "p2p_broken"),
        ("Error while creating shared memory segment /dev/shm/nccl-Ab1 (size 9)", "shm_full"),
        ("no device found matching eth9, verify NCCL_OOB_NET_IFNAME", "no_interface"),
        ("Thread creation failed: Resource temporarily unavailable", "thread_limit"),
        ("Failed to find CUDA library libcuda.so (NCCL_CUDA_PATH='') : libcuda.so: cannot open", "no_nvml"),
        ("CUDA Driver version found is 11040. Minimum requirement is 11080", "cuda_driver_too_old"),
        ("failed to open CUDA IPC handle : 217 peer access is not supported between these two", "cuda_peer_access"),
        ("Cuda failure 401 'the operation cannot be performed in the present state'", "nvls"),
        ("Cuda failure 1 'invalid argument'", "cuda_failure"),
        ("HIP failure 'out of memory'", "cuda_out_of_memory"),
        ('Missing "iommu=pt" from kernel command line which can lead to system instablity or hang!', "harmless"),
        ("Could not find a path for pattern 4, falling back to simple order", "harmless"),
        ("[Proxy Service 1] Failed to execute operation Connect from rank 1, retcode 2", "harmless"),
        ("Socket recv failed while polling for opId=0x7fa0", "harmless"),
        ("[Service thread] Accept failed Too many open files", "fd_limit"),
        ("Could not find any local path from gpu 0 to net.", None),
        ("loss 0.3 of step 4", None),
    ],
)
def test_kinds_of_failures(text: str, kind: str | None) -> None:
    found = classify(text)
    assert (found["kind"] if found else None) == kind


def test_the_status_of_a_completion_in_old_words_and_in_new_ones() -> None:
    for text in (
        "NET/IB : Got completion with error 12, opcode 0, len 11155, vendor err 129",
        "NET/IB: Got completion from peer 10.0.0.2<1> with status=12 opcode=0 len=0 vendor err 129",
        "NET/IB : Got completion from peer 10.0.0.2<1> with error 12, opcode 0, len 0, vendor err 129",
    ):
        found = classify(text)
        assert found and (found["status"], found["vendor_err"]) == (12, 129)


def test_an_error_of_cuda_in_the_file_of_nvlink_sharp_is_one_of_it() -> None:
    for text in ("Cuda failure 1 'invalid argument'", "Cuda failure 'invalid argument'"):
        found, other = classify(text, "transport/nvls.cc:165"), classify(text, "transport/p2p.cc:99")
        assert found and other and (found["kind"], other["kind"]) == ("nvls", "cuda_failure")
    found = classify("Cuda failure 2 'out of memory'", "transport/nvls.cc:165")
    assert found and found["kind"] == "cuda_out_of_memory"


UNKNOWN = "b2:1:5 [0] graph/x.cc:9 NCCL WARN Could not find NET with id 0\n"
GAVE_UP = "b2:1:5 [0] NCCL INFO graph/x.cc:9 (ncclTopo) -> 3\n"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (UNKNOWN, None),
        (UNKNOWN + GAVE_UP, "Could not find NET with id 0"),
        (UNKNOWN + GAVE_UP.replace("-> 3", "-> 0"), None),
        (UNKNOWN + GAVE_UP.replace("b2:1:5", "b2:1:6"), None),  # another thread
        (UNKNOWN + GAVE_UP + "b2:1:5 [0] NCCL INFO comm 0x1 rank 0 nranks 1 x - Init COMPLETE\n", None),
        (UNKNOWN + "ncclInternalError: Internal check failed.\n", "Could not find NET with id 0"),
        # what other ranks and the proxy say of it afterwards
        ("a1:1:5 [0] x.cc:1 NCCL WARN Connection closed by remote peer b2<5>\n" + UNKNOWN + GAVE_UP,
         "Could not find NET with id 0"),
        (UNKNOWN + GAVE_UP + "b2:1:7 [0] x.cc:1 NCCL WARN [Proxy Service] Failed to execute operation Setup\n"
         "b2:1:7 [0] NCCL INFO proxy.cc:1 -> 3\n", "Could not find NET with id 0"),
        ("b2:1:5 [0] x.cc:1 NCCL WARN Connection closed by remote peer a1<5>\n" + UNKNOWN + GAVE_UP,
         "Connection closed by remote peer a1<5>"),
        # a known cause goes before it, wherever it stands
        (UNKNOWN + GAVE_UP + "a1:1:5 [0] x.cc:1 NCCL WARN socket failed : Too many open files\n",
         "socket failed : Too many open files"),
        ("b2:1:5 [0] x.cc:1 NCCL WARN Call to bind failed: Permission denied\n" + UNKNOWN + GAVE_UP,
         "Call to bind failed: Permission denied; Could not find NET with id 0"),
        # torch alone, with NCCL's words behind its own
        ("[rank3]: ncclSystemError: System call failed.\n[rank3]: Last error:\n[rank3]: Something is odd\n",
         "[rank3]: Something is odd"),
    ],
)  # fmt: skip
def test_a_warning_that_nobody_knows_is_a_cause_once_its_thread_gives_up(text: str, cause: str | None) -> None:
    found = parse(text)["cause"]
    assert (found["text"] if found else None) == cause
    assert not found or "process" not in found


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("internal error - please report this issue to the developers / ", "internal_error"),
        ("remote process exited or there was a network error / ", "remote_error"),
        ("invalid usage / ", "invalid_usage"),
        ("unhandled cuda error / ", "system_error"),
    ],
)
def test_what_a_benchmark_says_when_nccl_fails(words: str, kind: str) -> None:
    found = classify(f"gpu1: Test NCCL failure common.cu:9 '{words}'")
    assert found and found["kind"] == kind


def test_a_device_number_that_is_not_one_does_not_hide_a_line() -> None:
    (line,) = split("node2:81:95 [123456789] include/alloc.h:243 NCCL WARN Cuda failure 'driver shutting down'")
    assert (line.host, line.level, line.device) == ("node2", "WARN", 123456789)


@pytest.mark.parametrize(
    ("where", "want"),
    [
        ("transport/net_ib/[p2p.cc:7](https://p2p.cc:7/)", "transport/net_ib/p2p.cc:7"),
        ("int poll_queue(ctx_t*, std::map<int, fid_q*>&, bool) const:46",
         "int poll_queue(ctx_t*, std::map<int, fid_q*>&, bool) const:46"),
    ],
)  # fmt: skip
def test_names_of_files_as_trackers_and_plugins_write_them(where: str, want: str) -> None:
    line = next(iter(split(f"gpu2:5:6 [1] {where} NCCL WARN NET/IB : no\n")))
    assert (line.host, line.where, line.text) == ("gpu2", want, "NET/IB : no")


def test_the_warning_is_the_cause_and_not_the_generic_error_after_it() -> None:
    text = (
        "RuntimeError: NCCL error in: x.cpp:1269, unhandled system error, NCCL version 2.10.3\n"
        "a1:1:1 [0] misc/socket.cc:49 NCCL WARN socketProgress: Connection closed by remote peer b2<5>\n"
        "b2:1:1 [0] misc/socket.cc:1 NCCL WARN Net : Connect to 10.0.0.1<99> failed : No route to host\n"
    )
    got = parse(text)
    assert [each["kind"] for each in got["failures"]] == [
        "system_error", "connection_closed_by_peer", "no_route_to_host",
    ]  # fmt: skip
    assert (got["cause"]["kind"], got["cause"]["line"]) == ("no_route_to_host", 3)
    assert first_cause([{"kind": "harmless", "weight": 2}]) is None


@BOUNDED
@given(text=damaged(TWO_NODES))
def test_damage_makes_things_unknown_and_never_up(text: str) -> None:
    got = parse(text)
    json.dumps(got)
    assert set(got["by_host"]["a1"]["complete"] if "a1" in got["by_host"] else []) <= {0}
    assert got["cause"] is None
    assert set(got["networks"]) <= {"IB", "Socket", "I", "S", "So", "Soc", "Sock", "Socke"} or "�" in text


@settings(BOUNDED, max_examples=100)
@given(data=st.data())
def test_damaged_recordings_never_raise(data: st.DataObject) -> None:
    names = [name for folder, name, _values in expected_values() if folder == "nccl"]
    if not names:
        pytest.skip("no recordings of nccl")
    json.dumps(parse(data.draw(damaged(recorded("nccl", data.draw(st.sampled_from(names)))))))


@BOUNDED
@given(text=st.text(max_size=300))
def test_any_text(text: str) -> None:
    json.dumps(parse(text))
    parse(f"a1:1:1 [0] NCCL INFO Bootstrap : Using {text}")
    parse(f"a1:1:1 [0] NCCL WARN {text}")


def test_floods_are_read_in_time() -> None:
    for text in (
        "a:1:2 [0] " * 40_000,
        "a" * 500_000,
        ":1:2 " * 80_000,
        ":1:2 int f(" * 40_000,
        "[0]eth0:" * 50_000,
        "\x1b[" * 200_000,
    ):
        parse(text)
        parse(f"a1:1:1 [0] NCCL INFO NET/Socket : Using {text}")
        parse(f"a1:1:1 [0] x.cc:1 NCCL WARN connect {text}")
