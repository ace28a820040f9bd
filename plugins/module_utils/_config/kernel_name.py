# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a node's kernel takes another host name, and what is said where it does not."""

from __future__ import annotations

import re
import typing as t

STATUS = "/proc/self/status"
_SYS_ADMIN = 21
"""The bit of CAP_SYS_ADMIN, without which sethostname(2) fails; capabilities(7)."""


def may_set(status: str) -> bool | None:
    """Whether the process of this text of ``/proc/PID/status`` may set the name; None where it does not say."""
    found = re.search(r"^CapEff:\s*([0-9a-fA-F]+)$", status, re.MULTILINE)
    return bool(int(found[1], 16) >> _SYS_ADMIN & 1) if found else None


def differs(names: t.Mapping[str, str], wanted: str, may: bool | None) -> bool:
    """Whether the names of the kernel and of the file can be made the wanted one, and are not."""
    if names["kernel"] != wanted and may is False:
        return False  # without its kernel's name, a node keeps that of its file too
    return set(names.values()) != {wanted}


def kept(name: str, wanted: str, reason: str = "no CAP_SYS_ADMIN") -> str:
    """That a node keeps the name that it has, and the ways out."""
    return (
        f"the host name stays {name}: the kernel refuses {wanted} ({reason}). The container needs --hostname {wanted} "
        f"or CAP_SYS_ADMIN; or set trainmesh_hostname: {name} for this host in the inventory."
    )
