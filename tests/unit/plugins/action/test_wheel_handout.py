# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import getpass
import subprocess

import pytest

from ansible_collections.trainmesh.cluster.plugins.action.wheel_handout import ActionModule


@pytest.mark.parametrize("umask", ["077", "027", "022"])
def test_others_get_through_to_the_files_whatever_the_umask_is(tmp_path, umask):
    action = ActionModule.__new__(ActionModule)
    action._shell = lambda command, become: (
        subprocess.run(["sh", "-c", f"umask {umask}; {command}"], check=True, capture_output=True, text=True).stdout
    )
    dest = tmp_path / "cache" / "trainmesh" / "wheels"
    action._directory(str(dest))
    assert [path.stat().st_mode & 0o777 for path in (dest.parent.parent, dest.parent, dest)] == [0o755] * 3
    assert dest.owner() == getpass.getuser()
