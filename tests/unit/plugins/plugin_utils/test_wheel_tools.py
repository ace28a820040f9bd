# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the controller calls pip."""

from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.module_utils._bounded import Outcome
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheel_tools import Tools


def test_wheels_are_built_in_the_way_that_needs_no_package_wheel():
    """Before 23.1 pip ran setup.py itself, and Debian 12's environments have no bdist_wheel."""
    commands = []

    def run(command, _limit, **_options):
        commands.append(command)
        return Outcome(0, "", "", False, False, 0.1)

    Tools("3.11", "x86_64-manylinux_2_28", run=run).build("/x/requirements.txt", "/x/wheels")
    (words,) = commands
    assert words[1:4] == ["-m", "pip", "wheel"] and "--use-pep517" in words
