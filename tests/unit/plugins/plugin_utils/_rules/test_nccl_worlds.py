# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on logs of NCCL with several hosts and jobs: who is to blame, and who is not."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine, options
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Finding

NAMES = ["node1", "node2", "node3", "node4"]
PLAN = {
    "order": NAMES,
    "nodes": {
        name: {"name": name, "address": f"10.0.0.1{number}", "hostname": f"gpu{number}"}
        for number, name in enumerate(NAMES, start=1)
    },
}
INFO, WARN = " [0] NCCL INFO ", " [0] misc/socket.cc:1 NCCL WARN "


def findings(log: str, hostfile: str = "", **more: t.Any) -> list[Finding]:
    files = [{"kind": "nccl_log", "path": "/tmp/log", "text": log}]
    if hostfile:
        files.append({"kind": "hostfile", "path": "/tmp/hosts", "text": hostfile})
    case = Case(plan=PLAN, user={name: {"files": files if name == "node1" else []} for name in NAMES}, **more)
    answers = engine.judge(case, options.Options()).answers
    return [each for each in answers if isinstance(each, Finding) and each.rule.startswith(OURS)]


OURS = ("nccl-", "ib-", "drv-", "gpu-", "p2p-", "mem-", "ver-", "env-", "ds-unequal", "hostfile-slots", "perf-", "fd-")


def told(log: str, **more: t.Any) -> list[tuple[str, tuple[str, ...], str]]:
    return [(each.rule, each.hosts, each.severity) for each in findings(log, **more)]


def begun(host: int, rank: int, ranks: int, comm: str = "0xa", word: str = "START", pid: int = 1) -> str:
    about = f"rank {rank} nranks {ranks} cudaDev 0 nvmlDev 0 busId 1000 commId {comm}"
    return f"gpu{host}:{pid}:9{INFO}ncclCommInitRankConfig comm 0x1 {about} - Init {word}\n"


def uses(host: int, network: str, pid: int = 1) -> str:
    return f"gpu{host}:{pid}:9{INFO}Using network {network}\n"


@pytest.mark.parametrize(
    ("more", "identity"),
    [
        ("NET/IB : No device found.", "ib-port-not-active"),
        ("NCCL_IB_DISABLE set by environment to 1.", "ib-disabled-on-ib"),
        ("Failed to open libibverbs.so[.1]", "ib-libibverbs-missing"),
        ("NET/OFI: no plugin", "nccl-networks-differ"),
        (f"NCCL_IB_HCA set to mlx5_9\ngpu2:1:9{INFO}NET/IB : No device found.", "ib-rails-not-connected"),
    ],
)
def test_sockets_on_one_node_of_a_job(more: str, identity: str) -> None:
    level = WARN if "libibverbs" in more else INFO
    log = uses(1, "IB") + f"gpu2:1:9{level}{more}\n" + uses(2, "Socket")
    log += (
        f"gpu2:1:9{WARN}socketFinalizeAccept: wrong type 4 != 3\nRuntimeError: NCCL error in: x.cpp:1, internal error\n"
    )
    assert told(log) == [(identity, ("node2",), "fail")]
    assert "NCCL_IB_DISABLE=1" not in findings(log)[0].remedy


def test_the_odd_one_is_the_one_that_differs_from_the_most() -> None:
    log = "".join(uses(host, "IB" if host == 1 else "Socket") for host in (1, 2, 3, 4))
    assert told(log) == [("nccl-networks-differ", ("node1",), "fail")]
    assert told(uses(1, "IB") + uses(2, "IB")) == []


def test_an_unlike_network_without_the_lines_that_name_it() -> None:
    wrong = "socketFinalizeAccept from 10.0.0.13<77>: wrong type 3 != 4"
    assert told(f"gpu1:1:9{WARN}{wrong}\n") == [("nccl-networks-differ", ("node3",), "fail")]
    unnamed = findings(f"gpu1:1:9{WARN}socketFinalizeAccept: wrong type 3 != 4\n")[0]
    assert unnamed.hosts == () and "does not name the peer" in unnamed.evidence["/tmp/log"]


def test_infiniband_here_and_roce_there() -> None:
    log = f"gpu1:1:9{INFO}NET/IB : Using [0]mlx5_0:1/IB [RO]\ngpu2:1:9{INFO}NET/IB : Using [0]mlx5_0:1/RoCE [RO]\n"
    assert told(log) == [("ib-rails-not-connected", ("node1", "node2"), "fail")]
    both = log.replace("mlx5_0:1/RoCE", "mlx5_0:1/RoCE [1]mlx5_1:1/IB")
    assert told(both) == []


def test_two_jobs_in_one_log_are_not_compared() -> None:
    versions = f"gpu1:1:9{INFO}NCCL version 2.21.5+cuda12.4\ngpu3:1:9{INFO}NCCL version 2.18.5+cuda12.4\n"
    here = uses(1, "IB") + uses(2, "IB") + begun(1, 0, 2) + begun(2, 1, 2) + begun(1, 0, 2, word="COMPLETE")
    there = uses(3, "Socket") + uses(4, "Socket") + begun(3, 0, 2, "0xb") + begun(4, 1, 2, "0xb")
    there += begun(3, 0, 2, "0xb", "COMPLETE")
    done = begun(2, 1, 2, word="COMPLETE") + begun(4, 1, 2, "0xb", "COMPLETE")
    assert told(versions + here + there + done) == []
    joined = (versions + here + there).replace("0xb", "0xa")
    assert {identity for identity, _hosts, _severity in told(joined)} == {
        "nccl-networks-differ",
        "nccl-version-mismatch",
    }


def test_two_jobs_that_failed_for_two_reasons() -> None:
    log = begun(1, 0, 2) + begun(2, 1, 2) + begun(3, 0, 2, "0xb") + begun(4, 1, 2, "0xb")
    log += f"gpu2:1:9{WARN}Cuda failure 'out of memory'\ngpu4:1:9{WARN}socket failed : Too many open files\n"
    assert sorted(told(log)) == [("fd-limit", ("node4",), "fail"), ("mem-gpu-oom", ("node2",), "fail")]


def test_a_later_run_of_the_same_hosts_that_came_through() -> None:
    failed = (
        f"gpu1:1:9{WARN}Net : Connect to 10.0.0.12<5> failed : Connection refused\n" + begun(1, 0, 2) + begun(2, 1, 2)
    )
    good = begun(1, 0, 2, "0xb", "COMPLETE", 2) + begun(2, 1, 2, "0xb", "COMPLETE", 2)
    assert told(failed + good) == []
    assert told(good + failed) == [("nccl-system-error-first-collective", ("node2",), "fail")]


@pytest.mark.parametrize("wording", ["NET/IB : Got async event : port error",
                                     "NET/IB : mlx5_3:1 Got async event : port error",
                                     "NET/IB : mlx5_3:1 Got non-fatal async event: port error(10)"])  # fmt: skip
def test_a_port_that_flaps_is_named_and_not_its_peers(wording: str) -> None:
    late = "".join(
        f"gpu{host}:1:9{WARN}NET/IB : Got completion from peer 10.0.0.11<5> with error 12, opcode 2, vendor err 129\n"
        for host in (3, 4)
    )
    for log in (f"gpu1:1:9{WARN}{wording}\n{late}", f"{late}gpu1:1:9{WARN}{wording}\n"):
        assert told(log) == [("ib-retry-exceeded", ("node1",), "fail")]
        assert "port error" in findings(log)[0].evidence["node1"] and "cable" in findings(log)[0].remedy


def test_an_adapter_that_failed_itself_and_events_that_are_news() -> None:
    log = f"gpu3:1:9{WARN}NET/IB : mlx5_3:1 async fatal event: local catastrophic error\n"
    assert told(log) == [("ib-retry-exceeded", ("node3",), "fail")]
    assert "adapter" in findings(log)[0].cause
    news = (
        "Got async event : port active",
        "Got non-fatal async event: client reregistration(17)",
        "GID table changed",
    )
    assert told("".join(f"gpu1:1:9{WARN}NET/IB : mlx5_0:1 {each}\n" for each in news)) == []


def test_the_one_host_in_every_pair_is_the_bad_one() -> None:
    line = (
        "gpu{}:1:9" + WARN + "NET/IB: Got completion from peer 10.0.0.1{}<5> with status=12 opcode=1 vendor err 129\n"
    )
    assert told(line.format(1, 3) + line.format(2, 3) + line.format(3, 4)) == [
        ("ib-retry-exceeded", ("node3",), "fail")
    ]
    assert told(line.format(1, 3)) == [("ib-retry-exceeded", ("node1", "node3"), "fail")]
    assert told(line.format(1, 2) + line.format(3, 4)) == [("ib-retry-exceeded", tuple(NAMES), "fail")]


RETRY = "socketPollConnect: connect{} returned No route to host, retrying ({}/34) after sleep for 100 msec\n"


@pytest.mark.parametrize(
    ("lines", "hosts"),
    [
        ([RETRY.format("", 33), RETRY.format("", 34)], ("node2",)),
        ([RETRY.format(" to 10.0.0.13<5>", 20)], ("node3",)),
        (["Call to connect returned Connection timed out, retrying\n"] * 2, ("node2",)),
        ([RETRY.format("", 1), RETRY.format("", 2)], None),
        ([RETRY.format("", 9), "Channel 00/02 : 0 1\n"], None),
        (["Call to connect returned Connection refused, retrying\n"], None),
        (
            ["Call to ibv_modify_qp failed with 110 Connection timed out, x, retrying 1/7 after 100 msec of sleep\n"],
            None,
        ),
    ],
)
def test_retries_count_when_they_were_the_last_word(lines: list[str], hosts: tuple[str, ...] | None) -> None:
    log = "".join(f"gpu2:1:9{INFO}{line}" for line in lines)
    assert told(log) == ([("nccl-system-error-first-collective", hosts, "fail")] if hosts else [])
    assert told(log + begun(2, 1, 2, word="COMPLETE")) == []
    if hosts == ("node2",):
        assert "does not name the peer" in findings(log)[0].evidence["node2"]


CUDA = {
    "API call is not supported in the installed CUDA driver": "drv-too-old",
    "CUDA driver version is insufficient for CUDA runtime version": "drv-too-old",
    "system has unsupported display driver / cuda driver combination": "drv-nvml-mismatch",
    "system not yet initialized": "drv-fabricmanager",
    "out of memory": "mem-gpu-oom",
    "peer access is not supported between these two devices": "p2p-acs-iommu",
    "invalid device ordinal": "hostfile-slots-exceed-gpus",
    "uncorrectable ECC error encountered": "gpu-ecc",
    "uncorrectable NVLink error detected during the execution": "gpu-nvlink",
    "no CUDA-capable device is detected": "gpu-none-usable",
    "CUDA-capable device(s) is/are busy or unavailable": "gpu-compute-mode",
    "no kernel image is available for execution on the device": "ver-arch-unsupported",
    "CUDA driver is a stub library": "env-ldpath-cuda-clash",
    "unspecified launch failure": "nccl-system-error-first-collective",
    "operation not supported": "nccl-system-error-first-collective",
    "initialization error": "nccl-system-error-first-collective",
}


@pytest.mark.parametrize(("words", "identity"), CUDA.items())
def test_each_failure_of_cuda_by_its_words(words: str, identity: str) -> None:
    after = f"gpu2:1:9{WARN}Broadcast : invalid root 0\ngpu2:1:9{WARN}Cuda failure 'invalid device ordinal'\n"
    for form in (f"Cuda failure '{words}'", f"Cuda failure 99 '{words}'", f"Cuda failure x.cc:1 '{words}'"):
        assert told(f"gpu2:1:9{WARN}{form}\n{after}[rank1]: RuntimeError: NCCL error: unhandled cuda error\n") == [
            (identity, ("node2",), "fail")
        ]


def test_failures_of_cuda_have_causes_of_their_own() -> None:
    generic = [words for words, identity in CUDA.items() if identity == "nccl-system-error-first-collective"]
    assert len({findings(f"gpu2:1:9{WARN}Cuda failure '{words}'\n")[0].cause for words in generic}) == len(generic)
    assert told(f"gpu2:1:9{WARN}Cuda failure 802\n") == [("drv-fabricmanager", ("node2",), "fail")]


CARD = "NET/Socket : Using [0]eno1:10.0.0.1{0}<0> [1]{1}:169.254.3.1<0>\n"


def test_cards_that_no_other_node_reaches() -> None:
    log = "".join(f"gpu{host}:1:9{INFO}{CARD.format(host, name)}" for host, name in ((1, "enx02a"), (2, "enp0s20u1")))
    assert told(log) == [("nccl-ifname-auto-virtual", ("node1", "node2"), "warn")]
    log += f"gpu1:1:9{WARN}Net : Connect to 169.254.3.1<5> failed : Connection refused\n"
    assert told(log) == [("nccl-ifname-auto-virtual", ("node1", "node2"), "fail")]
    assert "enx02a" in findings(log)[0].evidence["node1"]
    one = f"gpu1:1:9{INFO}NET/Socket : Using [0]enx02a:10.0.0.11<0>\n"
    assert told(one) == []  # a network card on USB that has an address like any other
    cable = "".join(f"gpu{host}:1:9{INFO}NET/Socket : Using [0]enp1s0f0np0:169.254.3.{host}<0>\n" for host in (1, 2))
    assert told(cable) == []  # two nodes on one cable
    veth = f"gpu1:1:9{INFO}NET/Socket : Using [0]eno1:10.0.0.11<0> [1]veth1:fe80::1%veth1<0>\n"
    lost = f"gpu1:1:9{WARN}Connect to {{}}<5> failed : Connection timed out\n"
    assert told(veth + lost.format("fe80::2%7")) == [("nccl-ifname-auto-virtual", ("node1",), "fail")]  # the peer's
    assert ("nccl-system-error-first-collective", ("node2",), "fail") in told(veth + lost.format("10.0.0.12"))


@pytest.mark.parametrize(
    "prefix", ["gpu2: ", "[1,3]<stdout>:", "[default0]:", "3: ", "2026-11-30T02:11:11.1Z ", "[pod/worker-0/pytorch] ",
               '{"log":"', "\x1b[36m(Worker pid=3)\x1b[0m ", "Nov 30 02:11:11 lab train[3]: "]
)  # fmt: skip
def test_the_words_of_torch_are_those_of_the_host_with_the_same_prefix(prefix: str) -> None:
    log = f"{prefix}gpu2:1:9{INFO}Bootstrap : Using eth0:10.0.0.12<0>\ngpu1:1:9{INFO}cudaDriverVersion 12080\n"
    error = f"{prefix}RuntimeError: NCCL error in: x.cpp:1, unhandled system error, NCCL version 2.18.5\n"
    mine = prefix.strip() and not prefix.startswith("2026")
    assert told(log + error) == [("nccl-system-error-first-collective", ("node2",) if mine else (), "fail")]


def test_a_rank_in_brackets_is_the_host_that_began_as_that_rank() -> None:
    log = begun(1, 0, 2) + begun(2, 1, 2) + "[rank1]: torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to ...\n"
    assert told(log) == [("mem-gpu-oom", ("node2",), "fail")]


def test_a_prefix_of_somebody_else() -> None:
    log = "[misc/socket.cc:586] [gpu3:pid=3942408] NCCL WARN socketPollConnect poll() returned 1, no POLLOUT events\n"
    assert told(log) == [("nccl-system-error-first-collective", ("node3",), "fail")]
    assert told("gpu3: NCCL WARN Cuda failure 'system not yet initialized'\n") == [
        ("drv-fabricmanager", ("node3",), "fail")
    ]


def test_ranks_that_began_and_were_never_ready() -> None:
    log = begun(1, 0, 8) + begun(2, 4, 8)
    found = findings(log)[0]
    assert told(log) == [("nccl-init-incomplete", (), "warn")]
    assert "2 of 8 ranks began, none was ready" in found.evidence["/tmp/log"] and "unequal" not in found.cause
    assert told(log + begun(1, 0, 8, word="COMPLETE")) == []
    assert told(log + f"gpu1:1:9{INFO}Connected all rings\n") == []
    assert "unequal" in findings(begun(1, 0, 7) + begun(2, 4, 7))[0].cause


def test_ranks_that_hang_while_others_are_ready() -> None:
    starts = "".join(begun(1 + rank // 2, rank, 4, pid=1 + rank) for rank in range(4))
    log = starts + begun(1, 0, 4, word="COMPLETE") + begun(2, 2, 4, word="COMPLETE", pid=3)
    assert told(log) == [("nccl-init-incomplete", (), "warn")]
    assert "2 of 4 ranks began and were not ready: 1 (node1), 3 (node2)" in findings(log)[0].evidence["/tmp/log"]
    alive = "".join(f"gpu{1 + rank // 2}:{1 + rank}:9{INFO}Connected all rings\n" for rank in (1, 3))
    assert told(log + alive) == []  # their own line is lost
    assert told(log.replace(begun(2, 3, 4, pid=4), "")) == []  # nor is it known here who else was there
    assert told(log + f"gpu2:4:9{WARN}Cuda failure 'out of memory'\n") == [("mem-gpu-oom", ("node2",), "fail")]


@pytest.mark.parametrize("version", ["2.31.2", "2.27.6"])
def test_unequal_slots_of_a_hostfile_and_a_start_that_hangs(version: str) -> None:
    log = f"gpu1:1:9{INFO}NCCL version {version}+cuda13.0\n" + begun(1, 0, 15) + begun(2, 7, 15)
    found = findings(log, "gpu1 slots=7\ngpu2 slots=8\n")
    assert [(each.rule, each.hosts, each.severity) for each in found] == [("ds-unequal-slots-rank", ("node1",), "warn")]
    assert f"NCCL {version} this also hangs" in found[0].cause and "torchrun" not in found[0].remedy
    assert "2 of 15 ranks began, none was ready" in found[0].evidence["node1"]
    assert "torchrun" in findings("", "gpu1 slots=7\ngpu2 slots=8\n")[0].remedy


def test_the_version_on_the_nodes_is_enough() -> None:
    stack = {"node1": {"torch": {"version": "2.15.0", "nccl": "2.31.2", "cuda": "13.0"}}}
    assert "2.31.2" in findings("", "gpu1 slots=7\ngpu2 slots=8\n", stack=stack)[0].cause


def test_what_mig_makes_of_nccl_is_told_by_mig() -> None:
    log = f"gpu2:1:9{WARN}Cuda failure 'operation not supported'\n"
    gpus = {"node2": {"status": "ok", "gpus": [{"index": 0, "name": "A100-SXM4-80GB", "mig_mode": "Enabled"}]}}
    assert [each for each in told(log, gpu=gpus) if each[2] == "fail"] == [("gpu-mig", ("node2",), "fail")]


def of_files(files: dict[str, tuple[str, str]]) -> list[tuple[str, tuple[str, ...], str]]:
    """What is told of logs, one a node: {node: (path, text)}."""
    user = {name: {"files": [{"kind": "nccl_log", "path": path, "text": text}]} for name, (path, text) in files.items()}
    answers = engine.judge(Case(plan=PLAN, user=user), options.Options()).answers
    return [(each.rule, each.hosts, each.severity) for each in answers if isinstance(each, Finding)]


@pytest.mark.parametrize("path", ["/tmp/nccl.log", "/tmp/nccl.{}.log"])
def test_one_file_a_node_is_one_log(path: str) -> None:
    files = {f"node{host}": (path.format(host), uses(host, "IB" if host < 3 else "Socket")) for host in (1, 2, 3)}
    assert of_files(files) == [("nccl-networks-differ", ("node3",), "fail")]
    late = "NET/IB : Got completion from peer 10.0.0.12<5> with error 12, opcode 2, vendor err 129\n"
    texts = {1: late, 2: "NET/IB : Got async event : port error\n", 3: late}
    files = {f"node{host}": (path.format(host), f"gpu{host}:1:9{WARN}{text}") for host, text in texts.items()}
    assert of_files(files) == [("ib-retry-exceeded", ("node2",), "fail")]


def test_files_of_two_jobs_are_two_logs() -> None:
    jobs = {1: (1, "IB"), 2: (2, "IB"), 3: (3, "Socket")}
    texts = {key: uses(host, network) + uses(4, network) for key, (host, network) in jobs.items()}
    assert of_files({f"node{key}": (f"/tmp/{key}.log", text) for key, text in texts.items()}) == []


def test_what_a_rank_says_of_itself_comes_before_what_its_peers_say() -> None:
    refused = f"gpu1:1:9{WARN}Net : Connect to 10.0.0.12<5> failed : Connection refused\n"
    own = f"gpu2:1:9{WARN}Cuda failure 'out of memory'\n"
    assert told(refused + own) == [("mem-gpu-oom", ("node2",), "fail")]
    blocked = refused.replace("Connection refused", "No route to host")  # the end of a process does not close routes
    assert told(blocked + own) == [("nccl-system-error-first-collective", ("node2",), "fail")]
    assert told(f"gpu2:1:9{WARN}Cuda failure 'driver shutting down'\n{own}") == [("mem-gpu-oom", ("node2",), "fail")]


def test_a_connection_that_failed_without_a_word() -> None:
    back = ("misc/socket.cc:505 -> 2 (Operation now in progress)", "misc/socket.cc:621 -> 2", "bootstrap.cc:275 -> 2")
    silent = "".join(f"gpu2:1:9{INFO}{line}\n" for line in (*back, "init.cc:1493 -> 2"))
    assert told(silent) == [("nccl-system-error-first-collective", ("node2",), "fail")]
    assert told(silent + begun(2, 0, 1, word="COMPLETE")) == []
    assert told(silent.replace("init.cc", "ras/client.cc")) == []


def test_a_connection_that_is_tried_again() -> None:
    warned = f"gpu1:1:9{WARN}socketPollConnect poll() failed, error Connection timed out, connect to 10.0.0.12:39953\n"
    again = f"gpu1:1:9{INFO}socketPollConnect: connect returned Connection timed out, retrying (1/34) after sleep\n"
    assert told(warned + again) == []
    assert told(warned) == [("nccl-system-error-first-collective", ("node1",), "fail")]


@pytest.mark.parametrize(
    "words",
    [
        "[gpu2:405884] Signal: Segmentation fault (11)",
        "[gpu2:405884:0:296459] Caught signal 11 (Segmentation fault: address not mapped to object at address 0x48)",
    ],
)
def test_a_process_that_crashes(words: str) -> None:
    log = begun(1, 0, 2) + begun(2, 1, 2) + f"{words}\n"
    assert told(log) == [("nccl-internal-error-init", ("node2",), "fail")]
    first = f"gpu1:1:9{WARN}Cuda failure 2 'out of memory'\n"
    assert told(begun(1, 0, 2) + begun(2, 1, 2) + first + f"{words}\n") == [("mem-gpu-oom", ("node1",), "fail")]


def test_lines_that_name_the_machine_and_the_device_alone() -> None:
    log = "[2026-08-23 09:56:58] gpu2 [0] /app/src/transport/p2p.cc:256 NCCL WARN Cuda failure 'invalid argument'\n"
    assert told(log) == [("nccl-system-error-first-collective", ("node2",), "fail")]
