# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan looks at on the controller itself."""

from __future__ import annotations

import types

import pytest
from ansible.parsing.dataloader import DataLoader

from ansible_collections.trainmesh.cluster.plugins.action.cluster_plan import ActionModule


@pytest.fixture
def problem(tmp_path):
    action = ActionModule.__new__(ActionModule)
    action._task = types.SimpleNamespace(get_search_path=lambda: [str(tmp_path)])
    action._loader = DataLoader()
    return action._installer_problem


@pytest.mark.parametrize("installer", ["", "https://example.com/miniforge.sh"])
def test_nothing_is_looked_for_on_the_controller(problem, installer):
    assert problem(installer) == ""


def test_an_installer_on_the_controller_is_looked_for_where_the_role_does(problem, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files/miniforge.sh").touch()
    assert problem("miniforge.sh") == "" and problem(str(tmp_path / "files/miniforge.sh")) == ""
    lost = str(tmp_path / "lost.sh")
    assert problem(lost) == f"trainmesh_conda_installer: there is no {lost} on the controller"
    assert "is no file that can be read" in problem(str(tmp_path / "files"))
