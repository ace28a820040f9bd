# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the action answers; what it fetches with is tested in plugin_utils/_wheels."""

from __future__ import annotations

from unittest import mock

import pytest

from ansible_collections.trainmesh.cluster.plugins.action.python_archive import ActionModule
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.pythons import Pythons
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import ToolError


@pytest.fixture
def run(monkeypatch, tmp_path):
    def start(kept, fetched, check_mode=False):
        fetch = mock.Mock(side_effect=[fetched])
        monkeypatch.setattr(Pythons, "kept", lambda _self, _version, _arch: kept)
        monkeypatch.setattr(Pythons, "fetch", fetch)
        args = {"state_dir": str(tmp_path), "python_version": "3.12", "arch": "x86_64"}
        task = mock.Mock(args=args, async_val=0, check_mode=check_mode)
        answer = ActionModule(task, *[mock.Mock()] * 5).run(task_vars={})
        return answer, fetch.call_args

    return start


def test_what_is_kept_is_not_fetched(run):
    answer, fetched = run("/kept", None)
    assert (answer["changed"], answer["path"], fetched) == (False, "/kept", None)


def test_what_is_not_there_is_fetched_but_not_in_check_mode(run):
    answer, fetched = run("", "/new")
    assert (answer["changed"], answer["path"], fetched.args) == (True, "/new", ("3.12", "x86_64"))
    answer, fetched = run("", "/new", check_mode=True)
    assert (answer["changed"], answer["path"], fetched) == (True, "", None)


def test_a_failure_is_told(run):
    answer, _fetched = run("", ToolError("uv could not fetch it"))
    assert answer["failed"] and answer["msg"] == "uv could not fetch it"
