# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the action answers; what it fetches with is tested in plugin_utils/_wheels."""

from __future__ import annotations

from unittest import mock

import pytest
from ansible.parsing.dataloader import DataLoader

from ansible_collections.trainmesh.cluster.plugins.action.conda_installer import ActionModule
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.conda import Installer
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import ToolError


@pytest.fixture
def run(tmp_path):
    def start(installer="", check_mode=False):
        args = {"state_dir": str(tmp_path), "arch": "x86_64", "installer": installer}
        task = mock.Mock(args=args, async_val=0, check_mode=check_mode, get_search_path=lambda: [str(tmp_path)])
        return ActionModule(task, *[mock.Mock()] * 2, DataLoader(), *[mock.Mock()] * 2).run(task_vars={})

    return start


def test_a_file_is_looked_for_beside_the_play(run, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files/m.sh").write_text("installer")
    answer = run("m.sh")
    assert (answer["changed"], answer["path"]) == (False, str(tmp_path / "files/m.sh"))
    assert run("lost.sh")["failed"]


def test_check_mode_fetches_nothing(run, monkeypatch):
    monkeypatch.setattr(Installer, "get", lambda *_words: pytest.fail("fetched"))
    answer = run("https://me:word@mirror.example/m.sh", check_mode=True)
    assert (answer["changed"], answer["path"]) == (True, "")
    assert answer["source"] == "https://****@mirror.example/m.sh"


def test_a_failure_is_told(run, monkeypatch):
    monkeypatch.setattr(Installer, "get", mock.Mock(side_effect=ToolError("no answer")))
    assert run()["msg"] == "no answer"
