# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a kernel log says beyond Xid: every form of a line, every kind of event, and the lines that say nothing."""

from __future__ import annotations

import time
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.kernel_log import lines, parse, short

FAILED = "NVRM: GPU 0000:0a:00.0: RmInitAdapter failed! (0x24:0x72:1568)"
MINOR = "NVRM: GPU 0000:0a:00.0: rm_init_adapter failed, device minor number 5"


def one(text: str) -> dict[str, t.Any]:
    found = parse(text)
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(
    ("prefix", "host"),
    [
        ("", ""),
        ("[  885.242168] ", ""),
        ("<4>[  885.242168] ", ""),
        ("[  885.242168][ T1234] ", ""),
        ("[Sun Feb 23 16:24:18 2025] ", ""),
        ("[  +0.056775] ", ""),
        ("2025-02-23T16:24:18,123456+00:00 ", ""),
        ("kern  :err   : [  885.242168] ", ""),
        ("Dec  2 11:34:58 gpu4 kernel: [  885.242168] ", "gpu4"),
        ("Dec 02 11:34:58.123456 gpu4 kernel: ", "gpu4"),
        ("2025-02-23T16:24:18+0100 gpu4 kernel: ", "gpu4"),
        ("2025-02-23T16:24:18.123456+01:00 gpu4.lab kernel: [  885.2] ", "gpu4.lab"),
        ("[  885.242168] gpu4 kernel: ", "gpu4"),
        ("Mar 21 21:42:01 kernel: ", ""),
        ("[Mo Dez  2 11:34:58 2026] ", ""),
        ("[三 12月  2 11:34:58 2026] ", ""),
        ("Dez 02 11:34:58 gpu4 kernel: ", "gpu4"),
        ("déc. 02 11:34:58 gpu4 kernel: ", "gpu4"),
        ("12月 02 11:34:58 gpu4 kernel: ", "gpu4"),
        ("дек 02 11:34:58 gpu4 kernel: ", "gpu4"),
        ("2026 Dec  2 11:34:58 gpu4 kernel: ", "gpu4"),
        ("Mon 2026-12-02 11:34:58 UTC gpu4 kernel: ", "gpu4"),
        ("Mo 2026-12-02 11:34:58 CET gpu4 kernel[n/a]: ", "gpu4"),
        ("1733139298.123456 gpu4 kernel: ", "gpu4"),
        ("<4>1 2026-12-02T11:34:58.123456+01:00 gpu4 kernel - - - ", "gpu4"),
        ('<4>1 2026-12-02T11:34:58Z gpu4.lab kernel 0 x [origin ip="192.0.2.1"] ', "gpu4.lab"),
        ("gpu4: [  885.242168] ", "gpu4"),
        ("192.0.2.4: kern: warning: [2026-04-22T21:27:51.291660856Z]: ", "192.0.2.4"),
        ("\x1b[33m[  885.242168] \x1b[0m", ""),
    ],
)
def test_every_form_of_a_line(prefix: str, host: str) -> None:
    event = one(f"{prefix}{FAILED}\n{prefix}{MINOR}\n")
    assert (event["kind"], event["host"], event["device"]) == ("gpu_init_failed", host, "0000:0a:00.0")
    assert event["details"] == {"code": "0x24:0x72:1568", "minor": "5"} and "RmInitAdapter" in event["line"]


def test_the_words_of_other_programs_are_not_the_kernel_s() -> None:
    assert parse(f"Dec  2 11:34:58 gpu4 gpud[12]: {FAILED}\n") == []
    assert list(lines("")) == []


def test_hosts_boots_and_modules() -> None:
    text = f"Dec  2 11:34:58 gpu1 kernel: {FAILED}\nDec  2 11:34:58 gpu2 kernel: {FAILED}\n"
    assert [event["host"] for event in parse(text)] == ["gpu1", "gpu2"]
    assert [event["host"] for event in parse(text + "Dec  2 12:00:00 gpu1 kernel: Linux version 6.8.0\n")] == ["gpu2"]
    loaded = "Dec  2 12:00:00 gpu2 kernel: NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.127.05\n"
    assert [event["host"] for event in parse(text + loaded)] == ["gpu1"]
    assert one(f"[ 1.0] {FAILED}\n[ 2.0] {MINOR}\n[ 9.0] {FAILED}\n[ 10.0] {MINOR}\n")["count"] == 2


@pytest.mark.parametrize(
    ("text", "kind", "details"),
    [
        ("NVRM: RmInitAdapter failed! (0x27:0x38:1193)", "gpu_init_failed", {"code": "0x27:0x38:1193"}),
        ("NVRM: GPU0 _kgspRpcRecvPoll: GSP RM heartbeat timed out", "gsp_failed", {}),
        ("NVRM: Timeout waiting for RPC from GSP! Expected function 76", "gsp_failed", {}),
        ("NVRM: kgspWaitForRmInitDone: unexpected WPR2 already up, cannot proceed with booting GSP", "gsp_failed", {}),
        (
            "nvidia 0000:41:00.0: Direct firmware load for nvidia/550.54.14/gsp_ga10x.bin failed with error -2",
            "gsp_firmware_missing",
            {"file": "nvidia/550.54.14/gsp_ga10x.bin"},
        ),
        (
            "NVRM: API mismatch: the client has the version 550.54.15, but\nNVRM: this kernel module has the version "
            "535.161.08.  Please",
            "api_mismatch",
            {"client": "550.54.15", "module": "535.161.08"},
        ),
        (
            "NVRM: API mismatch: the client 'nvidia-smi' (pid 77)\nNVRM: has the version 595.84, but this kernel "
            "module has\nNVRM: the version 595.71.05.",
            "api_mismatch",
            {"client": "595.84", "module": "595.71.05"},
        ),
        ("NVRM: GPU 0000:01:00.0 is already bound to vfio-pci.", "driver_bound", {"driver": "vfio-pci"}),
        ("NVRM: GPU already bound to nouveau", "driver_bound", {"driver": "nouveau"}),
        ("nouveau 0000:01:00.0: NVIDIA GA102 (172000a1)", "nouveau", {}),
        ("Lockdown: modprobe: unsigned module loading is restricted; see man kernel_lockdown.7", "module_rejected", {}),
        ("nvidia: Loading of module with unavailable key is rejected", "module_rejected", {"module": "nvidia"}),
        ("nvidia_uvm: version magic '5.15.0-91' should be '5.15.0-92'", "module_mismatch", {"module": "nvidia_uvm"}),
        (
            "nvidia_peermem: Unknown symbol ib_register_peer_memory_client (err -22)",
            "peermem",
            {"module": "nvidia_peermem"},
        ),
        (
            "python3[4711]: segfault at 0 ip 00007f1d sp 00007ffd error 4 in libnccl.so.2.18.5[7f1d+c6a0000]",
            "crashed",
            {"victim": "python3", "pid": "4711", "what": "segfault", "library": "libnccl.so.2.18.5"},
        ),
        (
            "traps: pt_main_thread[4711] general protection fault ip:7f sp:7f error:0 in libcuda.so.550.54.15[7f+1]",
            "crashed",
            {"victim": "pt_main_thread", "pid": "4711", "what": "general protection fault",
             "library": "libcuda.so.550.54.15"},
        ),
        (
            "traps: python[4711] trap invalid opcode ip:7f1d sp:7ffd error:0 in cpu_adam.so[7f1d+1000]",
            "crashed",
            {"victim": "python", "pid": "4711", "what": "trap invalid opcode", "library": "cpu_adam.so"},
        ),
        (
            "nvidia 0000:3b:00.0: PCIe Bus Error: severity=Uncorrected (Fatal), type=Transaction Layer, (Requester ID)",
            "pcie_error",
            {"driver": "nvidia", "severity": "Uncorrected (Fatal)"},
        ),
        ("EDAC MC0: 3 UE memory read error on CPU_SrcID#0_Channel#1_DIMM#0", "hardware_error",
         {"severity": "UE", "what": "memory read error on CPU_SrcID#0_Channel#1_DIMM#0"}),
        ("{1}[Hardware Error]: event severity: fatal", "hardware_error", {"severity": "fatal"}),
        ("mlx5_core 0000:41:00.0: poll_health:852:(pid 0): device's health compromised - reached miss count",
         "nic_failed", {"what": "device's health compromised"}),
        ("mlx5_core 0000:41:00.0: Port module event[error]: module 0, Cable error, High Temperature", "nic_module",
         {"what": "module 0, Cable error, High Temperature"}),
        ("mlx5_core 0000:9f:00.0: temp_warn:215:(pid 0): High temperature on sensors with bit set 0 1", "nic_hot",
         {"what": "High temperature on sensors"}),
        ("mlx5_core 0000:9f:00.0: mlx5_fw_fatal_reporter_err_work:700:(pid 1): handling bad device here",
         "nic_failed", {"what": "handling bad device here"}),
        ("bnxt_en 0000:9f:00.0: QPLIB: cmdq[0x1c2]=0x9 timedout (20000 msec)", "nic_failed",
         {"what": "cmdq[0x1c2]=0x9 timedout"}),
        ("NETDEV WATCHDOG: eno1 (bnxt_en): transmit queue 3 timed out", "nic_failed",
         {"driver": "bnxt_en", "what": "transmit queue 3 timed out"}),
        ("ionic 0000:22:04.0 eth4: NETDEV WATCHDOG: CPU: 3: transmit queue 0 timed out 5010 ms", "nic_failed",
         {"driver": "ionic", "what": "transmit queue 0 timed out"}),
        ("irdma 0000:01:00.0 rocep1s0: HMC Error", "nic_failed", {"what": "HMC Error"}),
        ("mlx5_core 0000:9c:00.0 ens1f0np0: Link down", "link_down", {"driver": "mlx5_core"}),
        ("igb 0000:01:00.0 eno1: igb: eno1 NIC Link is Down", "link_down", {"driver": "igb"}),
        ("nf_conntrack: nf_conntrack: table full, dropping packet", "table_full", {"what": "nf_conntrack"}),
        ("neighbour: arp_cache: neighbor table overflow!", "table_full", {"what": "neighbour"}),
        ("EXT4-fs (sda2): Remounting filesystem read-only", "disk_read_only", {}),
        ("blk_update_request: I/O error, dev sda, sector 123", "disk_error", {}),
        ("nvme nvme0: I/O 123 QID 4 timeout, aborting", "disk_error", {}),
        ("XFS (dm-0): metadata I/O error in xfs_buf_ioend", "disk_error", {}),
        ("nfs: server nas not responding, still trying", "nfs_silent", {}),
        ("CPU12: Package temperature above threshold, cpu clock throttled", "cpu_hot", {}),
    ],
)  # fmt: skip
def test_every_kind(text: str, kind: str, details: dict[str, str]) -> None:
    event = one("".join(f"[   17.400021] {line}\n" for line in text.split("\n")))
    assert (event["kind"], event["details"]) == (kind, details)


@pytest.mark.parametrize(
    "text",
    [
        "nvidia: module verification failed: signature and/or required key missing - tainting kernel",
        "nvidia-peermem nv_get_p2p_free_callback:127 ERROR detected invalid context, skipping further processing",
        "NVRM: Xid (PCI:0000:9b:00): 119, Timeout after 6s of waiting for RPC response from GPU4 GSP! Expected 76",
        "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.127.05  Tue Oct  8 03:22:07 UTC 2024",
        "mlx5_core 0000:01:00.0: mlx5_pcie_event:326:(pid 165): Detected insufficient power on the PCIe slot (27W).",
        "mlx5_core 0000:41:00.0: print_health_info:458:(pid 0): synd 0x0: unrecognized error",
        "XFS (sda1): Mounting V5 Filesystem",
        "EXT4-fs (sda2): mounted filesystem with ordered data mode",
        "blk_update_request: I/O error, dev sr0, sector 0",
        "{1}[Hardware Error]: event severity: info",
        "DMAR: IOMMU enabled",
        "oom_reaper: reaped process 4711 (python3), now anon-rss:0kB",
        "nvme nvme0: 64/0/0 default/read/poll queues",
        "mlx5_core 0000:9c:00.0 ens1f0np0: Link up",
    ],
)
def test_lines_that_say_nothing_bad(text: str) -> None:
    assert parse(f"[   17.400021] {text}\n") == []


KILL = "Killed process 4711 (python3) total-vm:98304000kB, anon-rss:64000000kB, file-rss:0kB, UID:1000 pgtables:1kB"


@pytest.mark.parametrize(
    ("text", "details"),
    [
        (
            "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=a,mems_allowed=0-1,oom_memcg=/docker/a,"
            f"task_memcg=/docker/a,task=python3,pid=4711,uid=1000\nMemory cgroup out of memory: {KILL}",
            {"constraint": "CONSTRAINT_MEMCG", "cgroup": "/docker/a", "uid": "1000", "rss_kb": "64000000"},
        ),
        (
            "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,"
            f"task_memcg=/user.slice,task=python3,pid=4711,uid=1000\nOut of memory: {KILL}",
            {"constraint": "CONSTRAINT_NONE", "uid": "1000"},
        ),
        (
            "Task in /docker/a killed as a result of limit of /docker/a\n"
            "Memory cgroup out of memory: Kill process 4711 (python3) score 1000 or sacrifice child",
            {"cgroup": "/docker/a"},
        ),
        ("Out of memory: Kill process 4711 (python3) score 900 or sacrifice child", {"what": "Out of memory"}),
    ],
)
def test_the_lines_of_one_kill_are_one_event(text: str, details: dict[str, str]) -> None:
    event = one("".join(f"[  100.25] {line}\n" for line in text.split("\n")))
    assert (event["kind"], event["count"]) == ("out_of_memory", 1)
    assert {"victim": "python3", "pid": "4711", **details}.items() <= event["details"].items()
    again = parse("".join(f"[  100.25] {line}\n" for line in (text + "\n" + text.replace("4711", "9")).split("\n")))
    assert [each["details"]["pid"] for each in again] == ["4711", "9"]


@pytest.mark.parametrize(
    ("trace", "about"),
    [("os_acquire_rwlock_read+0x30/0x60 [nvidia]", "nvidia"), ("nfs_wait_bit_killable+0x1e [nfs]", "nfs"),
     ("io_schedule+0x46/0x80", "disk"), ("futex_wait_queue+0x60", "")],
)  # fmt: skip
def test_what_a_process_waits_for(trace: str, about: str) -> None:
    text = f"[ 1.0] INFO: task python3:4711 blocked for more than 120 seconds.\n[ 1.0] Call Trace:\n[ 1.0]  {trace}\n"
    assert one(text)["details"] == {"victim": "python3", "pid": "4711", "seconds": "120", "trace": about}


def test_whose_device_it_is() -> None:
    fault = "DMAR: [DMA Read] Request device [3b:00.0] fault addr 7f000000 [fault reason 06] PTE Read access is not set"
    assert one(f"[ 1.0] nvidia 0000:3b:00.0: enabling device\n[ 2.0] {fault}\n")["owner"] == "nvidia"
    assert one(f"[ 2.0] {fault}\n")["owner"] is None
    assert short("00000000:3b:00.0") == short("0000:3b:00") == short("3b:00.0") == "3b:00.0"


def test_a_server_that_came_back() -> None:
    assert parse("[ 1.0] nfs: server nas not responding, still trying\n[ 2.0] nfs: server nas OK\n") == []


@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    for event in parse(text):
        assert {"kind", "host", "device", "owner", "count", "line", "details"} <= set(event)


def test_floods_are_read_in_time() -> None:
    start = time.monotonic()
    for line in ("NVRM: " + "x" * 200, "error " * 40, "nvidia 0000:01:00.0: " + "PCIe Bus " * 20, "EXT4-fs (" * 30):
        parse(f"[ 1.0] {line}\n" * 4000)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    "head",
    [
        "{} | CHANGED | rc=0 >>",
        "{} | SUCCESS | rc=0 (stdout) >>",
        "ok: [{}] => {{",
        "----------------\n{}\n----------------",
    ],
)
def test_the_logs_of_several_machines_under_their_names(head: str) -> None:
    failed = "[  885.2] NVRM: GPU 0000:0a:00.0: RmInitAdapter failed! (0x24:0x72:1568)"
    text = f"{head.format('gpu1')}\n[    1.0] Linux version 6.8.0\n{head.format('gpu2')}\n{failed}\n[  886.0] ok\n"
    assert [(event["kind"], event["host"]) for event in parse(text)] == [("gpu_init_failed", "gpu2")]
    named = failed.replace("[  885.2]", "Dec  2 11:34:58 gpu3 kernel:")
    assert [event["host"] for event in parse(f"{head.format('gpu2')}\n{named}\n")] == ["gpu3"]


def test_indented_lines_under_a_name_are_of_it() -> None:
    text = "gpu1:\n    [    1.0] ok\ngpu2:\n    [    2.0] NVRM: BAR1 is 0M @ 0x0 (PCI:0000:01:00.0)\n"
    assert [event["host"] for event in parse(text)] == ["gpu2"]
    assert [line.host for line in lines("[1.0] a\nCode:\n[1.0] b\n")] == ["", "", ""]


def test_a_facility_between_machine_and_program() -> None:
    (line,) = lines("2026-01-02T03:04:05Z gpu2 kern.warn kernel: x")
    assert line.host == "gpu2"
