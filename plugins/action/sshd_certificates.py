# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(trainmesh.cluster.sshd_certificates)."""

from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.action import sshd_port


class ActionModule(sshd_port.ActionModule):
    """Changes sshd, logs in anew, and only then lets the change stay."""
