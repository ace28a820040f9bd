# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation and implementation agree on the options."""

from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.action import sync_push as action_sync_push
from ansible_collections.trainmesh.cluster.plugins.modules import sync_push
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented


def test_documentation():
    documented.check_action(sync_push, action_sync_push)
