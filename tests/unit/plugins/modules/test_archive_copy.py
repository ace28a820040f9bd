# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module is the documentation of its action plugin, whose tests are in ../action."""

from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.action import archive_copy as action_archive_copy
from ansible_collections.trainmesh.cluster.plugins.modules import archive_copy
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented


def test_the_options_are_those_of_the_action() -> None:
    documented.check_action(archive_copy, action_archive_copy)
