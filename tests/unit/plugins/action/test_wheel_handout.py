# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of the hand-out, made by the real shell."""

from __future__ import annotations

import getpass
import os
import subprocess
import types

import pytest
from ansible import constants as C

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


class Local(ActionModule):
    """The action without a connection: its commands run here."""

    def __init__(self):
        self.became = []

    def _low_level_execute_command(self, command, sudoable=True):
        self.became.append(sudoable)
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False, timeout=20)
        return {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


@pytest.mark.parametrize("umask", [0o077, 0o027])
def test_the_login_user_gets_to_the_directory_whatever_the_umask(tmp_path, umask):
    (tmp_path / "of-before" / "trainmesh").mkdir(mode=0o700, parents=True)
    (tmp_path / "private").mkdir(mode=0o700)
    before = os.umask(umask)
    try:
        for dest in ("var/cache/trainmesh/wheels", "of-before/trainmesh/wheels", "private/wheels"):
            Local()._directory(str(tmp_path / dest))
    finally:
        os.umask(before)
    for path in ("var", "var/cache", "var/cache/trainmesh", "var/cache/trainmesh/wheels", "of-before/trainmesh/wheels"):
        assert (tmp_path / path).stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "of-before" / "trainmesh").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o700, "a directory of somebody else is left as it is"


def test_the_index_stands_where_the_next_run_removes_what_a_killed_one_left(tmp_path):
    action, seen = Local(), []
    action._connection = types.SimpleNamespace(put_file=lambda source, _target: seen.append(os.path.dirname(source)))
    action._index(str(tmp_path), {"offline": True})
    assert seen == [C.DEFAULT_LOCAL_TMP]
