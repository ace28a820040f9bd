# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who keeps the clock, and whether the kernel believes that it is right."""

from __future__ import annotations

import ctypes
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric.units import unit_active

SOURCES = (
    ("chronyd", ("chronyd.service", "chrony.service"), ("/run/chrony/chronyd.pid", "/run/chronyd.pid")),
    ("systemd-timesyncd", ("systemd-timesyncd.service",), ()),
    ("ntpd", ("ntpd.service", "ntp.service", "ntpsec.service", "openntpd.service"), ("/run/ntpd.pid",)),
)
# timedatectl calls a clock synchronised below this error (systemd, src/basic/time-util.c ntp_synced).
MAX_ERROR_US = 16_000_000
ADJTIMEX_BYTES = 512  # struct timex is 208 bytes on 64-bit Linux; the kernel never writes more than that


class _Timex(ctypes.Structure):
    """The beginning of struct timex (adjtimex(2)); ``rest`` leaves room for all of it."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * ADJTIMEX_BYTES),
    ]


def clock(files: Tree) -> dict[str, t.Any]:
    """``source`` (the daemon that runs, or None), ``synchronised``, ``max_error_us``, ``epoch`` (seconds).

    In a container the clock is the host's: it can be synchronised although no daemon is seen.
    """
    error = kernel_error_us()
    return {
        "source": time_source(files),
        "synchronised": None if error is None else error < MAX_ERROR_US,
        "max_error_us": error,
        "epoch": time.time(),
    }


def time_source(files: Tree) -> str | None:
    """chronyd, systemd-timesyncd or ntpd: the one whose unit is active, or whose pid file names a process."""
    for name, units, pid_files in SOURCES:
        if any(unit_active(files, unit) for unit in units):
            return name
        if any(files.has(f"/proc/{pid}") for pid in map(files.number, pid_files) if pid):
            return name
    return None


def kernel_error_us() -> int | None:
    """The kernel's own bound of the clock's error in microseconds, None where it may not be asked.

    Asked with no mode bit set, adjtimex changes nothing and needs no privilege.
    """
    try:
        function = ctypes.CDLL(None, use_errno=True).adjtimex
    except (AttributeError, OSError):
        return None
    answer = _Timex()
    return int(answer.maxerror) if function(ctypes.byref(answer)) >= 0 else None
