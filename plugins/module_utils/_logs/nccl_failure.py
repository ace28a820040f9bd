# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a line of NCCL, or of torch about NCCL, says went wrong.

Texts as in NCCL 2.2 to 2.30 (``src/misc/socket.cc``, ``src/transport/net_ib``, ``src/init.cc``,
``src/os/linux.cc``) and torch's ProcessGroupNCCL.
"""

from __future__ import annotations

import re
import typing as t

# How near a failure is to its cause: the lowest number of a log is the cause, the first line of equals.
ROOT, LATE, GENERIC = 0, 1, 2

ADDRESS = re.compile(r"(?:peer|[Cc]onnect to|remote peer) (?P<peer>[^\s<>]{1,200})<(?P<port>\d{1,5})>")
# NCCL before 2.12 calls the status an error: "completion with error 12"
STATUS = re.compile(r"(?:status[=:]\s?(?:[A-Za-z_][\w ]{0,60}\()?|completion with error )(?P<status>\d{1,3})\b")
VENDOR = re.compile(r"vendor[ _]err[=:]?\s?(?P<vendor>\d{1,6})")
HCA = re.compile(r"\bhca (?P<hca>[\w.-]{1,40})")


class Kind(t.NamedTuple):
    """A kind of failure: the pattern of its lines, and how near to the cause it stands."""

    name: str
    weight: int
    pattern: re.Pattern[str]


def _kind(name: str, weight: int, pattern: str) -> Kind:
    return Kind(name, weight, re.compile(pattern))


# The first that fits names the line.
KINDS: t.Sequence[Kind] = (
    _kind("harmless", GENERIC, r"Failed to open libibverbs|Could not find: lib|errno: 97 - Address family"),
    _kind("no_interface", ROOT, r"no socket interface found|no interface found|with family \d+ is neither"),
    _kind("no_net_plugin", ROOT, r"Failed to initialize (?:any )?NET plugin|network \S+ not found"),
    _kind("version_mismatch", ROOT, r"Mismatched NCCL version"),
    _kind("duplicate_gpu", ROOT, r"Duplicate GPU detected|Multiple Ranks are using the same"),
    _kind("collective_mismatch", ROOT,
          r"collective mismatch|[Mm]essage truncated|: truncation|Detected mismatch between collectives"),
    _kind("shm_full", ROOT,
          r"/dev/shm/\S* .{0,80}No space left|failed to extend /dev/shm|shared memory.{0,80}No space left"),
    _kind("memlock", ROOT,
          r"ibv_(?:reg_(?:dmabuf_)?mr\w*|create_\w+).{0,120}(?:Cannot allocate memory|with (?:error|errno)? ?12\b)"),
    _kind("modify_qp", ROOT, r"ibv_modify_qp.{0,40}failed"),
    _kind("no_ib_device", ROOT, r"ibv_open_device failed|NET/IB : Unable to open device"),
    _kind("ib_completion", ROOT, r"Got completion (?:from peer|with)"),
    _kind("fd_limit", ROOT, r"Too many open files"),
    _kind("no_route_to_host", ROOT, r"No route to|113 ?\(No route|Network is unreachable"),
    _kind("connection_refused", ROOT, r"Connection refused"),
    _kind("connect_timeout", ROOT, r"[Cc]onnect.{0,120}timed out"),
    _kind("connection_aborted", ROOT, r"Software caused connection abort"),
    _kind("cuda_failure", ROOT, r"Cuda failure"),
    _kind("connection_closed_by_peer", LATE,
          r"[Cc]onnection closed by (?:remote )?peer|Connection reset by peer|Broken pipe"),
    _kind("watchdog_timeout", LATE, r"Watchdog caught collective operation timeout"),
    _kind("internal_error", GENERIC, r"ncclInternalError|NCCL error.{0,200}internal error"),
    _kind("system_error", GENERIC, r"ncclSystemError|ncclUnhandledCudaError|unhandled (?:system|cuda) error"),
    _kind("invalid_usage", GENERIC, r"ncclInvalidUsage|NCCL error.{0,200}invalid usage"),
    _kind("remote_error", GENERIC, r"ncclRemoteError"),
)  # fmt: skip
# A line without any of these words says nothing of interest; a quick look spares the patterns.
_WORTH = re.compile(
    r"WARN|rror|timeout|refused|route to|detected|mismatch|truncat|libibverbs|No space|Too many|"
    r"unreachable|family|closed by|Broken pipe|reset by|interface found|NET plugin|Ranks are|Got completion|failed"
)


def classify(text: str) -> dict[str, t.Any] | None:
    """What a message says: ``{kind, weight, peer, port, status, vendor_err, hca}``; None when it is no failure."""
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
    """The failure that explains the others: the nearest to a cause, the first of equals; None when all is well."""
    real = [failure for failure in failures if failure["kind"] != "harmless"]
    return min(real, key=lambda failure: int(failure["weight"]), default=None)
