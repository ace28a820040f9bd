# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on kernel logs: exact ids, hosts and severities, for logs of users and for the nodes' own."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import kernel_log as kernel
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu import xid
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import REGISTRY, Case, Finding
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import (
    gpu,
    gpu_health,
    host_memory,
    kernel_driver,
    kernel_host,
    rdma,
)
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import gpu_case

MODULES = (gpu, gpu_health, host_memory, kernel_driver, kernel_host, rdma)
PLAN = {
    "order": ["node1", "node2"],
    "nodes": {
        f"node{number}": {"name": f"node{number}", "address": f"10.0.0.1{number}", "hostname": f"gpu{number}"}
        for number in (1, 2)
    },
}


def lines(text: str, prefix: str = "[  885.25] ") -> str:
    return "".join(f"{prefix}{line}\n" for line in text.split("\n"))


def findings(case: Case) -> list[Finding]:
    names = {module.__name__ for module in MODULES}
    ours = [rule for rule in REGISTRY if rule.judge.__module__ in names]
    found = engine.merged((answer for rule in ours for answer in rule.judge(case)), case.order)
    return [answer for answer in found if isinstance(answer, Finding)]


def given(text: str, holder: str = "node1", **more: t.Any) -> Case:
    file = {"kind": "kernel_log", "path": "/tmp/dmesg", "text": text}
    return Case(plan=PLAN, user={holder: {"files": [file], **more}})


def told(case: Case) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(each.rule, each.severity, each.hosts) for each in findings(case)]


FAILED = "NVRM: GPU 0000:0a:00.0: RmInitAdapter failed! (0x24:0x72:1568)\n"
FAILED += "NVRM: GPU 0000:0a:00.0: rm_init_adapter failed, device minor number 5"
OPCODE = "traps: python[7] trap invalid opcode ip:7f sp:7f error:0 in cpu_adam.so[7f+1000]"
SEGFAULT = "{}[7]: segfault at 0 ip 00007f sp 00007f error 4 in {}[7f+1000]"
HUNG = "INFO: task python3:7 blocked for more than 120 seconds.\nCall Trace:\n {}"
DMAR = "nvidia 0000:3b:00.0: enabling\nDMAR: [DMA Read] Request device [{}] fault addr 7f [fault reason 06] PTE Read"


@pytest.mark.parametrize(
    ("text", "identity", "severity", "words"),
    [
        (FAILED, "gpu-lost-from-bus", "fail", "power cycle"),
        ("NVRM: GPU0 _kgspRpcRecvPoll: GSP RM heartbeat timed out", "gpu-gsp", "fail", "--gpu-reset"),
        ("nvidia 0000:41:00.0: firmware: failed to load nvidia/550.54.14/gsp_ga10x.bin (-2)", "gpu-gsp", "fail",
         "gsp_*.bin"),
        ("NVRM: installed in this system requires use of the NVIDIA open kernel modules.", "gpu-none-usable", "fail",
         "nvidia-open"),
        ("NVRM: BAR1 is 0M @ 0x0 (PCI:0000:01:00.0)", "gpu-none-usable", "fail", "Above 4G"),
        ("NVRM: API mismatch: the client has the version 550.54.15, but\nNVRM: this kernel module has the version "
         "535.161.08.", "drv-nvml-mismatch", "fail", "Reboot"),
        ("NVRM: GPU 0000:01:00.0 is already bound to vfio-pci.", "gpu-bound-elsewhere", "fail", "vfio-pci"),
        ("NVRM: GPU 0000:01:00.0 is already bound to nouveau.", "gpu-nouveau", "fail", "blacklist"),
        ("nvidia: loading out-of-tree module\nLockdown: modprobe: unsigned module loading is restricted",
         "gpu-driver-not-loaded", "fail", "mokutil"),
        ("nvidia: version magic '5.15.0-91' should be '5.15.0-92'", "gpu-driver-not-loaded", "fail", "dkms"),
        ("nvidia_peermem: Unknown symbol ib_register_peer_memory_client (err -22)", "gdr-unavailable", "warn", "dkms"),
        (SEGFAULT.format("python3", "libnccl.so.2.18.5"), "job-process-crashed", "warn", "LD_PRELOAD"),
        (SEGFAULT.format("train", "libcuda.so.550.54.15"), "job-process-crashed", "warn", "nvidia-smi"),
        (SEGFAULT.format("myapp", "libibverbs.so.1"), "job-process-crashed", "warn", "rdma-core"),
        (OPCODE, "job-process-crashed", "warn", "TORCH_EXTENSIONS_DIR"),
        (HUNG.format("os_acquire_rwlock_read+0x30 [nvidia]"), "gpu-hung", "warn", "nvidia-smi"),
        (HUNG.format("nfs_wait_bit_killable+0x1e [nfs]"), "host-task-hung", "warn", "mount"),
        ("nvidia 0000:3b:00.0: PCIe Bus Error: severity=Uncorrected (Fatal), type=x", "pcie-errors", "fail", "lspci"),
        (DMAR.format("3b:00.0"), "p2p-acs-iommu", "fail", "iommu=pt"),
        ("EDAC MC0: 1 UE memory read error on DIMM#0", "host-hardware-errors", "fail", "ras-mc-ctl"),
        ("EDAC MC0: 500 CE memory read error on DIMM#0", "host-hardware-errors", "warn", "ras-mc-ctl"),
        ("CPU1: Core temperature above threshold, cpu clock throttled", "host-cpu-throttled", "warn", "ipmitool"),
        ("mlx5_core 0000:41:00.0: device's health compromised - reached miss count", "nic-failing", "fail", "firmware"),
        ("mlx5_core 0000:41:00.0: Port module event[error]: module 0, Cable error", "nic-failing", "warn", "mlxlink"),
        (
            "infiniband efa_0: Failed to process command REG_MR (opcode 7) comp_status 1 err -12\n"
            "infiniband efa_0: Failed to register mr [-12]",
            "rdma-memory-full",
            "fail",
            "vm.nr_hugepages",
        ),
        ("efa 0000:10:1b.0 rdmap16s27: Failed to register mr [-12]", "rdma-memory-full", "fail", "rdma resource"),
        ("infiniband rdmap0s6: Failed to create qp [-12]", "rdma-memory-full", "fail", "NCCL_MAX_NCHANNELS"),
        (
            "mlx5_core 0000:41:00.0: mlx5_cmd_out_err:808:(pid 7): CREATE_MKEY(0x200) op_mod(0x0) failed, status "
            "limits exceeded(0x8), syndrome (0x59c8a4), err(-12)",
            "rdma-memory-full",
            "fail",
            "driver",
        ),
        (
            "infiniband efa_1: The device didn't send any completion for admin cmd REG_MR(7) status 0 (id: 1)",
            "nic-failing",
            "fail",
            "Stop and start the instance",
        ),
        ("ena 0000:00:05.0 ens5: Keep alive watchdog timeout.", "nic-failing", "warn", "ethtool -i 0000:00:05.0"),
        ("ens5: The number of lost tx completions is above the threshold (361 > 128). Reset the device", "nic-failing",
         "warn", "ethtool -i ens5"),
        ("ena 0000:00:05.0 ens5: [1/2] Lost TX completions are above threshold (129 > 128)", "nic-failing", "warn",
         "cloud"),
        ("ena 0000:00:05.0: Reset attempt failed. Can not reset the device", "nic-failing", "fail", "Stop and start"),
        ("gvnic 0000:00:04.0: Performing reset", "nic-failing", "warn", "0000:00:04.0"),
        ("gve 0000:00:04.0: Reset failed! !!! DISABLING ALL QUEUES !!!", "nic-failing", "fail", "Stop and start"),
        ("mana 7870:00:00.0: HWC: Request timed out!", "nic-failing", "fail", "Stop and start"),
        ("mana 7870:00:00.0: Command 0x20001 timed out: 15000 ms", "nic-failing", "fail", "Stop and start"),
        ("mana 7870:00:00.0: Recv MANA service type:135", "nic-failing", "warn", "maintains"),
        (
            "hv_netvsc 00224802-beea-0022-4802-beea00224802 eth0: Data path switched from VF: enP30832s1",
            "nic-failing",
            "warn",
            "ethtool -i eth0",
        ),
        ("PID 77 killed due to inadequate hugepage pool", "mem-huge-pages", "fail", "FI_EFA_USE_HUGE_PAGE=0"),
        ("\n".join(["mlx5_core 0000:9c:00.0 ens1: Link down"] * 12), "net-flaky-interface", "warn", "cable"),
        ("nf_conntrack: nf_conntrack: table full, dropping packet", "net-table-full", "warn", "nf_conntrack_max"),
        ("neighbour: arp_cache: neighbor table overflow!", "net-table-full", "warn", "gc_thresh3"),
        ("I/O error, dev nvme0n1, sector 9 op 0x0:(READ)", "disk-failing", "warn", "smartctl"),
        ("EXT4-fs (sda2): Remounting filesystem read-only", "disk-failing", "fail", "fsck"),
        ("nfs: server nas not responding, still trying", "nfs-not-responding", "warn", "showmount"),
        ("NVRM: nvAssertOkFailedNoLog: Assertion failed: Reset required [NV_ERR_RESET_REQUIRED] (0x00000062) returned",
         "gpu-recovery", "fail", "--gpu-reset"),
        ("NVRM: GPU0 krcWatchdog_IMPL: RC watchdog: GPU is probably locked!  Notify Timeout Seconds: 7", "gpu-hung",
         "warn", "nvidia-smi"),
        (FAILED.replace("0x24:0x72", "0x62:0x51"), "gpu-lost-from-bus", "fail", "free -g"),
        ("nvidia 0000:03:00.0: AER: can't recover (no error_detected callback)", "pcie-errors", "warn", "lspci"),
        ("\n".join(["mlx5_core 0000:03:00.0: PCIe Bus Error: severity=Correctable, type=Data Link Layer"] * 120),
         "pcie-errors", "warn", "lspci"),
        ("efa: Unknown symbol ib_register_device (err -22)", "rdma-module-mismatch", "warn", "dkms"),
        ("mlx5_ib: disagrees about version of symbol ib_alloc_device", "rdma-module-mismatch", "warn", "dkms"),
        ("VFS: file-max limit 1000000 reached", "fd-limit", "warn", "fs.file-max"),
        ("NVRM: Xid (PCI:0018:01:00): 145, RLW_RXPIPE Nonfatal XC0 i0 Link 13 (0x1)", "gpu-xid", "warn", "Watch"),
        ("NVRM: Xid (PCI:0018:01:00): 149, NETIR_LINK_EVT Fatal XC0 i0 Link 00 (0x1)", "gpu-xid", "fail", "NVSwitch"),
        ("NVRM: Xid (PCI:0000:01:00): 154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)",
         "gpu-xid", "fail", "--gpu-reset"),
        ("NVRM: Xid (PCI:0000:01:00): 154, pid=5, GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot "
         "Required)", "gpu-xid", "fail", "Reboot the node"),
        ("NVRM: Xid (PCI:0000:01:00): 154, GPU recovery action changed from 0x0 (None) to 0x3 (Drain P2P)", "gpu-xid",
         "fail", "End all jobs"),
        ("nvidia-nvswitch3: SXid (PCI:0000:04:00.0): 20034, Fatal, Link 30 LTSSM Fault Up\nnvidia-nvswitch3: SXid "
         "(PCI:0000:04:00.0): 20034, Severity 1 Engine instance 30\nnvidia-nvswitch3: SXid (PCI:0000:04:00.0): 20034, "
         "Data {0x00000001, 0x00000002}", "gpu-xid", "fail", "NVSwitch"),
    ],
)  # fmt: skip
def test_a_log_that_was_handed_in(text: str, identity: str, severity: str, words: str) -> None:
    assert told(given(lines(text))) == [(identity, severity, ("node1",))]
    assert told(given(lines(text, "Dec  2 11:34:58 gpu2 kernel: "))) == [(identity, severity, ("node2",))]
    assert words in findings(given(lines(text)))[0].remedy
    other = findings(given(lines(text, "Dec  2 11:34:58 else kernel: ")))[0]
    assert other.hosts == () and list(other.evidence) == ["else"]


@pytest.mark.parametrize(
    "text",
    [
        SEGFAULT.format("gnome-shell", "libgjs.so"),
        "nvidia 0000:3b:00.0: PCIe Bus Error: severity=Corrected, type=Physical Layer",
        DMAR.format("00:14.0"),
        "EDAC MC0: 1 CE memory read error on DIMM#0",
        "mlx5_core 0000:9c:00.0 ens1: Link down",
        "Lockdown: modprobe: unsigned module loading is restricted",
        "snd_hda_intel 0000:03:00.1: AER: can't recover (no error_detected callback)",
        "mlx5_core 0000:5c:00.0: mlx5_pcie_event:299:(pid 11): Detected insufficient power on the PCIe slot (27W).",
        "mlx5_core 0000:5c:00.0: mlx5_cmd_out_err:838:(pid 1): ACCESS_REG(0x805) op_mod(0x0) failed, status bad",
        "NVRM: knvlinkDiscoverPostRxDetLinks_GH100: Getting peer0's postRxDetLinkMask failed!",
        "NVRM: nvCheckOkFailedNoLog: Check failed: Out of memory [NV_ERR_NO_MEMORY] (0x00000051) returned",
        "NVRM: kceIsGenXorHigherSupported_GH100: Could not get root gen speed - check for GPU gen speed!",
        "ena 0000:00:05.0: Device reset completed successfully, Driver info: Elastic Network Adapter (ENA) v2.13.0g",
        "efa 0000:10:1b.0: Setup irq:1000 name:efa-mgmnt@pci:0000:10:1b.0",
        "efa 0000:10:1b.0 rdmap16s27: Failed to process command CREATE_AH (opcode 9) comp_status 2 err -22",
        "gve 0000:00:04.0: GVE queue format 3",
        "mana 7870:00:00.0 enP30832s1: Enable MANA",
        "hv_netvsc 00224802-beea-0022-4802-beea00224802 eth0: Data path switched to VF: enP30832s1",
        "nvidia-peermem nv_get_p2p_free_callback:127 ERROR detected invalid context, skipping further processing",
        "",
    ],
)
def test_what_no_one_is_accused_of(text: str) -> None:
    assert told(given(lines(text))) == []


HEALTHY = "[    1.0] Linux version 6.8.0"
BROKEN = (
    "[  885.2] NVRM: Xid (PCI:0000:9b:00): 48, pid=1, DBE (double bit error)\n[  886.1] mlx5_core 0000:41:00.0: FW is "
)
BROKEN += "unable to respond"


@pytest.mark.parametrize(
    "text",
    [
        f"gpu1: {HEALTHY}\n" + "".join(f"gpu2: {line}\n" for line in BROKEN.split("\n")),
        f"------\ngpu1 (1)\n------\n{HEALTHY}\n------\ngpu2 (1)\n------\n{BROKEN}\n",
        f"gpu1 | CHANGED | rc=0 >>\n{HEALTHY}\ngpu2 | CHANGED | rc=0 >>\n{BROKEN}\n",
        "gpu2 | CHANGED | rc=0 | (stdout) " + BROKEN.replace("\n", "\\n") + "\n",
        f"[1] 15:04:05 [SUCCESS] gpu1\n{HEALTHY}\n[2] 15:04:06 [SUCCESS] gpu2\n{BROKEN}\n",
        f"# gpu1\n{HEALTHY}\n# gpu2\n{BROKEN}\n",
        f"==> dmesg-gpu1.txt <==\n{HEALTHY}\n\n==> dmesg-gpu2.txt <==\n{BROKEN}\n",
    ],
)
def test_the_kernel_logs_of_all_nodes_in_one_file(text: str) -> None:
    assert set(told(given(text))) == {("gpu-xid", "fail", ("node2",)), ("nic-failing", "fail", ("node2",))}


def test_nodes_with_one_answer() -> None:
    text = f"---------------\ngpu[1-2] (2)\n---------------\n{BROKEN}\n"
    assert set(told(given(text))) == {(one, "fail", ("node1", "node2")) for one in ("gpu-xid", "nic-failing")}


def test_xids_of_a_log_and_the_same_in_plain_words() -> None:
    text = "NVRM: Xid (PCI:0000:9b:00): 79, pid=1, GPU has fallen off the bus.\n"
    text += "NVRM: GPU 0000:9b:00.0: GPU has fallen off the bus."
    assert told(given(lines(text))) == [("gpu-xid", "fail", ("node1",))]
    text = "NVRM: Xid (PCI:0000:9b:00): 119, Timeout after 6s of waiting for RPC response from GPU4 GSP!\n"
    text += "NVRM: GPU4 _kgspRpcRecvPoll: GSP RM heartbeat timed out"
    assert told(given(lines(text))) == [("gpu-xid", "fail", ("node1",))]
    text = "nvidia 0000:9b:00.0: Unable to change power state from D3cold to D0, device inaccessible"
    assert told(given(lines(text))) == [("gpu-xid", "fail", ("node1",))]


ACTION = "NVRM: Xid (PCI:0000:9b:00): 154, GPU recovery action changed from 0x{} to 0x{}"


def test_the_last_word_on_how_to_recover_a_gpu_counts() -> None:
    asked, done = ACTION.format("0 (None)", "1 (GPU Reset Required)"), ACTION.format("1 (GPU Reset)", "0 (None)")
    text = f"{asked}\n{done}"
    assert told(given(lines(text))) == [("gpu-xid", "info", ("node1",))]
    other = ACTION.format("0 (None)", "2 (Node Reboot Required)").replace("9b", "1b")
    assert told(given(lines(f"{text}\n{other}"))) == [("gpu-xid", "info", ("node1",)), ("gpu-xid", "fail", ("node1",))]
    reset = "NVRM: x: Reset required [NV_ERR_RESET_REQUIRED] (0x00000062) returned"
    assert told(given(lines(f"{reset}\n{other}"))) == [("gpu-xid", "fail", ("node1",))]


def test_what_nvidia_smi_tells_of_a_recovery_now_goes_before_the_log() -> None:
    log = lines(ACTION.format("0 (None)", "1 (GPU Reset Required)"))
    case = live(log)
    gpu = case.gpu["node2"]["gpus"][0]
    case.gpu["node2"]["xids"][0]["bus_id"] = gpu["pci_bus_id"]
    assert told(case) == [("gpu-xid", "fail", ("node2",))]
    gpu["recovery_action"] = "None"
    assert told(case) == []
    gpu["recovery_action"] = "Reset"
    assert told(case) == [("gpu-recovery", "fail", ("node2",))]


def test_links_that_a_program_besides_the_kernel_saw_go() -> None:
    line = "Aug 17 06:18:01 gpu2 systemd-networkd[5398]: {}: lost carrier\n"
    assert told(given(line.format("ib6") * 12)) == [("net-flaky-interface", "warn", ("node2",))]
    assert told(given(line.format("ib6") * 2)) == []
    assert told(given(line.format("veth1a2b") * 40)) == []


def test_a_module_that_was_loaded_after_all_is_no_fault() -> None:
    text = lines("mlx5_ib: Unknown symbol ib_alloc_device (err -2)")
    assert told(live(text)) == []
    case = live(text)
    case.fabric["node2"]["rdma"]["devices"] = []
    assert told(case) == [("rdma-module-mismatch", "warn", ("node2",))]


def test_one_text_on_two_nodes_is_of_none_of_them() -> None:
    file = {"kind": "kernel_log", "path": "/shared/dmesg", "text": lines(FAILED)}
    found = findings(Case(plan=PLAN, user={name: {"files": [file]} for name in ("node1", "node2")}))
    assert [(each.rule, each.hosts) for each in found] == [("gpu-lost-from-bus", ())]
    named = {**file, "text": lines(FAILED, "Dec  2 11:34:58 gpu2 kernel: ")}
    assert told(Case(plan=PLAN, user={name: {"files": [named]} for name in ("node1", "node2")})) == [
        ("gpu-lost-from-bus", "fail", ("node2",))
    ]


KILL = "oom-kill:constraint={},nodemask=(null),cpuset=a,mems_allowed=0{},task_memcg=/a,task={},pid=7,uid=1000"
GROUP = ",oom_memcg={}"


@pytest.mark.parametrize(
    ("constraint", "group", "victim", "severity", "words"),
    [
        ("CONSTRAINT_NONE", "", "python3", "fail", "Fewer data loader workers"),
        ("CONSTRAINT_NONE", "", "java", "warn", "Fewer data loader workers"),
        ("CONSTRAINT_MEMCG", "/docker/a", "pt_main_thread", "fail", "docker update"),
        ("CONSTRAINT_MEMCG", "/kubepods.slice/pod7", "python", "fail", "resources.limits.memory"),
        ("CONSTRAINT_MEMCG", "/slurm/uid_1000/job_33", "python", "fail", "--mem"),
        ("CONSTRAINT_MEMCG", "/user.slice/user-1000.slice", "python", "fail", "MemoryMax"),
        ("CONSTRAINT_MEMCG", "/system.slice/db.service", "postgres", "info", "MemoryMax"),
        ("CONSTRAINT_MEMORY_POLICY", "", "python", "fail", "numactl"),
    ],
)
def test_whose_memory_ran_out(constraint: str, group: str, victim: str, severity: str, words: str) -> None:
    text = lines(KILL.format(constraint, GROUP.format(group) if group else "", victim))
    assert told(given(text)) == [("mem-host-oom", severity, ("node1",))]
    found = findings(given(text))[0]
    assert words in found.remedy and f"{victim} of uid 1000" in found.evidence["node1"]


def live(text: str) -> Case:
    """A healthy case whose node2 has read this log itself."""
    case = gpu_case()
    events = [{**event, "time": None} for event in kernel.parse(text)]
    driver = [event for event in events if event["kind"] in kernel.OF_DRIVER]
    case.gpu["node2"]["kernel_events"] = driver
    case.gpu["node2"]["xids"] = list(xid.parse(text).events)
    case.user["node2"]["kernel_events"] = [event for event in events if event not in driver]
    case.fabric["node2"]["container"] = None
    return case


def test_a_node_s_own_log() -> None:
    assert told(live("")) == []
    assert told(live(lines(FAILED))) == [("gpu-lost-from-bus", "fail", ("node2",))]
    address = gpu_case().gpu["node2"]["gpus"][0]["pci_bus_id"][4:]
    assert told(live(lines(FAILED.replace("0000:0a:00.0", address)))) == [("gpu-lost-from-bus", "warn", ("node2",))]
    assert told(live(lines("NVRM: GPU0 _kgspRpcRecvPoll: GSP RM heartbeat timed out"))) == [
        ("gpu-gsp", "warn", ("node2",))
    ]
    assert told(live(lines(KILL.format("CONSTRAINT_NONE", "", "python3")))) == [("mem-host-oom", "warn", ("node2",))]


def test_what_the_status_tells_is_not_told_twice() -> None:
    case = live(lines(FAILED))
    case.gpu["node2"].update(status="gpu_lost", problem="nvidia-smi does not list the GPU at 00000000:0a:00.0")
    assert told(case) == [("gpu-lost-from-bus", "fail", ("node2",))]
    assert "does not list" in findings(case)[0].evidence["node2"]
    case = live(lines("nvidia: x\nLockdown: modprobe: unsigned module loading is restricted"))
    case.gpu["node2"].update(status="driver_not_loaded", problem="nvidia-smi has failed", gpus=[])
    assert ("gpu-driver-not-loaded", "fail", ("node2",)) in told(case)
    assert any("mokutil" in each.remedy for each in findings(case) if each.rule == "gpu-driver-not-loaded")


def test_another_library_version_than_the_module_that_runs() -> None:
    case = live("")
    version = case.gpu["node2"]["driver_version"]
    text = "NVRM: API mismatch: the client has the version 1{0}, but this kernel module has the version {0}."
    case = live(lines(text.format(version)))
    assert told(case) == [("drv-nvml-mismatch", "warn", ("node2",))]
    assert told(live(lines(text.format("470.57.02")))) == []  # the module has been loaded anew since


def test_a_container_shows_the_log_of_its_machine() -> None:
    case = live(lines(SEGFAULT.format("python3", "libnccl.so.2")))
    assert told(case) == [("job-process-crashed", "warn", ("node2",))]
    case.fabric["node2"]["container"] = "docker"
    assert told(case) == [("job-process-crashed", "info", ("node2",))]


def test_odd_events_break_no_rule() -> None:
    for odd in (
        None,
        {},
        "x",
        [None],
        [{}],
        [{"kind": "out_of_memory"}],
        [{"kind": "crashed", "details": None}],
        [{"kind": "gpu_init_failed", "device": None, "count": "x", "details": {}}],
        [{"kind": "link_down"}],
    ):
        findings(Case(plan=PLAN, user={"node1": {"kernel_events": odd}}, gpu={"node1": {"kernel_events": odd}}))


def test_a_kernel_log_that_nobody_may_read_is_untested() -> None:
    case = live("")
    case.user["node2"]["kernel_events"] = None
    found = [each for rule in REGISTRY if rule.judge is kernel_host.hardware for each in rule.judge(case)]
    assert [(each.rule, each.hosts) for each in found] == [("host-hardware-errors", ("node2",))]
    case.fabric["node2"]["container"] = "docker"
    assert not [each for rule in REGISTRY if rule.judge is kernel_host.hardware for each in rule.judge(case)]
