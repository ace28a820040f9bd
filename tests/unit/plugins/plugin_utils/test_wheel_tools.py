# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the controller calls uv."""

from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.module_utils._bounded import Outcome
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheel_tools import Tools


def test_wheels_are_built_in_the_way_that_needs_no_package_wheel():
    """Neither pip nor the packages of this environment take part: Debian 12's environments have no bdist_wheel."""
    calls = []

    def run(command, _limit, **options):
        calls.append((command, options))
        return Outcome(0, "", "", False, False, 0.1)

    tools = Tools("3.11", "x86_64-manylinux_2_28", run=run)
    tools.build(["build", "--wheel", "--python", "/x/venv/bin/python", "/x/a-1.tar.gz"], "/x")
    ((words, options),) = calls
    assert words[1:5] == ["build", "--wheel", "--python", "/x/venv/bin/python"]
    assert {"--offline", "--no-index", "--no-config"} <= set(words)
    assert options["clean"] and set(options["env"]) >= {"PATH", "HOME"}
