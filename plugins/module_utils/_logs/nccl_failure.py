# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a line of NCCL, or of torch about NCCL, says went wrong.

Texts as in NCCL 2.2 to 2.31 (``src/misc/socket.cc``, ``src/transport/net_ib``, ``src/init.cc``,
``src/os/linux.cc``), the error strings of CUDA, NVML and libibverbs, and torch's ProcessGroupNCCL.
"""

from __future__ import annotations

import re
import typing as t

# How near a failure is to its cause: the lowest number of a log is the cause, the first line of equals.
# HARDWARE: what an adapter says of itself explains the transfers that fail on other nodes, wherever it stands.
HARDWARE, ROOT, LATE, GENERIC = -1, 0, 1, 2
# A warning of NCCL that none of the kinds below knows, after which its thread gave up.
WARNING = "warning"
# A connection that came to nothing without a word but the way back through NCCL's own files.
UNSAID = "connect_unsaid"

ADDRESS = re.compile(
    r"(?:peer|[Cc]onnect to|recv from|send to|accept from|socketFinalizeAccept from|ocketPollConnect to) "
    r"(?P<peer>[^\s<>]{1,200})<(?P<port>\d{1,5})>"
)
# NCCL before 2.12 calls the status an error: "completion with error 12"
STATUS = re.compile(r"(?:status[=:]\s?(?:[A-Za-z_][\w ]{0,60}\()?|(?:completion|>) with error )(?P<status>\d{1,3})\b")
VENDOR = re.compile(r"vendor[ _]err[=:]?\s?(?P<vendor>\d{1,6})")
HCA = re.compile(r"(?:\bhca |NET/IB ?: (?=[\w.-]{1,40}:\d{1,3} (?:Got )?(?:async|non-fatal)))(?P<hca>[\w.-]{1,40})")


class Kind(t.NamedTuple):
    """A kind of failure: the pattern of its lines, and how near to the cause it stands."""

    name: str
    weight: int
    pattern: re.Pattern[str]


def _kind(name: str, weight: int, pattern: str) -> Kind:
    return Kind(name, weight, re.compile(pattern))


# What CUDA says in quotes behind "Cuda failure", torch behind "CUDA error:"; the number alone where the words are lost.
# Words of the runtime (cudaGetErrorString) and of the driver (cuGetErrorString) in CUDA 9 to 13.
# RCCL has HIP's word for it.
_CUDA = r"(?i:(?:cuda|hip) (?:failure|error|driver error))"
_CUDA_WORDS: t.Sequence[tuple[str, str, str]] = (
    ("cuda_driver_too_old",
     r"not supported in the installed CUDA driver|driver version is insufficient|unsupported toolchain|"
     r"forward compatibility was attempted|driver on your system is too old", "35|36|222|804"),
    ("cuda_driver_mismatch", r"unsupported display driver / cuda driver combination", "803"),
    ("cuda_fabric", r"system not yet initialized", "802"),
    ("cuda_stub", r"stub library", "34"),
    ("cuda_out_of_memory", r"out of memory", "2"),
    ("cuda_ecc", r"uncorrectable ECC error|ECC error", "214"),
    ("cuda_nvlink", r"uncorrectable NVLink error|[Nn]v[Ll]ink error", "220"),
    ("cuda_peer_access", r"peer access|peer mapping|peer is not supported|mapping of buffer object failed",
     "205|208|217|704|705"),
    ("cuda_ordinal", r"invalid device ordinal", "101"),
    ("cuda_no_device", r"no CUDA-capable device", "100"),
    ("cuda_busy", r"busy or unavailable|is in exclusive|compute-exclusive", "46"),
    ("cuda_architecture", r"no kernel image|device kernel image is invalid|invalid device function|no binary for GPU",
     "98|200|209"),
    ("cuda_not_initialized",
     r"initialization error|driver initialization failed|not initialized|invalid device context", "3|201"),
    ("cuda_not_supported", r"operation not supported|OS call failed|'operation not permitted'", "304|800|801"),
    ("cuda_crash",
     r"unspecified launch failure|illegal memory access|misaligned address|illegal instruction|device-side assert|"
     r"invalid program counter|hardware stack error|invalid address space|launch timed out|launch failure",
     "700|702|710|714|715|716|717|718|719"),
    ("cuda_unknown", r"unknown error", "999"),
)  # fmt: skip


def _cuda_kinds() -> list[Kind]:
    """Each kind by its words within 200 characters, or by the number right behind "failure"."""
    return [
        _kind(name, ROOT, rf"{_CUDA}(?:.{{0,120}}(?:{words})|:? (?:{numbers})(?: '|\s*$))")
        for name, words, numbers in _CUDA_WORDS
    ]


# Events that a port or an adapter reports of itself; the others (GID table, LID, SM, "port active") are news.
_EVENT = r"(?:[Aa]sync (?:fatal )?event|GID table changed|unknown event type)"

# The first that fits names the line.
KINDS: t.Sequence[Kind] = (
    _kind("harmless", GENERIC,
          r"Failed to open libibverbs|Could not find: lib|errno: 97 - Address family|wrong magic"),
    # advice of RCCL, and what NCCL itself goes on after
    _kind("harmless", GENERIC,
          r"which can lead to |falling back to |, ignoring|is being ignored|Initiating recovery\? Yes|"
          r"Cannot initialize CollNet, using|SHARP coll init error|Cannot get incoming CPU|Maximum retry reached for "),
    _kind("ib_port_error", HARDWARE, rf"{_EVENT}.{{0,200}}port error"),
    _kind("ib_device_error", HARDWARE, rf"{_EVENT}.{{0,200}}local catastrophic error"),
    _kind("ib_queue_error", LATE,
          rf"{_EVENT}.{{0,300}}(?:CQ error|work queue|SRQ catastrophic|path migration request error)"),
    _kind("harmless", GENERIC, _EVENT),
    _kind("no_interface", ROOT,
          r"no socket interface found|[Nn]o (?:IP |usable listening )?interface found|with family \d+ is neither|"
          r"no device found (?:matching|after excluding) "),
    _kind("ports_used", ROOT, r"Call to bind failed ?: Address already in use"),
    _kind("comm_id", ROOT,
          r"Invalid NCCL_COMM_ID|error encountered when getting address info|No valid <IPv4_or_hostname>:<port>|"
          r"No valid \[IPv6\]:port"),
    _kind("no_net_plugin", ROOT, r"Failed to initialize (?:any )?NET plugin|network \S+ not found"),
    _kind("version_mismatch", ROOT, r"Mismatched NCCL version"),
    # types of src/include/socket.h: 3 is NET/Socket, 4 NET/IB; the first is the peer's, the second the writer's own
    _kind("peer_uses_sockets", ROOT, r"wrong type 3 != 4"),
    _kind("unlike_networks", ROOT, r"wrong type \d+ != \d+"),
    _kind("unlike_adapters", ROOT,
          r"incompatible devices|device is incompatible with the local|mixed local Net device counts"),
    _kind("duplicate_rank", ROOT,
          r"has already checked in|mismatch in (?:info|rank count) from procs|Invalid rank requested|"
          r"improper usage of ncclCommInitRank"),
    _kind("duplicate_gpu", ROOT, r"Duplicate GPU detected|Multiple Ranks are using the same"),
    _kind("collective_mismatch", ROOT,
          r"collective mismatch|[Mm]essage truncated|: truncation|Detected mismatch between collectives"),
    _kind("shm_full", ROOT,
          r"/dev/shm/\S* .{0,80}No space left|failed to extend /dev/shm|shared memory.{0,80}No space left|"
          r"posix_fallocate failed"),
    # NCCL takes a handle of the driver for a file's name where a NUMA node has no memory: the size is 0 then
    _kind("shm_handle", ROOT, r"attaching to shared memory segment .{0,80}\(size 0\)"),
    _kind("shm_full", LATE, r"Error while creating shared memory segment"),  # the line before may say why
    _kind("shm_missing", LATE, r"attaching to shared memory segment .{0,300}No such file"),
    _kind("memlock", ROOT,
          r"ibv_(?:reg_(?:dmabuf_)?mr\w*|create_\w+).{0,120}(?:Cannot allocate memory|with (?:error|errno)? ?12\b)|"
          r"ibv_(?:reg_mr\w*|create_\w+) failed\s*$"),  # NCCL before 2.12 does not say why
    _kind("gdr_refused", ROOT,
          r"ibv_reg_(?:dmabuf_)?mr\w*.{0,40}failed.{0,60}(?:not supported|Bad address|Invalid argument|"
          r"Operation not permitted|error (?:14|22|95)\b|errno (?:14|22|95)\b)"),
    _kind("gid_read", ROOT, r"(?:open|read) failed in ncclIbRoceGetVersionNum"),
    _kind("modify_qp", ROOT, r"ibv_modify_qp.{0,40}failed|ibv_query_gid\w* failed"),
    _kind("no_ib_device", ROOT, r"ibv_open_device failed|NET/IB : Unable to open device"),
    # 4, 10 and 11: an adapter may not read or write the memory that it was told of
    _kind("ib_access", ROOT,
          r"Got completion (?:with error |.{0,200}?(?:status[=:]\s?(?:\w{1,40}\()?|> with error ))(?:4|10|11)\b"),
    _kind("ib_completion", ROOT,
          r"Got completion (?:from peer|with)|Fatal error\. Detected \d+ failed devices"),
    _kind("efa_memory", ROOT, r"NET/OFI .{0,200}\b(?:regi\w+|fi_mr_reg|MR\b).{0,160}(?:-12\b|Cannot allocate)"),
    _kind("efa_completion", ROOT,
          r"NET/OFI .{0,200}(?:completed with error|unresponsive receiver|unreachable|insert remote address)"),
    _kind("topology", ROOT,
          r"Attribute \S{1,40} of node \S{1,40} not found|XML (?:Parse|Mismatch|Topology|Graph)\b|"
          r"XML parser is limited|Could not open XML|Could not find real path of /sys"),
    _kind("no_algorithm", ROOT,
          r"(?i:no algorithm/protocol available)|Unrecognized (?:element|prefix) token|"
          r"entries except the first must have"),
    _kind("imex", ROOT, r"MNNVL .{0,60}not working on this system"),
    _kind("thread_limit", ROOT, r"Thread creation failed|pthread_create failed"),
    _kind("fd_limit", ROOT, r"Too many open files"),
    _kind("virtual_interface", ROOT,
          r"(?i:connect\w* to) [^\s<>]{1,100}%(?:veth|docker|br-|virbr|cni|flannel|cali|lxc|vnet|podman)"),
    _kind("no_route_to_host", ROOT, r"No route to|113 ?\(No route|(?:Network|Host) is (?:unreachable|down)"),
    _kind("connection_refused", ROOT, r"Connection refused|Connect: exceeded retries"),
    _kind("connect_timeout", ROOT, r"[Cc]onnect.{0,120}timed out|exceeded timeouts|no POLLOUT events"),
    _kind("connect_impossible", ROOT,
          r"[Cc]onnect to \S{1,100} (?:failed|returned)[ :]{1,3}(?:Invalid argument|Cannot assign requested address|"
          r"Operation not permitted|Permission denied)"),
    _kind("connection_aborted", ROOT, r"Software caused connection abort"),
    _kind("nvml_mismatch", ROOT, r"nvml\w*\(?.{0,60}failed: Driver/library version mismatch"),
    _kind("gpu_lost", ROOT, r"nvml\w*\(?.{0,60}failed: GPU is lost"),
    _kind("driver_not_loaded", ROOT, r"nvml\w*\(?.{0,60}failed: Driver Not Loaded"),
    _kind("no_nvml", ROOT, r"Failed to open libnvidia-ml|Failed to find CUDA library|Failed to open libcuda"),
    _kind("p2p_broken", ROOT, r"P2P is disabled between (?:NVLINK )?connected GPUs|Failed to find reverse path"),
    _kind("wrong_results", ROOT, r"Out of bounds values : [1-9]\d{0,9} FAILED"),  # nccl-tests and rccl-tests
    _kind("nvls", ROOT,
          r"(?:NVLS|NVLink SHARP).{0,200}(?:Fabric Manager|failed|Failed)|Failed to bind NVLink SHARP|"
          rf"nvls\.cc:\d+ .{{0,60}}{_CUDA} (?:\d+ )?'(?:invalid argument|the operation|unknown error)|"
          rf"{_CUDA}.{{0,20}}'the operation cannot be performed in the present"),
    _kind("cuda_shutting_down", LATE, rf"{_CUDA}.{{0,120}}(?:driver shutting down|deinitialized)"),
    *_cuda_kinds(),
    _kind("cuda_out_of_memory", ROOT, r"(?:CUDA|HIP) out of memory"),
    _kind("cuda_driver_too_old", ROOT, r"CUDA Driver version found is \d+\. Minimum requirement"),
    _kind("cuda_peer_access", ROOT, r"failed to peer with device|IPC handle : \d+ peer access is not supported"),
    _kind("cuda_failure", ROOT, r"(?:Cuda|HIP) failure|(?:cuda|hip)IpcGetMemHandle failed"),
    _kind("connection_closed_by_peer", LATE,
          r"[Cc]onnection closed by (?:remote )?peer|Connection reset by peer|Broken pipe"),
    # glibc's and Open MPI's words for a process that died within a library; "Aborted" alone is torch's own end
    _kind("crashed", LATE,
          r"Signal: (?:Segmentation fault|Bus error)|Caught signal (?:7|11)\b|\bfree\(\): (?:corrupted|invalid|double)|"
          r"malloc\(\): (?:corrupted|invalid)|double free or corruption|corrupted (?:double-linked list|size vs)"),
    _kind("watchdog_timeout", LATE, r"Watchdog caught collective operation timeout"),
    _kind("internal_error", GENERIC, r"ncclInternalError|NCCL (?:error|failure).{0,200}internal error"),
    _kind("system_error", GENERIC, r"ncclSystemError|ncclUnhandledCudaError|unhandled (?:system|cuda) error"),
    _kind("invalid_usage", GENERIC, r"ncclInvalidUsage|NCCL (?:error|failure).{0,200}invalid usage"),
    _kind("remote_error", GENERIC, r"ncclRemoteError|NCCL failure.{0,200}remote process exited"),
    # who only says that something else failed before
    _kind("harmless", GENERIC,
          r"\[(?:Proxy|Service)[^\]]{0,20}\] (?!Failed to set)|Socket recv failed|socket progress error|"
          r"ncclProxy(?:Call|Client|Stop)|ommReclaim|commDestroySync|ncclCommSetAsyncError|communicator was revoked|"
          r"[Cc]ommunicator encountered a fatal|is in abort state|job \S{1,40} failed, job error|ncclAsyncJobComplete|"
          r"UDS: |Unable to free request|Operation not ready|GDRCopy|GDRCOPY"),
)  # fmt: skip
# Parts of NCCL that a job goes on without: the server of ncclras (its port may be another job's), and GDRCopy.
_ASIDE = re.compile(r"(?:src/)?(?:ras/|misc/gdrwrap)")
# What is said of a peer, whose process may have ended for a reason of its own.
OF_PEERS = ("connection_refused", "connection_aborted", "ib_completion", "efa_completion")
# A line without any of these words says nothing of interest; a quick look spares the patterns.
_WORTH = re.compile(
    r"WARN|rror|timeout|refused|route to|detected|mismatch|truncat|libibverbs|No space|Too many|"
    r"unreachable|is down|family|closed by|Broken pipe|reset by|interface found|NET plugin|Ranks are|Got completion|"
    r"failed|Failed|failure|out of memory|wrong|event|exceeded|POLLOUT|incompatible|mixed local|checked in|P2P is|"
    r"unresponsive|NVLS|NET/OFI|COMM_ID|No valid|not found|XML|real path|shared memory|algorithm/protocol|token|"
    r"MNNVL|device found|entries except|Driver version|Detected|nvalid rank|improper usage|Unable|No IP|"
    r"listening interface|Proxy|Service|ommunicator|ncclCommSet|commDestroy|abort state|UDS: |gnor|Cannot init|"
    r"GID table|falling back|can lead to|GDRC|FAILED|Signal: |signal \d|corrupt|free\(\): |malloc\(\): "
)


def classify(text: str, where: str = "") -> dict[str, t.Any] | None:
    """What a message says: ``{kind, weight, peer, port, status, vendor_err, hca}``; None when it is no failure.

    ``where`` is the file and line of NCCL: a bare error of CUDA is one of NVLink SHARP in its own file.
    """
    if _ASIDE.match(where):
        return {"kind": "harmless", "weight": GENERIC, **details(text)}
    if "nvls.cc" in where:
        text = f"{where} NCCL WARN {text}"
    if not _WORTH.search(text):
        return None
    for kind in KINDS:
        if kind.pattern.search(text):
            said = details(text)
            # a flushed work request of InfiniBand (status 5) only says that something failed before
            late = kind.name == "ib_completion" and said["status"] == 5
            return {"kind": kind.name, "weight": LATE if late else kind.weight, **said}
    return None


def details(text: str) -> dict[str, t.Any]:
    """Who was spoken to, and InfiniBand's numbers; None for what the text does not say."""
    address = ADDRESS.search(text)
    status, vendor, hca = STATUS.search(text), VENDOR.search(text), HCA.search(text)
    return {
        "peer": address.group("peer") if address else None,
        "port": int(address.group("port")) if address else None,
        "status": int(status.group("status")) if status else None,
        "vendor_err": int(vendor.group("vendor")) if vendor else None,
        "hca": hca.group("hca") if hca else None,
    }


def first_cause(failures: t.Sequence[t.Mapping[str, t.Any]]) -> t.Mapping[str, t.Any] | None:
    """The failure that explains the others; None when all is well.

    The nearest to a cause, the first of equals; what a rank says of its peer comes after what any says of itself, and
    what follows from a failure after a warning that nobody knows.
    """

    def distance(failure: t.Mapping[str, t.Any]) -> tuple[int, bool, bool]:
        return int(failure["weight"]), failure["kind"] in OF_PEERS, failure["kind"] != WARNING

    real = [failure for failure in failures if failure["kind"] != "harmless"]
    return min(real, key=distance, default=None)
