# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generation of a GPU by its PCI device id, which is there before any driver is.

NVIDIA numbers its chips in the order in which they appeared: what is older than Turing stands below, and what the
open kernel module alone drives stands above.
"""

from __future__ import annotations

import typing as t

SOURCE = (
    "github.com/NVIDIA/open-gpu-kernel-modules, README: the table of compatible GPUs begins with 1E02 (TITAN RTX); "
    "docs.nvidia.com/datacenter/tesla/driver-installation-guide, Kernel Modules; "
    "developer.nvidia.com/blog/nvidia-transitions-fully-towards-open-source-gpu-kernel-modules: Grace Hopper (2342 to "
    "2348) and Blackwell (2900 and above) need the open module; pci-ids.ucw.cz for the chips"
)
DATE = "2026-11-30"

FIRST_TURING = 0x1E00
GRACE_HOPPER = range(0x2342, 0x2349)
FIRST_BLACKWELL = 0x2900


class Modules(t.NamedTuple):
    """Whether all GPUs of a node work with the open module, and whether with the proprietary one."""

    open: bool
    proprietary: bool


def modules(devices: t.Iterable[int]) -> Modules:
    """The kinds of module that fit all these devices; both where there is none."""
    ids = list(devices)
    needs_open = any(each in GRACE_HOPPER or each >= FIRST_BLACKWELL for each in ids)
    return Modules(all(each >= FIRST_TURING for each in ids), not needs_open)
