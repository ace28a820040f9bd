# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nvidia-smi says instead of an answer, and what it means.

nvidia-smi writes its errors to standard output as often as to standard error, may wrap them, and
ends with the NVML code as its exit status. The texts are quoted from issues of public projects; the
codes are those of nvml.h.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.text import bus_id, first_line, plain

SOURCE = "texts: recorded outputs quoted in public issue threads, 2018 to 2026; exit codes: nvml.h, nvmlReturn_t"
DATE = "2026-11-21"

_ADDRESS = r"(?P<bus>[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])"

TEXTS: tuple[tuple[str, str, str], ...] = (
    # (pattern, status, remedy). The first that matches decides, so what is more telling stands first.
    (
        r"Driver/library version mismatch(?:.{0,40}?NVML library version: (?P<library>\d+(?:\.\d+){1,2}))?",
        "library_mismatch",
        "reboot the node, or unload and load the kernel module",
    ),
    (
        rf"Unable to determine the device handle for GPU ?(?:\d{{1,3}}: ?)?(?:{_ADDRESS}: )?Insufficient Permissions",
        "no_permission",
        "run as root, or give the user access to /dev/nvidia*",
    ),
    (
        rf"Unable to determine the device handle for GPU ?(?:\d{{1,3}}: ?)?(?:{_ADDRESS})?",
        "gpu_lost",
        "the GPU fell off the bus: look for Xid 79 in the kernel log and power-cycle the node",
    ),
    (
        r"Failed to initialize NVML: (?:GPU is lost|GPU requires reset)",
        "gpu_lost",
        "power-cycle the node",
    ),
    (
        r"couldn.{1,3}t communicate with the NVIDIA driver|Failed to initialize NVML: Driver Not Loaded",
        "driver_not_loaded",
        "the kernel module is not loaded: kernel update without a rebuilt module, Secure Boot, or nouveau",
    ),
    (
        r"couldn.{1,3}t find libnvidia-ml|Failed to initialize NVML: (?:Library|NVML Shared Library) Not Found",
        "no_driver",
        "the driver's user-space part is missing: install the driver again",
    ),
    (
        r"Failed to initialize NVML: Insufficient Permissions",
        "no_permission",
        "run as root, or give the user access to /dev/nvidia*",
    ),
    (
        r"GPU access blocked by the operating system",
        "no_permission",
        "the operating system (WSL, or the device cgroup of a container) blocks the GPUs",
    ),
    (
        r"Failed to initialize NVML: Unknown Error",
        "unknown",
        "in a container this means that its access to the GPUs was lost: restart the container",
    ),
    (
        r"No devices were found",
        "no_devices",
        "the module is loaded but has no usable GPU: look at the NVRM lines of the kernel log",
    ),
)

CODES: dict[int, tuple[str, str]] = {
    # nvmlReturn_t: only the codes that name the trouble by themselves
    4: ("no_permission", "run as root, or give the user access to /dev/nvidia*"),
    9: ("driver_not_loaded", "load the kernel module"),
    12: ("no_driver", "the driver's user-space part is missing: install the driver again"),
    15: ("gpu_lost", "look for Xid 79 in the kernel log and power-cycle the node"),
    16: ("gpu_lost", "a GPU requires a reset"),
    17: ("no_permission", "the operating system blocks the GPUs"),
    18: ("library_mismatch", "reboot the node, or unload and load the kernel module"),
    28: ("no_devices", "look at the NVRM lines of the kernel log"),
}

_PATTERNS = tuple((re.compile(pattern, re.IGNORECASE), status, remedy) for pattern, status, remedy in TEXTS)


class Failure(t.NamedTuple):
    """Why there is no (whole) answer: one of the module's status words and one sentence."""

    status: str
    problem: str
    bus_id: str | None = None
    nvml_library: str | None = None


def classify(text: str, rc: int | None = None, command: str = "nvidia-smi") -> Failure | None:
    """Recognise an error text (both streams together) or exit status; None when it is neither."""
    joined = " ".join(plain(text).split())
    for pattern, status, remedy in _PATTERNS:
        match = pattern.search(joined)
        if match:
            groups = match.groupdict()
            said = _sentence(joined, match.start(), match.end())
            return Failure(
                status, f"{command} says: {said} ({remedy})", bus_id(groups.get("bus")), groups.get("library")
            )
    if rc is not None and rc in CODES:
        status, remedy = CODES[rc]
        said = first_line(text) or "nothing"
        return Failure(status, f"{command} ended with status {rc} and says: {said} ({remedy})")
    return None


def _sentence(joined: str, start: int, end: int, limit: int = 200) -> str:
    """The words around a match: from the sentence's begin, if that is near, to the match's end or a full stop."""
    begin = max(joined.rfind(". ", 0, start) + 2, 0) if ". " in joined[:start] else 0
    begin = max(begin, start - 60)
    stop = joined.find(". ", end)
    return joined[begin : stop if 0 <= stop < begin + limit else begin + limit].rstrip(". ")
