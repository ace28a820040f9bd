# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(trainmesh.cluster.job_records)."""

from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.probe_action import ProbeAction


class ActionModule(ProbeAction):
    """Keeps the records of the ranks with what the probes have found."""

    PART = "records"
    KEPT = ("records",)
