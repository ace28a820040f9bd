# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a kernel log says of a machine beyond Xid: driver, memory, PCIe, adapters, disks, crashed and hung processes.

Reads dmesg (raw, -T, -x, with ISO times), journalctl, syslog and kern.log, also of several machines in one file and
behind the prefix of pdsh. How bad an event is, is not decided here.
"""

from __future__ import annotations

import itertools
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import per_host
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.collected import unwrap

MAX_LINE, MAX_EVENTS, TRACE_LINES = 300, 200, 40

_ADDRESS = r"[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:\.[0-7])?"
_ANSI = re.compile(r"\x1b\[[0-9;]{0,20}[A-Za-z]")
# "Dec  2 11:34:58 gpu4 kernel: ", "2025-02-23T16:24:18+0100 gpu4 kernel: ", "Mo 2025-02-23 16:24:18 CET gpu4 kernel: ";
# months in any language; the host may lack. dmesg's own ISO times have a comma and neither host nor program behind
# them, its uptimes only with journalctl -o short-monotonic, seconds with -o short-unix.
_SYSLOG = re.compile(
    r"(?:<\d{1,3}>)?(?:(?:\d{4} )?(?:[^\W\d_]{2,6}\.?|\d{1,2} ?[月월]) {1,2}\d{1,2}\.? \d\d:\d\d:\d\d(?:\.\d{1,9})?|"
    r"(?:[^\W\d_]{1,5}\.? )?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[\d.:+Z-]{0,16}(?: [A-Z]{2,5}| [+-]\d\d)?|"
    r"\d{10}\.\d{6}|\[ *\d{1,9}\.\d{1,9}\](?= [\w.-]{1,100} kernel:)) "
    r"(?:(?P<host>[A-Za-z0-9][\w.-]{0,100}) (?:[a-z]{2,8}\d?\.[a-z]{3,7} )?)?"
    r"(?P<tag>[A-Za-z][\w./-]{0,60})(?:\[[\w/]{1,10}\])?: "
)
# RFC 5424: priority, version 1, time, host, program, process, id, data
_PROTOCOL = re.compile(
    r"(?:<\d{1,3}>)?1 \d{4}-\d\d-\d\dT\S{8,24} (?P<host>\S{1,100}) (?P<tag>\S{1,60}) \S{1,20} \S{1,60} "
    r"(?:-|\[[^\]]{0,400}\]) "
)
# pdsh, and what collectors of several machines write: "gpu4: [  885.2] ", "10.0.0.4: kern: warning: [2026-...]: "
_PREFIX = re.compile(
    r"(?P<host>[A-Za-z0-9][\w.-]{0,100}): +"
    r"(?=\[ *\d|\[\w{3} \w{3} |<\d|\d{4}-\d\d-|[A-Z][a-z]{2} [ \d]\d |kern *:)"
)
_STAMP = re.compile(r"(?:<\d{1,3}>)?\[|kern *:|\d{4}-")
_BOOT = re.compile(r"\bLinux version \d")
_LOADING = re.compile(r"NVRM: loading NVIDIA UNIX ")
# Programs besides the kernel that end processes for want of memory, or see links go down.
_TAGS = ("kernel", "systemd-oomd", "earlyoom", "systemd-networkd")


class Line(t.NamedTuple):
    """A line of the log; ``host`` is empty where it names none."""

    host: str
    tag: str
    text: str


class Pattern(t.NamedTuple):
    """A kind of event; the groups of the pattern beside ``device`` are its details."""

    kind: str
    pattern: re.Pattern[str]


def _pattern(kind: str, pattern: str) -> Pattern:
    return Pattern(kind, re.compile(pattern.replace("ADDRESS", _ADDRESS)))


# The first that fits names a line; ADDRESS stands for a PCI address. Texts of Linux 4.15 to 6.18, NVIDIA's drivers 390
# to 610, mlx5 of Linux and OFED.
PATTERNS: t.Sequence[Pattern] = (
    # NVIDIA's driver
    _pattern(
        "gpu_init_failed",
        r"NVRM: (?:GPU (?P<device>ADDRESS)(?: / ADDRESS)?: )?RmInitAdapter failed! ?"
        r"(?:\((?P<code>[0-9a-fA-Fx:]{1,40})\))?",
    ),
    _pattern(
        "gpu_init_failed",
        r"NVRM: (?:GPU (?P<device>ADDRESS): )?rm_init_adapter(?:\(\d+\))? failed(?:,? (?:device|for device "
        r"bearing) minor number (?P<minor>\d{1,4}))?",
    ),
    _pattern(
        "gpu_needs_open_module",
        r"NVRM: (?:The NVIDIA GPU )?(?P<device>ADDRESS)?.{0,120}requires use of the NVIDIA open kernel "
        r"modules",
    ),
    _pattern("gpu_no_bar", r"NVRM: (?:This PCI I/O region assigned to your NVIDIA device is invalid|BAR\d is 0M)"),
    _pattern(
        "gsp_firmware_missing",
        r"nvidia (?P<device>ADDRESS): .{0,60}(?:irmware load for|failed to load) "
        r"(?P<file>nvidia/\S{0,60}gsp\S{0,40})",
    ),
    _pattern(
        "gsp_firmware_missing",
        r"NVRM: .{0,120}(?:GSP firmware image not found|[Ff]ailed to (?:load|find).{0,40}GSP firmware|"
        r"firmware for GSP.{0,40}not found)",
    ),
    _pattern(
        "gsp_failed",
        r"NVRM: (?!.{0,40}Xid).{0,160}(?:heartbeat timed out|Heartbeat timed out|Cannot initialize GSP "
        r"firmware RM|[Tt]imeout (?:after \d+s of )?waiting for RPC.{0,60}GSP|Timeout waiting for RPC from "
        r"GSP|GSP-CrashCat|WPR2 already up|GSP RM (?:is dead|crashed|proxy.{0,20}fail)|[Ff]ailed to boot "
        r"GSP|GSP.{0,40}in lockdown)",
    ),
    _pattern("gpu_reset_required", r"NVRM: .{0,300}\[NV_ERR_RESET_REQUIRED\]"),
    _pattern("gpu_locked", r"NVRM: .{0,80}RC watchdog: GPU is probably locked"),
    _pattern("driver_bound", r"NVRM: GPU (?:(?P<device>ADDRESS) )?(?:is )?already bound to (?P<driver>[\w-]{2,40})"),
    _pattern("nouveau", r"\bnouveau (?P<device>ADDRESS): (?:DRM|NVIDIA|drm|fb|vbios|bios|fifo)"),
    _pattern("nouveau", r"NVRM: nouveau, rivafb, nvidiafb or rivatv"),
    _pattern(
        "module_rejected",
        r"Lockdown: [\w/-]{1,40}: unsigned module loading is restricted|Loading of (?:unsigned module|"
        r"module with unavailable key) is rejected",
    ),
    _pattern(
        "peermem",
        r"(?P<module>nvidia[_-]peermem|nv_peer_mem(?:ory)?)\b.{0,80}(?:Unknown symbol|disagrees about "
        r"version|rror (?!detected invalid context)|ERROR (?!detected invalid context)|[Ff]ailed|Invalid)",
    ),
    _pattern(
        "rdma_module",
        r"\b(?P<module>mlx[45]_(?:core|ib)|ib_(?:core|uverbs|umad|ipoib)|rdma_[cu]cm|efa|irdma|bnxt_re|ionic_rdma|"
        r"mana_ib): (?:disagrees about version of symbol|Unknown symbol|version magic)",
    ),
    _pattern(
        "module_mismatch",
        r"\b(?P<module>nvidia(?:_(?:uvm|drm|modeset))?): (?:version magic|disagrees about version of symbol|"
        r"Unknown symbol|exports duplicate symbol)",
    ),
    # memory
    _pattern(
        "oom_context",
        r"oom-kill:constraint=(?P<constraint>CONSTRAINT_\w+)(?:.{0,400}?oom_memcg=(?P<cgroup>[^,\s]+))?"
        r".{0,400}?task=(?P<victim>[^,]{1,20}),pid=(?P<pid>\d+)(?:,uid=(?P<uid>\d+))?",
    ),
    _pattern("oom_group", r"Task in \S+ killed as a result of limit of (?P<cgroup>\S+)"),
    _pattern(
        "oom_killed",
        r"(?P<what>Memory cgroup out of memory|Out of memory(?: and no killable processes)?|Out of memory "
        r"\(oom_kill_allocating_task\))[:.]? (?:Kill(?:ed)? process|Killed) (?P<pid>\d+) \((?P<victim>[^)"
        r"]{1,20})\)(?:.{0,120}?anon-rss:(?P<rss_kb>\d+)kB)?(?:.{0,80}UID:(?P<uid>\d+))?",
    ),
    _pattern(
        "oomd_killed",
        r"(?:Killed (?P<cgroup>/\S+) due to memory (?:used|pressure)|sending SIG(?:KILL|TERM) to process "
        r"(?P<pid>\d+) uid (?P<uid>\d+) \"(?P<victim>[^\"]{1,20})\")",
    ),
    _pattern("huge_pages", r"PID (?P<pid>\d+) killed due to inadequate hugepage pool"),
    # processes
    _pattern(
        "crashed",
        r"(?P<victim>[^\s\[\]]{1,16})\[(?P<pid>\d+)\]: (?P<what>segfault) at \S+ ip \S+ sp \S+ error \S+(?: "
        r"in (?P<library>[\w.+@-]{1,80}?)(?: \(deleted\))?\[)?",
    ),
    _pattern(
        "crashed",
        r"traps: (?P<victim>[^\[\]]{1,16})\[(?P<pid>\d+)\] (?P<what>general protection(?: fault)?|trap [a-z "
        r"]{1,24}?) ip:\S+ sp:\S+ error:\S+(?: in (?P<library>[\w.+@-]{1,80}?)(?: \(deleted\))?\[)?",
    ),
    _pattern(
        "task_hung",
        r"INFO: task (?P<victim>.{1,32}?):(?P<pid>\d+) blocked (?:in I/O wait )?for more than "
        r"(?P<seconds>\d+) seconds",
    ),
    _pattern(
        "cpu_stuck",
        r"BUG: soft lockup - CPU#\d+ stuck for (?P<seconds>\d+)s! \[(?P<victim>[^\]]{1,32}?):\d+\]|rcu: "
        r"INFO: rcu_\w+ (?:self-)?detected (?:expedited )?stall",
    ),
    # PCIe, IOMMU, processors and memory
    _pattern(
        "pcie_error",
        r"(?P<driver>[\w-]{2,40}) (?P<device>ADDRESS): (?:AER: )?PCIe Bus Error: "
        r"severity=(?P<severity>Correct(?:ed|able)|Uncorrect(?:ed|able)(?: \((?:Non-)?Fatal\))?)",
    ),
    _pattern(
        "pcie_error",
        r"pcieport ADDRESS: AER: (?:Multiple )?(?P<severity>Uncorrect(?:ed|able) \((?:Non-)?Fatal\)) error "
        r"(?:message )?received: (?:from )?(?P<device>ADDRESS)",
    ),
    # the port above it had an error that cannot be corrected, and the device's driver has no way to go on
    _pattern(
        "pcie_error",
        r"(?P<driver>nvidia|mlx\d_core|bnxt_en|ice|i40e|efa|ena|irdma|ionic|mana|qede) (?P<device>ADDRESS): AER: "
        r"(?P<unrecovered>can't recover)",
    ),
    _pattern(
        "iommu_fault",
        r"DMAR: \[(?:DMA|INTR)[^\]]{0,60}\] .{0,20}?[Rr]equest device \[?(?P<device>[0-9a-f:.]{7,12})"
        r"\]?.{0,120}fault",
    ),
    _pattern(
        "iommu_fault",
        r"(?:(?P<driver>[\w-]{2,40}) (?P<device>ADDRESS): )?AMD-Vi: Event logged \[IO_PAGE_FAULT(?: "
        r"device=(?P<short>[0-9a-f:.]{7,12}))?",
    ),
    _pattern("hardware_error", r"EDAC [\w#]{1,20}: (?P<count>\d{1,9}) (?P<severity>CE|UE) (?P<what>.{1,80})"),
    _pattern("hardware_error", r"\[Hardware Error\]: event severity: (?P<severity>fatal|recoverable|corrected)"),
    _pattern(
        "hardware_error",
        r"mce: (?P<severity>Uncorrected) hardware memory error|Memory failure: 0x[0-9a-f]+: "
        r"(?P<what>(?:recovery|Killing|Sending).{1,80})",
    ),
    _pattern(
        "hardware_error",
        r"mce: \[Hardware Error\]: (?P<what>CPU \d+: Machine Check(?: Exception)?: .{1,80}|Machine check "
        r"events logged)",
    ),
    _pattern("cpu_hot", r"CPU\d+: (?:Core|Package) temperature(?: is)? above threshold, cpu clock(?: is)? throttled"),
    # network
    _pattern(
        "nic_failed",
        r"mlx\d_core (?P<device>ADDRESS):? .{0,120}(?P<what>device's health compromised|Fatal error \d+ "
        r"detected|synd 0x(?!0+:)[0-9a-f]+: .{1,60}|FW is unable to respond|Will cause a leak of a command "
        r"resource|[Ff]irmware (?:internal error|over temperature|fatal error))",
    ),
    _pattern("nic_module", r"mlx\d_core (?P<device>ADDRESS):? .{0,80}Port module event\[error\]: (?P<what>.{1,80})"),
    _pattern(
        "nic_failed",
        r"NETDEV WATCHDOG: (?P<device>[\w.@-]{1,20}) \((?P<driver>[\w-]+)\): (?P<what>transmit queue \d+ "
        r"timed out)",
    ),
    _pattern(  # Linux 6.5 and newer
        "nic_failed",
        r"(?P<driver>[\w-]{2,40}) ADDRESS (?P<device>[\w.@-]{1,20}): NETDEV WATCHDOG: (?:CPU: \d+: )?"
        r"(?P<what>transmit queue \d+ timed out)",
    ),
    _pattern(
        "nic_failed",
        r"(?:bnxt_en|ice|i40e|ixgbe|qede|ionic|mana|ena|efa|irdma) (?P<device>ADDRESS)(?: [\w.-]+)?: "
        r".{0,60}(?P<what>[Ff]irmware (?:not responding|fatal|crash|hang)\w*|TX timeout detected|Adapter "
        r"reset|Hardware error|HMC Error|[Cc]ritical PE [Ee]rror)",
    ),
    # adapters of clouds: EFA and ENA of AWS, gVNIC of Google, MANA and the accelerated networking of Azure
    _pattern(
        "rdma_full",
        r"(?:infiniband (?P<device>\S{1,40})|efa ADDRESS (?P<name>\S{1,40})): (?:Failed to (?:register|allocate) mr ?|"
        r"Failed to process command (?P<command>REG_MR|ALLOC_MR|CREATE_\w{1,20}) .{0,80}err |"
        r"Failed to create (?:qp|cq|ah|eq).{0,60})\[?-12\b",
    ),
    _pattern(
        "rdma_full",
        r"mlx\d_core (?P<device>ADDRESS):? .{0,80}\b(?P<command>CREATE_(?:MKEY|QP|CQ|SRQ|RMP))\b.{0,80}"
        r"status (?:limits exceeded|no resources)",
    ),
    _pattern(
        "nic_failed",
        r"(?:infiniband (?P<device>\S{1,40})|efa ADDRESS (?P<name>\S{1,40})): .{0,20}(?P<what>The device didn't send "
        r"any completion|The device sent a completion but|Wait for completion \(polling\) timeout|Reading register "
        r"timed out|Reset indication didn't turn|Admin queue is closed|Device isn't ready)",
    ),
    _pattern(
        "nic_reset",
        r"(?:ena (?P<device>ADDRESS)(?: [\w.-]{1,20})?|(?P<name>[\w.-]{2,20})): .{0,40}(?P<what>[Kk]eep alive watchdog "
        r"timeout|(?:The number of l|L)ost [Tt][Xx] completions (?:is|are) above|Potential MSIX issue on Rx|The device "
        r"has detected an unhealthy state)",
    ),
    _pattern(
        "nic_failed",
        r"ena (?P<device>ADDRESS)(?: [\w.-]{1,20})?: (?P<what>Reset attempt failed|FW isn't responsive|ENA admin queue "
        r"is not in running state|Device reset failed|Can not reset device)",
    ),
    _pattern(
        "nic_failed",
        r"gv(?:e|nic) (?P<device>ADDRESS)(?: [\w.-]{1,20})?: (?P<what>Reset failed!|AQ commands? timed out)",
    ),
    _pattern(
        "nic_reset",
        r"gv(?:e|nic) (?P<device>ADDRESS)(?: [\w.-]{1,20})?: (?P<what>Performing reset|Device requested reset)",
    ),
    _pattern(
        "nic_failed",
        r"mana (?P<device>ADDRESS)(?: [\w.-]{1,20})?: (?P<what>HWC: (?:Request timed out|Failed)|Command 0x[0-9a-f]+ "
        r"timed out|Failed to (?:establish|test|initialize) HWC)",
    ),
    _pattern("nic_reset", r"mana (?P<device>ADDRESS)(?: [\w.-]{1,20})?: (?P<what>Recv MANA service type)"),
    _pattern("nic_reset", r"hv_netvsc [\w-]{36} (?P<device>[\w.-]{1,20}): (?P<what>Data path switched from VF)"),
    _pattern(
        "link_down",
        r"(?P<driver>[\w-]{2,40}) ADDRESS (?P<device>[\w.-]{1,20})(?: \([^)]{1,40}\))?: (?:\w+: )"
        r"?(?:[\w.-]+ )?(?:NIC )?Link(?: is)? [Dd]own",
    ),
    _pattern(
        "link_down",
        r"mlx\d_core (?P<device>ADDRESS): Port: \d+ Link DOWN|link status definitely down for (?:interface|"
        r"slave) (?P<slave>[\w.-]{1,20})",
    ),
    _pattern(
        "link_down",
        r"systemd-networkd\[\d+\]: (?P<device>(?!veth|docker|br-|cni|cali|lxc)[\w.-]{2,20}): [Ll]ost carrier",
    ),
    _pattern("files_full", r"VFS: file-max limit (?P<most>\d+) reached"),
    _pattern("table_full", r"(?P<what>nf_conntrack|neighbou?r|arp_cache|ndisc_cache)\b.{0,40}table (?:full|overflow)"),
    # disks
    _pattern(
        "disk_read_only",
        r"(?:EXT4-fs|XFS|BTRFS|F2FS-fs)\b.{0,20}\((?:device )?(?P<device>[\w./-]{1,40}?)[)"
        r":].{0,120}?(?:[Rr]emounting filesystem read-only|[Ff]ilesystem has been shut down|Shutting down "
        r"filesystem|forced readonly|Please unmount the filesystem)",
    ),
    _pattern(
        "disk_error",
        r"(?:I/O|critical (?:medium|target|nexus)|protection) error, dev (?P<device>(?!sr|fd|loop)\w{2,20})",
    ),
    _pattern("disk_error", r"Buffer I/O error on dev(?:ice)? (?P<device>(?!sr|fd|loop)[\w-]{2,20})"),
    _pattern(
        "disk_error",
        r"nvme (?P<device>nvme\d+(?:c\d+)?(?:n\d+)?): (?:I/O .{0,60}timeout|controller is down|Device not "
        r"ready|Removing after probe failure|frozen state error|Disabling device after reset failure)",
    ),
    _pattern("disk_error", r"(?:EXT4-fs error|BTRFS (?:error|critical)) ?\((?:device )?(?P<device>[\w./-]{1,40}?)[):]"),
    _pattern(
        "disk_error",
        r"(?:EXT4-fs|XFS) ?\((?P<device>[\w./-]{1,40}?)\): .{0,80}(?:I/O error|orruption|error count since "
        r"last)",
    ),
    _pattern("disk_error", r"md/\w+:(?P<device>md\w+): Disk failure on"),
    _pattern("nfs_silent", r"nfs: server (?P<device>[\w.:-]{1,100}) not responding"),
    _pattern("nfs_back", r"nfs: server (?P<device>[\w.:-]{1,100}) OK"),
)
# A quick look spares the patterns most lines.
_WORTH = re.compile(
    r"NVRM|nouveau|odule|peer_?mem|nvidia|oom|emory|segfault|traps:|blocked|lockup|stall|PCIe|AER|DMAR|AMD-Vi|EDAC|"
    r"Hardware Error|mce:|temperature|mlx|WATCHDOG|irmware|[Ll]ink|table|TX timeout|error|nvme|EXT4|XFS|BTRFS|nfs|Disk|"
    r"Adapter|sending SIG|killed as a result|disagrees|Unknown symbol|version magic|arrier|VFS:|HMC|ritical PE|-12\b|"
    r"hugepage|infiniband|\befa |\bena |\bmana |\bgve |\bgvnic |lost tx|Data path"
)
# one sentence over two to five lines, whose breaks differ between drivers
_API = re.compile(r"NVRM: API mismatch: the client\b[\s\S]{0,400}")
_VERSION = re.compile(r"\bversion (\d{2,4}(?:\.\d{1,4}){1,3})")
# Whose work a device does, from the lines that name both.
_OWNER = re.compile(rf"\b(nvidia|mlx\d_core|bnxt_en|ice|i40e|efa|ena|gve|gvnic|nvme|irdma|ionic|mana) ({_ADDRESS})")


def lines(text: str, nodes: t.Container[str] = ()) -> t.Iterator[Line]:
    """The lines of the kernel, each with the host it names; those of other programs are left out.

    ``nodes`` are words known to be hosts.
    """
    for section, body in per_host.sections(_ANSI.sub("", text), nodes):
        yield from _of_section(section, body.splitlines())


def _of_section(section: str, rows: t.Sequence[str]) -> t.Iterator[Line]:
    """The lines below a head; ``section`` is the host that it names, empty without one."""
    before = section
    for raw in itertools.chain.from_iterable(map(unwrap, rows)):
        prefix = _PREFIX.match(raw)
        rest = raw[prefix.end() :] if prefix else raw
        syslog = _SYSLOG.match(rest) or _PROTOCOL.match(rest)
        host = (syslog.group("host") if syslog else None) or (prefix.group("host") if prefix else section)
        if not (prefix or syslog or _STAMP.match(raw)):
            host = before  # a message of several lines
        before = host or ""
        tag = syslog.group("tag") if syslog else "kernel"
        if tag in _TAGS:
            yield Line(host or "", tag, rest)


def parse(text: str, nodes: t.Container[str] = ()) -> list[dict[str, t.Any]]:
    """The events since the last boot of each host, those that repeat once.

    Each has ``kind``, ``host`` (the log's word, empty where it names none), ``device`` (a PCI address, an interface, a
    disk, a server; None), ``owner`` (the driver of the device), ``count``, ``line`` (the last one) and ``details``.
    """
    hosts: dict[str, list[str]] = {}
    for line in lines(text, nodes):
        own = hosts.setdefault(line.host, [])
        if _BOOT.search(line.text):
            own.clear()
        own.append(line.text)
    return [event for host, own in hosts.items() for event in _of_host(host, own)][:MAX_EVENTS]


def _of_host(host: str, own: t.Sequence[str]) -> list[dict[str, t.Any]]:
    found: dict[tuple[t.Any, ...], dict[str, t.Any]] = {}
    owners: dict[str, str] = {}
    last: dict[str, t.Any] = {}
    for number, line in enumerate(own):
        if _LOADING.search(line):  # what was said of the module before is over
            found = {key: event for key, event in found.items() if key[0] not in OF_MODULE}
        if not _WORTH.search(line):
            continue
        for driver, address in _OWNER.findall(line):
            owners[short(address)] = driver
        met = match(line)
        if met:
            kind, details = met
            last = _note(found, kind, details, line, last)
            if kind == "task_hung":
                last["details"]["trace"] = _trace(own, number)
    for said in _API.finditer("\n".join(own)):
        versions = _VERSION.findall(said.group(0))
        if len(versions) > 1:
            _note(found, "api_mismatch", {"client": versions[0], "module": versions[1]}, said.group(0), {})
    ours = any("nvidia" in line.lower() or "NVRM" in line for line in own)
    for event in found.values():
        event["host"] = host
        if event["kind"] == "module_rejected" and ours:
            event["details"]["module"] = "nvidia"  # the line itself names none
        event["owner"] = owners.get(short(event["device"] or "")) or event["details"].get("driver")
    silent = {event["device"] for event in found.values() if event["kind"] == "nfs_back"}
    return [event for event in found.values() if event["kind"] != "nfs_back"
            and not (event["kind"] == "nfs_silent" and event["device"] in silent)]  # fmt: skip


# What the loading of the driver's module puts an end to.
OF_MODULE = frozenset(
    ("gpu_init_failed", "gpu_needs_open_module", "gpu_no_bar", "gsp_failed", "gsp_firmware_missing", "api_mismatch",
     "gpu_reset_required", "gpu_locked", "driver_bound", "nouveau", "module_rejected", "module_mismatch")
)  # fmt: skip


# What the driver says, which the facts of the GPUs tell.
OF_DRIVER = OF_MODULE | {"peermem"}


def match(line: str) -> tuple[str, dict[str, str]] | None:
    """The kind of a line and what it names."""
    for kind, pattern in PATTERNS:
        said = pattern.search(line)
        if said:
            return kind, {name: value for name, value in said.groupdict().items() if value}
    return None


def short(address: str) -> str:
    """A PCI address without leading zeros of the domain, and with a function: 0000:3b:00 is 3b:00.0."""
    parts = address.lower().split(":")
    tail = ":".join(parts[-2:]) if len(parts) > 1 else address.lower()
    return tail if "." in tail or len(parts) < 2 else f"{tail}.0"


def _note(
    found: dict[tuple[t.Any, ...], dict[str, t.Any]], kind: str, details: t.Mapping[str, t.Any], line: str,
    last: dict[str, t.Any],
) -> dict[str, t.Any]:  # fmt: skip
    """Keep an event, or count it once more; the lines of one kill, or of one failed start, are one event."""
    details = {name: value for name, value in details.items() if value}
    device = details.pop("device", None) or details.pop("short", None) or details.pop("slave", None)
    name = details.pop("name", None)  # of an adapter that is named otherwise than by its address
    device = device or name
    if kind in ("oom_killed", "oomd_killed", "oom_group"):
        before = last if last.get("kind") == "out_of_memory" else None
        same = before and (details.get("pid") in (None, before["details"].get("pid")) or "pid" not in before["details"])
        if before and same:
            before["details"].update(details)
            before["line"] = shown(line)
            return before
    if (
        kind == "gpu_init_failed"
        and last.get("kind") == kind
        and device in (None, last["device"])
        and "minor" in details
    ):
        last["details"].update(details)
        return last
    kind = "out_of_memory" if kind in ("oom_killed", "oomd_killed", "oom_group", "oom_context") else kind
    key = (kind, device, *(details.get(name) for name in ("victim", "library", "severity", "cgroup", "driver", "pid")))
    event = found.get(key)
    if event is None:
        event = found[key] = {"kind": kind, "device": device, "count": 0, "details": {}}
    event["count"] += int(details.pop("count", 1))
    event["details"].update(details)
    event["line"] = shown(line)
    return event


def shown(line: str) -> str:
    """A line as evidence."""
    return " ".join(line.split())[:MAX_LINE]


def _trace(own: t.Sequence[str], number: int) -> str:
    """What the call trace behind a line is about: nvidia, nfs, disk, or nothing that is known."""
    text = ""
    for line in own[number + 1 : number + TRACE_LINES]:
        if "blocked for more than" in line:
            break
        text += line + "\n"
    if re.search(r"\[nvidia\w*\]|_nv\d+rm|\bnv_\w+|uvm_\w+|os_acquire_rwlock", text):
        return "nvidia"
    if re.search(r"\bnfs\w*_|rpc_wait|nfs4?_|lustre|ceph_|gpfs|beegfs", text):
        return "nfs"
    return "disk" if re.search(r"io_schedule|blk_|jbd2|xfs_|ext4_|nvme_", text) else ""
