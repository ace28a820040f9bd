# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on what the kernel log says of the machine around the GPUs: processes, PCIe, memory, network and disks."""

from __future__ import annotations

import collections
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    active_ports,
    data_interface,
    gpus,
    limit,
    rdma_devices,
    text,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    Data,
    Untested,
    dig,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._kernel import (
    Event,
    device_logs_known,
    events,
    hung_finding,
    hung_tasks,
    is_rank,
    logs_known,
    long_ago,
    of,
)

# library that a process crashed in -> what to do; the first that fits
_CRASHES = (
    (r"libnccl", "NCCL crashed a process of a job",
     "NCCL_DEBUG=INFO shows what it did last; unset LD_PRELOAD and LD_LIBRARY_PATH (another libnccl), update torch, or "
     "pin another nvidia-nccl package; plugins (NCCL_NET_PLUGIN, NCCL_TUNER_PLUGIN) count too"),
    (r"libcuda|libnvidia|libcudart", "A library of NVIDIA's driver or CUDA crashed a process of a job",
     "nvidia-smi and dmesg | grep -i xid tell whether a GPU is at fault; else install the same driver on all nodes, "
     "and keep its libraries out of the environment's LD_LIBRARY_PATH"),
    (r"libibverbs|libmlx5|librdmacm|libucp|libuct|libucs|libfabric", "A library of RDMA crashed a process of a job",
     "Install rdma-core and OFED of one version (ofed_info -s), in containers the same as on the host"),
    (r"libtorch|libc10|libgloo|_C\.|libcudnn|libcublas|libnccl_ofi|libaws",
     "A library of torch crashed a process of a job",
     "PYTHONFAULTHANDLER=1 prints where each thread was; install torch anew in the environment (pip install "
     "--force-reinstall), the same on all nodes"),
)  # fmt: skip
_ILLEGAL = (
    "A program has instructions that this processor does not know: it, or an operator that was compiled on another "
    "node, was built for a newer one",
    "Remove the cache of compiled operators (TORCH_EXTENSIONS_DIR, ~/.cache/torch_extensions) and give each node "
    "its own; do not build with -march=native for other nodes",
)


@rule(
    About(
        "job-process-crashed",
        layer="job",
        severity=WARN,
        also=(INFO,),
        title="A process of a job crashed on a node",
        symptom="`segfault ... in libnccl.so.2`, exit code -11 or -4",
        source="sichek#45, Linux arch/x86/mm/fault.c",
    ),
    applies=logs_known,
)
def crashed(case: Case) -> t.Iterator[Answer]:
    """Segmentation faults and traps of processes that are called as those of jobs, or that were in NCCL or CUDA."""
    for event in events(case, "crashed"):
        library = event.detail("library")
        words = next(((cause, remedy) for pattern, cause, remedy in _CRASHES if re.search(pattern, library)), None)
        if "invalid opcode" in event.detail("what") and (words or is_rank(event)):
            words = _ILLEGAL
        if words is None and not is_rank(event):
            continue
        words = words or (
            "A process crashed; if it was one of a job, the other ranks lost their connection to it",
            "PYTHONFAULTHANDLER=1 prints where each thread was when it happens again; coredumpctl list shows the core",
        )
        yield of(case, event, "job-process-crashed", INFO if long_ago(case, event) else WARN, words)


@rule(
    About(
        "host-task-hung",
        layer="gpu",
        severity=WARN,
        also=(INFO,),
        title="Processes hang in the kernel",
        symptom="`blocked for more than 120 seconds`, soft lockups, state D",
        source="Linux kernel/hung_task.c, kernel/watchdog.c",
    ),
    applies=logs_known,
)
def hung(case: Case) -> t.Iterator[Answer]:
    """Processes that waited for minutes in the kernel, by what they waited for; that in the driver is gpu-hung."""
    where = {
        "nfs": (
            "for a network file system",
            "Run mount -t nfs,nfs4,lustre and look at its server; keep caches local",
        ),
        "disk": (
            "for a disk",
            "Run iostat -x 5 and dmesg | grep -i 'i/o error'; keep caches on a fast one",
        ),
    }
    unknown = ("for something that the log does not name", "Run ps -eo pid,stat,wchan:20,args and look for state D")
    for (_host, _path, trace), every in hung_tasks(case).items():
        if trace != "nvidia":
            waits, remedy = where.get(trace, unknown)
            yield hung_finding(case, "host-task-hung", every, (f"Processes waited for minutes {waits}", remedy))


def _of_training(case: Case, event: Event) -> str:
    """What a PCI device is for: ``GPU`` or ``network adapter``; empty for anything else, or where nothing tells."""
    address = _short(event.device)
    if any(_short(text(gpu, "pci_bus_id")) == address for gpu in gpus(case, event.host)):
        return "GPU"
    owner = text(event.data, "owner")
    if owner.startswith("nvidia"):
        return "GPU"
    cards = [text(each, "pci_address") or text(each, "pci") for each in rdma_devices(case, event.host)]
    return "network adapter" if owner in _CARDS or address in map(_short, filter(None, cards)) else ""


_CARDS = (
    *("mlx4_core", "mlx5_core", "bnxt_en", "ice", "i40e", "ixgbe", "efa", "ena", "gve", "gvnic", "irdma", "ionic"),
    *("mana", "qede"),
)


def _short(address: str) -> str:
    """3b:00.0 of 00000000:3b:00.0 and 0000:3b:00."""
    tail = ":".join(address.lower().split(":")[-2:])
    return tail if "." in tail or not tail else f"{tail}.0"


@rule(
    About(
        "pcie-errors",
        layer="gpu",
        severity=WARN,
        also=(FAIL, INFO),
        title="A GPU or network adapter has PCIe errors",
        symptom="`PCIe Bus Error: severity=Uncorrected`, slow or lost devices",
        source="Linux Documentation/PCI/pcieaer-howto.rst",
    ),
    "p2p-acs-iommu",
    applies=device_logs_known,
)
def pcie(case: Case) -> t.Iterator[Answer]:
    """Errors of the bus at the devices that training needs; corrected ones only when they are many."""
    most = limit(case, "pcie_corrected_warn")
    for event in events(case, "pcie_error"):
        # one that names none is that of the port above, after which the device did not come back
        what, severity = _of_training(case, event), event.detail("severity") or "Uncorrected"
        if not what or (severity.startswith("Correct") and event.times < most):
            continue
        cause = f"The PCIe link of a {what} has {severity.lower()} errors: a riser, a cable, a slot or the card fails."
        remedy = (
            "lspci -vvv -s ADDRESS shows the link (LnkSta, DevSta); seat the card and its riser again, try another "
            "slot, and update the BIOS."
        )
        yield of(case, event, "pcie-errors", FAIL if severity.endswith("(Fatal)") else WARN, (cause, remedy))
    for event in events(case, "iommu_fault"):
        what = _of_training(case, event)
        if what:
            cause = f"The IOMMU refuses transfers of a {what}: peer-to-peer copies and RDMA to GPU memory fail or hang."
            remedy = (
                "Boot with iommu=pt (intel_iommu=on iommu=pt, or amd_iommu=on iommu=pt), or switch VT-d or AMD-Vi "
                "off in the BIOS if nothing needs it; switch off ACS."
            )
            yield of(case, event, "p2p-acs-iommu", FAIL if not event.live else WARN, (cause, remedy))


@rule(
    About(
        "host-hardware-errors",
        layer="gpu",
        severity=WARN,
        also=(FAIL, INFO),
        title="The machine's memory or processor has errors",
        symptom="`[Hardware Error]`, `EDAC ... UE`, sudden reboots, wrong results",
        source="Linux Documentation/admin-guide/ras.rst",
    ),
    About(
        "host-cpu-throttled",
        layer="gpu",
        severity=WARN,
        also=(INFO,),
        title="A processor is throttled by heat",
        symptom="one node is slower than the others",
        source="Linux drivers/thermal/intel/therm_throt.c",
    ),
    applies=logs_known,
)
def hardware(case: Case) -> t.Iterator[Answer]:
    """Machine checks and memory errors; corrected ones only when they are many."""
    closed = tuple(host for host, facts in case.user.items() if _closed(case, host, facts))
    if closed:
        why = "the kernel log could not be read: run verify as root (become)"
        yield Untested("host-hardware-errors", closed, why)
    found: dict[tuple[str, str, bool], list[Event]] = collections.defaultdict(list)
    for event in events(case, "hardware_error"):
        severity, what = event.detail("severity"), event.detail("what")
        fatal = severity in ("UE", "fatal", "recoverable", "Uncorrected") or "Exception" in what or "Killing" in what
        found[event.host, event.path, fatal].append(event)
    for (_host, _path, fatal), every in found.items():
        count = sum(each.times for each in every)
        if not fatal and count < limit(case, "host_corrected_warn"):
            continue
        cause = "The machine has corrected so many errors of its memory or processor that a part is failing"
        if fatal:
            cause = (
                "The memory or a processor of the machine has an uncorrected error: jobs on it end or compute wrongly"
            )
        remedy = (
            "ras-mc-ctl --errors (rasdaemon) or ipmitool sel list names the memory module or processor: have it "
            "replaced, and take the node out of the inventory until then"
        )
        seen = f"{count} errors, the last: {text(every[-1].data, 'line')}"
        path = every[-1].path
        words = f"{path}: {seen}" if path else seen
        yield of(case, every[-1], "host-hardware-errors", FAIL if fatal else WARN, (cause, remedy), words)
    for event in events(case, "cpu_hot"):
        cause = "A processor of the node gets too hot and runs slower: every rank waits for this node"
        remedy = (
            "sensors and ipmitool sdr type Fan show heat and fans; clean the filters and look at the room's cooling"
        )
        yield of(case, event, "host-cpu-throttled", WARN, (cause, remedy))


def _closed(case: Case, host: str, facts: Data) -> bool:
    """Whether a machine's log was asked for and not given; a container's is not its own."""
    return "kernel_events" in facts and facts["kernel_events"] is None and not dig(case.fabric.get(host), "container")


@rule(
    About(
        "nic-failing",
        layer="network",
        severity=WARN,
        also=(FAIL, INFO),
        title="A network adapter or its firmware fails",
        symptom="`device's health compromised`, `transmit queue timed out`",
        source="Linux drivers/net/ethernet/mellanox/mlx5/core/health.c",
    ),
    About(
        "net-table-full",
        layer="network",
        severity=WARN,
        also=(INFO,),
        title="A table of the kernel's network is full",
        symptom="`table full, dropping packet`, connections that fail at random",
        source="Linux Documentation/networking/nf_conntrack-sysctl.rst, arp(7)",
    ),
    About(
        "rdma-memory-full",
        layer="network",
        severity=WARN,
        also=(FAIL, INFO),
        title="An RDMA adapter has no room for more registered memory",
        symptom="`Failed to register mr [-12]`, `Unable to register MR: Cannot allocate memory`",
        source="libfabric#9739, nccl#563, Linux drivers/infiniband/hw/efa",
    ),
    About(
        "rdma-module-mismatch",
        layer="network",
        severity=WARN,
        also=(INFO,),
        title="A kernel module of RDMA does not fit the kernel",
        symptom="`disagrees about version of symbol`, `Unknown symbol`, no /dev/infiniband",
        source="amzn-drivers#308, Linux kernel/module",
    ),
    "net-flaky-interface",
    applies=logs_known,
)
def network(case: Case) -> t.Iterator[Answer]:
    """Adapters that fail, cables and transceivers that the adapter complains of, links that come and go."""
    for event in events(case, "nic_failed", "nic_module"):
        cause = "A network adapter stopped working, or its firmware did: connections over it hang or fail."
        remedy = (
            "Run mlxfwmanager --query (or ethtool -i) and update the adapter's firmware, then mlxfwreset or a power "
            "cycle; have the card replaced if it comes back."
        )
        if _VIRTUAL.search(text(event.data, "line")):
            remedy = (
                "Stop and start the instance, which moves it to another host; update the adapter's driver (modinfo -F "
                "version efa, ena, gve or mana), and report the instance to the cloud if it comes back."
            )
        if event.kind == "nic_module":
            cause = f"A network adapter complains of its cable or transceiver: {event.detail('what')}."
            remedy = "mlxlink -d ADDRESS -m shows the module; clean or replace the cable or transceiver."
        worst = event.kind == "nic_failed" and not event.live
        yield of(case, event, "nic-failing", FAIL if worst else WARN, (cause, remedy))
    yield from _of_clouds(case)
    most = limit(case, "carrier_changes_warn") / 2  # down and up are two changes
    for event in events(case, "link_down"):
        device = event.device
        counted = event.live and dig(data_interface(case, event.host), "carrier_changes") is not None
        used = device in ("", text(data_interface(case, event.host), "name")) or bool(_of_training(case, event))
        if event.times < most or counted or (event.live and not used):
            continue
        cause = "The link of a network interface has come and gone: connections are reset in the middle of a job."
        remedy = f"ip -s link show {device or 'INTERFACE'} and ethtool on it; change cable, switch port or transceiver."
        yield of(case, event, "net-flaky-interface", WARN, (cause, remedy))
    for event in events(case, "rdma_module"):
        if event.live and active_ports(case, event.host):
            continue  # it was loaded after all
        cause = (
            f"The kernel module {event.detail('module')} was built for another kernel, or for other RDMA modules (OFED "
            "beside the kernel's own): its adapters do not work."
        )
        remedy = (
            "dkms autoinstall -k $(uname -r) there, or install OFED and the adapters' modules anew, all from one "
            "source; then reboot."
        )
        yield of(case, event, "rdma-module-mismatch", WARN, (cause, remedy))
    for event in events(case, "table_full"):
        table = event.detail("what")
        remedy = "sysctl -w net.netfilter.nf_conntrack_max=1048576, and in /etc/sysctl.d; or track no cluster traffic"
        if "conntrack" not in table:
            remedy = (
                "sysctl -w net.ipv4.neigh.default.gc_thresh1=4096 net.ipv4.neigh.default.gc_thresh2=8192 "
                "net.ipv4.neigh.default.gc_thresh3=16384, and in /etc/sysctl.d"
            )
        cause = (
            f"The kernel's table {table} was full: it dropped packets, and connections between nodes fail at random."
        )
        yield of(case, event, "net-table-full", WARN, (cause, remedy))


# Adapters of virtual machines, which have no firmware that their owner updates.
_VIRTUAL = re.compile(r"\b(?:efa|ena|gve|gvnic|mana) [0-9a-fA-F]{4,8}:|infiniband (?:efa_|rdmap)")


def _of_clouds(case: Case) -> t.Iterator[Answer]:
    """Adapters that are full, and those that their driver or their cloud has reset."""
    full: dict[tuple[str, str], Event] = {(each.host, each.path): each for each in events(case, "rdma_full")}
    for event in full.values():
        cause = (
            "The adapter refused to register more memory or to open more queues (-12, ENOMEM): it counts pages, and "
            "its own limit is reached, whatever ulimit -l says."
        )
        remedy = (
            "sysctl -w vm.nr_hugepages=N, so that large buffers are few pages, or fewer ranks and channels on the node "
            "(NCCL_MAX_NCHANNELS); end processes of earlier jobs that still hold memory (rdma resource show mr), and "
            "update the adapter's driver."
        )
        yield of(case, event, "rdma-memory-full", WARN if event.live else FAIL, (cause, remedy))
    for event in {(each.host, each.path, each.device): each for each in events(case, "nic_reset")}.values():
        cause = "A network adapter was reset, by its driver or by the cloud: connections over it stood still or broke."
        remedy = (
            f"ethtool -i {event.device or 'INTERFACE'} tells driver and version: update the driver or the kernel; "
            "where the cloud maintains the host, its event log tells when, and moving the instance (stop, start) helps."
        )
        yield of(case, event, "nic-failing", WARN, (cause, remedy))


@rule(
    About(
        "disk-failing",
        layer="job",
        severity=WARN,
        also=(FAIL, INFO),
        title="A disk has errors",
        symptom="`I/O error`, `Read-only file system`, processes in state D",
        source="Linux block layer, ext4, XFS, nvme",
    ),
    About(
        "nfs-not-responding",
        layer="job",
        severity=WARN,
        also=(INFO, FAIL),
        title="A network file system does not respond",
        symptom="`nfs: server not responding`, processes in state D",
        source="nfs(5)",
    ),
    applies=logs_known,
)
def disks(case: Case) -> t.Iterator[Answer]:
    """Disks with errors, file systems that went read-only, and servers of network file systems that are away."""
    every = events(case, "disk_read_only", "disk_error")
    for event in {(each.host, each.path, each.device, each.kind): each for each in every}.values():
        closed = event.kind == "disk_read_only"
        cause = f"The disk {event.device} has errors: what a job reads from or writes to it fails or takes minutes."
        remedy = f"smartctl -a /dev/{event.device} (or nvme smart-log) tells its health; save the data and replace it."
        if closed:
            cause = f"The file system on {event.device} was closed after errors: nothing can be written to it."
            remedy = (
                f"fsck /dev/{event.device} after it is unmounted (xfs_repair for XFS), and smartctl -a on its disk."
            )
        yield of(case, event, "disk-failing", FAIL if closed else WARN, (cause, remedy))
    for event in events(case, "nfs_silent"):
        cause = f"The server {event.device} of a network file system did not answer, and has not come back in the log."
        remedy = f"showmount -e {event.device} and ping it from the node; mount -t nfs,nfs4 shows what hangs on it."
        yield of(case, event, "nfs-not-responding", WARN, (cause, remedy))


@rule("fd-limit", applies=logs_known)
def files(case: Case) -> t.Iterator[Answer]:
    """The machine as a whole had more files open than its kernel allows."""
    for event in events(case, "files_full"):
        cause = (
            f"The machine had {event.detail('most')} files open, all that its kernel allows: programs of all users "
            "fail to open files and sockets."
        )
        remedy = (
            "sysctl -w fs.file-max=9223372036854775807, and in /etc/sysctl.d; lsof -n | awk '{print $1}' | sort | uniq "
            "-c | sort -n shows who has them open."
        )
        severity = INFO if long_ago(case, event) else WARN
        yield of(case, event, "fd-limit", severity, (cause, remedy))
