# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which systemd services are active, without asking systemd.

While a service is active systemd keeps a link /run/systemd/units/invocation:UNIT and removes it as soon as
it is inactive or has failed (systemd 235 and later, unit_notify in src/core/unit.c). Reading it needs no
privilege and no subprocess; ``systemctl is-active`` costs a process and a round trip for each one.
Units that start no process, such as sockets, have no such link.
"""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree


def unit_active(files: Tree, unit: str) -> bool | None:
    """True when the service is active (or starting), False when not, None when this node does not run systemd."""
    if not files.has("/run/systemd/units"):
        return None
    return files.has(f"/run/systemd/units/invocation:{unit}")
