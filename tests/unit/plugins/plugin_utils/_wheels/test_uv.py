# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the controller calls uv."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import index
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import ToolError, Tools


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


def test_no_password_of_an_index_stands_in_a_command_line_or_a_message():
    """Everybody on the controller sees command lines; the environment is the user's own."""
    address = "https://joe:canary@mirror.example/simple"
    pip_conf = f"global.find-links='{address}/c'\n"
    calls = []

    def run(command, _limit, env=None, **_options):
        calls.append((command, env or {}))
        config = "config" in command
        return Outcome(0 if config else 1, pip_conf if config else "", f"nothing at {address}", False, False, 0.1)

    tools = Tools("3.11", "x86_64-manylinux_2_28", address, run=run)
    options = index.uv_arguments(tools.index)
    tools.compile("/x.in", "/x.toml", options)
    for attempt in (lambda: tools.uv_run(["pip", *options]), lambda: tools.download(["a==1"], "/w", [], 1)):
        with pytest.raises(ToolError) as caught:
            attempt()
        assert "canary" not in str(caught.value)
    assert not any("canary" in word for command, _env in calls for word in command)
    given = [
        env.get("UV_DEFAULT_INDEX") or env.get("PIP_INDEX_URL") for command, env in calls if "config" not in command
    ]
    assert [one for one in given if one] == [address] * 3


SHADOWED = """  × No solution found when resolving dependencies:
  ╰─▶ Because torch==2.13.0+cpu has no wheels with a matching Python ABI tag (e.g., `cp313`) and there is no version of
      torch==2.13.0, we can conclude that your requirements are unsatisfiable.

      hint: `torch` was found on https://me:word@mirror.example/simple, but not at the version
      (torch==2.13.0).
      A compatible version may be available on a subsequent index (e.g., https://public.example/simple).
"""


def test_an_index_that_hides_the_next_one_is_named_with_the_way_out():
    said = index.explain(SHADOWED, ["the default index"], ["torch==2.13.0"])
    assert "torch was taken from https://" in said and "mirror.example/simple alone" in said
    assert "trainmesh_index_insecure: true" in said
    assert "word" not in said
    assert "trainmesh_index_insecure" not in index.explain("error: no such version", [], ["torch"])
