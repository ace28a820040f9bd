# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(trainmesh.cluster.speed_probe)."""

from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.probe_action import ProbeAction
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import probe_arguments


class ActionModule(ProbeAction):
    """Measures what the plan of this run has: GPUs, else processors."""

    PART = "speed"
    KEPT = ("speed",)
    derived = staticmethod(probe_arguments.speed_probe)
