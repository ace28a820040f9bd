# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel log says of the GPUs since the last boot.

Xid are the driver's numbered errors of a GPU, SXid those of an NVSwitch; a GPU may also fall off the
bus without either. Which number is how bad is not decided here.
"""

from __future__ import annotations

import datetime
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import kernel_log as kernel
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.machine import Machine
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.text import bus_id, plain, without_broken

KEEP_PER_KIND = 5
"""Of equal events (same kind, number and device) the last so many are kept: a broken GPU repeats itself."""

RECOVERY = 154
"""The Xid with which the driver says how a GPU can be recovered."""

MAX_LINE = 300
MAX_DRIVER_EVENTS = 40
LOG_BYTES = 8 * 1024 * 1024
LOG_FILES = ("var/log/kern.log", "var/log/messages", "var/log/syslog", "var/log/dmesg")

_ADDRESS = r"[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:\.[0-7])?"
# "Xid (PCI:0000:9b:00): 119, ...", before driver 3xx "Xid (0000:03:00): 31", under MIG "(PCI:0000:01:00 GPU-I:05)"
_XID = re.compile(rf"NVRM: Xid \((?:PCI:)?({_ADDRESS})[^)]*\): (\d{{1,4}})\b")
_SXID = re.compile(rf"nvidia-nvswitch\d+: SXid \(PCI:({_ADDRESS})\): (\d{{1,6}})\b")
# One sentence, often over three lines: "The NVIDIA GPU <address> / (PCI ID: ...) installed in ... has / fallen off"
_OFF_BUS = re.compile(
    rf"NVRM: (?:The NVIDIA )?GPU (?:at )?(?:PCI:)?({_ADDRESS})"
    r"(?:(?!NVRM: (?:The NVIDIA )?GPU |NVRM: Xid )[\s\S]){0,300}?fallen off the bus"
)
# the card no longer answers on the bus, seen by the kernel itself
_NO_POWER = re.compile(
    rf"\bnvidia ({_ADDRESS}): (?:can't|Unable to) change power state from \w+ to \w+.{{0,60}}inaccessible"
)
_UNSUPPORTED = re.compile(
    rf"NVRM: The NVIDIA GPU ({_ADDRESS})(?:(?!NVRM: The NVIDIA GPU)[\s\S]){{0,300}}?"
    r"installed in this system is not supported"
)
_DEGRADED = re.compile(rf"\b([a-z][\w-]{{0,30}}) ({_ADDRESS}): [\d.]+ Gb/s available PCIe bandwidth, limited by")
_LOADING = re.compile(
    r"NVRM: loading NVIDIA UNIX (?:Open )?[^\n]{0,60}?Kernel Module(?: for \S+)?\s+(\d+\.\d+(?:\.\d+)?)"
)
_NOT_CALLED = re.compile(r"NVRM: The NVIDIA probe routine was not called for (\d{1,3}) device")
_BOOT = re.compile(r"^.*\bLinux version \d.*$", re.MULTILINE)
_WORTH_READING = ("NVRM", "nvswitch", "PCIe bandwidth", "inaccessible")

_UPTIME = re.compile(r"^(?:<\d+>)?\[ *(\d{1,12})\.(\d{1,9})\]")
_CLOCK = re.compile(r"^(?:<\d+>)?\[(\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4})\]")
_ISO = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)")


class KernelLog(t.NamedTuple):
    """The findings of a kernel log.

    ``events`` are dicts with ``kind`` (xid, sxid, fallen_off_bus, degraded_link), ``xid`` (the number, None
    without one), ``bus_id``, ``time`` (ISO 8601 or None) and ``line``. ``unsupported`` are the addresses of
    GPUs that the driver says it does not support; ``nouveau_devices`` counts devices another driver holds.
    ``driver_events`` are what else NVIDIA's driver says (``_base/kernel_log.py``).
    """

    events: tuple[dict[str, t.Any], ...] = ()
    module_version: str | None = None
    nouveau_devices: int | None = None
    unsupported: tuple[str, ...] = ()
    driver_events: tuple[dict[str, t.Any], ...] = ()


def parse(text: str, boot_epoch: float | None = None) -> KernelLog:
    """Read the output of dmesg or journalctl, or a log file; ``boot_epoch`` dates "[ 12.345]" stamps."""
    text = _since_boot(without_broken(plain(text)))
    events: list[tuple[int, dict[str, t.Any]]] = []
    if any(word in text for word in _WORTH_READING):
        for kind, pattern, address, number in (
            ("xid", _XID, 1, 2),
            ("sxid", _SXID, 1, 2),
            ("fallen_off_bus", _OFF_BUS, 1, None),
            ("fallen_off_bus", _NO_POWER, 1, None),
            ("degraded_link", _DEGRADED, 2, None),
        ):
            for match in pattern.finditer(text):
                if kind == "degraded_link" and match.group(1) == "pci":
                    continue  # a device without a driver of its own: neither a NIC in use nor a GPU
                events.append((match.start(), _event(text, match, kind, address, number, boot_epoch)))
    loading = _LOADING.findall(text)
    not_called = _NOT_CALLED.findall(text)
    return KernelLog(
        tuple(_latest([event for _start, event in sorted(events, key=lambda pair: pair[0])])),
        loading[-1] if loading else None,
        int(not_called[-1]) if not_called else None,
        tuple(address for address in map(bus_id, _UNSUPPORTED.findall(text)) if address),
        tuple(event for event in kernel.parse(text) if event["kind"] in kernel.OF_DRIVER)[-MAX_DRIVER_EVENTS:],
    )


def _since_boot(text: str) -> str:
    """What follows the last line with which a kernel starts; a log without one starts later than that."""
    boots = list(_BOOT.finditer(text))
    return text[boots[-1].start() :] if boots else text


def _event(
    text: str, match: re.Match[str], kind: str, address: int, number: int | None, boot_epoch: float | None
) -> dict[str, t.Any]:
    begin = text.rfind("\n", 0, match.start()) + 1
    end = text.find("\n", match.end())
    line = text[begin : end if end >= 0 else len(text)]
    return {
        "kind": kind,
        "xid": int(match.group(number)) if number else None,
        "bus_id": bus_id(match.group(address)),
        "time": _time(line, boot_epoch),
        "line": " ".join(line.split())[:MAX_LINE],
    }


def _time(line: str, boot_epoch: float | None) -> str | None:
    """When a line was written, as ISO 8601, or None when the line or the machine does not say."""
    uptime, clock, iso = _UPTIME.match(line), _CLOCK.match(line), _ISO.match(line)
    try:
        if uptime and boot_epoch is not None:
            moment = datetime.datetime.fromtimestamp(int(boot_epoch) + int(uptime.group(1)), datetime.timezone.utc)
            return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        if clock:
            return datetime.datetime.strptime(clock.group(1), "%a %b %d %H:%M:%S %Y").isoformat()
    except (ValueError, OverflowError, OSError):
        return None
    return iso.group(1) if iso else None


def _latest(events: t.Sequence[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """The last few of each sort, in the order of the log."""
    seen: dict[tuple[t.Any, ...], int] = {}
    kept = []
    for event in reversed(events):
        sort = (event["kind"], event["xid"], event["bus_id"])
        seen[sort] = seen.get(sort, 0) + 1
        if seen[sort] <= KEEP_PER_KIND:
            kept.append(event)
    return kept[::-1]


def read_kernel_log(machine: Machine, limit: float = 5.0) -> KernelLog | None:
    """Read the kernel log of the machine, at most ``limit`` seconds; None when nothing may be read.

    Order: dmesg, then the journal of this boot, then the log files. dmesg reaches back as far as the
    kernel's ring buffer does.
    """
    boot = re.search(r"^btime (\d{1,12})$", machine.read("proc/stat", 1024 * 1024) or "", re.MULTILINE)
    text = _log_text(machine, limit)
    return None if text is None else parse(text, float(boot.group(1)) if boot else None)


def _log_text(machine: Machine, limit: float) -> str | None:
    for command in (("dmesg",), ("journalctl", "--no-pager", "-q", "-k", "-b", "-o", "short-iso")):
        outcome = machine.run(*command, limit=limit)
        if outcome is not None and outcome.ok and outcome.out.strip():
            return outcome.out
    for name in LOG_FILES:
        text = machine.read(name, LOG_BYTES, tail=True)
        if text:
            return text
    return None
